"""A scene with nothing in it gives layers without features, which open all the same."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest

from geoseg.layers.columns import POLYGON_COLUMNS, ROAD_COLUMNS
from geoseg.layers.write import SUFFIXES
from tests.validators.conftest import SYSTEM_PYTHON, UTM, Map, count_features, ogrinfo, run_tool, write_map

EMPTY = Map(UTM, np.zeros(UTM.window.shape, np.uint8), [], [])
COLUMNS = [[*(c.name for c in columns), "geometry"] for columns in (POLYGON_COLUMNS, ROAD_COLUMNS)]


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
def test_ogrinfo_opens_them(tmp_path: Path, suffix: str) -> None:
    written = write_map(tmp_path / f"map{suffix}", EMPTY)
    for path in {layer.path for layer in written}:
        assert set(count_features(ogrinfo(path))[:2]) == {0}


def test_gdal_validator_accepts_the_geopackage(tmp_path: Path) -> None:
    module = "osgeo_utils.samples.validate_gpkg"
    path = write_map(tmp_path / "map.gpkg", EMPTY)[0].path
    run_tool([SYSTEM_PYTHON, "-m", module, "-k", "--extra", "--warning-as-error", path], needs=module)


def test_geopandas_reads_the_columns(tmp_path: Path) -> None:
    for layer, columns in zip(write_map(tmp_path / "map.parquet", EMPTY), COLUMNS, strict=True):
        frame = geopandas.read_parquet(layer.path)
        assert [name for name in frame.columns if name != "bbox"] == columns
        assert len(frame) == 0
        assert frame.crs.to_epsg() == 32737


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_can_be_without_features(tmp_path: Path, suffix: str) -> None:
    assert [layer.features for layer in write_map(tmp_path / f"map{suffix}", EMPTY)] == [0, 0]
