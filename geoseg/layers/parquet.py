"""GeoParquet 1.1, one row group at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyproj import CRS

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_geoparquet(
    path: Path, batches: Iterator[tuple[pa.RecordBatch, NDArray[np.float64]]], *, schema: pa.Schema, crs_wkt: str
) -> None:
    """Write polygons with their bounds as covering, so that readers skip row groups outside their view.

    Args:
        path: the file.
        batches: one per row group: the columns with `geometry` as WKB, and the (n, 4) bounds of the polygons.
        schema: of the columns.
        crs_wkt: CRS of the geometries.

    Source: GeoParquet specification 1.1.0.
    """
    bbox_type = pa.struct([(side, pa.float64()) for side in _SIDES])
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    with pq.ParquetWriter(path, schema.append(pa.field("bbox", bbox_type)), compression="zstd") as writer:
        for columns, bounds in batches:
            bbox = pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], fields=list(bbox_type))
            table = pa.Table.from_batches([columns]).append_column("bbox", bbox)
            writer.write_table(table, row_group_size=len(table))
            low, high = np.minimum(low, bounds[:, :2].min(axis=0)), np.maximum(high, bounds[:, 2:].max(axis=0))
        geometry: dict[str, object] = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            "crs": CRS.from_wkt(crs_wkt).to_json_dict(),
            "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
        }
        if np.isfinite(low).all():
            geometry["bbox"] = [*low.tolist(), *high.tolist()]
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
        writer.add_key_value_metadata({"geo": json.dumps(geo)})
