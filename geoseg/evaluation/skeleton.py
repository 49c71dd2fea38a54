"""Centrelines of the roads in a class raster."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.morphology import remove_small_holes, skeletonize

from geoseg.grid import GeoGrid

_TOLERANCE_PX = 1.0
"""Pixel centres along a straight line lie within half a pixel of it, so within one pixel of each other's chords."""
_MAX_MARGIN_PX = 256

Lines = NDArray[np.object_]
Radius = NDArray[np.float32]


def skeletonize_roads(mask: NDArray[np.bool_], grid: GeoGrid) -> Lines:
    """Trace the centrelines of a road mask from junction to junction.

    Holes smaller than the square of the roads' mean width are filled. The mask, mirrored at the border of the raster,
    is thinned and its pixel centres are joined. Junctions that lie within half a road's width of each other become
    one. A branch that is shorter than the road is wide at its junction is dropped, and the fork that thinning leaves
    at the square end of a road becomes the middle of that end; an end without a fork stays up to half a width short.
    The staircase of the pixels is simplified away within a pixel. A patch that is no longer than it is wide leaves no
    line. At the border of the raster this holds for roads up to 254 px wide, since no more than 256 px are mirrored,
    so that a mask full of road takes little memory.

    Args:
        mask: (h, w) bool, True on roads.
        grid: where the mask lies.

    Returns:
        (n,) shapely LineStrings in the CRS of the grid, noded at junctions.

    Source: thinning by Zhang and Suen, A Fast Parallel Algorithm for Thinning Digital Patterns (1984).
    """
    if not mask.any():
        return np.zeros(0, object)
    mask = _fill_holes(mask)
    # Thinning eats the ends of lines; mirrored, a road that leaves the raster has its end outside.
    margin = min(2 * int(_measure_depth(mask).max()) + 2, _MAX_MARGIN_PX)
    mirrored = np.pad(np.pad(mask, margin, mode="reflect"), 1)
    radius = distance_transform_edt(mirrored).astype(np.float32)
    lines, count = _trace(skeletonize(mirrored)), -1
    while len(lines) not in (0, count):
        count = len(lines)
        lines = _prune(_contract(lines, radius), radius)
    corner = np.array([margin + 0.5, margin + 0.5])
    lines = shapely.transform(shapely.simplify(lines, _TOLERANCE_PX), lambda px: px - corner)
    parts = shapely.get_parts(shapely.intersection(lines, shapely.box(0, 0, *mask.shape)))
    parts = parts[shapely.length(parts) > 0]
    return np.asarray(shapely.transform(parts, lambda px: np.stack(grid.to_world(*px.T), axis=1)), object)


def _fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what is smaller than the square of the roads' mean width: cars, trees and noise, not blocks."""
    # Across a strip the distance to its edge is a quarter of its width in the mean; a centre is half a pixel further.
    width = 4 * (_measure_depth(mask)[mask].mean() - 0.5)
    return np.asarray(remove_small_holes(mask, max_size=width**2), bool)


def _measure_depth(mask: NDArray[np.bool_]) -> Radius:
    """(h, w) distance in pixels to the nearest pixel that is no road, as if there were none beyond the raster."""
    return np.asarray(distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1], np.float32)


def _trace(skeleton: NDArray[np.bool_]) -> Lines:
    """(n,) LineStrings through pixel centres in (row, col), between junctions and ends."""
    s = np.pad(skeleton, ((0, 1), (1, 1)))
    here, right, below = s[:-1, 1:-1], s[:-1, 2:], s[1:, 1:-1]
    left, below_left, below_right = s[:-1, :-2], s[1:, :-2], s[1:, 2:]
    # A diagonal step beside a corner pixel would close a triangle at every bend.
    steps = [
        (here & right, (0, 1)),
        (here & below, (1, 0)),
        (here & below_right & ~right & ~below, (1, 1)),
        (here & below_left & ~left & ~below, (1, -1)),
    ]
    starts = [np.argwhere(there) for there, _ in steps]
    segments = [np.stack([start, start + step], axis=1) for start, (_, step) in zip(starts, steps, strict=True)]
    return _merge(shapely.linestrings(np.concatenate(segments).astype(np.float64)))


def _merge(lines: Lines) -> Lines:
    return np.asarray(shapely.get_parts(shapely.line_merge(shapely.multilinestrings(lines))), object)


def _contract(lines: Lines, radius: Radius) -> Lines:
    """Put junctions that lie within each other's roads in one place."""
    ends, node, degree = _find_ends(lines)
    joins = (degree[node].min(axis=1, initial=9) > 2) & (_length(lines) <= _radius_at(ends, radius).max(axis=1))
    count = len(degree)
    a, b = node[joins].T
    _, group = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(count, count)), directed=False)
    place = np.zeros((count, 2))
    place[node] = ends
    members = np.bincount(group)
    centre = np.stack([np.bincount(group, place[:, i]) / members for i in (0, 1)], axis=1)
    moved = (members[group] > 1)[node].astype(int)
    kept = []
    for line, (start, stop), goal in zip(lines[~joins], moved[~joins], centre[group[node]][~joins], strict=True):
        xy = shapely.get_coordinates(line)
        kept.append(shapely.linestrings(np.concatenate([goal[:1][:start], xy, goal[1:][:stop]])))
    return _merge(np.array(kept, object))


def _prune(lines: Lines, radius: Radius) -> Lines:
    """Drop branches shorter than the road at their junction is wide; make one end of an end that forks."""
    ends, node, degree = _find_ends(lines)
    wide = 2 * _radius_at(ends, radius)
    loose = degree[node] == 1
    length = _length(lines)
    patch = loose.all(axis=1) & (length < wide.max(axis=1, initial=0))
    spur = (loose.sum(axis=1) == 1) & (length < np.where(loose, 0, wide).max(axis=1, initial=0))
    inner = np.where(loose[:, 0], node[:, 1], node[:, 0])[spur]
    tips = ends[loose & spur[:, None]]
    spurs = np.bincount(inner, minlength=len(degree))
    kept = [lines[~(patch | spur)]]
    for fork in np.flatnonzero((spurs > 1) & (degree - spurs == 1)):
        place = ends[node == fork][:1]
        kept.append(shapely.linestrings(np.stack([[place[0], tips[inner == fork].mean(axis=0)]])))
    return _merge(np.concatenate(kept))


def _find_ends(lines: Lines) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """(n, 2, 2) both ends of every line, (n, 2) numbers of the nodes there, (k,) line ends that meet at each node."""
    if not len(lines):
        return np.zeros((0, 2, 2)), np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
    ends = np.stack([shapely.get_coordinates(shapely.get_point(lines, i)) for i in (0, -1)], axis=1)
    _, node, degree = np.unique(ends.reshape(-1, 2), axis=0, return_inverse=True, return_counts=True)
    return ends, node.reshape(-1, 2), degree


def _length(lines: Lines) -> NDArray[np.float64]:
    return np.asarray(shapely.length(shapely.simplify(lines, _TOLERANCE_PX)), np.float64)


def _radius_at(ends: NDArray[np.float64], radius: Radius) -> NDArray[np.float64]:
    """(n, 2) distance in pixels from each end to the edge of the road."""
    rows, cols = np.rint(ends).astype(np.intp).transpose(2, 0, 1)
    return np.asarray(radius[rows, cols], np.float64)
