"""Generalised coverages: same topology, near the staircase, independent of tiles, batches and cells."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geoseg.polygons.arcs import SUBPIXELS, cut_arcs, link_arcs
from geoseg.polygons.generalise import generalise_coverage
from geoseg.polygons.marks import strip_marks
from geoseg.polygons.order import sort_spilled
from geoseg.polygons.rings import PolygonBatch

from .test_exact import NAMED
from .tracing import Raster, polygonize, rasters, same, tile_sizes

SKIPS = [(), (0,), (255,), (0, 1)]
TO_PIXELS = Affine.scale(1 / SUBPIXELS)


def generalise(
    classes: Raster,
    tolerance_m: float,
    tile: tuple[int, int] | None = None,
    *,
    skip: Collection[int] = (),
    pixel_m: tuple[float, float] = (1.0, 1.0),
    smooth: Collection[int] = (),
    regularize: Collection[int] = (),
    cell_buckets: int = 256,
    batch_polygons: int = 4096,
) -> tuple[PolygonBatch, PolygonBatch]:
    """The polygons of a raster with marks, and generalised."""
    marked = polygonize(classes, tile or classes.shape, skip=skip, marked=True)
    with TemporaryDirectory() as folder:
        ordered = sort_spilled([marked], Path(folder), batch_polygons=batch_polygons)
        found = generalise_coverage(
            ordered,
            Path(folder),
            tolerance_m=tolerance_m,
            pixel_m=pixel_m,
            smooth=smooth,
            regularize=regularize,
            cell_buckets=cell_buckets,
        )
        return marked, PolygonBatch.concatenate(found)


def turn_rings(batch: PolygonBatch) -> np.ndarray:
    """Sign of the area of each ring."""
    signs = []
    for start, stop in zip(batch.ring_offsets[:-1], batch.ring_offsets[1:], strict=True):
        ring = batch.coords[start:stop].astype(float)
        after = np.roll(ring, -1, axis=0)
        signs.append(np.sign(np.sum(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0])))
    return np.array(signs)


def check_coverage(classes: Raster, marked: PolygonBatch, found: PolygonBatch, skip: Collection[int]) -> None:
    shapes = found.geometries(TO_PIXELS)
    assert (found.class_id == marked.class_id).all()
    assert (found.pixels == marked.pixels).all()
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert (shapely.area(shapes) > 0).all()
    assert (found.polygon_offsets == marked.polygon_offsets).all()
    plain = replace(marked, coords=strip_marks(marked.coords))
    assert (turn_rings(found) == turn_rings(plain)).all()
    total = shapely.area(shapes).sum()
    assert shapely.union_all(shapes).area == pytest.approx(total, rel=1e-9)
    if not np.isin(classes, list(skip)).any():
        assert total == pytest.approx(classes.size, rel=1e-12)
        rows, cols = classes.shape
        assert shapely.union_all(shapes).equals(shapely.box(0, 0, cols, rows))


def check_distance(marked: PolygonBatch, found: PolygonBatch, tolerance_m: float, pixel_m: tuple[float, float]) -> None:
    """Each ring and what it was: neither has a point farther than the tolerance from the other."""
    plain = replace(marked, coords=strip_marks(marked.coords))
    before = plain.geometries(Affine.scale(pixel_m[1], pixel_m[0]))
    after = found.geometries(Affine.scale(pixel_m[1] / SUBPIXELS, pixel_m[0] / SUBPIXELS))
    rings = [shapely.get_rings(shapes) for shapes in (before, after)]
    assert (shapely.hausdorff_distance(*rings, densify=0.05) <= tolerance_m + 1e-9).all()


@st.composite
def coverages(draw: st.DrawFn) -> Raster:
    """Rasters of tracing, and larger specks and stripes near straight edges."""
    kind = draw(st.sampled_from(["any", "thin", "islands", "rough"]))
    if kind == "any":
        return draw(rasters(32))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, cols = draw(st.integers(8, 48)), draw(st.integers(8, 48))
    row, col = np.mgrid[:rows, :cols]
    slope, width = rng.uniform(-2, 2), rng.uniform(1, 6)
    bands = np.floor((row + slope * col) / width).astype(int) % draw(st.integers(2, 4))
    if kind == "islands":
        bands = np.where(rng.random((rows, cols)) < 0.08, 4, bands)
    if kind == "rough":
        noise = ndimage.gaussian_filter(rng.standard_normal((rows, cols)), rng.uniform(0.6, 2.5))
        bands = np.digitize(noise, np.quantile(noise, [0.3, 0.5, 0.8]))
    return bands.astype(np.uint8)


@settings(max_examples=80, deadline=None)
@given(coverages(), st.floats(0.3, 5), st.sampled_from(SKIPS), st.sampled_from([(), (0, 1, 2), (1, 255)]))
def test_coverages_stay_coverages(
    classes: Raster, tolerance_m: float, skip: tuple[int, ...], smooth: tuple[int, ...]
) -> None:
    marked, found = generalise(classes, tolerance_m, skip=skip, smooth=smooth)
    if len(marked):
        check_coverage(classes, marked, found, skip)
        check_distance(marked, found, tolerance_m, (1.0, 1.0))


@settings(max_examples=30, deadline=None)
@given(coverages(), st.floats(0.2, 3), st.tuples(st.floats(0.2, 2), st.floats(0.2, 2)), st.booleans())
def test_distances_are_metres_of_pixels_that_are_not_square(
    classes: Raster, tolerance_m: float, pixel_m: tuple[float, float], smooth: bool
) -> None:
    marked, found = generalise(classes, tolerance_m, pixel_m=pixel_m, smooth=range(256) if smooth else ())
    check_coverage(classes, marked, found, ())
    check_distance(marked, found, tolerance_m, pixel_m)


@pytest.mark.parametrize("name", NAMED)
def test_hard_rasters_stay_coverages(name: str) -> None:
    for tolerance_m in (0.6, 1.0, 4.0):
        for skip in ((), (255,), (0, 255)):
            marked, found = generalise(NAMED[name], tolerance_m, skip=skip, smooth=(1,))
            if len(marked):
                check_coverage(NAMED[name], marked, found, skip)


@settings(max_examples=25, deadline=None)
@given(coverages(), tile_sizes(), st.integers(1, 4), st.integers(1, 50), st.floats(0.5, 4), st.booleans())
def test_tiles_cells_and_batches_change_no_byte(
    classes: Raster, tile: tuple[int, int], cell_buckets: int, batch_polygons: int, tolerance_m: float, smooth: bool
) -> None:
    ids = (0, 1, 2) if smooth else ()
    _, whole = generalise(classes, tolerance_m, skip=(255,), smooth=ids)
    _, parts = generalise(
        classes,
        tolerance_m,
        tile,
        skip=(255,),
        smooth=ids,
        cell_buckets=cell_buckets,
        batch_polygons=batch_polygons,
    )
    assert same(whole, parts)


@settings(max_examples=60, deadline=None)
@given(rasters(), st.sampled_from(SKIPS))
def test_arcs_put_together_are_the_rings(classes: Raster, skip: tuple[int, ...]) -> None:
    marked = polygonize(classes, classes.shape, skip=skip, marked=True)
    arcs = cut_arcs(marked)
    coords, ring_offsets = link_arcs(arcs)
    assert (coords == strip_marks(marked.coords) * SUBPIXELS).all()
    assert (ring_offsets == marked.ring_offsets).all()
    seen: dict[int, list[list[list[int]]]] = {}
    for arc, key in enumerate(arcs.keys.tolist()):
        seen.setdefault(key, []).append(arcs.coords[arcs.offsets[arc] : arcs.offsets[arc + 1]].tolist())
    for arc, key in enumerate(arcs.keys.tolist()):
        assert all(shape == seen[key][0] for shape in seen[key])
        assert len(seen[key]) == (1 if arcs.is_single[arc] else 2)


def test_a_rotated_square_loses_its_staircase() -> None:
    row, col = np.mgrid[:120, :120] - 60.0
    along, across = row * np.cos(0.4) + col * np.sin(0.4), col * np.cos(0.4) - row * np.sin(0.4)
    square = ((np.abs(along) < 35) & (np.abs(across) < 35)).astype(np.uint8)
    marked, found = generalise(square, 1.0, skip=(0,))
    assert len(found.coords) <= 12 < len(marked.coords) / 10
    truth = shapely.Polygon(
        [
            (60 + s * np.sin(0.4) + t * np.cos(0.4), 60 + s * np.cos(0.4) - t * np.sin(0.4))
            for s, t in [(-35, -35), (-35, 35), (35, 35), (35, -35)]
        ]
    )
    (shape,) = found.geometries(TO_PIXELS)
    assert shape.intersection(truth).area / shape.union(truth).area > 0.95


def test_smooth_outlines_are_nearer_to_a_circle_than_thinned_ones() -> None:
    row, col = np.mgrid[:200, :200] + 0.5
    disc = (np.hypot(row - 100, col - 100) < 80).astype(np.uint8)
    circle = shapely.Point(100, 100).buffer(80, quad_segs=200)
    differences = []
    for smooth in ((), (1,)):
        _, found = generalise(disc, 2.0, skip=(0,), smooth=smooth)
        differences.append(found.geometries(TO_PIXELS)[0].symmetric_difference(circle).area)
    assert differences[1] < differences[0] / 2


def test_no_polygons(tmp_path: Path) -> None:
    assert list(generalise_coverage([], tmp_path, tolerance_m=1, pixel_m=(1, 1))) == []
    assert not list(tmp_path.iterdir())
