"""A block's classes are those of the whole image, wherever the block ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.models.engine import PatchGeometry
from geoseg.probabilities.predict import predict_block
from geoseg.raster.resample import resample_patch
from geoseg.tiles.patches import PatchLattice
from tests.fakes import FakeEngine

NODATA = 255


@dataclass
class ArrayImage:
    """An image in memory, mirrored beyond its edges; counts what is read."""

    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    reads: int = 0

    @property
    def band_count(self) -> int:
        return len(self.image)

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        self.reads += 1
        _, rows, cols = self.image.shape
        row, col = np.arange(window.row, window.row_stop), np.arange(window.col, window.col_stop)
        inside = np.logical_and.outer((row >= 0) & (row < rows), (col >= 0) & (col < cols))
        row, col = mirror(row, rows), mirror(col, cols)
        return self.image[:, row[:, None], col], self.valid[row[:, None], col] & inside

    def is_blank(self, window: Window) -> bool:
        return not self.valid[window.within(Window(0, 0, *self.valid.shape))].any()


def mirror(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    folded = index % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def make_image(seed: int, rows: int, cols: int) -> ArrayImage:
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.standard_normal((3, rows, cols)), (0, 5, 5))
    image = np.clip(128 + 400 * image, 0, 255).astype(np.uint8)
    return ArrayImage(image, rng.random((rows, cols)) < 0.97)


def open_fake(lattice: PatchLattice) -> FakeEngine:
    return FakeEngine(PatchGeometry(lattice.patch_px, lattice.halo_px, *lattice.core_px))


def predict_whole(source: ArrayImage, lattice: PatchLattice) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One patch as large as the image and its halo."""
    _, rows, cols = source.image.shape
    core_rows, core_cols = lattice.core_px
    patches = max(-(-rows // core_rows), -(-cols // core_cols))
    side = patches * (lattice.patch_px - 2 * lattice.halo_px) + 2 * lattice.halo_px
    large = PatchLattice(side, lattice.halo_px, lattice.unit_px)
    image, valid = source.read(Window(0, 0, *large.core_px).pad(*large.halo_source_px))
    classes, confidence = open_fake(large).predict(resample_patch(image, side)[None])
    high, wide = large.halo_source_px
    known = valid[high : high + rows, wide : wide + cols]
    return (
        np.where(known, classes[0, :rows, :cols], NODATA).astype(np.uint8),
        np.where(known, confidence[0, :rows, :cols], 0).astype(np.uint8),
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 150),
    cols=st.integers(1, 150),
    units=st.sampled_from([(32, 32), (48, 64), (20, 32), (37, 75)]),
    split=st.tuples(st.integers(0, 150), st.integers(0, 150)),
)
def test_blocks_of_any_size_give_the_whole_image(
    seed: int, rows: int, cols: int, units: tuple[int, int], split: tuple[int, int]
) -> None:
    source, lattice = make_image(seed, rows, cols), PatchLattice(128, 32, units)
    expected, expected_confidence = predict_whole(source, lattice)
    engine = open_fake(lattice)
    top, left = min(split[0], rows), min(split[1], cols)
    for row, high in ((0, top), (top, rows - top)):
        for col, wide in ((0, left), (left, cols - left)):
            block = Window(row, col, high, wide)
            if block.is_empty:
                continue
            pair = predict_block(source, engine, lattice, block, nodata=NODATA)
            inside = block.within(Window(0, 0, rows, cols))
            assert (pair is None) == (not source.valid[inside].any())
            classes, confidence = pair or (NODATA, 0)
            np.testing.assert_array_equal(classes, expected[inside])
            np.testing.assert_array_equal(confidence, expected_confidence[inside])


@pytest.mark.parametrize("units", [(32, 32), (48, 64), (37, 75), (32, 20)])
def test_strips_give_what_the_patch_at_once_gives(units: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    source, lattice = make_image(6, 150, 130), PatchLattice(128, 32, units)
    block = Window(0, 0, 150, 130)
    at_once = predict_block(source, open_fake(lattice), lattice, block, nodata=NODATA)
    reads = source.reads
    monkeypatch.setattr("geoseg.tiles.patches.STRIP_PX", 1)
    in_strips = predict_block(source, open_fake(lattice), lattice, block, nodata=NODATA)
    assert source.reads - reads > reads
    for one, other in zip(at_once, in_strips, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mask_cuts_and_changes_nothing_inside() -> None:
    source, lattice = make_image(4, 140, 150), PatchLattice(128, 32, (32, 32))
    whole, _ = predict_whole(source, lattice)
    wanted = np.random.default_rng(0).random(whole.shape) < 0.3
    everything = Window(0, 0, *whole.shape)
    classes, confidence = predict_block(
        source, open_fake(lattice), lattice, everything, nodata=NODATA, mask=lambda w: wanted[w.within(everything)]
    )
    np.testing.assert_array_equal(classes, np.where(wanted, whole, NODATA))
    assert not confidence[~wanted].any()


def test_patches_outside_the_mask_are_not_read() -> None:
    source, lattice = make_image(4, 128, 128), PatchLattice(128, 32, (32, 32))
    left = Window(0, 0, 128, 64)
    mask = np.zeros((128, 128), bool)
    mask[left.within(Window(0, 0, 128, 128))] = True
    predict_block(
        source,
        open_fake(lattice),
        lattice,
        Window(0, 0, 128, 128),
        nodata=NODATA,
        mask=lambda w: mask[w.within(Window(0, 0, 128, 128))],
    )
    assert source.reads == 2


def test_what_an_engine_leaves_out_follows_from_the_raster_alone() -> None:
    """Neither block nor mask decide which part of a patch is predicted."""
    source, lattice = make_image(4, 200, 200), PatchLattice(128, 32, (32, 32))
    source.valid[:, 80:] = False
    engine, told = open_fake(lattice), []
    predict = engine.predict
    engine.predict = lambda images, asked: told.append(asked) or predict(images, asked)  # type: ignore[method-assign]
    whole = Window(0, 0, 64, 128)
    predict_block(source, engine, lattice, whole, nodata=NODATA)
    expected = np.concatenate(told)
    told.clear()
    for block in (Window(0, 0, 20, 100), Window(30, 10, 5, 118)):
        predict_block(source, engine, lattice, block, nodata=NODATA, mask=lambda w: np.eye(*w.shape, dtype=bool))
    np.testing.assert_array_equal(np.concatenate(told), np.concatenate([expected, expected]))


def test_what_is_blank_is_not_read() -> None:
    source, lattice = make_image(4, 128, 128), PatchLattice(128, 32, (32, 32))
    source.valid[:, 64:] = False
    assert predict_block(source, open_fake(lattice), lattice, Window(0, 64, 128, 64), nodata=NODATA) is None
    assert not source.reads


def test_patches_without_a_known_pixel_are_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    source, lattice = make_image(4, 128, 128), PatchLattice(128, 32, (32, 32))
    source.valid[:, 64:] = False
    engine, predicted = open_fake(lattice), []
    predict = engine.predict
    monkeypatch.setattr(engine, "predict", lambda images, asked: predicted.extend(images) or predict(images, asked))
    classes, _ = predict_block(source, engine, lattice, Window(0, 0, 128, 128), nodata=NODATA)
    assert len(predicted) == 2
    assert (classes[:, 64:] == NODATA).all()
