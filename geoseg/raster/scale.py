"""How the values of a raster become the uint8 that models see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOW_PERCENT, HIGH_PERCENT = 2.0, 98.0


@dataclass(frozen=True, slots=True)
class ByteScale:
    """One linear rescale per band, low to 0 and high to 255; no range at all leaves uint8 values as they are."""

    ranges: tuple[tuple[float, float], ...] = ()

    def to_uint8(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Rescale and clip (B, h, w) values of any real dtype to uint8 0 to 255, rounding halves up; NaN becomes 0."""
        if not self.ranges:
            return values.astype(np.uint8, copy=False)
        kind = np.result_type(values.dtype, np.float32)
        low, high = (np.array(side, kind).reshape(-1, 1, 1) for side in zip(*self.ranges, strict=True))
        # NaN and inf are nodata, which the caller overwrites; here they only must not warn.
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = (values.astype(kind) - low) * (255 / (high - low)) + kind.type(0.5)
        return np.asarray(np.nan_to_num(np.clip(scaled, 0, 255), copy=False), np.uint8)

    def describe(self) -> str:
        """The rule in words."""
        if not self.ranges:
            return "uint8 as stored"
        return "linear, clipped, per band: " + ", ".join(f"{low:g}..{high:g} -> 0..255" for low, high in self.ranges)


def fit_scale(samples: NDArray[Any]) -> ByteScale:
    """The rescale of (B, n) sampled valid values, n > 0: per band, percentile 2 to 0 and percentile 98 to 255."""
    low, high = np.percentile(samples.astype(np.float64), (LOW_PERCENT, HIGH_PERCENT), axis=1)
    high = np.where(high > low, high, low + 1)
    return ByteScale(tuple((float(a), float(b)) for a, b in zip(low, high, strict=True)))
