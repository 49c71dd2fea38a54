"""The changes as a layer, a row an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg import __version__
from geoseg.comparison.events import NOISE, Events
from geoseg.comparison.lines import Stretches
from geoseg.comparison.objects import WGS84, IntArray, Objects, Stored, reproject
from geoseg.layers.columns import BATCH_ROWS, Column, Layer, LayerBatch
from geoseg.layers.write import write_layers
from geoseg.legend import ClassLegend, LegendClass

POLYGON_COLUMNS = (
    Column("change", pa.string()),
    Column("class", pa.string()),
    Column("id_a", pa.string()),
    Column("id_b", pa.string()),
    Column("iou", pa.float64(), 4),
    Column("area_a_m2", pa.float64(), 3),
    Column("area_b_m2", pa.float64(), 3),
    Column("gained_m2", pa.float64(), 3),
    Column("lost_m2", pa.float64(), 3),
)
LINE_COLUMNS = (
    Column("change", pa.string()),
    Column("class", pa.string()),
    Column("id_a", pa.string()),
    Column("id_b", pa.string()),
    Column("length_m", pa.float64(), 3),
)

STYLE = ClassLegend(
    tuple(
        LegendClass(i, name, color, "area")
        for i, (name, color) in enumerate(
            {
                "unchanged": (189, 189, 189),
                "grown": (127, 191, 123),
                "shrunk": (253, 174, 97),
                "moved": (255, 217, 102),
                "split": (146, 120, 196),
                "merged": (103, 169, 207),
                "appeared": (27, 120, 55),
                "vanished": (202, 0, 32),
                "noise": (225, 225, 225),
            }.items()
        )
    )
)
"""Colours of the changes."""


@dataclass(frozen=True)
class ChangedPolygons:
    """The polygons of a class on both sides, and which belong together."""

    a: Objects
    b: Objects
    events: Events

    def draw(self, name: str, to_b: Transformer | None) -> Iterator[LayerBatch]:
        """All objects of B, then those of A that vanished, each side in the order of its file."""
        # Two entries more, for -1 and -2.
        changes = np.append(self.events.name_changes(), ["noise", "appeared"])
        first = np.append(_find_first(self.events.of_b, len(self.events)), [-1, -1])
        area_a = np.bincount(*_known(self.events.of_a, self.a.size), minlength=len(self.events))
        iou, before, gained, lost = (
            np.append(values, [np.nan, np.nan])
            for values in (self.events.iou, area_a, self.events.gained_m2, self.events.lost_m2)
        )
        members = _list_members(self.events.of_a, len(self.events))
        for numbers in _cut(np.arange(len(self.b))):
            event = self.events.of_b[numbers]
            # What concerns the whole event stands with its first part, so that sums are right.
            told = np.where(first[event] == numbers, event, -1)
            index = self.b.index[numbers]
            yield LayerBatch(
                self.b.stored.load(index),
                {
                    "change": changes[event],
                    "class": _repeat(name, len(numbers)),
                    "id_a": self._name_before(members, event),
                    "id_b": np.array(self.b.stored.name_objects(index), object),
                    "iou": iou[event],
                    "area_a_m2": before[told],
                    "area_b_m2": self.b.size[numbers],
                    "gained_m2": np.select([event == -1, event == NOISE], [self.b.size[numbers], 0], gained[told]),
                    "lost_m2": lost[told],
                },
            )
        for numbers in _cut(np.flatnonzero(self.events.of_a < 0)):
            index = self.a.index[numbers]
            nothing, noise = np.full(len(numbers), np.nan), self.events.of_a[numbers] == NOISE
            yield LayerBatch(
                _move(self.a.stored.load(index), to_b),
                {
                    "change": np.where(noise, "noise", "vanished").astype(object),
                    "class": _repeat(name, len(numbers)),
                    "id_a": np.array(self.a.stored.name_objects(index), object),
                    "id_b": _repeat(None, len(numbers)),
                    "iou": nothing,
                    "area_a_m2": self.a.size[numbers],
                    "area_b_m2": nothing,
                    "gained_m2": nothing,
                    "lost_m2": np.where(noise, 0, self.a.size[numbers]),
                },
            )

    def _name_before(self, members: tuple[IntArray, IntArray], event: IntArray) -> NDArray[np.object_]:
        """(n,) ids of the objects of A that belong to each event, with commas between them."""
        order, start = members
        named = _repeat(None, len(event))
        for i, e in enumerate(event.tolist()):
            if e >= 0:
                named[i] = ",".join(self.a.stored.name_objects(self.a.index[order[start[e] : start[e + 1]]]))
        return named


@dataclass(frozen=True)
class ChangedLines:
    """The lines of a class on both sides, cut into stretches."""

    a: Objects
    b: Objects
    before: Stretches
    after: Stretches

    def draw(self, name: str, to_b: Transformer | None) -> Iterator[LayerBatch]:
        """The stretches of B, then those of A that vanished."""
        for numbers in _cut(np.arange(len(self.after.owner))):
            change = np.where(self.after.near[numbers], "unchanged", "appeared").astype(object)
            yield _draw_lines(name, change, self.b, self.after, numbers, ("id_b", "id_a"), None)
        for numbers in _cut(np.flatnonzero(~self.before.near)):
            yield _draw_lines(
                name, _repeat("vanished", len(numbers)), self.a, self.before, numbers, ("id_a", "id_b"), to_b
            )


def write_changes(
    path: Path,
    polygons: Mapping[str, ChangedPolygons],
    lines: Mapping[str, ChangedLines],
    *,
    sides: tuple[Stored, Stored],
    options: Mapping[str, float],
    overwrite: bool,
) -> None:
    """Write the layer `changes`, and `changed_lines` where there are lines, class by class.

    Polygons have the columns change, class, id_a, id_b, iou, area_a_m2, area_b_m2, gained_m2 and lost_m2; the geometry
    is the object of B, or that of A where it vanished. Of merged objects id_a lists all, with commas between them. Of a
    split object each part is a row, and the first one tells area_a_m2, gained_m2 and lost_m2: the sums of the columns
    are right. What appeared gained all of its area, what vanished lost it, noise neither. Lines have the columns change
    (unchanged, appeared or vanished), class, id_a, id_b and length_m.

    Raises:
        OptionError: the suffix is not known.
        OutputError: the file exists and `overwrite` is off, or it cannot be written.
    """
    a, b = sides
    crs = b.crs or a.crs or CRS.from_user_input(WGS84).to_wkt()
    to_b = None if a.crs in (None, crs) else Transformer.from_crs(a.crs, crs, always_xy=True)
    layers = []
    if polygons or not lines:
        batches = (batch for name, found in polygons.items() for batch in found.draw(name, to_b))
        layers.append(Layer("changes", "Polygon", POLYGON_COLUMNS, batches, colored_by="change"))
    if lines:
        batches = (batch for name, found in lines.items() for batch in found.draw(name, to_b))
        layers.append(Layer("changed_lines", "LineString", LINE_COLUMNS, batches, colored_by="change"))
    provenance: dict[str, str | int | float] = {"version": __version__, "a": a.name, "b": b.name, **options}
    write_layers(path, layers, crs_wkt=crs, legend=STYLE, provenance=provenance, overwrite=overwrite)


def _draw_lines(  # noqa: PLR0917
    name: str,
    change: NDArray[np.object_],
    side: Objects,
    stretches: Stretches,
    numbers: IntArray,
    columns: tuple[str, str],
    to_b: Transformer | None,
) -> LayerBatch:
    shapes = shapely.from_wkb(np.array(stretches.shapes.read(numbers), object))
    ids = np.array(side.stored.name_objects(side.index[stretches.owner[numbers]]), object)
    values: dict[str, NDArray[Any]] = {
        "change": change,
        "class": _repeat(name, len(numbers)),
        columns[0]: ids,
        columns[1]: _repeat(None, len(numbers)),
        "length_m": stretches.length_m[numbers],
    }
    return LayerBatch(_move(shapes, to_b), values)


def _known(of: IntArray, values: NDArray[np.float64]) -> tuple[IntArray, NDArray[np.float64]]:
    return of[of >= 0], values[of >= 0]


def _find_first(of: IntArray, events: int) -> IntArray:
    """(events,) int64 lowest object of each event."""
    first = np.full(events, len(of), np.int64)
    np.minimum.at(first, of[of >= 0], np.flatnonzero(of >= 0))
    return first


def _list_members(of: IntArray, events: int) -> tuple[IntArray, IntArray]:
    """Objects ordered by event, and (events + 1,) int64 where those of each event start."""
    order = np.argsort(of, kind="stable")
    return order, np.searchsorted(of[order], np.arange(events + 1))


def _cut(numbers: IntArray) -> Iterator[IntArray]:
    for start in range(0, len(numbers), BATCH_ROWS):
        yield numbers[start : start + BATCH_ROWS]


def _repeat(value: str | None, count: int) -> NDArray[np.object_]:
    return np.full(count, value, object)


def _move(shapes: NDArray[np.object_], to_b: Transformer | None) -> NDArray[np.object_]:
    return shapes if to_b is None else reproject(shapes, to_b)
