"""Components below the minimum mapping unit become part of a neighbour: never a hole, never a seam.

A component may lie on many tiles, and what it becomes may depend on what its neighbours become. So each tile lists the
components that could be too small, and what they touch; a sweep over the lists decides (`sweep.py`); then each tile is
told its new classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from safetensors.numpy import load, save

from geoseg.grid import GeoGrid, Window
from geoseg.polygons.attributes import measure_polygons
from geoseg.polygons.merging import NOTHING, code_of_class
from geoseg.polygons.rings import Int32, Int64, Uint8
from geoseg.polygons.runs import Runs, count_runs, encode_runs, label_runs, list_border
from geoseg.polygons.touching import LARGEST_AREA, count_contacts, paint_runs, sum_areas
from geoseg.tiles.sealed import read_sealed, write_sealed

ANY_CLASS = 256
UNIT_M2 = 1e-6


@dataclass(frozen=True, eq=False)
class SmallComponents:
    """The components of a tile that may be too small, and what they touch within the tile.

    A neighbour is written as a code: the number of a listed component, or `code_of_class` of one that is not listed,
    or NOTHING for pixels about which nothing is known.

    Args:
        window: the tile in global pixels.
        number: (k,) int32, the component's number among all of the tile.
        class_id: (k,) uint8.
        area: (k,) int64, in UNIT_M2.
        first: (k,) int64, row * 2^32 + col of the first pixel.
        contacts: (m, 4) int64: listed component, code of the neighbour, common pixel sides upright and level.
        border: (2 w + 2 h,) int32, code of the border pixels: top row, bottom row, left column, right column.
        border_class: (2 w + 2 h,) uint8.
    """

    window: Window
    number: Int32
    class_id: Uint8
    area: Int64
    first: Int64
    contacts: Int64
    border: Int32
    border_class: Uint8

    def save(self, path: Path) -> None:
        """Write as a sealed safetensors file."""
        place = np.array([self.window.row, self.window.col, self.window.rows, self.window.cols], np.int64)
        arrays = {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)[1:]}
        write_sealed(path, save({"window": place, **arrays}))

    @classmethod
    def load(cls, path: Path) -> SmallComponents:
        """Read a file that `save` wrote.

        Raises:
            InputError: it was damaged.
        """
        arrays = load(read_sealed(path))
        return cls(Window(*(int(v) for v in arrays.pop("window"))), **arrays)


def list_small_components(
    classes: Uint8, *, window: Window, row_areas: Int64, minimum: Int64, nodata: int | None
) -> SmallComponents:
    """The components of a tile that are below the minimum as far as the tile shows them.

    Args:
        classes: (h, w) uint8.
        window: the tile in global pixels, of h x w pixels.
        row_areas: (h,) int64, as `measure_rows` gives them.
        minimum: (256,) int64, as `tabulate_minimum` gives it.
        nodata: id of unknown pixels, which are nobody's neighbour; None where every pixel is known.
    """
    runs, component, components = _label(classes, nodata)
    class_id, area, first = sum_areas(runs, component, components, row_areas)
    small = np.flatnonzero(area < minimum[class_id]).astype(np.int32)
    codes = np.append(code_of_class(class_id), NOTHING).astype(np.int32)
    codes[small] = np.arange(len(small), dtype=np.int32)
    first = ((first >> 32) + window.row << 32) + (first & 0xFFFFFFFF) + window.col
    edges = [classes[0], classes[-1], classes[:, 0], classes[:, -1]]
    contacts = sum_contacts(count_contacts(runs, component, codes[:-1]))
    return SmallComponents(
        window,
        small,
        class_id[small],
        area[small],
        first[small],
        contacts,
        codes[list_border(runs, component)],
        np.concatenate(edges),
    )


def save_changes(path: Path, changes: tuple[Int32, Uint8]) -> None:
    """Write what `merge_small_components` gave for one tile as a sealed safetensors file."""
    write_sealed(path, save({"number": changes[0], "class_id": changes[1]}))


def load_changes(path: Path) -> tuple[Int32, Uint8]:
    """Read a file that `save_changes` wrote.

    Raises:
        InputError: it was damaged.
    """
    arrays = load(read_sealed(path))
    return arrays["number"], arrays["class_id"]


def reclassify_components(classes: Uint8, changes: tuple[Int32, Uint8], *, nodata: int | None) -> Uint8:
    """The classes (h, w) uint8 of a tile with the changes that `merge_small_components` gave for it."""
    runs, component, components = _label(classes, nodata)
    number, new = changes
    table = np.full(components + 1, ANY_CLASS, np.int32)
    table[number] = new
    painted = table[component]
    values = np.where(painted == ANY_CLASS, runs.class_id, painted).astype(np.uint8)
    return np.asarray(paint_runs(runs, values))


def tabulate_minimum(minimum_m2: Mapping[int, float]) -> Int64:
    """(256,) int64 table of the smallest area of each class, in UNIT_M2."""
    table = np.zeros(256, np.int64)
    for number, area in minimum_m2.items():
        table[number] = round(min(area / UNIT_M2, LARGEST_AREA))
    return table


def measure_rows(grid: GeoGrid, window: Window) -> Int64:
    """Geodesic area, in UNIT_M2, of the pixel in the middle column of the raster, for each row of a window.

    Whole numbers: what a component sums up to does not depend on how tiles cut it. A pixel without longitude and
    latitude counts as large.
    """
    row = np.arange(window.row, window.row_stop, dtype=np.float64)
    middle = grid.cols // 2
    corners = [(row, middle), (row, middle + 1), (row + 1, middle + 1), (row + 1, middle), (row, middle)]
    world = [np.stack(grid.to_world(r, np.broadcast_to(np.float64(c), r.shape)), axis=1) for r, c in corners]
    area_m2, _ = measure_polygons(shapely.polygons(np.stack(world, axis=1)), grid)
    units = np.nan_to_num(area_m2 / UNIT_M2, nan=np.inf)
    return np.clip(np.rint(units), 1, LARGEST_AREA).astype(np.int64)


def sum_contacts(contacts: Int64) -> Int64:
    """One row for every pair of equal component and neighbour, which are the first two columns of (m, n) int64."""
    if not len(contacts):
        return contacts
    order = np.lexsort((contacts[:, 1], contacts[:, 0]))
    rows = contacts[order]
    starts = np.flatnonzero(np.append(True, (rows[1:, :2] != rows[:-1, :2]).any(axis=1)))
    return np.concatenate([rows[starts, :2], np.add.reduceat(rows[:, 2:], starts, axis=0)], axis=1)


def _label(classes: NDArray[np.uint8], nodata: int | None) -> tuple[Runs, Int32, int]:
    classes = np.ascontiguousarray(classes)
    runs = encode_runs(classes, np.zeros((0, 0), np.uint8), count_runs(classes))
    skipped = np.zeros(256, np.uint8)
    if nodata is not None:
        skipped[nodata] = 1
    component, components = label_runs(runs, skipped)
    return runs, component, components
