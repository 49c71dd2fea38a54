"""A real scene through the whole program, in every format, in the hands of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest

import geoseg
from geoseg.layers.write import SUFFIXES
from tests.validators.conftest import SYSTEM_PYTHON, count_features, ogrinfo, run_tool

pytestmark = [pytest.mark.slow, pytest.mark.data]


@pytest.fixture(scope="module")
def folder(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The maps of one scene: map.gpkg and so on, classes.tif and confidence.tif."""
    place = tmp_path_factory.mktemp("real")
    for suffix in SUFFIXES:
        geoseg.segment(
            data_dir / "oam" / "banepa2_train_z19x2.tif",
            place / f"map{suffix}",
            classes_raster=place / "classes.tif",
            confidence_raster=place / "confidence.tif",
            roads=True,
            work_dir=place / "work",
            overwrite=True,
        )
    return place


def frames(folder: Path, layer: str) -> Iterator[tuple[str, geopandas.GeoDataFrame]]:
    """The layer out of every file that holds it whole, sorted by id."""
    end = "" if layer == "polygons" else f"_{layer}"
    for suffix in (".gpkg", ".geojson", ".geojson.gz", ".geojsonl", ".geojsonseq", ".fgb", ".parquet"):
        path = folder / (f"map{end}{suffix}" if suffix != ".gpkg" else "map.gpkg")
        frame = geoseg.open_layer(path, layer) if suffix == ".gpkg" else geoseg.open_layer(path)
        yield suffix, frame.sort_values("id").reset_index(drop=True)


@pytest.mark.parametrize("layer", ["polygons", "roads"])
def test_all_formats_hold_the_same(folder: Path, layer: str) -> None:
    (_, first), *others = frames(folder, layer)
    assert first["id"].is_unique
    assert first.is_valid.all()
    columns = first.columns.drop("geometry")
    for suffix, frame in others:
        for column in columns:
            same = (frame[column] == first[column]) | (frame[column].isna() & first[column].isna())
            assert same.all(), f"{suffix} {column}"
        distance = np.abs(frame.to_crs(first.crs).bounds.to_numpy() - first.bounds.to_numpy()).max()
        assert distance < (0.02 if suffix.startswith(".geojson") else 1e-9)


def test_validators_are_content(folder: Path) -> None:
    for name in ("classes.tif", "confidence.tif"):
        cogeo = pytest.importorskip("rio_cogeo", reason="rio-cogeo is not installed")
        assert cogeo.cog_validate(folder / name, strict=True, quiet=True) == (True, [], [])
    module = "osgeo_utils.samples.validate_gpkg"
    run_tool([SYSTEM_PYTHON, "-m", module, "-k", "--extra", "--warning-as-error", folder / "map.gpkg"], needs=module)
    expected = [pyogrio.read_info(folder / "map.gpkg", layer=layer)["features"] for layer in ("polygons", "roads")]
    assert count_features(ogrinfo(folder / "map.gpkg"))[:2] == expected
    for suffix in (".geojson", ".geojsonl", ".geojsonseq", ".fgb"):
        for end, count in zip(("", "_roads"), expected, strict=True):
            assert count_features(ogrinfo(folder / f"map{end}{suffix}")) == [count]
