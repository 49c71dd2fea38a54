"""Whole rasters traced in tiles, the reference they are compared with, and rasters that are hard to trace."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.polygons.join import join_tiles
from geoseg.polygons.rings import PolygonBatch
from geoseg.polygons.trace import TileTrace, trace_tile

Raster = NDArray[np.uint8]


def trace_tiles(
    classes: Raster,
    tile: tuple[int, int],
    confidence: Raster | None = None,
    *,
    skip: Collection[int] = (),
    marked: bool = False,
) -> Iterator[TileTrace]:
    """Traces of all tiles in row-major order; those of which every pixel is skipped are absent."""
    rows, cols = classes.shape
    for row in range(0, rows, tile[0]):
        for col in range(0, cols, tile[1]):
            part = np.s_[row : row + tile[0], col : col + tile[1]]
            if np.isin(classes[part], list(skip)).all():
                continue
            window = Window(row, col, *classes[part].shape)
            mine = None if confidence is None else confidence[part]
            yield trace_tile(classes[part], mine, window=window, grid_shape=classes.shape, skip=skip, marked=marked)


def polygonize(
    classes: Raster,
    tile: tuple[int, int],
    confidence: Raster | None = None,
    *,
    skip: Collection[int] = (),
    marked: bool = False,
) -> PolygonBatch:
    """All polygons of a raster, in the order of their keys."""
    return PolygonBatch.concatenate(join_tiles(trace_tiles(classes, tile, confidence, skip=skip, marked=marked))).sort()


def normalize(class_id: Collection[int], polygons: Collection[shapely.Polygon]) -> list[tuple[int, bytes]]:
    """Classes and normalised geometries in an order of their own."""
    shapes = shapely.to_wkb(shapely.normalize(np.array(list(polygons), object)))
    return sorted((int(number), shape) for number, shape in zip(class_id, shapes, strict=True))


def reference(classes: Raster, skip: Collection[int] = ()) -> list[tuple[int, bytes]]:
    """What GDAL makes of the whole raster."""
    found = list(rasterio.features.shapes(classes, mask=~np.isin(classes, list(skip)), connectivity=4))
    polygons = [shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in found]
    return normalize([int(value) for _, value in found], polygons)


def check_exact(classes: Raster, tile: tuple[int, int], *, skip: Collection[int] = ()) -> PolygonBatch:
    """Polygons of a tiled raster, after comparing them with the reference."""
    batch = polygonize(classes, tile, skip=skip)
    polygons = batch.geometries(Affine.identity())
    assert shapely.is_valid(polygons).all()
    assert normalize(batch.class_id, polygons) == reference(classes, skip)
    return batch


def same(one: PolygonBatch, two: PolygonBatch) -> bool:
    """Whether two batches are equal byte for byte."""
    pairs = zip(one.arrays().values(), two.arrays().values(), strict=True)
    return all(a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all()) for a, b in pairs)


@st.composite
def rasters(draw: st.DrawFn, longest: int = 40) -> Raster:
    """Noise, blobs, sparse specks, blocks or stripes of 1 to 5 classes, sometimes with holes of nodata (255)."""
    rows, cols = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    number = draw(st.integers(1, 5))
    kind = draw(st.sampled_from(["noise", "blobs", "specks", "blocks", "stripes"]))
    classes = rng.integers(0, number, (rows, cols))
    if kind == "blobs":
        row, col = np.mgrid[:rows, :cols]
        waves = sum(np.sin(row * rng.uniform(0, 1) + col * rng.uniform(-1, 1) + rng.uniform(0, 6)) for _ in range(4))
        classes = np.digitize(waves, np.linspace(-2, 2, number - 1)) if number > 1 else classes
    elif kind == "specks":
        classes = np.where(rng.random((rows, cols)) < rng.uniform(0, 0.5), classes, 0)
    elif kind == "blocks":
        size = rng.integers(2, 6)
        classes = np.kron(classes, np.ones((size, size), int))[:rows, :cols]
    elif kind == "stripes":
        row, col = np.mgrid[:rows, :cols]
        classes = (row * rng.integers(0, 3) + col * rng.integers(0, 3)) // rng.integers(1, 4) % number
    classes = classes.astype(np.uint8)
    if draw(st.booleans()):
        classes[rng.random((rows, cols)) < rng.uniform(0, 0.4)] = 255
    return classes


def tile_sizes(longest: int = 42) -> st.SearchStrategy[tuple[int, int]]:
    """Tiles of one pixel up to larger than the raster, small ones more often."""
    side = st.one_of(st.integers(1, 5), st.integers(1, longest))
    return st.tuples(side, side)


def draw_spiral(size: int) -> Raster:
    """A path of class 1 that winds inward between walls of class 0."""
    classes = np.zeros((size, size), np.uint8)
    row, col, step_row, step_col = 0, 0, 0, 1
    classes[0, 0] = 1
    for length in [size - 1, *np.repeat(np.arange(size - 1, 0, -2), 2)]:
        for _ in range(length):
            row, col = row + step_row, col + step_col
            classes[row, col] = 1
        step_row, step_col = step_col, -step_row
    return classes


def draw_frames(size: int) -> Raster:
    """Square frames one inside the other: every second one is class 1."""
    row, col = np.mgrid[:size, :size]
    depth = np.minimum(np.minimum(row, col), np.minimum(size - 1 - row, size - 1 - col))
    return (depth % 2).astype(np.uint8)


def draw_comb(rows: int, cols: int) -> Raster:
    """Teeth of class 1 every second column, joined in the last row only."""
    classes = np.zeros((rows, cols), np.uint8)
    classes[:, ::2] = 1
    classes[-1] = 1
    return classes


def parse(text: str) -> Raster:
    """A raster written as rows of digits; a dot is nodata (255)."""
    return np.array([[255 if c == "." else int(c) for c in line] for line in text.split()], np.uint8)
