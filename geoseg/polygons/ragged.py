"""Geometries as flat arrays of coordinates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

LINES = (shapely.GeometryType.LINESTRING, shapely.GeometryType.MULTILINESTRING)


class RaggedGeometries(NamedTuple):
    """The parts (rings, outer ring first, or lines) of n geometries, one after the other.

    Args:
        xy: (vertices, 2) float64; a ring's first vertex is repeated at its end.
        part_offsets: (parts + 1,) int64 into `xy`.
        owner_offsets: (n + 1,) int64 into the parts.
        are_lines: whether the parts are lines.
    """

    xy: NDArray[np.float64]
    part_offsets: NDArray[np.int64]
    owner_offsets: NDArray[np.int64]
    are_lines: bool

    def __len__(self) -> int:
        return len(self.owner_offsets) - 1


def flatten_geometries(geometries: NDArray[np.object_]) -> RaggedGeometries:
    """The coordinates of (n,) shapely geometries, all areas or all lines; z is left out."""
    if len(geometries) == 0:
        none = np.zeros(1, np.int64)
        return RaggedGeometries(np.zeros((0, 2)), none, none, False)
    kind, xy, offsets = shapely.to_ragged_array(np.asarray(geometries), include_z=False)
    parts, *levels = (np.asarray(level, np.int64) for level in offsets)
    owners = np.arange(len(parts))
    for level in levels:
        owners = owners[level]
    return RaggedGeometries(xy, parts, owners, kind in LINES)
