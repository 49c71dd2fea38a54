"""The columns of a polygon layer, in batches of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import OutputError

BATCH_ROWS = 4_096
"""Polygons per write, whatever the batches were: the bytes of a file do not depend on how its features arrived."""


@dataclass(frozen=True, slots=True)
class LayerColumns:
    """A batch of n polygons, column by column.

    Args:
        geometries: (n,) shapely Polygons in the layer's CRS.
        class_name: (n,) str.
        class_id: (n,) int.
        confidence: (n,) float, 0 to 1, not a number where unknown; written to 4 decimals.
        area_m2: (n,) float; written to 3 decimals.
        perimeter_m: (n,) float; written to 3 decimals.
    """

    geometries: NDArray[np.object_]
    class_name: NDArray[np.object_]
    class_id: NDArray[np.int64]
    confidence: NDArray[np.float64]
    area_m2: NDArray[np.float64]
    perimeter_m: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.geometries)


def rebatch(batches: Iterable[LayerColumns]) -> Iterator[LayerColumns]:
    """The same polygons, BATCH_ROWS at a time."""
    held: list[LayerColumns] = []
    rows = 0
    for batch in batches:
        start = 0
        while rows + len(batch) - start >= BATCH_ROWS:
            stop = start + BATCH_ROWS - rows
            yield _concatenate([*held, _slice(batch, start, stop)])
            held, rows, start = [], 0, stop
        if start < len(batch):
            held.append(_slice(batch, start, len(batch)))
            rows += len(batch) - start
    if rows:
        yield _concatenate(held)


def _slice(batch: LayerColumns, start: int, stop: int) -> LayerColumns:
    return LayerColumns(*(getattr(batch, name)[start:stop] for name in LayerColumns.__slots__))


def _concatenate(batches: list[LayerColumns]) -> LayerColumns:
    """One batch of all, its numbers rounded so that every format holds the same ones."""
    columns = {name: np.concatenate([getattr(b, name) for b in batches]) for name in LayerColumns.__slots__}
    if (shapely.get_type_id(columns["geometries"]) != shapely.GeometryType.POLYGON).any():
        raise OutputError("a geometry of the layer is not a Polygon", expected="Polygons only")
    for name, decimals in (("confidence", 4), ("area_m2", 3), ("perimeter_m", 3)):
        columns[name] = np.round(columns[name].astype(np.float64), decimals)
    return LayerColumns(**columns)
