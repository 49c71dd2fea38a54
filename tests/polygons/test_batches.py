"""Batches: independence of tiling, sums, order, storage and the size of what is open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geoseg.errors import InputError, OptionError
from geoseg.grid import Window
from geoseg.polygons.join import TileJoiner, join_tiles
from geoseg.polygons.order import sort_spilled
from geoseg.polygons.rings import PolygonBatch
from geoseg.polygons.trace import TileTrace, trace_tile
from geoseg.tiles.sealed import read_sealed

from .tracing import Raster, draw_frames, parse, polygonize, rasters, same, tile_sizes, trace_tiles


def noise(rows: int, cols: int, classes: int = 3, seed: int = 0) -> Raster:
    return np.random.default_rng(seed).integers(0, classes, (rows, cols), np.uint8)


@settings(max_examples=150, deadline=None)
@given(rasters(), tile_sizes(), st.sampled_from([(), (0,), (255,)]))
def test_tiling_changes_no_byte(classes: Raster, tile: tuple[int, int], skip: tuple[int, ...]) -> None:
    confidence = (np.arange(classes.size) * 37 % 256).reshape(classes.shape).astype(np.uint8)
    whole = polygonize(classes, classes.shape, confidence, skip=skip)
    assert same(polygonize(classes, tile, confidence, skip=skip), whole)


@settings(max_examples=60, deadline=None)
@given(rasters(), tile_sizes())
def test_sums_and_minima_are_those_of_labelled_pixels(classes: Raster, tile: tuple[int, int]) -> None:
    confidence = noise(*classes.shape, classes=256, seed=1)
    batch = polygonize(classes, tile, confidence, skip=(255,))
    expected = {}
    for number in np.unique(classes[classes != 255]):
        labels, count = ndimage.label(classes == number)
        numbers = np.arange(1, count + 1)
        pixels = ndimage.sum_labels(np.ones_like(labels), labels, numbers)
        sums = ndimage.sum_labels(confidence.astype(np.int64), labels, numbers)
        lows = ndimage.minimum(confidence, labels, numbers)
        firsts = ndimage.minimum_position(np.arange(labels.size).reshape(labels.shape), labels, numbers)
        expected |= {
            first: (int(number), int(n), int(total), int(low))
            for first, n, total, low in zip(firsts, pixels, sums, lows, strict=True)
        }
    values = zip(batch.class_id, batch.pixels, batch.confidence_sum, batch.confidence_min, strict=True)
    found = {
        (int(key >> 32), int(key & 0xFFFFFFFF)): tuple(map(int, value))
        for key, value in zip(batch.keys, values, strict=True)
    }
    assert found == expected


@settings(max_examples=60, deadline=None)
@given(rasters(), tile_sizes())
def test_rings_start_at_their_first_corner_and_turn_at_every_vertex(classes: Raster, tile: tuple[int, int]) -> None:
    batch = polygonize(classes, tile)
    outer = set(batch.polygon_offsets[:-1].tolist())
    keys = []
    for ring in range(len(batch.ring_offsets) - 1):
        corners = batch.coords[batch.ring_offsets[ring] : batch.ring_offsets[ring + 1]].astype(int)
        steps = np.roll(corners, -1, axis=0) - corners
        assert ((steps == 0).sum(axis=1) == 1).all()
        assert ((steps[:, 0] == 0) != (np.roll(steps, -1, axis=0)[:, 0] == 0)).all()
        assert corners.tolist()[0] == min(corners.tolist())
        assert len(np.unique(corners, axis=0)) == len(corners)
        turned = np.sum(steps[:, 0] * corners[:, 1])
        assert (turned > 0) == (ring in outer)
        keys.append(tuple(corners[0]))
    for first, stop in zip(batch.polygon_offsets[:-1], batch.polygon_offsets[1:], strict=True):
        assert keys[first:stop] == sorted(keys[first:stop])


def test_traces_survive_storage(tmp_path: Path) -> None:
    classes = noise(30, 40)
    for number, trace in enumerate(trace_tiles(classes, (12, 12), classes, skip=(0,))):
        path = tmp_path / f"{number}.safetensors"
        trace.save(path)
        loaded = TileTrace.load(path)
        assert loaded.to_bytes() == trace.to_bytes() == read_sealed(path)
        assert (loaded.window, loaded.grid_shape) == (trace.window, trace.grid_shape)
    stored = (TileTrace.from_bytes(trace.to_bytes()) for trace in trace_tiles(classes, (7, 9), classes))
    assert same(PolygonBatch.concatenate(join_tiles(stored)).sort(), polygonize(classes, (30, 40), classes))


def test_damaged_traces_are_refused() -> None:
    content = TileTrace.blank(Window(0, 0, 4, 4), (4, 4)).to_bytes()
    with pytest.raises(InputError, match="trace"):
        TileTrace.from_bytes(content[:-5])
    with pytest.raises(InputError, match="trace"):
        TileTrace.from_bytes(b"")


@pytest.mark.parametrize("tile", [(1, 1), (5, 8), (64, 64)])
def test_sorted_batches_do_not_depend_on_tiling(tile: tuple[int, int], tmp_path: Path) -> None:
    classes = noise(50, 60)
    whole = polygonize(classes, classes.shape)
    batches = list(
        sort_spilled(
            join_tiles(trace_tiles(classes, tile)), tmp_path, spill_bytes=5000, batch_polygons=100, batch_vertices=900
        )
    )
    expected = list(sort_spilled([whole], tmp_path, batch_polygons=100, batch_vertices=900))
    assert len(batches) == len(expected) > 5
    assert all(same(one, two) for one, two in zip(batches, expected, strict=True))
    assert all(len(batch) == 100 or len(batch.coords) <= 900 for batch in batches[:-1])
    assert same(PolygonBatch.concatenate(batches), whole)
    assert not list(tmp_path.iterdir())


def test_sorting_cleans_up_when_it_is_abandoned(tmp_path: Path) -> None:
    ordered = sort_spilled(join_tiles(trace_tiles(noise(30, 30), (8, 8))), tmp_path, batch_polygons=10)
    next(ordered)
    ordered.close()
    assert not list(tmp_path.iterdir())


def test_nothing_gives_no_batch(tmp_path: Path) -> None:
    assert list(join_tiles([])) == []
    assert list(sort_spilled([], tmp_path)) == []
    blank = TileTrace.blank(Window(0, 0, 4, 4), (9, 9))
    assert list(join_tiles([blank])) == []


def test_polygons_leave_as_soon_as_they_are_finished() -> None:
    classes = parse("1100000000 1100000000 0000000000 0000022000 0000022000 0000000000")
    joiner = TileJoiner(classes.shape)
    left = [
        [batch.class_id.tolist() for batch in (trace.finished, joiner.add(trace))]
        for trace in trace_tiles(classes, (6, 3))
    ]
    assert left == [[[], [1]], [[], []], [[], [2]], [[], []]]
    assert joiner.finish().class_id.tolist() == [0]


def test_what_is_open_does_not_grow_with_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.polygons.join.MIN_GARBAGE", 64)
    speck = np.zeros((7, 7), np.uint8)
    speck[1:6, 2:5] = 1
    sizes = []
    for bands in (7, 28):
        classes = np.tile(speck, (bands * 16, 12))
        joiner = TileJoiner(classes.shape)
        finished = size = 0
        for trace in trace_tiles(classes, (16, 16), skip=(0,)):
            finished += len(trace.finished) + len(joiner.add(trace))
            size = max(size, joiner.nbytes)
        assert finished + len(joiner.finish()) == bands * 16 * 12
        sizes.append(size)
    assert sizes[0] == sizes[1] < 40_000


def test_long_lived_components_survive_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.polygons.join.MIN_GARBAGE", 0)
    classes = np.where(draw_frames(90) == 1, 1, noise(90, 90)).astype(np.uint8)
    assert same(polygonize(classes, (6, 5)), polygonize(classes, (90, 90)))


def test_coordinates_are_global_beyond_16_bits() -> None:
    shape = (2_000_000_000, 2_000_000)
    corner = Window(1_999_999_990, 1_999_900, 10, 100)
    trace = trace_tile(noise(10, 100), window=corner, grid_shape=shape, skip=(0,))
    assert trace.finished.coords.min(axis=0).tolist() == pytest.approx([1_999_999_991, 1_999_901], abs=5)
    assert (np.diff(trace.finished.keys) > 0).all()


def test_without_confidence_sums_and_minima_are_zero() -> None:
    batch = polygonize(noise(20, 20), (6, 6))
    assert not batch.confidence_sum.any()
    assert not batch.confidence_min.any()


@pytest.mark.parametrize("order", [[1, 0], [0, 0], [0, 2, 1], [0, 3, 1], [3, 0]])
def test_tiles_out_of_order_are_refused(order: list[int]) -> None:
    traces = list(trace_tiles(noise(8, 8), (4, 4)))
    with pytest.raises(InputError, match="row-major"):
        list(join_tiles([traces[k] for k in order]))


def test_tiles_of_different_rasters_are_refused() -> None:
    traces = [next(trace_tiles(noise(8, 8), (4, 4))), next(trace_tiles(noise(8, 9), (4, 4)))]
    with pytest.raises(InputError, match="raster"):
        list(join_tiles(traces))


@pytest.mark.parametrize(
    ("classes", "confidence", "window"),
    [
        (np.zeros((4, 4), np.int32), None, Window(0, 0, 4, 4)),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32), Window(0, 0, 4, 4)),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), Window(0, 0, 4, 4)),
        (np.zeros((4, 4), np.uint8), None, Window(0, 0, 4, 5)),
        (np.zeros((4, 4), np.uint8), None, Window(6, 0, 4, 4)),
        (np.zeros((0, 4), np.uint8), None, Window(0, 0, 0, 4)),
    ],
)
def test_tiles_that_do_not_fit_are_refused(classes: Raster, confidence: Raster | None, window: Window) -> None:
    with pytest.raises(OptionError):
        trace_tile(classes, confidence, window=window, grid_shape=(8, 8))


def test_batches_slice_take_and_concatenate() -> None:
    batch = polygonize(noise(20, 20), (6, 6))
    parts = [batch.slice(k, k + 7) for k in range(0, len(batch), 7)]
    assert same(PolygonBatch.concatenate(parts), batch)
    order = np.random.default_rng(2).permutation(len(batch))
    assert same(batch.take(order).sort(), batch)
    assert same(batch.take(np.argsort(order)).take(order), batch)
    assert len(batch.take(np.zeros(0, np.int64))) == 0
