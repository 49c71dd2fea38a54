"""Finished polygons as flat arrays: no Python object per polygon until somebody needs one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.kernel import kernel
from geoseg.ragged import RaggedGeometries, chain_offsets

Uint8: TypeAlias = NDArray[np.uint8]
Int32: TypeAlias = NDArray[np.int32]
Int64: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PolygonBatch:
    """Polygons in global pixel corners, each with its class and what its pixels sum up to.

    Only corners where the boundary turns are vertices. A ring starts at its topmost, then leftmost corner, is not
    repeated at its end and has its polygon on the right-hand side of its direction when row 0 is at the top: outer
    rings run clockwise on the screen, holes counter-clockwise. The outer ring comes first, holes follow in the order
    of their first corners. All rings are simple; rings of one polygon may touch at single corners.

    Args:
        class_id: (n,) uint8.
        pixels: (n,) int64, pixels of the polygon.
        confidence_sum: (n,) int64, sum of the confidence (0 to 255) over these pixels; 0 where there is none.
        confidence_min: (n,) uint8, the least confidence of these pixels; 0 where there is none.
        coords: (vertices, 2) int32, (row, col) of global pixel corners; (0, 0) is the raster's upper left corner.
        ring_offsets: (rings + 1,) int64 into `coords`.
        polygon_offsets: (n + 1,) int64 into the rings.
    """

    class_id: Uint8
    pixels: Int64
    confidence_sum: Int64
    confidence_min: Uint8
    coords: Int32
    ring_offsets: Int64
    polygon_offsets: Int64

    def __len__(self) -> int:
        return len(self.class_id)

    @property
    def keys(self) -> Int64:
        """(n,) int64, row * 2^32 + col of the first corner: unique in a raster and independent of tiling."""
        return pack_keys(self.coords[self.ring_offsets[self.polygon_offsets[:-1]]])

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name, as the constructor takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def empty(cls) -> PolygonBatch:
        """A batch without polygons."""
        none = np.zeros(0, np.int64)
        start = np.zeros(1, np.int64)
        small = np.zeros(0, np.uint8)
        return cls(small, none, none, small, np.zeros((0, 2), np.int32), start, start)

    @classmethod
    def concatenate(cls, batches: Iterable[PolygonBatch]) -> PolygonBatch:
        """All polygons of the batches, in their order."""
        parts = [batch for batch in batches if len(batch)]
        if not parts:
            return cls.empty()
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.class_id for part in parts]),
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.confidence_sum for part in parts]),
            np.concatenate([part.confidence_min for part in parts]),
            np.concatenate([part.coords for part in parts]),
            chain_offsets([part.ring_offsets for part in parts]),
            chain_offsets([part.polygon_offsets for part in parts]),
        )

    def take(self, order: NDArray[np.integer]) -> PolygonBatch:
        """The polygons at the positions `order` ((m,) integers from 0 to n - 1), in that order."""
        positions = np.asarray(order, np.int64)
        rings, polygon_offsets = expand_slices(self.polygon_offsets, positions)
        coords, ring_offsets = gather_slices(self.coords, self.ring_offsets, rings)
        return PolygonBatch(
            self.class_id[positions],
            self.pixels[positions],
            self.confidence_sum[positions],
            self.confidence_min[positions],
            coords,
            ring_offsets,
            polygon_offsets,
        )

    def slice(self, start: int, stop: int) -> PolygonBatch:
        """The polygons from position `start` to before `stop`, as views where possible."""
        rings = self.polygon_offsets[start : stop + 1]
        vertices = self.ring_offsets[rings[0] : rings[-1] + 1]
        return PolygonBatch(
            self.class_id[start:stop],
            self.pixels[start:stop],
            self.confidence_sum[start:stop],
            self.confidence_min[start:stop],
            self.coords[vertices[0] : vertices[-1]],
            vertices - vertices[0],
            rings - rings[0],
        )

    def sort(self) -> PolygonBatch:
        """The polygons in the order of their keys."""
        keys = self.keys
        if (keys[1:] > keys[:-1]).all():
            return self
        return self.take(np.argsort(keys))

    def geometries(self, transform: Affine) -> NDArray[np.object_]:
        """Shapely polygons in world coordinates.

        Args:
            transform: affine, (col, row) of a pixel corner to (x, y).

        Returns:
            (n,) object array of polygons.
        """
        xy, rings, polygons, _ = self.flatten(transform)
        shapes: NDArray[np.object_] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, (rings, polygons))
        return shapes

    def flatten(self, transform: Affine) -> RaggedGeometries:
        """The same as flat arrays."""
        coefficients = np.array(tuple(transform)[:6], np.float64)
        world, offsets = close_rings(self.coords, self.ring_offsets, coefficients)
        return RaggedGeometries(world, offsets, self.polygon_offsets, False)


def pack_keys(corners: Int32) -> Int64:
    """One sortable number, row * 2^32 + col, of each corner ((n, 2) int32, not negative)."""
    return (corners[:, 0].astype(np.int64) << 32) | corners[:, 1]


def expand_slices(offsets: Int64, order: Int64) -> tuple[Int64, Int64]:
    """The element numbers of the slices `order` of a ragged array laid end to end, and their new offsets."""
    starts = offsets[order]
    lengths = offsets[order + 1] - starts
    new_offsets = np.zeros(len(order) + 1, np.int64)
    np.cumsum(lengths, out=new_offsets[1:])
    return np.repeat(starts - new_offsets[:-1], lengths) + np.arange(new_offsets[-1]), new_offsets


@kernel
def gather_slices(coords: Int32, offsets: Int64, order: Int64) -> tuple[Int32, Int64]:
    """The slices `order` of a ragged (n, 2) int32 array laid end to end, and their new offsets."""
    new_offsets = np.zeros(len(order) + 1, np.int64)
    for k in range(len(order)):
        new_offsets[k + 1] = new_offsets[k] + offsets[order[k] + 1] - offsets[order[k]]
    gathered = np.empty((new_offsets[-1], 2), np.int32)
    for k in range(len(order)):
        source = offsets[order[k]]
        for target in range(new_offsets[k], new_offsets[k + 1]):
            gathered[target, 0] = coords[source, 0]
            gathered[target, 1] = coords[source, 1]
            source += 1
    return gathered, new_offsets


@kernel
def close_rings(coords: Int32, offsets: Int64, transform: NDArray[np.float64]) -> tuple[NDArray[np.float64], Int64]:
    """World (x, y) of every ring with its first vertex repeated at the end, and the offsets of these rings."""
    a, b, c, d, e, f = transform
    world = np.empty((len(coords) + len(offsets) - 1, 2), np.float64)
    closed = np.empty(len(offsets), np.int64)
    for ring in range(len(offsets)):
        closed[ring] = offsets[ring] + ring
    for ring in range(len(offsets) - 1):
        target = closed[ring]
        for vertex in range(offsets[ring], offsets[ring + 1]):
            row, col = coords[vertex, 0], coords[vertex, 1]
            world[target, 0] = a * col + b * row + c
            world[target, 1] = d * col + e * row + f
            target += 1
        world[target, 0], world[target, 1] = world[closed[ring], 0], world[closed[ring], 1]
    return world, closed
