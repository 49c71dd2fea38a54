"""Building footprints with few straight walls."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import InputError, OptionError
from geoseg.polygons.chains import FloatArray
from geoseg.polygons.noding import insert_touching_corners
from geoseg.polygons.outlines import find_far_rings, regularize_rings
from geoseg.polygons.party_walls import straighten_shared
from geoseg.polygons.rings import Int32, Int64, expand_slices, pack_keys
from geoseg.polygons.strokes import TouchingRings
from geoseg.polygons.unions import group_owners

# How far a vertex may be from a pixel corner, in pixels.
OFF_GRID_PX = 0.01

Rings: TypeAlias = tuple[FloatArray, Int64]
"""Coordinates of rings one after the other, (n, 2) in pixels, and their (rings + 1,) offsets."""


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
    rings = layer.straighten(tolerance_m / pixel_m, frozen, np.ones(len(geometries), bool))
    kept, changed = frozen.copy(), ~frozen
    while True:
        drawn = layer.build(rings)
        faulty = _find_faults(drawn, layer.cluster, changed) | layer.find_far(rings, changed, tolerance_m / pixel_m)
        faulty &= ~kept
        if not faulty.any():
            return layer.place(drawn)
        # First the walls of a polygon at fault are only thinned, then those of all that it touches, then nothing is.
        whole = ~np.isin(layer.cluster, layer.cluster[~frozen])
        stuck = np.isin(layer.cluster, layer.cluster[faulty & frozen])
        kept |= np.isin(layer.cluster, layer.cluster[faulty & whole])
        frozen |= faulty | stuck
        changed = np.isin(layer.cluster, layer.cluster[faulty])
        again = changed & ~kept
        source = np.where(kept, 2, again)[layer.polygon]
        rings = _choose_rings([rings, layer.straighten(tolerance_m / pixel_m, frozen, again), layer.rings], source)


class _Staircases:
    """Polygons in whole pixels with common vertices where they touch, and which of them touch."""

    def __init__(self, geometries: NDArray[np.object_], pixel_m: float) -> None:
        self._pixel_m = pixel_m
        coords, ring_offsets, self._polygon_offsets = self._read(geometries)
        coords, offsets = insert_touching_corners(coords, ring_offsets)
        self.polygon = np.repeat(np.arange(len(geometries)), np.diff(self._polygon_offsets))
        keys = pack_keys(coords)
        order = np.argsort(keys, kind="stable")
        is_first = np.diff(keys[order], prepend=-1) != 0
        self._vertex = np.empty(len(keys), np.int64)
        self._vertex[order] = np.cumsum(is_first) - 1
        self._vertices = coords[order[is_first]].astype(np.float64)
        self.rings: Rings = coords.astype(np.float64), offsets
        self._is_node = self._find_nodes()
        self.cluster = self._find_clusters(len(geometries))
        self._meets = np.logical_or.reduceat(self._is_node[self._vertex], offsets[:-1])

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

    def _find_nodes(self) -> NDArray[np.bool_]:
        """Whether more than two boundaries meet at a vertex."""
        offsets = self.rings[1]
        after = np.roll(self._vertex, -1)
        after[offsets[1:] - 1] = self._vertex[offsets[:-1]]
        n = len(self._vertices)
        edges = np.sort(np.minimum(self._vertex, after) * n + np.maximum(self._vertex, after))
        edges = edges[np.diff(edges, prepend=-1) != 0]
        return np.bincount(edges // n, minlength=n) + np.bincount(edges % n, minlength=n) > 2

    def _find_clusters(self, polygons: int) -> Int64:
        """The number of the group of touching polygons to which each belongs: they have nodes in common."""
        owner = np.repeat(self.polygon, np.diff(self.rings[1]))
        at = self._is_node[self._vertex]
        return group_owners(owner[at], self._vertex[at], polygons)

    def straighten(self, tolerance_px: float, frozen: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> Rings:
        """The rings of the chosen polygons with straight walls, of the frozen ones thinned only; the others empty.

        In pixels; not yet checked against one another.
        """
        xy, offsets = self.rings
        alone = np.flatnonzero(chosen[self.polygon] & ~self._meets)
        shared = np.flatnonzero(chosen[self.polygon] & self._meets)
        result = [regularize_rings(xy, offsets, alone, frozen[self.polygon[alone]], tolerance_px)]
        if len(shared):
            vertices, shared_offsets = expand_slices(offsets, shared)
            touching = TouchingRings(
                self._vertex[vertices], shared_offsets, self.polygon[shared], self._vertices, self._is_node
            )
            result.append(straighten_shared(touching, frozen=frozen, tolerance_px=tolerance_px)[:2])
        number = np.full(len(self.polygon), -1)
        number[np.concatenate([alone, shared])] = np.arange(len(alone) + len(shared))
        return _gather_rings(result, number)

    def find_far(self, rings: Rings, changed: NDArray[np.bool_], tolerance_px: float) -> NDArray[np.bool_]:
        """Which polygons have a vertex beyond the tolerance: of strokes, only the distance to the whole is checked."""
        chosen = np.flatnonzero(self._meets & changed[self.polygon])
        found = np.zeros(len(changed), bool)
        found[self.polygon[chosen[find_far_rings(rings, self.rings, chosen, tolerance_px)]]] = True
        return found

    def build(self, rings: Rings) -> NDArray[np.object_]:
        """Polygons from rings; one of fewer than three vertices becomes an empty polygon."""
        xy, offsets = rings
        sizes = np.diff(offsets)
        start = np.where(sizes < 3, len(xy), offsets[:-1])
        sizes = np.where(sizes < 3, 3, sizes)
        closed = np.concatenate([[0], np.cumsum(sizes + 1)])
        step = np.arange(closed[-1]) - np.repeat(closed[:-1], sizes + 1)
        step[closed[1:] - 1] = 0
        xy = np.concatenate([xy, np.zeros((3, 2))])[np.repeat(start, sizes + 1) + step]
        polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, (closed, self._polygon_offsets))
        return np.asarray(polygons, object)

    def place(self, polygons: NDArray[np.object_]) -> NDArray[np.object_]:
        """Pixels to the coordinates that came."""
        return np.asarray(shapely.transform(polygons, lambda xy: self._origin + xy * self._pixel_m), object)


def _find_faults(polygons: NDArray[np.object_], cluster: Int64, changed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which polygons may not stay as they are: invalid, not in a coverage with those they touched, or overlapping.

    Where neither of two polygons has changed, they are in order.
    """
    faulty = np.zeros(len(polygons), bool)
    faulty[changed] = ~shapely.is_valid(polygons[changed]) | (shapely.area(polygons[changed]) == 0)
    touching = np.bincount(cluster)[cluster] > 1
    shared = np.flatnonzero(changed & touching & ~np.isin(cluster, cluster[faulty]))
    # Whoever is at fault in its own group is at fault among all.
    suspect = shared[~shapely.is_empty(shapely.coverage_invalid_edges(polygons[shared]))]
    for label in np.unique(cluster[suspect]):
        members = np.flatnonzero(cluster == label)
        faulty[members] = ~shapely.is_empty(shapely.coverage_invalid_edges(polygons[members]))
    sound = np.flatnonzero(~faulty)
    asking = np.flatnonzero(~faulty & changed)
    one, two = shapely.STRtree(polygons[sound]).query(polygons[asking], predicate="intersects")
    one, two = asking[one], sound[two]
    apart = cluster[one] != cluster[two]
    one, two = one[apart], two[apart]
    overlap = shapely.area(shapely.intersection(polygons[one], polygons[two])) > 0
    faulty[one[overlap]] = faulty[two[overlap]] = True
    return faulty


def _gather_rings(parts: list[Rings], number: Int64) -> Rings:
    """Rings by their number in all parts; where it is -1, one without vertices."""
    shifts = np.cumsum([0, *(len(xy) for xy, _ in parts)])
    offsets = np.concatenate(
        [part[:-1] + shift for (_, part), shift in zip(parts, shifts, strict=False)] + [shifts[-1:]]
    )
    sizes = np.append(np.diff(offsets), 0)[number]
    new_offsets = np.concatenate([[0], np.cumsum(sizes)])
    source = np.repeat(offsets[number] - new_offsets[:-1], sizes) + np.arange(new_offsets[-1])
    return np.concatenate([xy for xy, _ in parts])[source], new_offsets


def _choose_rings(layers: list[Rings], source: Int64) -> Rings:
    """Each ring from the layer that `source` says."""
    return _gather_rings(layers, source * len(source) + np.arange(len(source)))
