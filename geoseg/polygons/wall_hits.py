"""Places at which walls of touching buildings were in somebody's way, and who has to give way there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from geoseg.kernel import kernel
from geoseg.polygons.chains import FloatArray, measure_away2
from geoseg.polygons.rings import Int64
from geoseg.polygons.strokes import Boundaries, Strokes


class WallHits(NamedTuple):
    """Places at which walls were in somebody's way.

    Args:
        groups: (h,) int64, ascending, the group of polygons whose walls they were.
        places: (h, 2) float64 in pixels.
        of_polygons: (polygons,) int64, the group of each.
    """

    groups: Int64
    places: FloatArray
    of_polygons: Int64

    @classmethod
    def none(cls, polygons: int) -> WallHits:
        """Nothing was in anybody's way."""
        return cls(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(polygons, np.int64))


@kernel
def blame_boundaries(boundaries: Boundaries, xy: FloatArray, hits: WallHits) -> Int64:
    """(h,) int64, for each hit the nearest boundary of its group, before anything was straight."""
    blamed, least = np.zeros(len(hits.groups), np.int64), np.full(len(hits.groups), np.inf)
    for b in range(len(boundaries.polygons)):
        group = hits.of_polygons[boundaries.polygons[b, 0]]
        for hit in range(np.searchsorted(hits.groups, group), np.searchsorted(hits.groups, group, side="right")):
            x, y = hits.places[hit]
            for k in range(boundaries.offsets[b], boundaries.offsets[b + 1] - 1):
                one, two = xy[boundaries.path[k]], xy[boundaries.path[k + 1]]
                away2 = measure_away2((one[0], one[1]), (two[0], two[1]), x, y)
                if away2 < least[hit]:
                    least[hit], blamed[hit] = away2, b
    return blamed


# Polygons lie on the left of their rings, in pixels.
def list_retreats(boundaries: Boundaries, strokes: Strokes, blamed: Int64, hits: WallHits) -> tuple[FloatArray, Int64]:
    """What outer walls have to clear, stroke by stroke: (h, 3) float64 x, y and the side to retreat to; offsets."""
    runs, owner, along = np.zeros((3, len(boundaries.polygons)), np.int64)
    runs[boundaries.pieces >> 1] = boundaries.pieces & 1
    owner[strokes.pieces >> 1] = np.repeat(np.arange(len(strokes.is_closed)), np.diff(strokes.offsets))
    along[strokes.pieces >> 1] = strokes.pieces & 1
    outer = np.flatnonzero(boundaries.polygons[blamed, 1] < 0)
    outer = outer[np.argsort(owner[blamed[outer]], kind="stable")]
    at = blamed[outer]
    side = np.where(runs[at] == along[at], 1.0, -1.0)
    offsets = np.searchsorted(owner[at], np.arange(len(strokes.is_closed) + 1))
    return np.column_stack([hits.places[outer], side]), offsets
