"""Something to paint on, and the shapes that are painted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(n, 2) or (2,): rows and columns in pixels."""

GROUND_M = 0.3
SUN = np.array([0.78, 0.62])
"""Direction in which shadows fall, (row, col), length 1."""

BUILDING, ROAD, VEGETATION = 1, 2, 3


@dataclass(frozen=True)
class Street:
    """A centreline, (n, 2) rows and columns in pixels, its width in pixels and its colour."""

    line: Points
    width_px: float
    color: tuple[int, int, int]


class Canvas:
    """The scene while it is painted: colours float32 (h, w, 3), 0 to 255, and classes uint8 (h, w)."""

    def __init__(self, size_px: int, seed: int) -> None:
        self.size = size_px
        self.rng = np.random.default_rng(seed)
        self.image = np.zeros((size_px, size_px, 3), np.float32)
        self.classes = np.zeros((size_px, size_px), np.uint8)
        self.taken = np.zeros((size_px, size_px), np.uint8)
        self.town = normalize(self.noise(900.0, octaves=2))
        self.grain = self.noise(6.0, octaves=3)

    def noise(self, cell_px: float, *, octaves: int = 4) -> NDArray[np.float32]:
        """Smooth noise, float32 (size, size), about -1 to 1; each octave has half the cell and half the height."""
        total = np.zeros((self.size, self.size), np.float32)
        for octave in range(octaves):
            cells = max(2, math.ceil(self.size * 2**octave / cell_px) + 3)
            coarse = self.rng.standard_normal((cells, cells)).astype(np.float32)
            span = int(cells * cell_px / 2**octave)
            fine = cv2.resize(coarse, (max(span, self.size), max(span, self.size)), interpolation=cv2.INTER_CUBIC)
            total += fine[: self.size, : self.size] / np.float32(2**octave)
        return total / np.float32(2)

    def noise_1d(self) -> NDArray[np.float64]:
        """The radii of a crown's outline, (20,), about 1."""
        bumps = self.rng.normal(0, 0.16, 20)
        return 1 + (bumps + np.roll(bumps, 1)) / 1.6

    def blend(self, color: NDArray[np.floating] | tuple[int, int, int], cover: NDArray[np.floating]) -> None:
        """Lay a colour over the image, (h, w, 3) or one for all, where and as far as `cover` (h, w), 0 to 1, says."""
        self.image += (np.asarray(color, np.float32) - self.image) * cover[..., None].astype(np.float32)

    def shade(self, shadow: NDArray[np.uint8]) -> None:
        """Darken where `shadow` (h, w) is 255; what light remains is bluish."""
        soft = cv2.GaussianBlur(shadow, (0, 0), 0.9).astype(np.float32)[..., None] / 255
        self.image *= 1 - soft * np.array([0.60, 0.57, 0.51], np.float32)


def cut(canvas: Canvas, corners: Points) -> tuple[tuple[slice, slice], NDArray[np.uint8]]:
    """The block of the canvas around a polygon, and the polygon's cover there, uint8 0 to 255."""
    low = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, canvas.size)
    high = np.clip(np.ceil(corners.max(0)).astype(int) + 3, 0, canvas.size)
    cover = np.zeros(np.maximum(high - low, 0), np.uint8)
    if cover.size:
        cv2.fillPoly(cover, [to_xy(corners - low)], 255, cv2.LINE_AA, 3)
    return (slice(low[0], high[0]), slice(low[1], high[1])), cover


def rectangle(centre: Points, length: float, width: float, angle: float) -> Points:
    """Corners (4, 2) of a rectangle whose length lies along `angle`, radians from the column axis to the row axis."""
    along, across = unit(angle) * length / 2, unit(angle + math.pi / 2) * width / 2
    return centre + np.stack([along + across, along - across, -along - across, across - along])


def local_axes(shape: tuple[int, ...], centre: Points, angle: float) -> tuple[Points, Points]:
    """Distances (h, w) of a block's pixels from `centre`, along `angle` and across it."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    (row, col), (r, c) = unit(angle), (rows - centre[0], cols - centre[1])
    return r * row + c * col, -r * col + c * row


def unit(angle: float) -> Points:
    """The direction of an angle, (row, col)."""
    return np.array([math.sin(angle), math.cos(angle)])


def line_normals(line: Points) -> Points:
    """Unit vectors (n, 2) across a line of n points."""
    direction = np.gradient(line, axis=0)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    return np.stack([-direction[:, 1], direction[:, 0]], 1)


def to_xy(points: Points) -> NDArray[np.int32]:
    """(row, col) as OpenCV's (x, y) with three fractional bits."""
    return np.round(points[:, ::-1] * 8).astype(np.int32).reshape(-1, 1, 2)


def normalize(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stretch a field to 0 to 1."""
    return np.asarray((field - field.min()) / max(float(np.ptp(field)), 1e-6), np.float32)
