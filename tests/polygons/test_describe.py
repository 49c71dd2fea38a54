"""The columns of a polygon layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from rasterio.crs import CRS

from geoseg.grid import GeoGrid
from geoseg.layers.columns import POLYGON_COLUMNS
from geoseg.legend import LAND_COVER, ClassLegend
from geoseg.polygons.attributes import measure_polygons
from geoseg.polygons.describe import describe_polygons
from geoseg.polygons.rings import PolygonBatch
from geoseg.raster.scene import SceneInfo

from ..conftest import CORNER, UTM
from .tracing import Raster, parse, polygonize, rasters, tile_sizes

SCENE = SceneInfo("scene.tif", "2021-07-03")
CLASSES = parse("111100 111100 000022 333322 333322 333322")
CONFIDENCE = (np.arange(36) * 7).astype(np.uint8).reshape(6, 6)


def describe(
    batch: PolygonBatch, *, legend: ClassLegend = LAND_COVER, scene: SceneInfo = SCENE, has_confidence: bool = True
) -> dict[str, np.ndarray]:
    grid = GeoGrid(CRS.from_user_input(UTM).to_wkt(), CORNER, 64, 64)
    ragged = batch.flatten(CORNER)
    return describe_polygons(batch, ragged, grid, legend=legend, scene=scene, has_confidence=has_confidence)


def test_columns_are_those_of_the_layer() -> None:
    columns = describe(polygonize(CLASSES, (4, 4), CONFIDENCE))
    assert list(columns) == [column.name for column in POLYGON_COLUMNS]
    assert {len(values) for values in columns.values()} == {5}


def test_values(make_grid: Callable[..., GeoGrid]) -> None:
    batch = polygonize(CLASSES, (6, 6), CONFIDENCE, skip=(0,))
    columns = describe(batch)
    assert columns["class"].tolist() == ["building", "road", "vegetation"]
    assert columns["class_id"].tolist() == [1, 2, 3]
    known = [CONFIDENCE[np.equal(CLASSES, k)] / 255 for k in (1, 2, 3)]
    assert columns["confidence"] == pytest.approx([values.mean() for values in known])
    assert columns["confidence_min"] == pytest.approx([values.min() for values in known])
    area, perimeter = measure_polygons(batch.geometries(CORNER), make_grid(6, 6))
    assert (columns["area_m2"] == area).all()
    assert (columns["perimeter_m"] == perimeter).all()
    # Four by two pixels of half a metre, long from west to east; UTM 37 S makes them 4e-4 smaller than they are.
    assert columns["length_m"][0] == pytest.approx(2.0, rel=1e-3)
    assert columns["width_m"][0] == pytest.approx(1.0, rel=1e-3)
    assert columns["orientation_deg"][0] == pytest.approx(90.0, abs=0.1)
    for name in ("orientation_deg", "length_m", "width_m"):
        assert np.isnan(columns[name]).tolist() == [False, True, True]
    assert columns["source"].tolist() == ["scene.tif"] * 3
    assert columns["date"].tolist() == ["2021-07-03"] * 3


def test_what_is_not_known_is_null() -> None:
    legend, scene = ClassLegend.unnamed(), SceneInfo(None, None)
    columns = describe(polygonize(CLASSES, (6, 6)), legend=legend, scene=scene, has_confidence=False)
    assert columns["class"].tolist() == [str(i) for i in columns["class_id"]]
    for name in ("confidence", "confidence_min", "length_m", "width_m", "orientation_deg"):
        assert np.isnan(columns[name]).all()
    assert set(columns["source"]) == set(columns["date"]) == {None}


@settings(max_examples=40, deadline=None)
@given(rasters(), tile_sizes())
def test_tiles_change_no_value(classes: Raster, tile: tuple[int, int]) -> None:
    confidence = (np.arange(classes.size) * 37 % 256).reshape(classes.shape).astype(np.uint8)
    whole = describe(polygonize(classes, classes.shape, confidence))
    tiled = describe(polygonize(classes, tile, confidence))
    for name, values in whole.items():
        assert values.dtype == tiled[name].dtype
        np.testing.assert_array_equal(tiled[name], values)
    assert (whole["confidence_min"] <= whole["confidence"] + 1e-12).all()


def test_no_polygons() -> None:
    assert {len(values) for values in describe(PolygonBatch.empty()).values()} == {0}
