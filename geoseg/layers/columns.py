"""The columns of a map layer, in batches of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from geoseg.errors import OutputError
from geoseg.ragged import RaggedGeometries, flatten_geometries

BATCH_ROWS = 4_096
"""Features per write, whatever the batches were: the bytes of a file do not depend on how its features arrived."""

GeometryType = Literal["Polygon", "LineString"]


@dataclass(frozen=True, slots=True)
class Column:
    """One attribute of a layer.

    Args:
        name: as written.
        type: Arrow type: string, bool, int32, int64 or float64.
        decimals: of numbers with a fraction, so that every format holds the same ones; None for all others.
        required: whether every feature has a value.
    """

    name: str
    type: pa.DataType
    decimals: int | None = None
    required: bool = False


POLYGON_COLUMNS = (
    Column("id", pa.string(), required=True),
    Column("class", pa.string(), required=True),
    Column("class_id", pa.int32(), required=True),
    Column("confidence", pa.float64(), 4),
    Column("confidence_min", pa.float64(), 4),
    Column("area_m2", pa.float64(), 3, required=True),
    Column("perimeter_m", pa.float64(), 3, required=True),
    Column("orientation_deg", pa.float64(), 2),
    Column("length_m", pa.float64(), 3),
    Column("width_m", pa.float64(), 3),
    Column("source", pa.string()),
    Column("date", pa.string()),
)
"""Attributes of polygons; orientation, length and width are those of buildings and null elsewhere."""

ROAD_COLUMNS = (
    Column("id", pa.string(), required=True),
    Column("class", pa.string(), required=True),
    Column("class_id", pa.int32(), required=True),
    Column("confidence", pa.float64(), 4),
    Column("length_m", pa.float64(), 3, required=True),
    Column("width_m", pa.float64(), 3),
    Column("width_std_m", pa.float64(), 3),
    Column("node_from", pa.int64(), required=True),
    Column("node_to", pa.int64(), required=True),
    Column("bridged", pa.bool_(), required=True),
    Column("source", pa.string()),
    Column("date", pa.string()),
)
"""Attributes of road centrelines between two nodes of the network."""


@dataclass(frozen=True, slots=True)
class LayerBatch:
    """A batch of n features.

    Args:
        geometries: (n,) shapely geometries of the layer's type, in its CRS, or the same as flat arrays.
        columns: (n,) values by column name; NaN and None become null.
    """

    geometries: NDArray[np.object_] | RaggedGeometries
    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.geometries)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer to be written.

    Args:
        name: as the formats with several layers call it.
        geometry_type: of every feature.
        columns: its attributes, in order.
        batches: the features, in the order of the layer; drawn once, as they are written.
        colored_by: the column whose values the legend names.
    """

    name: str
    geometry_type: GeometryType
    columns: tuple[Column, ...]
    batches: Iterable[LayerBatch]
    colored_by: str = "class"


def rebatch(layer: Layer) -> Iterator[LayerBatch]:
    """The same features, BATCH_ROWS at a time, their geometries flat and their numbers rounded.

    Raises:
        OutputError: a batch lacks a column, has another one, or has geometries of another type.
    """
    held: list[_FlatBatch] = []
    rows = 0
    for batch in layer.batches:
        flat = _flatten(batch, layer)
        start = 0
        while rows + len(batch) - start >= BATCH_ROWS:
            stop = start + BATCH_ROWS - rows
            yield _concatenate([*held, flat.slice(start, stop)], layer)
            held, rows, start = [], 0, stop
        if start < len(batch):
            held.append(flat.slice(start, len(batch)))
            rows += len(batch) - start
    if rows:
        yield _concatenate(held, layer)


class _FlatBatch(NamedTuple):
    geometries: RaggedGeometries
    columns: dict[str, NDArray[Any]]

    def slice(self, start: int, stop: int) -> _FlatBatch:
        return _FlatBatch(self.geometries.slice(start, stop), {n: v[start:stop] for n, v in self.columns.items()})


def _flatten(batch: LayerBatch, layer: Layer) -> _FlatBatch:
    names = {column.name for column in layer.columns}
    if set(batch.columns) != names:
        raise OutputError(
            f"columns of the layer {layer.name} that differ: {', '.join(sorted(names ^ set(batch.columns)))}",
            expected=", ".join(column.name for column in layer.columns),
        )
    geometries = batch.geometries
    if isinstance(geometries, RaggedGeometries):
        is_right = geometries.are_lines == (layer.geometry_type == "LineString")
    else:
        expected = shapely.GeometryType[layer.geometry_type.upper()]
        is_right = bool((shapely.get_type_id(geometries) == expected).all())
    if not is_right:
        raise OutputError(
            f"a geometry of the layer {layer.name} is not a {layer.geometry_type}",
            expected=f"{layer.geometry_type}s only",
        )
    return _FlatBatch(flatten_geometries(geometries), batch.columns)


def _concatenate(batches: list[_FlatBatch], layer: Layer) -> LayerBatch:
    columns = {}
    for column in layer.columns:
        values = np.concatenate([batch.columns[column.name] for batch in batches])
        if column.decimals is not None:
            values = np.round(values.astype(np.float64), column.decimals)
        columns[column.name] = values
    return LayerBatch(RaggedGeometries.concatenate([batch.geometries for batch in batches]), columns)
