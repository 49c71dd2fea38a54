"""Marked traces: junctions and neighbours are those of the raster, and without marks nothing else differs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.polygons.marks import MAX_SIDE, mark_column, strip_marks
from geoseg.polygons.rings import PolygonBatch

from .test_exact import NAMED, TILES
from .tracing import Raster, polygonize, rasters, same, tile_sizes

OUTSIDE, SKIPPED = -2, -1
SKIPS = [(), (0,), (255,), (0, 1)]


def pad_values(classes: Raster, skip: Collection[int]) -> np.ndarray:
    values = np.where(np.isin(classes, list(skip)), SKIPPED, classes.astype(int))
    return np.pad(values, 1, constant_values=OUTSIDE)


def find_junctions(classes: Raster, skip: Collection[int]) -> set[tuple[int, int]]:
    """Vertices of polygons where at least three edges part different values, and the raster's corners."""
    values = pad_values(classes, skip)
    nw, ne, sw, se = values[:-1, :-1], values[:-1, 1:], values[1:, :-1], values[1:, 1:]
    meeting = (nw != ne).astype(int) + (ne != se) + (se != sw) + (sw != nw) >= 3
    meeting[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    used = np.max([nw, ne, sw, se], axis=0) >= 0
    return {(int(row), int(col)) for row, col in np.argwhere(meeting & used)}


def test_the_last_column_of_the_widest_raster_has_room() -> None:
    marked = np.array([[0, mark_column(MAX_SIDE, 255, True)]])
    assert marked.max() <= np.iinfo(np.int32).max
    assert strip_marks(marked.astype(np.int32)).tolist() == [[0, MAX_SIDE]]


def drop_straight(batch: PolygonBatch) -> PolygonBatch:
    """The batch without marks and without vertices at which the boundary goes straight on."""
    coords = strip_marks(batch.coords)
    turns, offsets = [], [0]
    for start, stop in zip(batch.ring_offsets[:-1], batch.ring_offsets[1:], strict=True):
        ring = coords[start:stop].astype(int)
        along_row = np.roll(ring, -1, axis=0)[:, 0] == ring[:, 0]
        kept = ring[along_row != np.roll(along_row, 1)]
        turns.append(kept)
        offsets.append(offsets[-1] + len(kept))
    corners = np.concatenate(turns).astype(np.int32) if turns else coords
    return replace(batch, coords=corners, ring_offsets=np.array(offsets, np.int64))


def check_marks(classes: Raster, tile: tuple[int, int], skip: Collection[int]) -> None:
    confidence = (np.arange(classes.size) * 37 % 256).reshape(classes.shape).astype(np.uint8)
    batch = polygonize(classes, tile, confidence, skip=skip, marked=True)
    assert same(drop_straight(batch), polygonize(classes, tile, confidence, skip=skip))
    junctions = find_junctions(classes, skip)
    corners = [tuple(corner) for corner in strip_marks(batch.coords).tolist()]
    flags = (batch.coords[:, 1] & 1) == 1
    assert {corner for corner, flag in zip(corners, flags, strict=True) if flag} == junctions
    assert not junctions & {corner for corner, flag in zip(corners, flags, strict=True) if not flag}
    values = pad_values(classes, skip)
    owner = np.repeat(batch.class_id, np.diff(batch.polygon_offsets))
    for ring, (start, stop) in enumerate(zip(batch.ring_offsets[:-1], batch.ring_offsets[1:], strict=True)):
        for k in range(start, stop):
            (row, col), (row0, col0) = corners[k], corners[k - 1 if k > start else stop - 1]
            step_row, step_col = np.sign(row - row0), np.sign(col - col0)
            # The pixel left of the last unit of the edge that leads here, in the padded raster.
            middle_row, middle_col = row - step_row / 2, col - step_col / 2
            beyond = values[int(np.floor(middle_row - step_col / 2)) + 1, int(np.floor(middle_col + step_row / 2)) + 1]
            assert (batch.coords[k, 1] >> 1 & 255) == (beyond if beyond >= 0 else owner[ring])
            passed = {
                (row0 + step_row * i, col0 + step_col * i) for i in range(1, max(abs(row - row0), abs(col - col0)))
            }
            assert not passed & junctions


@settings(max_examples=120, deadline=None)
@given(rasters(24), tile_sizes(26), st.sampled_from(SKIPS))
def test_marks_are_those_of_the_raster(classes: Raster, tile: tuple[int, int], skip: tuple[int, ...]) -> None:
    check_marks(classes, tile, skip)


@settings(max_examples=100, deadline=None)
@given(rasters(), tile_sizes(), st.sampled_from(SKIPS))
def test_tiling_changes_no_mark(classes: Raster, tile: tuple[int, int], skip: tuple[int, ...]) -> None:
    whole = polygonize(classes, classes.shape, skip=skip, marked=True)
    assert same(polygonize(classes, tile, skip=skip, marked=True), whole)


def test_hard_rasters_are_marked() -> None:
    for classes in NAMED.values():
        for tile in TILES[1:5]:
            for skip in ((), (255,)):
                check_marks(classes, tile, skip)
