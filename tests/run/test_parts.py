"""Buildings that touch are polygons of their own, and nothing else changes, whatever the tiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyogrio import read_info

import geoseg
from geoseg.run import graph, parts
from tests.invariance.light_engine import LightEngine

SIDE_PX, PIXEL_M = 900, 0.4
ROOF_PX = 24
SURE, UNSURE = 68, 124
"""Brightness of roofs that the engine is sure of, and of those that it is less sure of."""


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "open_engine", lambda package, geometry, device: LightEngine(geometry))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 3 to 12 roofs wall to wall, all over the tiles' borders, and one block too long to be looked at."""
    rng = np.random.default_rng(3)
    image = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    for top in range(20, 780, 60):
        left = 10
        while left < SIDE_PX - 13 * ROOF_PX:
            for k in range(int(rng.integers(3, 13))):
                shift = int(rng.integers(0, 6))
                roof = image[top + shift : top + shift + 30, left : left + ROOF_PX]
                roof[:] = SURE
                if k:
                    roof[:, :3] = UNSURE
                left += ROOF_PX
            left += 12
    image[820:860, 10:890] = SURE
    image[820:860, 100:880:60] = UNSURE
    path = tmp_path_factory.mktemp("town") / "town.tif"
    place = {"crs": "EPSG:32737", "transform": Affine(PIXEL_M, 0, 530_000, 0, -PIXEL_M, 9_330_000)}
    size = {"height": SIDE_PX, "width": SIDE_PX, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", **size, **place) as raster:
        raster.write(np.stack([image] * 3))
    return path


def run(town: Path, folder: Path, *, tile_px: int = 1, **options: object) -> geoseg.SegmentResult:
    folder.mkdir()
    rasters = {"classes_raster": folder / "classes.tif", "confidence_raster": folder / "confidence.tif"}
    tiling = {"tile_px": tile_px, "patch_px": 640, "workers": 2, "device": "cpu"}
    return geoseg.segment(town, folder / "map.fgb", **rasters, **tiling, **{"separate": True} | options)


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("options", [{}, {"min_unit_m2": 0.0, "simplify_m": None}], ids=str)
def test_parts_are_the_same_for_every_tiling(town: Path, tmp_path: Path, options: dict[str, object]) -> None:
    run(town, tmp_path / "small", tile_px=1, **options)
    run(town, tmp_path / "large", tile_px=5000, **options)
    assert read_files(tmp_path / "small") == read_files(tmp_path / "large")


def test_roofs_are_told_apart_and_only_that(town: Path, tmp_path: Path) -> None:
    apart = run(town, tmp_path / "apart", simplify_m=None)
    one = run(town, tmp_path / "one", simplify_m=None, separate=False)
    for name in ("classes.tif", "confidence.tif"):
        values = [rasterio.open(tmp_path / folder / name).read() for folder in ("apart", "one")]
        assert (values[0] == values[1]).all()
    assert apart.area_m2["building"] == pytest.approx(one.area_m2["building"], rel=1e-6)
    layers = [geoseg.open_layer(tmp_path / name / "map.fgb") for name in ("apart", "one")]
    buildings = [layer[layer["class"] == "building"].geometry.values for layer in layers]
    assert len(buildings[0]) > 4 * len(buildings[1])
    areas = shapely.area(buildings[0])
    roof = ROOF_PX * 30 * PIXEL_M**2
    assert np.mean(np.abs(areas - roof) < 0.25 * roof) > 0.9
    assert shapely.coverage_is_valid(layers[0].geometry.values)
    assert shapely.union_all(buildings[0]).symmetric_difference(shapely.union_all(buildings[1])).area < 1e-3


def test_what_is_too_long_is_left_whole(town: Path, tmp_path: Path) -> None:
    run(town, tmp_path / "out", simplify_m=None)
    layer = geoseg.open_layer(tmp_path / "out/map.fgb")
    longest = layer.geometry.area.max()
    assert longest == pytest.approx(40 * 880 * PIXEL_M**2, rel=0.01)
    assert parts.longest_px((PIXEL_M, PIXEL_M)) < 880


def test_the_layer_says_so(town: Path, tmp_path: Path) -> None:
    run(town, tmp_path / "apart")
    run(town, tmp_path / "exact", exact=True, separate=False)
    said = [
        json.loads(read_info(tmp_path / name / "map.fgb")["layer_metadata"]["geoseg"]) for name in ("apart", "exact")
    ]
    assert said[0]["separate"] == "building"
    assert "separate" not in said[1]
