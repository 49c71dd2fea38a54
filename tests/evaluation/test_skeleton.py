"""Centrelines of masks against the lines from which the masks were made."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import rasterize

from geoseg.evaluation import skeleton
from geoseg.evaluation.network import build_network
from geoseg.evaluation.road_layers import RoadMask, score_road_layers
from geoseg.evaluation.skeleton import skeletonize_roads
from geoseg.grid import GeoGrid
from tests.conftest import DATA
from tests.evaluation.lines import lines

PIXELS = Affine.scale(1, -1)
CIRCLE = list(shapely.Point(100, -100).buffer(60, quad_segs=32).exterior.coords)

SHAPES = {
    "cross": ([[(20, -100), (180, -100)], [(100, -20), (100, -180)]], [1, 1, 1, 1, 4]),
    "slanted cross": ([[(20, -30), (180, -170)], [(170, -20), (30, -180)]], [1, 1, 1, 1, 4]),
    "T": ([[(20, -100), (180, -100)], [(100, -100), (100, -180)]], [1, 1, 1, 3]),
    "slanted T": ([[(20, -80), (180, -120)], [(100, -100), (130, -180)]], [1, 1, 1, 3]),
    "ring": ([CIRCLE], [2]),
    "ring with arms": ([CIRCLE, [(160, -100), (220, -100)], [(100, -40), (100, 20)]], [1, 1, 3, 3]),
    "straight through": ([[(-20, -81), (220, -81)]], [1, 1]),
    "slanted through": ([[(-20, -180), (220, -20)]], [1, 1]),
    "block": ([[(50, -220), (50, 20)], [(150, -220), (150, 20)], [(50, -50), (150, -50)], [(50, -150), (150, -150)]],
              [1, 1, 1, 1, 3, 3, 3, 3]),
}  # fmt: skip


def burn(streets, width):
    shapes = shapely.buffer(streets, width / 2, cap_style="flat")
    return rasterize(list(shapes), out_shape=(200, 200), transform=PIXELS).astype(bool)


def trace(mask, transform=PIXELS):
    return skeletonize_roads(mask, GeoGrid("", transform, *mask.shape))


@pytest.mark.parametrize("width", [3, 6, 11])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_known_length_and_junctions(name, width):
    coordinates, degrees = SHAPES[name]
    truth = shapely.intersection(lines(*coordinates), shapely.box(0, -200, 200, 0))
    found = trace(burn(truth, width))
    graph = build_network(found, snap_m=2.0)
    assert sorted(dict(graph.degree).values()) == degrees
    # Ends in the picture may be short by half a width; those at its border are not.
    inner = sum(0 < x < 200 and -200 < y < 0 for x, y in graph if graph.degree[x, y] == 1)
    total = shapely.length(truth).sum()
    assert total - inner * (width / 2 + 1) - 2 - 0.01 * total <= shapely.length(found).sum() <= 1.01 * total + 2
    strays = shapely.difference(found, shapely.union_all(truth).buffer(1.5))
    assert shapely.length(strays).sum() <= width  # corners of slanted junctions are cut


def test_pixels_are_put_in_their_place():
    mask = burn(lines(*SHAPES["slanted T"][0]), 5)
    away = Affine.translation(5e5, 9e6) @ Affine.rotation(30) @ Affine.scale(0.3, -0.3)
    there = away @ ~PIXELS
    moved = shapely.transform(trace(mask), lambda p: np.stack(there @ (p[:, 0], p[:, 1]), axis=1))
    assert shapely.equals_exact(moved, trace(mask, away), 1e-6).all()


def test_spurs_are_pruned_and_side_roads_kept():
    road, bump, side = ((20, -100), (180, -100)), ((100, -100), (100, -108)), ((60, -100), (60, -130))
    found = build_network(trace(burn(lines(road, bump, side), 9)))
    assert sorted(dict(found.degree).values()) == [1, 1, 1, 3]


def test_small_holes_are_no_blocks():
    mask = burn(lines(*SHAPES["block"][0]), 15)
    holes = np.random.default_rng(2).random(mask.shape) < 0.005
    whole, found = trace(mask), trace(mask & ~holes)
    assert len(found) == len(whole)
    assert shapely.length(found).sum() == pytest.approx(shapely.length(whole).sum(), rel=0.02)


def test_square_ends_have_no_fork():
    mask = np.zeros((60, 200), bool)
    mask[20:40, 30:170] = True
    (line,) = trace(mask)
    assert line.length == pytest.approx(140, abs=21)
    assert shapely.get_coordinates(line)[:, 1] == pytest.approx(-30, abs=1)


@pytest.mark.parametrize("rows", [slice(0, 0), slice(40, 60), slice(40, 41)])
def test_patches_are_no_roads(rows):
    mask = np.zeros((100, 100), bool)
    mask[rows, 40:60] = True
    assert len(trace(mask)) == (1 if rows == slice(40, 41) else 0)


def test_a_picture_that_is_all_road():
    assert shapely.length(trace(np.ones((40, 40), bool))).sum() <= 80


SCENES = sorted((DATA / "oam/labels").glob("*_roads.geojson"))
LARGE = {"banepa2_train_z19x2_roads", "zanzibar_z20_c0_roads"}


@pytest.mark.data
@pytest.mark.skipif(not SCENES, reason=f"no road labels in {DATA}")
@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in LARGE else []) for p in SCENES]
)
def test_real_centrelines_come_back_from_a_raster(path):
    truth = geopandas.read_file(path)
    metric = truth.to_crs(truth.estimate_utm_crs())
    with rasterio.open(path.with_name(path.name.replace("_roads.geojson", "_classes.tif"))) as raster:
        grid = GeoGrid(raster.crs.to_wkt(), raster.transform, raster.height, raster.width)
    roads = metric.buffer(metric["width_m"] / 2).to_crs(grid.crs)
    mask = rasterize(roads, out_shape=(grid.rows, grid.cols), transform=grid.transform).astype(bool)
    found = score_road_layers(RoadMask(mask, grid), truth, buffer_m=2.0)
    assert found.roads.completeness > 0.99
    assert found.roads.correctness > 0.98
    assert found.routes.apls > 0.9


def test_a_window_full_of_road_is_not_mirrored_as_a_whole(monkeypatch):
    shapes = []
    thin = skeleton.skeletonize

    def record(mask):
        shapes.append(mask.shape)
        return thin(mask)

    monkeypatch.setattr(skeleton, "skeletonize", record)
    monkeypatch.setattr(skeleton, "_MAX_MARGIN_PX", 20)
    mask = np.ones((100, 130), bool)
    mask[:10] = False
    found = skeletonize_roads(mask, GeoGrid("", PIXELS, *mask.shape))
    assert shapes == [(100 + 2 * 21, 130 + 2 * 21)]
    assert all(shapely.box(0, -100, 130, 0).covers(line) for line in found)
