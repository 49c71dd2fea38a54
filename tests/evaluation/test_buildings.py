"""Buildings of layers and of rasters, within areas and across windows."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from geoseg.evaluation import comparison
from geoseg.evaluation.buildings import BuildingScore
from geoseg.evaluation.evaluate import evaluate
from geoseg.evaluation.objects import ObjectScore

UTM = "EPSG:32633"
X, Y = 390_000, 5_820_000
GRID = Affine(0.5, 0, X, 0, -0.5, Y)
SHAPE = (120, 160)


def boxes(*corners):
    """Houses given as west, north, east, south in metres right of and below the corner."""
    return [shapely.box(X + w, Y - s, X + e, Y - n) for w, n, e, s in corners]


def write_layer(path, polygons, crs=UTM, **columns):
    frame = geopandas.GeoDataFrame({"class_id": [1] * len(polygons), **columns}, geometry=polygons, crs=UTM)
    frame.to_crs(crs).to_file(path)
    return path


def write_raster(path, polygons, holes=()):
    classes = np.zeros(SHAPE, np.uint8)
    for value, shapes in ((1, polygons), (255, holes)):
        if len(shapes):
            rasterio.features.rasterize(shapes, out=classes, transform=GRID, default_value=value)
    profile = {"count": 1, "dtype": "uint8", "crs": UTM, "transform": GRID, "height": SHAPE[0], "width": SHAPE[1]}
    with rasterio.open(path, "w", driver="GTiff", **profile) as dataset:
        dataset.write(classes, 1)
    return path


TRUTH = boxes((5, 5, 15, 15), (25, 5, 35, 15), (50, 20, 60, 30), (5, 40, 20, 50))
# Shifted by 1 m, exact, 0.6 of it, nowhere near.
FOUND = boxes((6, 5, 16, 15), (25, 5, 35, 15), (50, 20, 56, 30), (60, 45, 70, 55))


@pytest.fixture(params=[2048, 61])
def window_px(request, monkeypatch):
    monkeypatch.setattr(comparison, "WINDOW_PX", request.param)


@pytest.mark.usefixtures("window_px")
@pytest.mark.parametrize("kinds", ["layer layer", "layer raster", "raster layer", "raster raster"])
def test_every_kind_of_side_gives_the_same(tmp_path, kinds):
    sides = [
        write_layer(tmp_path / f"{name}.gpkg", shapes)
        if kind == "layer"
        else write_raster(tmp_path / f"{name}.tif", shapes)
        for kind, name, shapes in zip(kinds.split(), ("found", "truth"), (FOUND, TRUTH), strict=True)
    ]
    score = evaluate(*sides).buildings
    assert score.matched == ObjectScore(found=3, made_up=1, missed=1)
    # 1 m sideways: 0.5; the same: 0; narrower: 2 of 4 corners 4 m away on one side, none on the other.
    assert score.polis == pytest.approx((0.5 + 0 + 1) / 3, rel=1e-3)
    assert score.predicted.mean_corners == score.truth.mean_corners == 4
    assert score.predicted.right_share == 1
    assert score.ranked is None


def test_average_precision_of_ranked_polygons(tmp_path):
    truth = write_layer(tmp_path / "truth.gpkg", TRUTH)
    found = write_layer(tmp_path / "found.gpkg", FOUND, confidence=[0.9, 0.8, 0.6, 0.7])
    score = evaluate(found, truth).buildings
    by_iou = dict(zip([0.5, 0.55, 0.65, 0.8, 0.85], score.ranked.average_precision[[0, 1, 3, 6, 7]], strict=True))
    # In order of confidence: IoU 9/11, 1, none, 0.6; one of the four true ones is never found.
    assert by_iou[0.5] == by_iou[0.55] == pytest.approx((51 + 25 * 0.75) / 101)
    assert by_iou[0.65] == by_iou[0.8] == pytest.approx(51 / 101)
    assert by_iou[0.85] == pytest.approx(26 * 0.5 / 101)
    assert score.average_precision == pytest.approx(score.ranked.average_precision.mean())


@pytest.mark.usefixtures("window_px")
@pytest.mark.parametrize("suffix", ["gpkg", "tif"])
def test_a_pair_follows_its_true_building(tmp_path, suffix):
    write = write_layer if suffix == "gpkg" else write_raster
    found, truth = write(tmp_path / f"found.{suffix}", FOUND), write(tmp_path / f"truth.{suffix}", TRUTH)
    # The point of the first true building lies inside, that of its partner outside; the second pair is cut off.
    area = write_layer(tmp_path / "area.gpkg", boxes((0, 0, 10.5, 60)), crs="EPSG:4326")
    score = evaluate(found, truth, aoi=area).buildings
    assert score.matched == ObjectScore(found=1, made_up=0, missed=0)
    assert score.polis == pytest.approx(0.5, rel=1e-3)
    rest = evaluate(found, truth, ignore=area).buildings
    assert rest.matched == ObjectScore(found=2, made_up=1, missed=1)
    both = score + rest
    assert both.matched == evaluate(found, truth).buildings.matched
    assert both.polis == pytest.approx(evaluate(found, truth).buildings.polis)
    assert both.truth == evaluate(found, truth).buildings.truth


def test_where_the_truth_knows_nothing_nothing_is_made_up(tmp_path):
    truth = write_raster(tmp_path / "truth.tif", TRUTH, holes=boxes((58, 40, 75, 58)))
    assert evaluate(write_layer(tmp_path / "found.gpkg", FOUND), truth).buildings.matched == ObjectScore(3, 0, 1)


def test_metres_do_not_depend_on_the_crs(tmp_path):
    found, truth = write_layer(tmp_path / "a.gpkg", FOUND), write_layer(tmp_path / "b.gpkg", TRUTH)
    raster = write_raster(tmp_path / "grid.tif", TRUTH)
    mercator = tmp_path / "mercator.tif"
    with rasterio.open(raster) as dataset, rasterio.vrt.WarpedVRT(dataset, crs="EPSG:3857", nodata=255) as warped:
        profile = {**warped.profile, "driver": "GTiff", "blockxsize": 128, "blockysize": 128}
        with rasterio.open(mercator, "w", **profile) as copy:
            copy.write(warped.read())
    expected = evaluate(found, truth).buildings
    layers = [write_layer(tmp_path / f"{p.stem}.fgb", s, crs="EPSG:3857") for p, s in ((found, FOUND), (truth, TRUTH))]
    assert evaluate(*layers).buildings.polis == pytest.approx(expected.polis, rel=1e-3)
    assert evaluate(found, mercator).buildings.polis == pytest.approx(expected.polis, abs=0.5)


def test_broken_outlines_are_mended(tmp_path):
    house = np.array([(5, 5), (15, 5), (15, 15), (5, 15), (5, 20), (5, 5)])  # with a hair 5 m long
    flat = shapely.Polygon([(X + 30, Y - 5), (X + 40, Y - 5), (X + 30, Y - 5)])
    broken = [shapely.Polygon(house * (1, -1) + (X, Y)), flat]
    found, truth = write_layer(tmp_path / "a.gpkg", broken), write_layer(tmp_path / "b.gpkg", TRUTH[:1])
    score = evaluate(found, truth).buildings
    assert score.matched == ObjectScore(1, 0, 0)
    assert score.polis == pytest.approx(0, abs=1e-3)


def test_no_buildings_at_all(tmp_path):
    none = write_raster(tmp_path / "none.tif", [])
    score = evaluate(none, none).buildings
    assert isinstance(score, BuildingScore)
    assert score.matched == ObjectScore(0, 0, 0)
    assert np.isnan(score.polis)
    assert evaluate(none, none, only_class="road").buildings is None
