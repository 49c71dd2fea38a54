"""Geometries as flat arrays of coordinates."""

from __future__ import annotations

from collections.abc import Sequence
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

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(n, 4) float64 least x and y, greatest x and y of geometries, none of which is empty."""
        starts = self.part_offsets[self.owner_offsets[:-1]]
        return np.hstack([np.minimum.reduceat(self.xy, starts), np.maximum.reduceat(self.xy, starts)])

    def slice(self, start: int, stop: int) -> RaggedGeometries:
        """The geometries from position `start` to before `stop`; the coordinates are a view."""
        owners = self.owner_offsets[start : stop + 1]
        parts = self.part_offsets[owners[0] : owners[-1] + 1]
        return RaggedGeometries(self.xy[parts[0] : parts[-1]], parts - parts[0], owners - owners[0], self.are_lines)

    @classmethod
    def concatenate(cls, batches: Sequence[RaggedGeometries]) -> RaggedGeometries:
        """All geometries of one or more batches of one kind, in their order."""
        if len(batches) == 1:
            return batches[0]
        return cls(
            np.concatenate([batch.xy for batch in batches]),
            chain_offsets([batch.part_offsets for batch in batches]),
            chain_offsets([batch.owner_offsets for batch in batches]),
            batches[0].are_lines,
        )


def flatten_geometries(geometries: NDArray[np.object_] | RaggedGeometries) -> RaggedGeometries:
    """The coordinates of (n,) shapely geometries, all areas or all lines; z is left out."""
    if isinstance(geometries, RaggedGeometries):
        return geometries
    if len(geometries) == 0:
        none = np.zeros(1, np.int64)
        return RaggedGeometries(np.zeros((0, 2)), none, none, False)
    kind, xy, offsets = shapely.to_ragged_array(np.asarray(geometries), include_z=False)
    parts, *levels = (np.asarray(level, np.int64) for level in offsets)
    owners = np.arange(len(parts))
    for level in levels:
        owners = owners[level]
    return RaggedGeometries(xy, parts, owners, kind in LINES)


def chain_offsets(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The offsets of ragged arrays laid end to end, from their own, which begin with 0."""
    ends = np.cumsum([part[-1] for part in parts])
    shifted = [part[1:] + end - part[-1] for part, end in zip(parts, ends, strict=True)]
    return np.concatenate([np.zeros(1, np.int64), *shifted])
