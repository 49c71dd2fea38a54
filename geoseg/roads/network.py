"""A road network: nodes, lines between them, and their attributes as columns of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import GEOD, GeoGrid

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

NODE_STEPS = 16
"""Nodes lie on a lattice of so many steps a pixel, on which positions are numbers."""

BATCH_ROADS = 4_096


@dataclass(frozen=True, eq=False)
class RoadBatch:
    """n road segments: (n,) LineStrings in the CRS, and (n,) columns by name."""

    geometries: NDArray[np.object_]
    columns: dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class RoadNetwork:
    """Segments between nodes; both in an order that depends on their positions alone, bridges last.

    Args:
        node_px: (n, 2) float64 (row, col) in pixels, (0, 0) is the upper left corner of the raster.
        offsets: (m + 1,) int64, where each segment starts in `coords`.
        coords: (v, 2) float64 (row, col) in pixels; a segment starts and ends at its nodes.
        ends: (m, 2) int64 numbers of the nodes at the start and the stop of each segment.
        width_m: (m,) float64.
        width_std_m: (m,) float64, spread of the width along the segment; not a number for bridges.
        confidence: (m,) float64, 0 to 1, not a number where unknown.
        bridged: (m,) bool, whether the segment closes a gap.
        class_id: the class of roads.
    """

    node_px: Float64
    offsets: Int64
    coords: Float64
    ends: Int64
    width_m: Float64
    width_std_m: Float64
    confidence: Float64
    bridged: NDArray[np.bool_]
    class_id: int

    def __len__(self) -> int:
        return len(self.ends)

    def without_points(self) -> RoadNetwork:
        """The network with one node at each position, and without segments that are no longer than a point."""
        node_px, number = np.unique(self.node_px, axis=0, return_inverse=True)
        starts = self.offsets[:-1]
        extent = [at.reduceat(self.coords, starts) if len(self) else self.coords for at in (np.maximum, np.minimum)]
        kept = (extent[0] > extent[1]).any(axis=1)
        sizes = np.diff(self.offsets)
        used, ends = np.unique(number.ravel()[self.ends[kept]], return_inverse=True)
        return RoadNetwork(
            node_px[used],
            np.concatenate([[0], np.cumsum(sizes[kept])]),
            self.coords[np.repeat(kept, sizes)],
            ends.reshape(-1, 2),
            self.width_m[kept],
            self.width_std_m[kept],
            self.confidence[kept],
            self.bridged[kept],
            self.class_id,
        )

    def node_ids(self, grid: GeoGrid) -> Int64:
        """(n,) int64 from 0, by position in the grid alone; below 2**53 for rasters up to 5 million pixels square."""
        row, col = np.rint(self.node_px * NODE_STEPS).astype(np.int64).T
        return np.asarray(row * (NODE_STEPS * grid.cols + 1) + col, np.int64)

    def batches(self, grid: GeoGrid, *, size: int = BATCH_ROADS) -> Iterator[RoadBatch]:
        """Segments and their columns, a batch at a time.

        The columns are class_id, confidence, length_m, width_m, width_std_m, node_from, node_to and bridged.

        Args:
            grid: of the raster.
            size: segments of a batch.
        """
        node = self.node_ids(grid)
        for first in range(0, len(self), size):
            part = slice(first, min(first + size, len(self)))
            offsets = self.offsets[part.start : part.stop + 1]
            pixels = self.coords[offsets[0] : offsets[-1]]
            offsets = offsets - offsets[0]
            xy = np.stack(grid.to_world(pixels[:, 0], pixels[:, 1]), axis=1)
            columns: dict[str, NDArray[np.generic]] = {
                "class_id": np.full(part.stop - part.start, self.class_id, np.int64),
                "confidence": self.confidence[part],
                "length_m": _measure(xy, offsets, grid),
                "width_m": self.width_m[part],
                "width_std_m": self.width_std_m[part],
                "node_from": node[self.ends[part, 0]],
                "node_to": node[self.ends[part, 1]],
                "bridged": self.bridged[part],
            }
            lines = shapely.from_ragged_array(shapely.GeometryType.LINESTRING, xy, (offsets,))
            yield RoadBatch(np.asarray(lines, object), columns)


def _measure(xy: Float64, offsets: Int64, grid: GeoGrid) -> Float64:
    """(m,) geodesic lengths in metres."""
    lon, lat = grid.to_lonlat.transform(xy[:, 0], xy[:, 1])
    _, _, step = GEOD.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
    step = np.append(step, 0.0)
    step[offsets[1:] - 1] = 0.0
    return np.add.reduceat(step, offsets[:-1])
