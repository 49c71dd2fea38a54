"""Batches of a layer as Arrow tables."""

from __future__ import annotations

import pyarrow as pa
import shapely

from geoseg.layers.columns import Column, LayerBatch
from geoseg.layers.wkb import encode_wkb
from geoseg.ragged import RaggedGeometries

GEOMETRY = "geometry"


def make_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The columns as they are given, then `geometry` as WKB."""
    return pa.schema([*((column.name, column.type) for column in columns), (GEOMETRY, pa.binary())])


def to_arrow(batch: LayerBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch in the schema of its layer; NaN and None are null."""
    arrays = [pa.array(batch.columns[field.name], field.type, from_pandas=True) for field in list(schema)[:-1]]
    if isinstance(batch.geometries, RaggedGeometries):
        wkb = encode_wkb(batch.geometries)
    else:
        wkb = pa.array(shapely.to_wkb(batch.geometries, output_dimension=2, byte_order=1, flavor="iso"), pa.binary())
    return pa.RecordBatch.from_arrays([*arrays, wkb], schema=schema)
