"""Which regular outlines are in force, and what that means for the arcs of a batch.

A ring's outline is proposed as a whole and given up as a whole. Junctions move with it, and what ends there follows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.arcs import SUBPIXEL_BITS, SUBPIXELS, Arcs
from geoseg.polygons.claims import ClaimFile, Claims, look_up
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


WALL = np.dtype([("key", np.int64), ("owner", np.int64), ("start", np.int64), ("size", np.int32)])
"""A claim of an arc with two polygons, and where its corners are in their file."""

NODE = np.dtype([("key", np.int64), ("owner", np.int64), ("place", np.int32, 2)])
"""A claim of a junction, and where it goes."""

WALL_ROW_SHIFT, NODE_ROW_SHIFT = 27, 32


class Proposals:
    """All proposals of a raster: 25 bytes a ring; their claims of junctions and of arcs with two polygons are on disk.

    Args:
        folder: an existing, empty directory.

    Attributes:
        active: (n,) bool, which are in force.
        boxes: (n, 4) int32, what each reaches (first row, first col, last row, last col), in 1/256 pixels.
    """

    def __init__(self, folder: Path) -> None:
        for name in ("walls", "nodes"):
            (folder / name).mkdir()
        self._corners = CornerFile(folder / "corners")
        self._walls = ClaimFile(folder / "walls", WALL, WALL_ROW_SHIFT)
        self._nodes = ClaimFile(folder / "nodes", NODE, NODE_ROW_SHIFT)
        self._found: list[tuple[Int64, Int32]] = []
        self._rings = np.zeros(0, np.int64)
        self.boxes = np.zeros((0, 4), np.int32)
        self.active: NDArray[np.bool_] = np.zeros(0, bool)

    def add(self, found: Footprints) -> Walls:
        """Take over proposals but for the walls behind which no polygon lies, which are handed back."""
        walls = _take_walls(found.walls, np.flatnonzero(found.is_single == 0))
        starts = walls.offsets[:-1] + self._corners.append(walls.coords)
        self._walls.append(_make_claims(WALL, walls.keys, walls.owners, starts, np.diff(walls.offsets)))
        self._nodes.append(_make_claims(NODE, found.nodes, found.node_owners, found.places))
        self._found.append((found.rings, found.boxes))
        return _take_walls(found.walls, np.flatnonzero(found.is_single))

    def settle(self, without: Int64) -> None:
        """Drop those of the rings `without`, and those that claim a junction or an arc that one of a lesser key claims.

        Args:
            without: (n,) int64 keys of rings.
        """
        if not self._found:
            return
        rings, boxes = (np.concatenate(column) for column in zip(*self._found, strict=True))
        self._found = []
        kept = ~np.isin(rings, np.concatenate([self._nodes.find_later(), self._walls.find_later(), without]))
        order = np.flatnonzero(kept)[np.argsort(rings[kept])]
        self._rings, self.boxes = rings[order], boxes[order]
        self.active = np.ones(len(order), bool)
        self._walls.keep(self._rings)
        self._nodes.keep(self._rings)

    def link(self, arcs: Arcs, single: Walls) -> Links:
        """What the proposals mean for arcs as drawn.

        Args:
            arcs: of a batch.
            single: what `add` handed back for this batch.
        """
        claims, is_shared = self._walls.find(np.unique(arcs.keys))
        owners, is_kept = look_up(self._rings, single.owners)
        alone = _take_walls(single._replace(owners=owners), np.flatnonzero(is_kept))
        walls = _join_walls([self._read_walls(claims[is_shared]), alone])
        walls = _take_walls(walls, np.argsort(walls.keys))
        wall, _ = look_up(walls.keys, arcs.keys)
        movers = np.full((len(arcs.keys), 2), -1, np.int64)
        places = np.zeros((len(arcs.keys), 4), np.int32)
        for end, vertices in enumerate((arcs.offsets[:-1], arcs.offsets[1:] - 1)):
            nodes = arcs.coords[vertices].astype(np.int64) >> SUBPIXEL_BITS
            node, is_moved = self._nodes.find(nodes[:, 0] << NODE_ROW_SHIFT | nodes[:, 1])
            is_moved &= (arcs.is_ring == 0) & (wall < 0)
            movers[is_moved, end] = node["owner"][is_moved]
            places[is_moved, 2 * end : 2 * end + 2] = node["place"][is_moved]
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

    def _read_walls(self, claims: Claims) -> Walls:
        offsets = np.zeros(len(claims) + 1, np.int64)
        np.cumsum(claims["size"], out=offsets[1:])
        return Walls(claims["key"], claims["owner"], offsets, self._corners.read(claims["start"], offsets))


def _make_claims(dtype: np.dtype[Any], *columns: NDArray[Any]) -> Claims:
    claims = np.empty(len(columns[0]), dtype)
    for name, column in zip(dtype.names or (), columns, strict=True):
        claims[name] = column
    return claims


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
