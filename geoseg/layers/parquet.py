"""GeoParquet 1.1, sorted so that a reader of a small area reads few row groups."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.layers.arrow import make_schema, to_arrow
from geoseg.layers.columns import Layer, LayerBatch, rebatch
from geoseg.layers.provenance import KEY, Provenance, encode_provenance
from geoseg.ragged import flatten_geometries

WINDOW_ROWS = 65_536
"""Features that are sorted at a time."""

GROUP_ROWS = 8_192
"""Features in a row group."""

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_BBOX = pa.struct([(side, pa.float64()) for side in _SIDES])


def write_geoparquet(path: Path, layer: Layer, *, crs_wkt: str, provenance: Provenance) -> int:
    """Write a layer with the bounds of its features as covering, and give the number of features.

    Every WINDOW_ROWS features in turn are put in the order of a Hilbert curve. Features come in the order of the
    raster's rows, so that a window is a strip across the raster, and a row group a compact piece of it.

    Args:
        path: the file.
        layer: what to write.
        crs_wkt: CRS of the geometries.
        provenance: kept in the file's metadata under `geoseg`.

    Source: GeoParquet specification 1.1.0.
    """
    schema = make_schema(layer.columns)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    written = 0
    columns = schema.append(pa.field("bbox", _BBOX))
    # A stored Arrow schema would hide the key `geo`, written last, from what reads with pyarrow.
    with pq.ParquetWriter(path, columns, compression="zstd", store_schema=False) as writer:
        for table, bounds in _collect_windows(rebatch(layer), schema):
            bbox = pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], fields=list(_BBOX))
            order = pa.array(_sort_along_curve(bounds))
            writer.write_table(table.append_column("bbox", bbox).take(order), row_group_size=GROUP_ROWS)
            low, high = np.minimum(low, bounds[:, :2].min(axis=0)), np.maximum(high, bounds[:, 2:].max(axis=0))
            written += len(table)
        geometry: dict[str, object] = {
            "encoding": "WKB",
            "geometry_types": [layer.geometry_type],
            "crs": CRS.from_wkt(crs_wkt).to_json_dict(),
            "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
        }
        if written:
            geometry["bbox"] = [*low.tolist(), *high.tolist()]
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
        writer.add_key_value_metadata({"geo": json.dumps(geo), KEY: encode_provenance(provenance)})
    return written


def _collect_windows(
    batches: Iterator[LayerBatch], schema: pa.Schema
) -> Iterator[tuple[pa.Table, NDArray[np.float64]]]:
    """Tables of WINDOW_ROWS features with their (n, 4) bounds; the last one may be shorter."""
    held: list[tuple[pa.RecordBatch, NDArray[np.float64]]] = []
    rows = 0
    for batch in batches:
        held.append((to_arrow(batch, schema), flatten_geometries(batch.geometries).bounds))
        rows += len(batch)
        if rows >= WINDOW_ROWS:
            yield _join(held)
            held, rows = [], 0
    if held:
        yield _join(held)


def _join(held: list[tuple[pa.RecordBatch, NDArray[np.float64]]]) -> tuple[pa.Table, NDArray[np.float64]]:
    records, bounds = zip(*held, strict=True)
    return pa.Table.from_batches(records), np.concatenate(bounds)


def _sort_along_curve(bounds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order of the features along a Hilbert curve through the square that holds them; ties stay as they are."""
    low, high = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    square = (*low, *(low + (high - low).max()))
    middle = (bounds[:, :2] + bounds[:, 2:]) / 2
    distance = geopandas.GeoSeries(shapely.points(middle)).hilbert_distance(total_bounds=square, level=16)
    return np.argsort(distance.to_numpy(), kind="stable")
