"""Patches of the raster through an engine: each is predicted once, its core is kept, its halo is dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.models.engine import Engine
from geoseg.raster.resample import resample_patch
from geoseg.tiles.patches import PatchLattice


class ImageReader(Protocol):
    """What prediction needs of a raster."""

    @property
    def band_count(self) -> int:
        """Bands of the images, B."""

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Image uint8 (B, rows, cols) and whether each pixel is known, bool (rows, cols), also beyond the raster."""

    def is_blank(self, window: Window) -> bool:
        """Whether surely no pixel of a window inside the raster is known: it is not worth reading."""


Mask = Callable[[Window], NDArray[np.bool_]]


def predict_block(
    source: ImageReader, engine: Engine, lattice: PatchLattice, block: Window, *, nodata: int, mask: Mask | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Classes and confidence of a block of the raster.

    A patch without a known pixel inside the block and the mask is not predicted, mostly not even read.

    Args:
        source: the raster.
        engine: the model, opened for `lattice`.
        lattice: how patches lie on the raster.
        block: source pixels to answer for, inside the raster.
        nodata: class id of pixels that are unknown or outside the mask.
        mask: for a window, which pixels are wanted, bool (rows, cols).

    Returns:
        Class ids uint8 and confidence uint8 (255 = 1.0; 0 where nodata), both (rows, cols) of the block; None where no
        pixel is known and wanted.
    """
    patches = _read_patches(source, lattice, block, mask)
    classes = confidence = None
    while batch := list(islice(patches, engine.batch_size)):
        places = [(p.core, p.kept, p.known) for p in batch]
        images, valid = _stack([p.image for p in batch]), _stack([p.valid for p in batch])
        answers = engine.predict(images, valid)
        del batch, images, valid  # before there is as much again
        if classes is None or confidence is None:
            classes, confidence = np.full(block.shape, nodata, np.uint8), np.zeros(block.shape, np.uint8)
        for (core, kept, known), core_classes, core_confidence in zip(places, *answers, strict=True):
            inside, target = kept.within(core), kept.within(block)
            np.copyto(classes[target], core_classes[inside], where=known)
            np.copyto(confidence[target], core_confidence[inside], where=known)
    return None if classes is None or confidence is None else (classes, confidence)


@dataclass(frozen=True, slots=True)
class _Patch:
    """What is read for a core: the image around it, its valid pixels, and of those in the block the ones wanted."""

    core: Window
    kept: Window
    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    known: NDArray[np.bool_]


def _read_patches(source: ImageReader, lattice: PatchLattice, block: Window, mask: Mask | None) -> Iterator[_Patch]:
    def read(core: Window) -> _Patch | None:
        kept = core.intersect(block)
        wanted = None if mask is None else mask(kept)
        if (wanted is not None and not wanted.any()) or source.is_blank(kept):
            return None
        image, valid = _read_patch(source, lattice, core)
        known = valid[kept.within(core)]
        if wanted is not None:
            known = known & wanted
        # All valid pixels of the core, not those wanted: what an engine leaves out must not follow from the block.
        return _Patch(core, kept, image, valid, known) if known.any() else None

    # Unlike a generator these hold no patch while they wait.
    return filter(None, map(read, lattice.cores(block)))


def _read_patch(
    source: ImageReader, lattice: PatchLattice, core: Window
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The patch around a core in model pixels, uint8 (B, P, P), and which of the core's pixels are valid."""
    padded = core.pad(*lattice.halo_source_px)
    known = np.zeros(core.shape, bool)
    patch = np.empty((source.band_count, lattice.patch_px, lattice.patch_px), np.uint8)
    top = 0
    for row in range(padded.row, padded.row_stop, lattice.strip_rows_px):
        strip = Window(row, padded.col, lattice.strip_rows_px, padded.cols).intersect(padded)
        image, valid = source.read(strip)
        rows_px = strip.rows * lattice.patch_px // padded.rows
        patch[:, top : top + rows_px] = resample_patch(image, (rows_px, lattice.patch_px))
        top += rows_px
        common = strip.intersect(core)
        known[common.within(core)] = valid[common.within(strip)]
    return patch, known


def _stack(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return np.stack(arrays) if len(arrays) > 1 else arrays[0][np.newaxis]
