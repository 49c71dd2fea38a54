"""Building footprints with few straight walls."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse

from geoseg.errors import InputError, OptionError
from geoseg.polygons.chains import FloatArray
from geoseg.polygons.noding import insert_touching_corners
from geoseg.polygons.outlines import regularize_ring, thin_ring
from geoseg.polygons.party_walls import Positions, straighten_shared
from geoseg.polygons.rings import Int32, Int64, pack_keys

# How far a vertex may be from a pixel corner, in pixels.
OFF_GRID_PX = 0.01


def regularize_buildings(geometries: NDArray[np.object_], *, pixel_m: float, tolerance_m: float) -> NDArray[np.object_]:
    """Footprints with straight walls, right-angled where the staircase allows it, shared walls still shared.

    Every corner lies within the tolerance of the staircase it came from. What touched still touches; nothing overlaps
    that did not. Courtyards stay. A group of touching buildings depends on nothing outside it, unless it comes
    to overlap a neighbour: then both keep more of their staircases. So groups may come in any batches that leave those
    within twice the tolerance of each other together.

    Args:
        geometries: (n,) shapely Polygons, outlines of pixels, edges along rows and columns.
        pixel_m: side of a pixel in the unit of the coordinates.
        tolerance_m: how far a corner may be from the staircase in the same unit; four pixels suit the outlines that
            networks draw, less keeps more detail.

    Returns:
        (n,) shapely Polygons, valid, none empty.

    Raises:
        InputError: something is no polygon of pixels.
        OptionError: a length is not positive.
    """
    geometries = np.asarray(geometries, object)
    if not (pixel_m > 0 and tolerance_m > 0):
        raise OptionError(
            f"pixel_m is {pixel_m:g} and tolerance_m is {tolerance_m:g}",
            expected="lengths above 0",
            remedy="give both in the unit of the coordinates",
        )
    if len(geometries) == 0:
        return geometries.copy()
    layer = _Staircases(geometries, pixel_m)
    frozen = np.zeros(len(geometries), bool)
    drawn = layer.straighten(tolerance_m / pixel_m, frozen, np.ones(len(geometries), bool))
    kept = frozen.copy()
    while True:
        faulty = _find_faults(drawn, layer.cluster, kept) | layer.find_far(drawn, tolerance_m / pixel_m)
        if not faulty.any():
            return layer.place(drawn)
        # First the walls of a polygon at fault are only thinned, then those of all that it touches, then nothing is.
        whole = ~np.isin(layer.cluster, layer.cluster[~frozen])
        stuck = np.isin(layer.cluster, layer.cluster[faulty & frozen])
        kept |= np.isin(layer.cluster, layer.cluster[faulty & whole])
        frozen |= faulty | stuck
        again = np.isin(layer.cluster, layer.cluster[faulty]) & ~kept
        drawn = np.where(again, layer.straighten(tolerance_m / pixel_m, frozen, again), drawn)
        drawn = np.where(kept, layer.original, drawn)


class _Staircases:
    """Polygons in whole pixels with common vertices where they touch, and which of them touch."""

    def __init__(self, geometries: NDArray[np.object_], pixel_m: float) -> None:
        self._pixel_m = pixel_m
        coords, ring_offsets, self._polygon_offsets = self._read(geometries)
        self._coords, self._ring_offsets = insert_touching_corners(coords, ring_offsets)
        self._polygon = np.repeat(np.arange(len(geometries)), np.diff(self._polygon_offsets))
        _, index, self._vertex = np.unique(pack_keys(self._coords), return_index=True, return_inverse=True)
        self._vertices = self._coords[index].astype(np.float64)
        owner = np.repeat(self._polygon, np.diff(self._ring_offsets))
        shape = (len(geometries), len(index))
        touch = sparse.csr_array((np.ones(len(owner), np.int8), (owner, self._vertex)), shape=shape)
        both = sparse.block_array([[None, touch], [touch.T, None]])
        self.cluster = sparse.csgraph.connected_components(both, directed=False)[1][: len(geometries)]
        self.touching = np.bincount(self.cluster)[self.cluster] > 1
        self.original = self._build([self._vertices[self._ring(r)] for r in range(len(self._ring_offsets) - 1)])

    def _read(self, geometries: NDArray[np.object_]) -> tuple[Int32, Int64, Int64]:
        kinds = shapely.get_type_id(geometries)
        if (kinds != shapely.GeometryType.POLYGON).any() or shapely.is_empty(geometries).any():
            raise InputError(
                "a geometry is not a Polygon or is empty",
                expected="Polygons",
                remedy="explode MultiPolygons and drop empty ones",
            )
        _, world, (closed_offsets, polygon_offsets) = shapely.to_ragged_array(geometries, include_z=False)
        self._origin = world.min(axis=0)
        exact = (world - self._origin) / self._pixel_m
        coords = np.rint(exact).astype(np.int32)
        closing = np.zeros(len(world), bool)
        closing[closed_offsets[1:] - 1] = True
        slanted = (np.diff(coords, axis=0) != 0).all(axis=1) & ~closing[:-1]
        if np.abs(exact - coords).max() > OFF_GRID_PX or slanted.any():
            raise InputError(
                "an outline does not follow the pixels",
                expected=f"edges along rows and columns, {self._pixel_m:g} apart",
                remedy="give polygons as traced, before any simplification, and the right pixel_m",
            )
        offsets = np.asarray(closed_offsets, np.int64) - np.arange(len(closed_offsets))
        return coords[~closing], offsets, np.asarray(polygon_offsets, np.int64)

    def _ring(self, ring: int | np.integer[Any]) -> Int64:
        return self._vertex[self._ring_offsets[ring] : self._ring_offsets[ring + 1]]

    def straighten(
        self, tolerance_px: float, frozen: NDArray[np.bool_], chosen: NDArray[np.bool_]
    ) -> NDArray[np.object_]:
        """The chosen polygons with straight walls, of the frozen ones thinned only; the others empty.

        In pixels; not yet checked against one another.
        """
        is_node = self._find_nodes()
        meets = np.logical_or.reduceat(is_node[self._vertex], self._ring_offsets[:-1])
        none = np.empty(0, np.int64)
        rings = [np.empty((0, 2))] * len(meets)
        for r in np.flatnonzero(chosen[self._polygon] & ~meets):
            ring = self._vertices[self._ring(r)]
            rings[r] = thin_ring(ring) if frozen[self._polygon[r]] else regularize_ring(ring, none, tolerance_px)[0]
        shared = np.flatnonzero(chosen[self._polygon] & meets)
        for members in _split_by(self.cluster[self._polygon[shared]], shared):
            polygons, owners = np.unique(self._polygon[members], return_inverse=True)
            vertices, inverse = np.unique(np.concatenate([self._ring(r) for r in members]), return_inverse=True)
            cuts = np.cumsum([len(self._ring(r)) for r in members])[:-1]
            straight = straighten_shared(
                np.split(inverse, cuts),
                owners.tolist(),
                Positions(self._vertices[vertices], is_node[vertices]),
                frozen=frozen[polygons],
                tolerance_px=tolerance_px,
            )
            for r, ring in zip(members, straight, strict=True):
                rings[r] = ring
        return self._build(rings)

    def find_far(self, polygons: NDArray[np.object_], tolerance_px: float) -> NDArray[np.bool_]:
        """Which polygons have a vertex beyond the tolerance: of strokes, only the distance to the whole is checked."""
        some = np.flatnonzero(self.touching)
        xy, owner = shapely.get_coordinates(polygons[some], return_index=True)
        edges = shapely.boundary(self.original[some])
        shapely.prepare(edges)
        far = ~shapely.dwithin(edges[owner], shapely.points(xy), tolerance_px)
        found = np.zeros(len(polygons), bool)
        found[some[owner[far]]] = True
        return found

    def _find_nodes(self) -> NDArray[np.bool_]:
        """Whether more than two boundaries meet at a vertex."""
        after = np.arange(1, len(self._vertex) + 1)
        after[self._ring_offsets[1:] - 1] = self._ring_offsets[:-1]
        n = len(self._vertices)
        one, two = self._vertex, self._vertex[after]
        edges = np.unique(np.minimum(one, two) * n + np.maximum(one, two))
        return np.bincount(np.concatenate([edges // n, edges % n]), minlength=n) > 2

    def _build(self, rings: list[FloatArray]) -> NDArray[np.object_]:
        """Polygons from rings; one of fewer than three vertices becomes an empty polygon."""
        sound = np.array([len(ring) >= 3 for ring in rings])
        closed = [
            np.concatenate([ring, ring[:1]]) if ok else np.zeros((4, 2)) for ring, ok in zip(rings, sound, strict=True)
        ]
        offsets = np.cumsum([0] + [len(ring) for ring in closed])
        polygons = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, np.concatenate(closed), (offsets, self._polygon_offsets)
        )
        return np.asarray(polygons, object)

    def place(self, polygons: NDArray[np.object_]) -> NDArray[np.object_]:
        """Pixels to the coordinates that came."""
        return np.asarray(shapely.transform(polygons, lambda xy: self._origin + xy * self._pixel_m), object)


def _find_faults(
    polygons: NDArray[np.object_], cluster: NDArray[np.int32], kept: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which polygons may not stay as they are: invalid, not in a coverage with those they touched, or overlapping."""
    open_to = ~kept
    faulty = open_to & (~shapely.is_valid(polygons) | (shapely.area(polygons) == 0))
    for members in _split_by(cluster, np.arange(len(cluster))):
        if len(members) > 1 and open_to[members[0]] and not faulty[members].any():
            faulty[members] = ~shapely.is_empty(shapely.coverage_invalid_edges(polygons[members]))
    sound = np.flatnonzero(~faulty)
    one, two = shapely.STRtree(polygons[sound]).query(polygons[sound], predicate="intersects")
    one, two = sound[one], sound[two]
    apart = (one < two) & (cluster[one] != cluster[two]) & (open_to[one] | open_to[two])
    one, two = one[apart], two[apart]
    overlap = shapely.area(shapely.intersection(polygons[one], polygons[two])) > 0
    faulty[one[overlap]] = faulty[two[overlap]] = True
    return np.asarray(faulty & open_to, bool)


def _split_by(label: NDArray[np.int32], numbers: Int64) -> list[Int64]:
    """The numbers of each label, in the order of labels."""
    order = np.argsort(label, kind="stable")
    return np.split(numbers[order], np.flatnonzero(np.diff(label[order])) + 1) if len(numbers) else []
