"""The part of a patch that is worth predicting, where not all of its core is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.models.engine import PatchGeometry
from geoseg.models.manifest import STRIDE_PX
from geoseg.models.resample import Taps

WORTH_IT = 0.75
"""Share of the patch above which cropping saves too little."""


@dataclass(frozen=True, slots=True)
class PatchPart:
    """A rectangle of the core, the rectangle of the patch around it, and how the first is read from the second.

    Args:
        core: (rows, cols) of the core, in source pixels.
        patch: (rows, cols) of the patch, in model pixels, on multiples of 32.
        rows: from the part's rows to those of `core`.
        cols: from the part's columns to those of `core`.
    """

    core: tuple[slice, slice]
    patch: tuple[slice, slice]
    rows: Taps
    cols: Taps


def crop_patch(asked: NDArray[np.bool_], geometry: PatchGeometry) -> PatchPart | None:
    """The least part of a patch that gives what is asked for a whole halo of context; None where it is most of it.

    Args:
        asked: bool (core_rows_px, core_cols_px), at least one of them true.
        geometry: the patch.
    """
    row_core, row_patch, rows = _crop_axis(np.logical_or.reduce(asked, axis=1), geometry.row_taps, geometry)
    col_core, col_patch, cols = _crop_axis(np.logical_or.reduce(asked, axis=0), geometry.col_taps, geometry)
    area_px = (row_patch.stop - row_patch.start) * (col_patch.stop - col_patch.start)
    if area_px > WORTH_IT * geometry.patch_px**2:
        return None
    return PatchPart((row_core, col_core), (row_patch, col_patch), rows, cols)


def _crop_axis(asked: NDArray[np.bool_], taps: Taps, geometry: PatchGeometry) -> tuple[slice, slice, Taps]:
    places = np.flatnonzero(asked)
    core = slice(int(places[0]), int(places[-1]) + 1)
    starts, weights = taps.starts[core], taps.weights[core]
    # On multiples of the stride the network's pixels fall together as in the whole patch.
    low = max(0, (int(starts[0]) - geometry.halo_px) // STRIDE_PX * STRIDE_PX)
    reach = int(starts[-1]) + weights.shape[1] + geometry.halo_px
    high = min(geometry.patch_px, -(-reach // STRIDE_PX) * STRIDE_PX)
    return core, slice(low, high), Taps(starts - low, weights)
