"""Components below the minimum mapping unit become part of a neighbour: never a hole, never a seam.

A component may lie on many tiles, and what it becomes may depend on what its neighbours become. So each tile lists the
components that could be too small, and what they touch; all lists together decide; then each tile is told its new
classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from safetensors.numpy import load, save

from geoseg.grid import GeoGrid, Window
from geoseg.polygons.attributes import measure_polygons
from geoseg.polygons.merging import NOTHING, Contacts, Regions, code_of_class, merge_small, unite
from geoseg.polygons.rings import Int32, Int64, Uint8
from geoseg.polygons.runs import Runs, count_runs, encode_runs, label_runs
from geoseg.polygons.touching import LARGEST_AREA, count_contacts, paint_components, sum_areas
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
    painted = paint_components(runs, component)
    sides = [painted[0], painted[-1], painted[:, 0], painted[:, -1]]
    edges = [classes[0], classes[-1], classes[:, 0], classes[:, -1]]
    contacts = _sum_contacts(count_contacts(runs, component, codes[:-1]))
    return SmallComponents(
        window,
        small,
        class_id[small],
        area[small],
        first[small],
        contacts,
        codes[np.concatenate(sides)],
        np.concatenate(edges),
    )


def merge_small_components(
    tiles: Iterable[SmallComponents], *, minimum: Int64, pixel_m: tuple[float, float]
) -> dict[tuple[int, int], tuple[Int32, Uint8]]:
    """Decide what every component below the minimum becomes: part of the neighbour class it has the longest side with.

    The smallest component goes first; among equal ones that of the topmost, leftmost pixel. What is still too small
    afterwards goes on. A component that touches nothing but unknown pixels stays. Memory: about 150 bytes for each
    listed component and 40 for each of its contacts, whatever the raster's size.

    Args:
        tiles: row-major; tiles without a known pixel may be absent.
        minimum: (256,) int64, as given to `list_small_components`.
        pixel_m: (height, width) of a pixel in metres.

    Returns:
        For the (row, col) of each tile in which something changes: the numbers of components and their new classes.
    """
    upright, level = (max(1, round(side * 1e6)) for side in pixel_m)
    listed, links, contacts = _collect(tiles)
    if not listed.count:
        return {}
    before = np.concatenate(listed.class_id)
    regions = Regions(
        np.arange(listed.count, dtype=np.int64),
        before.copy(),
        np.concatenate(listed.area),
        np.concatenate(listed.first),
        np.zeros(listed.count, np.bool_),
    )
    unite(regions, links)
    rows = _sum_contacts(contacts)
    offsets = np.searchsorted(rows[:, 0], np.arange(listed.count + 1)).astype(np.int64)
    lengths = rows[:, 2] * upright + rows[:, 3] * level
    merge_small(regions, Contacts(offsets, np.ascontiguousarray(rows[:, 1]), lengths), minimum)
    new = regions.class_id
    changed: dict[tuple[int, int], tuple[Int32, Uint8]] = {}
    for k, (window, number) in enumerate(listed.tiles):
        mine = slice(listed.offsets[k], listed.offsets[k + 1])
        differs = new[mine] != before[mine]
        if differs.any():
            changed[window.row, window.col] = number[differs], new[mine][differs]
    return changed


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
    painted = table[paint_components(runs, component)]
    return np.where(painted == ANY_CLASS, classes, painted).astype(np.uint8)


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


@dataclass(eq=False)
class _Listed:
    tiles: list[tuple[Window, Int32]]
    offsets: list[int]
    class_id: list[Uint8]
    area: list[Int64]
    first: list[Int64]

    @property
    def count(self) -> int:
        return self.offsets[-1]

    def add(self, tile: SmallComponents) -> int:
        base = self.count
        self.tiles.append((tile.window, tile.number))
        self.offsets.append(base + len(tile.number))
        self.class_id.append(tile.class_id)
        self.area.append(tile.area)
        self.first.append(tile.first)
        return base


def _collect(tiles: Iterable[SmallComponents]) -> tuple[_Listed, Int64, Int64]:
    """All tiles' components under numbers of the raster, with what lies side by side across seams.

    Returns:
        The components; (l, 2) pairs of codes that are one component; (m, 4) contacts.
    """
    listed = _Listed([], [0], [], [], [])
    links, contacts = [np.zeros((0, 2), np.int64)], [np.zeros((0, 4), np.int64)]
    bottoms: dict[int, tuple[Window, Int64, Uint8]] = {}
    right: tuple[Window, Int64, Uint8] | None = None
    for tile in tiles:
        base = listed.add(tile)
        window = tile.window
        w, h = window.cols, window.rows
        codes = np.where(tile.border >= 0, tile.border.astype(np.int64) + base, tile.border)
        inside = tile.contacts.copy()
        inside[:, 0] += base
        inside[:, 1] += np.where(inside[:, 1] >= 0, base, 0)
        contacts.append(inside)
        top, left = (codes[:w], tile.border_class[:w]), (codes[2 * w : 2 * w + h], tile.border_class[2 * w : 2 * w + h])
        above = bottoms.get(window.col)
        if above is not None and above[0].row_stop == window.row:
            _match_sides(above[1:], top, links, contacts, level=1)
        if right is not None and right[0].col_stop == window.col and right[0].row == window.row:
            _match_sides(right[1:], left, links, contacts, level=0)
        bottoms[window.col] = window, codes[w : 2 * w], tile.border_class[w : 2 * w]
        right = window, codes[2 * w + h :], tile.border_class[2 * w + h :]
    return listed, np.concatenate(links), np.concatenate(contacts)


def _match_sides(
    one: tuple[Int64, Uint8], two: tuple[Int64, Uint8], links: list[Int64], contacts: list[Int64], *, level: int
) -> None:
    a, b = one[0], two[0]
    known = (a != NOTHING) & (b != NOTHING) & ((a >= 0) | (b >= 0))
    same = known & (one[1] == two[1])
    links.append(np.unique(np.stack([a[same], b[same]], axis=1), axis=0))
    other = known & ~same
    for mine, its in ((a, b), (b, a)):
        listed = other & (mine >= 0)
        zero, side = np.zeros(listed.sum(), np.int64), np.ones(listed.sum(), np.int64)
        sides = (zero, side) if level else (side, zero)
        contacts.append(_sum_contacts(np.stack([mine[listed], its[listed], *sides], axis=1)))


def _sum_contacts(contacts: Int64) -> Int64:
    """One row for every pair of equal component and neighbour."""
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
