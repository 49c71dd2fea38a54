"""Regular outlines proposed for rings that touch one another: one proposal for all of them, shared walls shared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.polygons.arcs import SUBPIXELS, Arcs
from geoseg.polygons.footprints import LARGEST_RING, Footprints, Frame, Hits, Walls, find_unsound
from geoseg.polygons.marks import MARK_BITS
from geoseg.polygons.outlines import find_far_rings
from geoseg.polygons.party_walls import straighten_shared
from geoseg.polygons.rings import Int32, Int64, PolygonBatch, expand_slices, pack_keys
from geoseg.polygons.strokes import TouchingRings, walk_rings
from geoseg.polygons.unions import group_owners
from geoseg.polygons.wall_hits import WallHits

# Of more rings each is proposed by itself.
LARGEST_GROUP = 64


class _Rings(NamedTuple):
    """Rings with their arcs.

    Args:
        keys: (n,) int64, as in `Footprints`.
        groups: (n,) int64, number of the group of each.
        coords: (vertices, 2) int32 corners with marks.
        offsets: (n + 1,) int64 into `coords`.
        arc_keys: (arcs,) int64, from each ring's first junction.
        is_backward: (arcs,) uint8, as in `Arcs`.
        arc_offsets: (n + 1,) int64 into the arcs.
    """

    keys: Int64
    groups: Int64
    coords: Int32
    offsets: Int64
    arc_keys: Int64
    is_backward: NDArray[np.uint8]
    arc_offsets: Int64

    def take(self, order: Int64) -> _Rings:
        vertices, offsets = expand_slices(self.offsets, order)
        arcs, arc_offsets = expand_slices(self.arc_offsets, order)
        return _Rings(
            self.keys[order],
            self.groups[order],
            self.coords[vertices],
            offsets,
            self.arc_keys[arcs],
            self.is_backward[arcs],
            arc_offsets,
        )

    def join(self, other: _Rings) -> _Rings:
        return _Rings(
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.groups, other.groups]),
            np.concatenate([self.coords, other.coords]),
            np.concatenate([self.offsets, other.offsets[1:] + len(self.coords)]),
            np.concatenate([self.arc_keys, other.arc_keys]),
            np.concatenate([self.is_backward, other.is_backward]),
            np.concatenate([self.arc_offsets, other.arc_offsets[1:] + len(self.arc_keys)]),
        )


class Groups:
    """Which rings touch which: 16 bytes a junction; and those whose group has not come as a whole yet."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._claims: list[tuple[Int64, Int64, NDArray[np.bool_]]] = []
        self._keys = self._group = self._missing = self._held = np.zeros(0, np.int64)
        self._waiting: _Rings | None = None

    def add(self, batch: PolygonBatch, wanted: NDArray[np.bool_], arcs: Arcs) -> None:
        """Look at the junctions of the wanted ((rings,) bool) rings of a batch."""
        at = np.flatnonzero(batch.coords[:, 1] & 1)
        ring = np.searchsorted(batch.ring_offsets, at, side="right") - 1
        at, ring = at[wanted[ring]], ring[wanted[ring]]
        keys = key_rings(arcs)
        is_held = np.diff(batch.ring_offsets) > LARGEST_RING
        first_row, first_col, last_row, last_col = self.frame.border
        row, col = batch.coords[at, 0], batch.coords[at, 1] >> MARK_BITS
        is_held[ring[(row == first_row) | (row == last_row) | (col == first_col) | (col == last_col)]] = True
        self._claims.append((_pack_nodes(batch.coords[at]), keys[ring], is_held[ring]))

    def settle(self) -> None:
        """Find the groups, when all batches have been added."""
        if not self._claims:
            return
        nodes, owners, is_held = (np.concatenate(parts) for parts in zip(*self._claims, strict=True))
        self._claims = []
        keys, ring = np.unique(owners[~is_held], return_inverse=True)
        _, node = np.unique(nodes[~is_held], return_inverse=True)
        group = group_owners(ring, node, len(keys))
        sizes = np.bincount(group, minlength=1)
        fits = (sizes > 1) & (sizes <= LARGEST_GROUP)
        chosen = fits[group]
        self._keys, self._group, self._missing = keys[chosen], group[chosen], sizes
        taken = nodes[~is_held][chosen[ring]]
        self._held = np.unique(owners[is_held][np.isin(nodes[is_held], taken)])

    def take(self, batch: PolygonBatch, arcs: Arcs, hits: Hits) -> tuple[NDArray[np.bool_], Footprints | None]:
        """Which rings of a batch are in groups or touch them, and the outlines of the groups that it completes."""
        keys = key_rings(arcs)
        at = np.searchsorted(self._keys, keys)
        grouped = np.append(self._keys, -1)[at] == keys
        taken = grouped | np.isin(keys, self._held)
        if not grouped.any():
            return taken, None
        groups = np.zeros(len(keys), np.int64)
        groups[grouped] = self._group[at[grouped]]
        rings = _Rings(
            keys, groups, batch.coords, batch.ring_offsets, arcs.keys, arcs.is_backward, arcs.ring_offsets
        ).take(np.flatnonzero(grouped))
        np.subtract.at(self._missing, rings.groups, 1)
        rings = self._waiting.join(rings) if self._waiting else rings
        complete = self._missing[rings.groups] == 0
        self._waiting = rings.take(np.flatnonzero(~complete))
        order = np.lexsort((rings.keys, rings.groups))
        rings = rings.take(order[complete[order]])
        return taken, _draw_groups(rings, self.frame, hits) if len(rings.keys) else None


def key_rings(arcs: Arcs) -> Int64:
    """(rings,) int64 keys of rings, as in `Footprints`."""
    sides = arcs.keys << 1 | arcs.is_backward
    return np.minimum.reduceat(sides, arcs.ring_offsets[:-1]) if len(sides) else sides


def _pack_nodes(corners: Int32) -> Int64:
    return corners[:, 0].astype(np.int64) << 32 | corners[:, 1] >> MARK_BITS


def _draw_groups(rings: _Rings, frame: Frame, hits: Hits) -> Footprints:
    """Outlines of whole groups, ring by ring of them.

    What is at fault is thinned only; if it still is, its group is left out.
    """
    number = np.unique(rings.groups, return_inverse=True)[1]
    owners = rings.keys[np.unique(number, return_index=True)[1]]
    touching = _number_vertices(rings, frame)
    staircases = touching.xy[touching.vertex], touching.offsets
    wall_hits = _place_hits(owners, number, frame, hits)
    is_at_fault = np.zeros(len(rings.keys), bool)
    for _ in range(2):
        xy, offsets, nodes = straighten_shared(
            touching, frozen=is_at_fault, tolerance_px=frame.tolerance_px, hits=wall_hits
        )
        drawn = np.rint(xy[:, ::-1] / frame.pixel * SUBPIXELS)
        found = find_far_rings((xy, offsets), staircases, np.arange(len(rings.keys)), frame.tolerance_px)
        found |= find_unsound(drawn, offsets, nodes, rings.arc_offsets, np.diff(rings.offsets))
        if not found.any():
            break
        is_at_fault |= found
    fits = ~np.isin(number, number[found])
    boxes = np.tile(np.array([2**30, 2**30, -(2**30), -(2**30)], np.int32), (len(owners), 1))
    coords = drawn.astype(np.int32)
    corner = np.repeat(number, np.diff(offsets))
    np.minimum.at(boxes[:, :2], corner, coords)
    np.maximum.at(boxes[:, 2:], corner, coords)
    ring = np.repeat(np.arange(len(fits)), np.diff(rings.arc_offsets))
    keys, arc = np.unique(rings.arc_keys, return_index=True)
    keys, arc = keys[fits[ring[arc]]], arc[fits[ring[arc]]]
    corners, wall_offsets = _walk_arcs(rings, offsets, nodes, arc)
    walls = Walls(keys, owners[number[ring[arc]]], wall_offsets, coords[corners])
    walls = _part_twins(walls, rings, arc)
    places, first = np.unique(_pack_nodes(rings.coords[rings.coords[:, 1] & 1 > 0]), return_index=True)
    places, first = places[fits[ring[first]]], first[fits[ring[first]]]
    is_kept = np.isin(np.arange(len(owners)), number[fits])
    none = np.zeros(len(keys), np.uint8)
    return Footprints(
        owners[is_kept], boxes[is_kept], walls, none, places, owners[number[ring[first]]], coords[nodes[first]]
    )


def _place_hits(owners: Int64, number: Int64, frame: Frame, hits: Hits) -> WallHits:
    """Those of the hits that are of owners ((groups,) int64 keys); `number` ((rings,) int64) is the group of each."""
    order = np.argsort(owners)
    at = np.minimum(np.searchsorted(owners[order], hits.keys), len(owners) - 1)
    mine = np.flatnonzero(owners[order][at] == hits.keys)
    group = order[at[mine]]
    by_group = np.argsort(group, kind="stable")
    places = hits.places[mine[by_group], ::-1] * frame.pixel[::-1] / SUBPIXELS
    return WallHits(group[by_group], places, number)


# A slit between two rings has a wall on either side. Where both lie on one line, no slit would be left.
def _part_twins(walls: Walls, rings: _Rings, arc: Int64) -> Walls:
    """Give one of two walls from the same place to the same place the corner that is farthest on its side."""
    straight = np.flatnonzero(np.diff(walls.offsets) == 2)
    ends = np.sort(pack_keys(walls.coords[walls.offsets[straight][:, None] + [0, 1]].reshape(-1, 2)).reshape(-1, 2))
    order = np.lexsort(ends.T)
    again = np.flatnonzero((ends[order][1:] == ends[order][:-1]).all(axis=1))
    begin = np.flatnonzero(rings.coords[:, 1] & 1)
    chosen, corners = [], []
    for twins in zip(straight[order[again]], straight[order[again + 1]], strict=True):
        start, stop = walls.coords[walls.offsets[twins[0]]] + np.int64(0), walls.coords[walls.offsets[twins[0]] + 1]
        found = []
        for wall in twins:
            path = rings.coords[_walk_arcs(rings, rings.offsets, begin, arc[[wall]])[0]].astype(np.int64)
            path[:, 1] >>= MARK_BITS
            is_turned = (walls.coords[walls.offsets[wall]] != start).any()
            found.append(SUBPIXELS * (path[::-1] if is_turned else path))
        loop = np.concatenate([found[0], found[1][::-1]])
        side = np.sign(np.sum(_cross(loop, np.roll(loop, -1, axis=0) - loop)))
        off = [_cross(stop - start, path - start) * turn for path, turn in zip(found, (-side, side), strict=True)]
        one = int(off[1].max() > off[0].max())
        chosen.append(walls.offsets[twins[one]] + 1)
        corners.append(found[one][np.argmax(off[one])])
    if not chosen:
        return walls
    longer = np.zeros(len(walls.keys) + 1, np.int64)
    longer[np.searchsorted(walls.offsets, chosen)] = 1
    return walls._replace(
        offsets=walls.offsets + np.cumsum(longer), coords=np.insert(walls.coords, chosen, corners, axis=0)
    )


def _walk_arcs(rings: _Rings, offsets: Int64, nodes: Int64, arcs: Int64) -> tuple[Int64, Int64]:
    """Places along arcs in their canonical direction in rings with these offsets, in which `nodes` are the junctions.

    The places arc by arc, and their offsets.
    """
    ring = np.searchsorted(rings.arc_offsets, arcs, side="right") - 1
    is_last = arcs + 1 == rings.arc_offsets[ring + 1]
    after = nodes[np.where(is_last, rings.arc_offsets[ring], arcs + 1)]
    steps = (after - nodes[arcs] - 1) % np.diff(offsets)[ring] + 1
    return walk_rings(offsets, ring, nodes[arcs], steps, rings.is_backward[arcs] != 0)


def _cross(one: Int64, two: Int64) -> Int64:
    return one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]


def _number_vertices(rings: _Rings, frame: Frame) -> TouchingRings:
    keys, vertex = np.unique(_pack_nodes(rings.coords), return_inverse=True)
    height, width = frame.pixel
    is_node = np.zeros(len(keys), bool)
    is_node[vertex[rings.coords[:, 1] & 1 > 0]] = True
    xy = np.stack([(keys & 0xFFFFFFFF) * width, (keys >> 32) * height], axis=1)
    return TouchingRings(vertex, rings.offsets, np.arange(len(rings.keys)), xy, is_node)
