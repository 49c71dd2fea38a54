"""Curves of a training run."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

BLUE, ORANGE, GREY = (47, 111, 187), (217, 106, 34), (128, 128, 128)

MAX_POINTS = 600
"""A longer curve is shown as the median of that many stretches, in a band from the smallest to the largest value."""


@dataclass(frozen=True)
class Curve:
    """Values float64 (n,) over steps float64 (n,), in a colour (R, G, B; 0 to 255)."""

    steps: FloatArray
    values: FloatArray
    color: tuple[int, int, int]


def draw_curves(
    curves: Mapping[str, Curve],
    *,
    label: str,
    is_log: bool = False,
    top: float | None = None,
    mark: float | None = None,
) -> Figure:
    """A chart of curves over the step.

    Args:
        curves: by name.
        label: of the vertical axis.
        is_log: whether that axis is logarithmic.
        top: upper end of the axis, which then begins at 0.
        mark: step at which a vertical line stands.
    """
    # Drawn through objects: pyplot keeps state for the whole process, and would look for a screen.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        color = tuple(c / 255 for c in readable(curve.color))
        steps, low, middle, high = _thin(curve)
        axes.plot(steps, middle, color=color, label=name, linewidth=1.7, marker="o" if len(steps) < 2 else None)
        if len(steps) < len(curve.steps):
            axes.fill_between(steps, low, high, color=color, alpha=0.22, linewidth=0)
    if is_log:
        axes.set_yscale("log")
    if top is not None:
        axes.set_ylim(0, top)
    if mark is not None:
        axes.axvline(mark, color="0.5", linewidth=1, linestyle="--", label="best step")
    axes.set(xlabel="step", ylabel=label)
    axes.grid(color="0.5", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1 or mark is not None:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def readable(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """The colour at a lightness that stands out from white and from black."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(c / 255 for c in color))
    red, green, blue = colorsys.hls_to_rgb(hue, min(max(lightness, 0.42), 0.55), saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


def _thin(curve: Curve) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Steps, smallest, median and largest value of up to `MAX_POINTS` stretches; what is not finite is left out."""
    is_known = np.isfinite(curve.values)
    steps, values = curve.steps[is_known], curve.values[is_known]
    if len(steps) <= MAX_POINTS:
        return steps, values, values, values
    stretches = [*zip(np.array_split(steps, MAX_POINTS), np.array_split(values, MAX_POINTS), strict=True)]
    table = np.array([(s.mean(), v.min(), np.median(v), v.max()) for s, v in stretches])
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]
