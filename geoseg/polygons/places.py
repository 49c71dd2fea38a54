"""Where points of a grid's CRS are on Earth, without asking the projection about each of them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import GeoGrid
from geoseg.kernel import kernel
from geoseg.polygons.rings import Int64

CELL_PX = 1024
TOLERANCE = 1e-8
"""Of a cell's extent: how far what is interpolated may be from the projection."""

FloatArray = NDArray[np.float64]

# A cell has 4 x 4 nodes, also on its sides, so that neighbours agree there. A cubic between them errs most at CHECKS.
NODES = np.arange(4) / 3.0
CHECKS = np.array([0.5, 2.5]) / 3.0
_TO_POWERS = np.linalg.inv(NODES[:, None] ** np.arange(4))
_AT_CHECKS = CHECKS[:, None] ** np.arange(4)


def locate_points(xy: FloatArray, grid: GeoGrid) -> tuple[FloatArray, FloatArray]:
    """Longitude and latitude of points, which follow from each point and the size of a pixel alone.

    A projection is smooth: over a square of 1024 pixels cubics stand for it, unless they miss it by more than 1e-8 of
    the square, as at a pole, at the antimeridian or where pixels are large. There each point is projected.

    Args:
        xy: (n, 2) float64 in the CRS of `grid`.
        grid: gives the CRS and the size of a pixel.

    Returns:
        (n,) float64 radians east and (n,) radians north on WGS 84, not finite where a point is nowhere on Earth.
    """
    t = grid.transform
    side = CELL_PX * max(math.hypot(t.a, t.d), math.hypot(t.b, t.e))
    starts, corners = _list_cells(xy, side)
    # Complex numbers are pairs that numpy sorts.
    cells, which = np.unique(corners, return_inverse=True)
    base, powers, is_smooth = _fit_cells(cells, side, grid)
    lonlat = _interpolate(xy, starts, corners, which.reshape(-1), (base, powers, side))
    if not is_smooth.all():
        rough = np.repeat(~is_smooth[which.reshape(-1)], np.diff(starts, append=len(xy)))
        lonlat[:, rough] = np.radians(grid.to_lonlat.transform(xy[rough, 0], xy[rough, 1]))
    return lonlat[0], lonlat[1]


def _fit_cells(
    cells: NDArray[np.complex128], side: float, grid: GeoGrid
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Of n cells the first node (2, n), the coefficients (2, n, 4, 4) of the rest, and whether they may be used."""
    nodes, checks = (_project_lattice(cells, steps, side, grid) for steps in (NODES, CHECKS))
    base = nodes[:, :, :1, :1].copy()
    with np.errstate(invalid="ignore"):
        rest = nodes - base
        powers = _TO_POWERS @ rest @ _TO_POWERS.T
        missed = np.abs(_AT_CHECKS @ powers @ _AT_CHECKS.T + base - checks).max(axis=(2, 3))
        is_smooth = (missed <= TOLERANCE * np.abs(rest).max(axis=(2, 3))).all(axis=0)
    return base[:, :, 0, 0], powers, is_smooth


def _project_lattice(cells: NDArray[np.complex128], steps: FloatArray, side: float, grid: GeoGrid) -> FloatArray:
    x, y = (cells.real[:, None] + steps) * side, (cells.imag[:, None] + steps) * side
    xs, ys = np.broadcast_arrays(x[:, :, None], y[:, None, :])
    lonlat: FloatArray = np.radians(np.stack(grid.to_lonlat.transform(xs, ys)))
    return lonlat


@kernel
def _list_cells(xy: FloatArray, side: float) -> tuple[Int64, NDArray[np.complex128]]:
    """Where the points enter another cell, and its number from the west plus i times that from the south."""
    starts, corners = np.empty(len(xy), np.int64), np.empty(len(xy), np.complex128)
    count = 0
    west = south = math.inf
    for i in range(len(xy)):
        x, y = xy[i, 0] / side - west, xy[i, 1] / side - south
        if not (0.0 <= x < 1.0 and 0.0 <= y < 1.0):
            west, south = math.floor(xy[i, 0] / side), math.floor(xy[i, 1] / side)
            starts[count], corners[count] = i, complex(west, south)
            count += 1
    return starts[:count].copy(), corners[:count].copy()


@kernel
def _interpolate(
    xy: FloatArray,
    starts: Int64,
    corners: NDArray[np.complex128],
    which: Int64,
    cubics: tuple[FloatArray, FloatArray, float],
) -> FloatArray:
    base, powers, side = cubics
    lonlat = np.empty((2, len(xy)))
    for run in range(len(starts)):
        west, south = corners[run].real * side, corners[run].imag * side
        for axis in range(2):
            first, p = base[axis, which[run]], powers[axis, which[run]]
            for i in range(starts[run], starts[run + 1] if run + 1 < len(starts) else len(xy)):
                u, v = (xy[i, 0] - west) / side, (xy[i, 1] - south) / side
                p0 = p[0, 0] + v * (p[0, 1] + v * (p[0, 2] + v * p[0, 3]))
                p1 = p[1, 0] + v * (p[1, 1] + v * (p[1, 2] + v * p[1, 3]))
                p2 = p[2, 0] + v * (p[2, 1] + v * (p[2, 2] + v * p[2, 3]))
                p3 = p[3, 0] + v * (p[3, 1] + v * (p[3, 2] + v * p[3, 3]))
                lonlat[axis, i] = first + (p0 + u * (p1 + u * (p2 + u * p3)))
    return lonlat
