"""What became of roads: lengths that lie near the other side, and lengths that do not."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.comparison.objects import BLOCK_BYTES, WGS84, FloatArray, IntArray, Objects, reproject
from geoseg.comparison.spool import Spool
from geoseg.grid import GEOD


@dataclass(frozen=True)
class Stretches:
    """Pieces of the lines of one side, in their order.

    Args:
        owner: (n,) int64 number of the line.
        near: (n,) bool, whether the other side has a line within the buffer.
        length_m: (n,) float64 geodesic.
        shapes: WKB in the CRS of the layer.
    """

    owner: IntArray
    near: NDArray[np.bool_]
    length_m: FloatArray
    shapes: Spool

    def total_m(self, *, near: bool) -> float:
        """Their length together."""
        return float(self.length_m[self.near == near].sum())


def cut_lines(
    lines: Objects, others: Objects, stack: ExitStack, *, buffer_m: float, block_bytes: int = BLOCK_BYTES
) -> Stretches:
    """Cut the lines of one side where they come within, or leave, the buffer around the lines of the other side.

    Source: Wiedemann et al., Empirical Evaluation of Automatically Extracted Road Axes (1998), section 2: the buffer.
    """
    from_plane = Transformer.from_crs(lines.plane.crs, lines.stored.crs or WGS84, always_xy=True)
    to_lonlat = Transformer.from_crs(lines.plane.crs, WGS84, always_xy=True)
    shapes = stack.enter_context(Spool())
    parts: list[tuple[IntArray, NDArray[np.bool_], FloatArray, IntArray]] = []
    written = 0
    for mine in lines.cut_blocks(block_bytes):
        whole = lines.load(mine)
        around = _buffer_near(whole, lines.bounds[mine], others, buffer_m, block_bytes)
        for near, cut in ((True, shapely.intersection(whole, around)), (False, shapely.difference(whole, around))):
            pieces, index = shapely.get_parts(shapely.line_merge(cut), return_index=True)
            real = shapely.length(pieces) > 0
            pieces, index = pieces[real], index[real]
            shapes.append(shapely.to_wkb(reproject(pieces, from_plane)))
            length, place = _measure(reproject(pieces, to_lonlat)), np.arange(len(index)) + written
            parts.append((mine[index], np.full(len(index), near), length, place))
            written += len(index)
    if not parts:
        return Stretches(np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0), shapes)
    owner, near_, length, place = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((place, ~near_, owner))
    ordered = stack.enter_context(Spool())
    for start in range(0, len(order), 4096):
        ordered.append(shapes.read(place[order[start : start + 4096]]))
    return Stretches(owner[order], near_[order], length[order], ordered)


def _buffer_near(
    whole: NDArray[np.object_], bounds: FloatArray, others: Objects, buffer_m: float, block_bytes: int
) -> NDArray[np.object_]:
    """(n,) polygons around the lines of the other side that come near each line; empty where none does."""
    found: list[list[shapely.Geometry]] = [[] for _ in whole]
    numbers: list[list[int]] = [[] for _ in whole]
    for theirs in others.find_near(bounds, block_bytes, reach_m=buffer_m):
        shapes = others.load(theirs)
        left, right = shapely.STRtree(shapes).query(whole, predicate="dwithin", distance=buffer_m)
        for i, j, around in zip(left, right, shapely.buffer(shapes[right], buffer_m), strict=True):
            found[i].append(around)
            numbers[i].append(int(theirs[j]))
    # In the order of the other side's file, whatever the blocks were.
    return np.array(
        [
            shapely.union_all([around[k] for k in np.argsort(order)])
            for around, order in zip(found, numbers, strict=True)
        ],
        object,
    )


def _measure(pieces: NDArray[np.object_]) -> FloatArray:
    """Geodesic length in metres of lines in longitude and latitude."""
    xy, owner = shapely.get_coordinates(pieces, return_index=True)
    if not len(xy):
        return np.zeros(len(pieces))
    (lon, lat), same = xy.T, owner[1:] == owner[:-1]
    length = np.asarray(GEOD.inv(lon[:-1][same], lat[:-1][same], lon[1:][same], lat[1:][same])[2], np.float64)
    total: FloatArray = np.zeros(len(pieces))
    np.add.at(total, owner[1:][same], length)
    return total
