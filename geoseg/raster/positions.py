"""Which pixel of one grid lies under the centre of each pixel of another: nearest neighbour, whatever the window."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geoseg.errors import InputError
from geoseg.grid import GeoGrid, Window

CELL_PX = 64
MARGIN_PX = 1 / 128
"""Positions are interpolated where that is surely closer than half of this; nearer to a pixel's border they are not."""

ALIGNED_PX = 1e-3
BOUNDS_POINTS = 64

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]


def find_pixels(target: GeoGrid, source: GeoGrid, window: Window) -> tuple[Int32, Int32]:
    """The source pixels that hold the centres of target pixels; a pixel's answer does not depend on the window.

    Positions are interpolated in cells of a fixed lattice. Wherever that could make a difference, they are computed.

    Args:
        target: the grid whose pixels are asked about.
        source: the grid whose pixels are answered.
        window: pixels of `target`.

    Returns:
        Rows and columns int32 (h, w) in `source`; negative, or beyond its size, where it has no such pixel.
    """
    rows, cols, sure = _interpolate(target, source, window)
    r, c = np.nonzero(~sure)
    if len(r):
        rows[r, c], cols[r, c] = _locate(
            target, source, *(v.astype(np.float64) + 0.5 for v in (window.row + r, window.col + c))
        )
    return _number(rows, source.rows), _number(cols, source.cols)


def find_offset(target: GeoGrid, source: GeoGrid) -> tuple[int, int] | None:
    """What to add to (row, col) of a target pixel to get that of the source, where all pixels coincide; else None."""
    if not is_same_crs(target.crs, source.crs):
        return None
    corners = np.array([(0, 0), (0, source.cols), (source.rows, 0), (source.rows, source.cols)], np.float64)
    x, y = source.to_world(corners[:, 0], corners[:, 1])
    shifts = corners - np.stack(_to_pixels(target.transform, x, y), axis=1)
    whole = np.rint(shifts[0])
    return (int(whole[0]), int(whole[1])) if (np.abs(shifts - whole) < ALIGNED_PX).all() else None


def bound_grid(grid: GeoGrid, crs: str, *, across: bool = False) -> tuple[float, float, float, float]:
    """(west, south, east, north) around a grid in a CRS.

    Of a grid that was brought into a geographic CRS and meets 180 degrees, these are all longitudes; with `across`,
    east is above 180 instead.

    Raises:
        InputError: it has no place there.
    """
    x, y = grid.to_world(np.array([0.0, 0, grid.rows, grid.rows]), np.array([0.0, grid.cols] * 2))
    own = float(x.min()), float(y.min()), float(x.max()), float(y.max())
    if is_same_crs(grid.crs, crs):
        return own
    try:
        west, south, east, north = make_transformer(grid.crs, crs).transform_bounds(
            *own, densify_pts=BOUNDS_POINTS, errcheck=True
        )
        back = _go_there_and_back(grid, crs)
    except ProjError as error:
        raise _find_no_place(str(error)) from error
    if not back < 1:
        raise _find_no_place("there and back again leads elsewhere")
    if west > east:
        return (west, south, east + 360, north) if across else (-180.0, south, 180.0, north)
    return west, south, east, north


def _go_there_and_back(grid: GeoGrid, crs: str) -> float:
    """How many pixels from itself the centre comes out: projections give numbers also where they hold no longer."""
    middle = np.array([grid.rows / 2]), np.array([grid.cols / 2])
    x, y = make_transformer(grid.crs, crs).transform(*grid.to_world(*middle), errcheck=True)
    rows, cols = _locate(GeoGrid(crs, Affine.identity(), 1, 1), grid, y, x)
    return float(np.hypot(rows - middle[0], cols - middle[1])[0])


def _find_no_place(reason: str) -> InputError:
    return InputError(
        f"a scene cannot be brought into the region's CRS ({reason})",
        expected="scenes near each other, or a CRS that fits all of them",
        remedy="name another --crs, or split the output by UTM zone",
    )


def find_bounds(target: GeoGrid, source: GeoGrid) -> Window:
    """A window of the target, within its size, that no pixel of the source reaches beyond; perhaps empty.

    Raises:
        InputError: the source cannot be brought into the target's CRS.
    """
    west, south, east, north = bound_grid(source, target.crs)
    rows, cols = _to_pixels(target.transform, np.array([west, west, east, east]), np.array([south, north] * 2))
    margin = 2 + 1e-4 * max(np.ptp(rows), np.ptp(cols))
    top, left = (max(0, math.floor(v.min() - margin)) for v in (rows, cols))
    bottom = min(target.rows, math.ceil(rows.max() + margin))
    right = min(target.cols, math.ceil(cols.max() + margin))
    return Window(top, left, max(0, bottom - top), max(0, right - left))


def is_same_crs(one: str, other: str) -> bool:
    """Whether two CRSs, as WKT, give coordinates the same meaning when x comes first."""
    return one == other or _is_same_crs(one, other)


@lru_cache(256)
def _is_same_crs(one: str, other: str) -> bool:
    return CRS.from_wkt(one).equals(CRS.from_wkt(other), ignore_axis_order=True)


@lru_cache(256)
def make_transformer(source_crs: str, target_crs: str) -> Transformer:
    """From one CRS to another, both as WKT, x first."""
    return Transformer.from_crs(CRS.from_wkt(source_crs), CRS.from_wkt(target_crs), always_xy=True)


@lru_cache(256)
def _full_turn(crs: str) -> float | None:
    """What longitudes come round after, in units of a geographic CRS; None for others."""
    found = CRS.from_wkt(crs)
    return 2 * math.pi / found.axis_info[0].unit_conversion_factor if found.is_geographic else None


def _locate(target: GeoGrid, source: GeoGrid, rows: Float64, cols: Float64) -> tuple[Float64, Float64]:
    """(row, col) in the source of positions in the target, point by point; not finite where there is none."""
    x, y = target.to_world(rows, cols)
    if is_same_crs(target.crs, source.crs):
        return _to_pixels(source.transform, x, y)
    x, y = make_transformer(target.crs, source.crs).transform(x, y)
    turn = _full_turn(source.crs)
    with np.errstate(invalid="ignore"):
        if turn is not None:
            middle, _ = source.to_world(*(np.array(n / 2) for n in (source.rows, source.cols)))
            x = x - turn * np.rint((x - middle) / turn)
        return _to_pixels(source.transform, x, y)


def _to_pixels(transform: Affine, x: Float64, y: Float64) -> tuple[Float64, Float64]:
    t = ~transform
    return t.d * x + t.e * y + t.f, t.a * x + t.b * y + t.c


def _interpolate(target: GeoGrid, source: GeoGrid, window: Window) -> tuple[Float64, Float64, NDArray[np.bool_]]:
    """Positions (h, w) of a window's pixel centres, and which of them surely lie in the pixel that they say."""
    starts = window.row // CELL_PX, window.col // CELL_PX
    stops = -(-window.row_stop // CELL_PX), -(-window.col_stop // CELL_PX)
    # Nodes are the corners of the cells and, to judge the cells, the middles of their sides.
    nodes = [np.arange(2 * a, 2 * b + 1) * (CELL_PX / 2) for a, b in zip(starts, stops, strict=True)]
    exact = _locate(target, source, *np.meshgrid(*nodes, indexing="ij"))
    with np.errstate(invalid="ignore"):
        straight = np.logical_and(*(_measure_bend(v) < MARGIN_PX / 2 for v in exact))
    down, cell_rows = _weigh(window.row, window.rows, starts[0], len(straight))
    across, cell_cols = _weigh(window.col, window.cols, starts[1], straight.shape[1])
    rows, cols = (down @ np.nan_to_num(v[::2, ::2], posinf=0, neginf=0) @ across.T for v in exact)
    sure = straight[cell_rows][:, cell_cols]
    for values in (rows, cols):
        sure &= np.abs(values - np.rint(values)) > MARGIN_PX
    return rows, cols, sure


def _measure_bend(nodes: Float64) -> Float64:
    """How far positions (2k + 1, 2m + 1) are from what the corners of each of the k x m cells say, at most.

    Of a conformal projection both second derivatives cancel out in the centre: each side is looked at.
    """
    corners = nodes[::2, ::2]
    along = np.abs(nodes[::2, 1::2] - (corners[:, :-1] + corners[:, 1:]) / 2)
    down = np.abs(nodes[1::2, ::2] - (corners[:-1] + corners[1:]) / 2)
    bend: Float64 = np.maximum(along[:-1], along[1:]) + np.maximum(down[:, :-1], down[:, 1:])
    return bend


def _weigh(start: int, count: int, first: int, cells: int) -> tuple[Float64, NDArray[np.intp]]:
    """Weights (count, cells + 1) of the nodes for pixel centres from `start`, and the cell of each pixel."""
    place = (np.arange(start, start + count) + 0.5) / CELL_PX - first
    cell = place.astype(np.intp)
    weights = np.zeros((count, cells + 1))
    weights[np.arange(count), cell] = 1 - (place - cell)
    weights[np.arange(count), cell + 1] = place - cell
    return weights, cell


def _number(positions: Float64, size: int) -> Int32:
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(positions), np.clip(np.floor(positions), -1, size), -1).astype(np.int32)
