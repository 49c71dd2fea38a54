"""Batches of a layer as Arrow tables."""

from __future__ import annotations

import pyarrow as pa
import shapely

from geoseg.layers.columns import Column, LayerBatch

GEOMETRY = "geometry"


def make_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The columns as they are given, then `geometry` as WKB."""
    return pa.schema([*((column.name, column.type) for column in columns), (GEOMETRY, pa.binary())])


def to_arrow(batch: LayerBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch in the schema of its layer; NaN and None are null."""
    wkb = shapely.to_wkb(batch.geometries, output_dimension=2, byte_order=1, flavor="iso")
    values = [*(batch.columns[name] for name in schema.names[:-1]), wkb]
    arrays = [pa.array(v, t, from_pandas=True) for v, t in zip(values, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
