"""Identifiers follow from class and geometry, and from nothing else."""

from __future__ import annotations

import re

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geoseg.polygons.identity import identify_features

from .tracing import Raster, polygonize, rasters, tile_sizes

UTM, DEGREES = CRS.from_epsg(32633).to_wkt(), CRS.from_epsg(4326).to_wkt()
TRANSFORM = Affine(0.3, 0, 390_000.05, 0, -0.3, 5_820_000.1)


def identify(geometries: list[shapely.Geometry], class_id: int = 1, crs: str = UTM) -> list[str]:
    return identify_features(np.full(len(geometries), class_id), np.array(geometries, object), crs).tolist()


@settings(max_examples=60, deadline=None)
@given(rasters(), tile_sizes())
def test_one_per_polygon_whatever_the_tiles(classes: Raster, tile: tuple[int, int]) -> None:
    whole, tiled = polygonize(classes, classes.shape), polygonize(classes, tile)
    ids = identify_features(whole.class_id, whole.geometries(TRANSFORM), UTM)
    assert identify_features(tiled.class_id, tiled.geometries(TRANSFORM), UTM).tolist() == ids.tolist()
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in ids)


@settings(max_examples=60, deadline=None)
@given(rasters(20), st.randoms(use_true_random=False))
def test_neither_order_nor_way_of_writing_matters(classes: Raster, random) -> None:
    batch = polygonize(classes, classes.shape)
    geometries = batch.geometries(TRANSFORM)
    ids = identify_features(batch.class_id, geometries, UTM)
    order = list(range(len(batch)))
    random.shuffle(order)
    for written in (shapely.normalize(geometries), shapely.reverse(geometries), shapely.force_3d(geometries)):
        assert (identify_features(batch.class_id[order], written[order], UTM) == ids[order]).all()


def test_a_crop_of_the_raster_keeps_them() -> None:
    classes = np.random.default_rng(3).integers(0, 3, (60, 60)).astype(np.uint8)
    whole, part = polygonize(classes, (60, 60)), polygonize(classes[13:, 17:], (60, 60))
    shifted = TRANSFORM @ Affine.translation(17, 13)
    inside = part.coords[part.ring_offsets[part.polygon_offsets[:-1]]].min(axis=1) > 0
    names = identify_features(part.class_id, part.geometries(shifted), UTM)
    touching = shapely.intersects(part.geometries(Affine.identity()), shapely.box(0, 0, 47, 47).exterior)
    kept = names[inside & ~touching]
    assert len(kept) > 100
    assert set(kept) <= set(identify_features(whole.class_id, whole.geometries(TRANSFORM), UTM))


def test_what_is_different_has_another_name() -> None:
    box, hole = shapely.box(0, 0, 10, 10), shapely.box(2, 2, 4, 4)
    ring = [(0, 0), (10, 0), (10, 10), (0, 10), (0, 0)]
    areas = [
        box,
        hole,
        box.difference(hole),
        shapely.box(0, 0, 10, 10.001),
        shapely.box(0, 0, 10.001, 10),
        shapely.affinity.translate(box, 10),
        shapely.affinity.translate(box, 0, 10),
        shapely.Polygon([(0, 0), (5, 0), (10, 0), (10, 10), (0, 10)]),
        shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)]),
    ]
    lines = [shapely.LineString(ring), shapely.LineString(ring[:4]), shapely.LineString(ring[1:])]
    names = identify(areas) + identify(areas, 2) + identify(areas, 0) + identify(lines) + identify(lines, 2)
    assert len(set(names)) == len(names)


def test_lines_may_run_either_way() -> None:
    line = shapely.LineString([(0, 0), (5, 1), (9, 7)])
    assert identify([line, line.reverse()])[0] == identify([line.reverse()])[0]


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e7, 1e7), st.floats(-1e7, 1e7), st.floats(-1e-9, 1e-9))
def test_rounding_errors_change_nothing_on_a_decimal_grid(x: float, y: float, error: float) -> None:
    box = shapely.box(round(x, 1), round(y, 1), round(x, 1) + 12.3, round(y, 1) + 7.75)
    assert identify([shapely.affinity.translate(box, error, -error)]) == identify([box])


def test_degrees_are_told_apart_to_a_tenth_of_a_millimetre() -> None:
    box = shapely.box(13.4, 52.5, 13.4001, 52.5001)
    near, far = shapely.affinity.translate(box, 1e-12), shapely.affinity.translate(box, 1e-9)
    assert identify([near], crs=DEGREES) == identify([box], crs=DEGREES) != identify([far], crs=DEGREES)


def test_names_are_the_same_on_every_machine() -> None:
    assert identify([shapely.box(390_000, 5_820_000, 390_010, 5_820_010)]) == ["f0a8a8961670267e"]


def test_numbers_do_not_collide() -> None:
    corners = np.stack(np.meshgrid(np.arange(400.0), np.arange(500.0)), axis=-1).reshape(-1, 2)
    boxes = shapely.box(*corners.T, *(corners + 1).T)
    names = identify_features(np.arange(len(boxes)) % 4, boxes, UTM)
    assert len(set(names)) == len(boxes)
    counts = np.bincount([int(name[0], 16) for name in names], minlength=16) / len(names)
    assert counts == pytest.approx(1 / 16, abs=0.003)


def test_nothing_has_no_name() -> None:
    assert identify([]) == []
