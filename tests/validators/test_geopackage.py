"""The GeoPackage in the hands of GDAL's validator, ogrinfo and SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import shapely

from geoseg.layers.write import WrittenLayer
from tests.validators.conftest import PROVENANCE, SYSTEM_PYTHON, Map, count_features, ogrinfo, run_tool

MapFile = Callable[[str], list[WrittenLayer]]


@pytest.fixture
def package(map_file: MapFile) -> Path:
    return map_file(".gpkg")[0].path


def test_gdal_validator_is_content(package: Path) -> None:
    module = "osgeo_utils.samples.validate_gpkg"
    run_tool([SYSTEM_PYTHON, "-m", module, "-k", "--extra", "--warning-as-error", package], needs=module)


def test_ogrinfo_finds_layers_without_a_warning(package: Path, small_map: Map) -> None:
    text = ogrinfo(package)
    assert count_features(text)[:2] == [len(small_map.polygons), len(small_map.roads)]
    assert text.count('ID["EPSG",32737]') == 2
    for value in PROVENANCE.values():
        assert str(value) in text


def test_spatial_index_answers_as_the_bounds_do(package: Path, small_map: Map) -> None:
    box = (530_010, 9_329_900, 530_080, 9_329_950)
    bounds = [shapely.box(*shapely.bounds(layer).T) for layer in (small_map.polygons, small_map.roads)]
    expected = [int(shapely.intersects(layer, shapely.box(*box)).sum()) for layer in bounds]
    assert count_features(ogrinfo(package, "-spat", *map(str, box)))[:2] == expected
    with closing(sqlite3.connect(package)) as connection:
        for layer, count in (("polygons", len(small_map.polygons)), ("roads", len(small_map.roads))):
            assert connection.execute(f"SELECT count(*) FROM rtree_{layer}_geom").fetchone() == (count,)
            assert connection.execute(f"SELECT rtreecheck('rtree_{layer}_geom')").fetchone() == ("ok",)


def test_data_base_is_sound_and_has_no_time_of_a_run(package: Path) -> None:
    with closing(sqlite3.connect(package)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"GPKG"),)
        times = {row[0] for row in connection.execute("SELECT last_change FROM gpkg_contents")}
        times |= {row[0] for row in connection.execute("SELECT update_time FROM layer_styles")}
        times |= {row[0] for row in connection.execute("SELECT timestamp FROM gpkg_metadata_reference")}
        assert {t[:4] for t in times} == {"1970"}
