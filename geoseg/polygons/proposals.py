"""Which regular outlines are in force, and what that means for the arcs of a batch.

A ring's outline is proposed as a whole and given up as a whole. Junctions move with it, and what ends there follows.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.arcs import SUBPIXEL_BITS, SUBPIXELS, Arcs
from geoseg.polygons.footprints import Footprints, Walls
from geoseg.polygons.pieces import Pieces, bound_pieces
from geoseg.polygons.rings import Int32, Int64, expand_slices, gather_slices
from geoseg.polygons.stored import CornerFile

# Near a junction that moves, its other arcs follow only from where they are farther than this from its new place.
CLEARANCE, CLEARANCE_PX = 1.5, 1.0


class Links(NamedTuple):
    """What proposals mean for the arcs of a batch.

    Args:
        wall: (arcs,) int64, position in `walls` or -1.
        walls: new courses; `owners` are positions among the proposals.
        movers: (arcs, 2) int64, the proposal that moves the first and the last vertex, or -1.
        places: (arcs, 4) int32, where to: row, col, row, col.
        cuts: (arcs, 2) int64, positions in the arc between which no move is felt.
    """

    wall: Int64
    walls: Walls
    movers: Int64
    places: Int32
    cuts: Int64

    def find_owners(self, rings: Int64, arc_offsets: Int64) -> Int64:
        """The proposals that have to do with the arcs of rings; `arc_offsets` are of all rings into the arcs."""
        arcs, _ = expand_slices(arc_offsets, rings)
        walls = self.wall[arcs]
        owners = np.concatenate([self.walls.owners[walls[walls >= 0]], self.movers[arcs].ravel()])
        return owners[owners >= 0]


class _Claims(NamedTuple):
    """What proposals claim: arrays as in `Footprints`, but of walls only where their corners are in a file."""

    rings: Int64
    boxes: Int32
    keys: Int64
    owners: Int64
    starts: Int64
    sizes: Int32
    nodes: Int64
    node_owners: Int64
    places: Int32


class Proposals:
    """All proposals of a raster: 25 bytes a ring, 24 a junction; 28 for arcs with two polygons.

    Args:
        path: a file for the corners of walls with two polygons.

    Attributes:
        active: (n,) bool, which are in force.
        boxes: (n, 4) int32, what each reaches (first row, first col, last row, last col), in 1/256 pixels.
    """

    def __init__(self, path: Path) -> None:
        self._corners = CornerFile(path)
        self._found: list[_Claims] = []
        self._rings = self._nodes = self._node_owners = np.zeros(0, np.int64)
        self._places = np.zeros((0, 2), np.int32)
        self._keys = self._owners = self._starts = np.zeros(0, np.int64)
        self._sizes = np.zeros(0, np.int32)
        self.boxes = np.zeros((0, 4), np.int32)
        self.active: NDArray[np.bool_] = np.zeros(0, bool)

    def add(self, found: Footprints) -> Walls:
        """Take over proposals but for the walls behind which no polygon lies, which are handed back."""
        walls = _take_walls(found.walls, np.flatnonzero(found.is_single == 0))
        starts = walls.offsets[:-1] + self._corners.append(walls.coords)
        sizes = np.diff(walls.offsets).astype(np.int32)
        courses = walls.keys, walls.owners, starts, sizes
        self._found.append(_Claims(found.rings, found.boxes, *courses, found.nodes, found.node_owners, found.places))
        return _take_walls(found.walls, np.flatnonzero(found.is_single))

    def settle(self, without: Int64) -> None:
        """Drop those of the rings `without`, and those that claim a junction or an arc that one of a lesser key claims.

        Args:
            without: (n,) int64 keys of rings.
        """
        if not self._found:
            return
        columns = [list(column) for column in zip(*self._found, strict=True)]
        self._found = []
        claims = _Claims(*(np.concatenate(columns.pop(0)) for _ in _Claims._fields))
        yielding = [_find_later(claims.nodes, claims.node_owners), _find_later(claims.keys, claims.owners)]
        kept = ~np.isin(claims.rings, np.concatenate([*yielding, without]))
        order = np.flatnonzero(kept)[np.argsort(claims.rings[kept])]
        self._rings, self.boxes = claims.rings[order], claims.boxes[order]
        self.active = np.ones(len(order), bool)
        order, self._owners = self._keep(claims.keys, claims.owners)
        self._keys, self._starts, self._sizes = claims.keys[order], claims.starts[order], claims.sizes[order]
        mine = np.flatnonzero(np.isin(claims.node_owners, self._rings))
        mine = mine[np.argsort(claims.nodes[mine])]
        self._nodes, self._places = claims.nodes[mine], claims.places[mine]
        self._node_owners = np.searchsorted(self._rings, claims.node_owners[mine])

    def link(self, arcs: Arcs, single: Walls) -> Links:
        """What the proposals mean for arcs as drawn.

        Args:
            arcs: of a batch.
            single: what `add` handed back for this batch.
        """
        shared, _ = _look_up(self._keys, arcs.keys)
        order, owners = self._keep(single.keys, single.owners)
        alone = _take_walls(single, order)._replace(owners=owners)
        walls = _join_walls([self._read_walls(np.unique(shared[shared >= 0])), alone])
        walls = _take_walls(walls, np.argsort(walls.keys))
        wall, _ = _look_up(walls.keys, arcs.keys)
        movers = np.full((len(arcs.keys), 2), -1, np.int64)
        places = np.zeros((len(arcs.keys), 4), np.int32)
        for end, vertices in enumerate((arcs.offsets[:-1], arcs.offsets[1:] - 1)):
            nodes = arcs.coords[vertices].astype(np.int64) >> SUBPIXEL_BITS
            node, is_moved = _look_up(self._nodes, nodes[:, 0] << 32 | nodes[:, 1])
            is_moved &= (arcs.is_ring == 0) & (wall < 0)
            movers[is_moved, end] = self._node_owners[node[is_moved]]
            places[is_moved, 2 * end : 2 * end + 2] = self._places[node[is_moved]]
        return Links(wall, walls, movers, places, _cut_ends(arcs, movers, places))

    def reach(self, pieces: Pieces) -> None:
        """Widen the boxes of proposals by all pieces that depend on them."""
        boxes = bound_pieces(pieces)
        for needs in pieces.needs.T:
            depend = needs >= 0
            owners = needs[depend] >> 1
            np.minimum.at(self.boxes[:, :2], owners, boxes[depend, :2])
            np.maximum.at(self.boxes[:, 2:], owners, boxes[depend, 2:])

    def list_revoked(self) -> Int64:
        """(n,) int64 keys of rings whose proposals are not in force any more."""
        return self.find_keys(np.flatnonzero(~self.active))

    def find_keys(self, which: Int64) -> Int64:
        """Keys of the rings of proposals, both (m,) int64."""
        keys: Int64 = self._rings[which]
        return keys

    def revoke(self, which: Int64) -> Int32:
        """Give up proposals ((m,) int64); the (k, 4) boxes of those that were in force."""
        gone = np.unique(which)
        gone = gone[self.active[gone]]
        self.active[gone] = False
        boxes: Int32 = self.boxes[gone]
        return boxes

    def _keep(self, keys: Int64, owners: Int64) -> tuple[Int64, Int64]:
        """Which walls are of proposals, in the order of their keys, and the positions of these."""
        position, is_kept = _look_up(self._rings, owners)
        kept = np.flatnonzero(is_kept)
        kept = kept[np.argsort(keys[kept])]
        return kept, position[kept]

    def _read_walls(self, which: Int64) -> Walls:
        offsets = np.zeros(len(which) + 1, np.int64)
        np.cumsum(self._sizes[which], out=offsets[1:])
        coords = self._corners.read(self._starts[which], offsets)
        return Walls(self._keys[which], self._owners[which], offsets, coords)


def _take_walls(walls: Walls, order: Int64) -> Walls:
    coords, offsets = gather_slices(walls.coords, walls.offsets, order)
    return Walls(walls.keys[order], walls.owners[order], offsets, coords)


def _join_walls(parts: list[Walls]) -> Walls:
    shifts = np.cumsum([0, *(len(part.coords) for part in parts)])
    offsets = [part.offsets[1:] + shift for part, shift in zip(parts, shifts, strict=False)]
    return Walls(
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.owners for part in parts]),
        np.concatenate([np.zeros(1, np.int64), *offsets]),
        np.concatenate([part.coords for part in parts]),
    )


def _find_later(claims: Int64, owners: Int64) -> Int64:
    """The owners of claims ((n,) int64) that another, lesser owner has laid as well, or that are laid twice."""
    order = np.lexsort((owners, claims))
    again = claims[order][1:] == claims[order][:-1]
    later: Int64 = owners[order][1:][again]
    return later


def _look_up(sorted_keys: Int64, keys: Int64) -> tuple[Int64, NDArray[np.bool_]]:
    """Where keys are among sorted ones, or -1, and whether they are."""
    if len(sorted_keys) == 0:
        return np.full(len(keys), -1, np.int64), np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    found = sorted_keys[at] == keys
    return np.where(found, at, -1), found


@kernel
def _cut_ends(arcs: Arcs, movers: Int64, places: Int32) -> Int64:
    """Where arcs are far enough from the new places of their ends; both cuts are the last vertex if nowhere."""
    cuts = np.empty((len(arcs.keys), 2), np.int64)
    for arc in range(len(arcs.keys)):
        start, last = arcs.offsets[arc], arcs.offsets[arc + 1] - 1 - arcs.offsets[arc]
        chain = arcs.coords[start : start + last + 1]
        head, tail = 0, last
        if movers[arc, 0] >= 0:
            head = 1
            while head < last and _is_close(chain[head], chain[0], places[arc, :2]):
                head += 1
        if movers[arc, 1] >= 0:
            tail = last - 1
            while tail > 0 and _is_close(chain[tail], chain[last], places[arc, 2:]):
                tail -= 1
        if head > tail or (head == tail and (head == 0 or tail == last)):
            head = tail = last
            is_loop = chain[0, 0] == chain[last, 0] and chain[0, 1] == chain[last, 1]
            if is_loop and last >= 4:
                head, tail = 1, last - 1
        cuts[arc, 0], cuts[arc, 1] = head, tail
    return cuts


@subkernel
def _is_close(vertex: Int32, old: Int32, new: Int32) -> bool:
    moved = np.hypot(float(new[0] - old[0]), float(new[1] - old[1]))
    away = np.hypot(float(vertex[0] - new[0]), float(vertex[1] - new[1]))
    return bool(away <= CLEARANCE * moved + CLEARANCE_PX * SUBPIXELS)
