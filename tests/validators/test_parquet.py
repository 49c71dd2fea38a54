"""GeoParquet in the hands of pyarrow, geopandas, DuckDB and the models of the specification."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import CRS

from geoseg.layers.write import WrittenLayer
from tests.validators.conftest import PROVENANCE, Map

MapFile = Callable[[str], list[WrittenLayer]]
BOX = (530_010, 9_329_900, 530_080, 9_329_950)


@pytest.fixture
def parquet(map_file: MapFile) -> Path:
    return map_file(".parquet")[0].path


def test_metadata_is_that_of_geoparquet_1_1(map_file: MapFile) -> None:
    for written in map_file(".parquet"):
        metadata = pq.read_schema(written.path).metadata  # where programs that read with pyarrow look
        geo = json.loads(metadata[b"geo"])
        assert geo["version"] == "1.1.0"
        column = geo["columns"][geo["primary_column"]]
        assert column["encoding"] == "WKB"
        assert column["geometry_types"] == [{"polygons": "Polygon", "roads": "LineString"}[written.name]]
        assert column["covering"] == {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}
        assert CRS.from_json_dict(column["crs"]).to_epsg() == 32737
        assert json.loads(metadata[b"geoseg"]) == PROVENANCE


def test_geopandas_reads_all_and_a_box(parquet: Path, small_map: Map) -> None:
    frame = geopandas.read_parquet(parquet)
    assert len(frame) == len(small_map.polygons)
    assert frame.crs.to_epsg() == 32737
    assert frame.geometry.is_valid.all()
    assert frame.area.sum() == pytest.approx(sum(p.area for p in small_map.polygons))
    part = geopandas.read_parquet(parquet, bbox=BOX)
    expected = shapely.intersects(shapely.box(*shapely.bounds(small_map.polygons).T), shapely.box(*BOX))
    assert len(part) == expected.sum() < len(frame)


def test_covering_is_that_of_the_geometries(map_file: MapFile) -> None:
    for written in map_file(".parquet"):
        table = pq.read_table(written.path)
        bounds = shapely.bounds(shapely.from_wkb(table["geometry"].to_numpy()))
        covering = table["bbox"].combine_chunks().flatten()
        np.testing.assert_array_equal(np.stack([side.to_numpy() for side in covering], axis=1), bounds)
        column = json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]
        assert column["bbox"] == [*bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0)]


def test_duckdb_finds_geometries_crs_and_a_box(parquet: Path, small_map: Map) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    with duckdb.connect() as connection:
        count = f"SELECT count(*), count(DISTINCT id), count(geometry) FROM '{parquet}'"
        assert connection.execute(count).fetchone() == (len(small_map.polygons),) * 3
        box = "bbox.xmax >= ? AND bbox.xmin <= ? AND bbox.ymax >= ? AND bbox.ymin <= ?"
        found = connection.execute(
            f"SELECT count(*) FROM '{parquet}' WHERE {box}", [BOX[0], BOX[2], BOX[1], BOX[3]]
        ).fetchone()
        assert found == (len(geopandas.read_parquet(parquet, bbox=BOX)),)
        kinds = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM '{parquet}'").fetchall()}
        # Newer ones have a type of their own, with the CRS in its name; older ones see bytes.
        assert kinds["geometry"] == "BLOB" or "32737" in kinds["geometry"]
