"""A road network: lines from node to node, and their attributes as columns of a layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import GEOD, GeoGrid

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

NODE_STEPS = 16
"""Nodes lie on a lattice of so many steps a pixel, on which positions are numbers."""


@dataclass(frozen=True, eq=False)
class RoadBatch:
    """n road segments: (n,) LineStrings in the CRS, and (n,) columns by name."""

    geometries: NDArray[np.object_]
    columns: dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class RoadSegments:
    """A road network or a part of it: m segments, which meet where they start or stop at the same position.

    Args:
        offsets: (m + 1,) int64, where each segment starts in `coords`.
        coords: (v, 2) float64 (row, col) in pixels, (0, 0) is the upper left corner of the raster.
        width_m: (m,) float64.
        width_std_m: (m,) float64, spread of the width along the segment; not a number for bridges.
        confidence: (m,) float64, 0 to 1, not a number where unknown.
        bridged: (m,) bool, whether the segment closes a gap.
        class_id: the class of roads.
    """

    offsets: Int64
    coords: Float64
    width_m: Float64
    width_std_m: Float64
    confidence: Float64
    bridged: NDArray[np.bool_]
    class_id: int

    def __len__(self) -> int:
        return len(self.bridged)

    def without_points(self) -> RoadSegments:
        """Those that are longer than a point."""
        starts = self.offsets[:-1]
        extent = [at.reduceat(self.coords, starts) for at in (np.maximum, np.minimum)]
        kept = (extent[0] > extent[1]).any(axis=1)
        sizes = np.diff(self.offsets)
        return RoadSegments(
            np.concatenate([[0], np.cumsum(sizes[kept])]),
            self.coords[np.repeat(kept, sizes)],
            self.width_m[kept],
            self.width_std_m[kept],
            self.confidence[kept],
            self.bridged[kept],
            self.class_id,
        )

    def describe(self, grid: GeoGrid) -> RoadBatch:
        """Segments and their columns.

        The columns are class_id, confidence, length_m, width_m, width_std_m, node_from, node_to and bridged.
        """
        xy = np.stack(grid.to_world(*self.coords.T), axis=1)
        columns: dict[str, NDArray[np.generic]] = {
            "class_id": np.full(len(self), self.class_id, np.int64),
            "confidence": self.confidence,
            "length_m": _measure(xy, self.offsets, grid),
            "width_m": self.width_m,
            "width_std_m": self.width_std_m,
            "node_from": number_nodes(self.coords[self.offsets[:-1]], grid),
            "node_to": number_nodes(self.coords[self.offsets[1:] - 1], grid),
            "bridged": self.bridged,
        }
        lines = shapely.from_ragged_array(shapely.GeometryType.LINESTRING, xy, (self.offsets,))
        return RoadBatch(np.asarray(lines, object), columns)


def number_nodes(node_px: Float64, grid: GeoGrid) -> Int64:
    """(n,) int64 from 0, by position in the grid alone, of nodes (n, 2); below 2**53 up to 5 million pixels square."""
    row, col = np.rint(node_px * NODE_STEPS).astype(np.int64).T
    return np.asarray(row * (NODE_STEPS * grid.cols + 1) + col, np.int64)


def _measure(xy: Float64, offsets: Int64, grid: GeoGrid) -> Float64:
    """(m,) geodesic lengths in metres."""
    lon, lat = grid.to_lonlat.transform(xy[:, 0], xy[:, 1])
    _, _, step = GEOD.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
    step = np.append(step, 0.0)
    step[offsets[1:] - 1] = 0.0
    return np.add.reduceat(step, offsets[:-1])
