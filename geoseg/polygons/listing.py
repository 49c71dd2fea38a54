"""Arcs into pieces: ordinary ones, and the rigid ones that hold while a proposal is in force."""

from __future__ import annotations

import numpy as np

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.arcs import EAST, NORTH, SOUTH, WEST, Arcs
from geoseg.polygons.loops import copy_vertices
from geoseg.polygons.pieces import Pieces
from geoseg.polygons.proposals import Links
from geoseg.polygons.rings import Int32, Int64, Uint8


@kernel
def list_pieces(arcs: Arcs, kept: Uint8, links: Links) -> Pieces:  # noqa: PLR0915 - three kinds of arcs
    """The pieces of arcs between kept vertices ((vertices,) uint8), each arc once however many sides it has.

    What a proposal touches is listed once for every case: with the proposals in force, and without them.
    """
    most, most_coords = 0, 0
    for arc in range(len(arcs.keys)):
        if arcs.is_single[arc] or not arcs.is_backward[arc]:
            size = arcs.offsets[arc + 1] - arcs.offsets[arc]
            most += size
            most_coords += 2 * size
            if links.wall[arc] >= 0:
                corners = links.walls.offsets[links.wall[arc] + 1] - links.walls.offsets[links.wall[arc]]
                most += corners
                most_coords += 2 * size + 6 * corners
            elif links.movers[arc, 0] >= 0 or links.movers[arc, 1] >= 0:
                most += size + 6
                most_coords += 6 * size + 24
    coords = np.empty((most_coords, 2), np.int32)
    first, last = np.empty(most, np.int64), np.empty(most, np.int64)
    keys, positions = np.empty(most, np.int64), np.zeros(most, np.int64)
    exits, needs = np.zeros(most, np.int64), np.full((most, 2), -1, np.int64)
    out = Pieces(coords, first, last, keys, positions, exits, needs)
    n = 0
    for arc in range(len(arcs.keys)):
        if not arcs.is_single[arc] and arcs.is_backward[arc]:
            continue
        begin = n
        path = arcs.coords[arcs.offsets[arc] : arcs.offsets[arc + 1]]
        stays = kept[arcs.offsets[arc] : arcs.offsets[arc + 1]]
        end = len(path) - 1
        leaving = 0 if arcs.is_ring[arc] else 1 + _find_exit(path[0], path[1])
        arriving = 0 if arcs.is_ring[arc] else 1 + _find_exit(path[end], path[end - 1])
        wall = links.wall[arc]
        one, two = int(links.movers[arc, 0]), int(links.movers[arc, 1])
        head, tail = links.cuts[arc]
        if wall >= 0:
            corners = links.walls.coords[links.walls.offsets[wall] : links.walls.offsets[wall + 1]]
            n = _list_walls(path, corners, arcs.is_ring[arc] == 1, out, n)
            _fill(needs[:, 0], (begin, n), 2 * links.walls.owners[wall] + 1)
            if n > begin:
                exits[begin], exits[n - 1] = 8 * leaving, arriving
                if n - begin == 1:
                    exits[begin] = 8 * leaving + arriving
            middle = n
            n = _list_plain(path, stays, (0, end), (leaving, arriving), out, n)
            _fill(needs[:, 0], (middle, n), 2 * links.walls.owners[wall])
        elif one < 0 and two < 0:
            n = _list_plain(path, stays, (0, end), (leaving, arriving), out, n)
        elif head == end:
            n = _list_moved(path, stays, (0, end), (leaving, arriving), (one, two), links.places[arc], out, n)
        else:
            n = _list_moved(path, stays, (0, head), (leaving, 0), (one, -1), links.places[arc], out, n)
            at_end = arriving if tail == end else 0
            n = _list_plain(path, stays, (head, tail), (leaving if head == 0 else 0, at_end), out, n)
            n = _list_moved(path, stays, (tail, end), (0, arriving), (-1, two), links.places[arc], out, n)
        _fill(keys, (begin, n), arcs.keys[arc])
    used = last[n - 1] + 1 if n else 0
    return Pieces(coords[:used], first[:n], last[:n], keys[:n], positions[:n], exits[:n], needs[:n])


# The first vertex of an arc after a junction lies on a grid line with it, or in the diamond of the first unit edge.
@subkernel
def _find_exit(junction: Int32, vertex: Int32) -> int:
    d_row, d_col = vertex[0] - junction[0], vertex[1] - junction[1]
    if abs(d_row) > abs(d_col):
        return SOUTH if d_row > 0 else NORTH
    return EAST if d_col > 0 else WEST


@subkernel
def _fill(values: Int64, part: tuple[int, int], value: int) -> None:
    for k in range(part[0], part[1]):
        values[k] = value


@subkernel
def _open_piece(out: Pieces, n: int) -> int:
    out.first[n] = out.last[n - 1] + 1 if n else 0
    begin: int = out.first[n]
    return begin


@subkernel
def _list_plain(  # noqa: PLR0917 - arrays of a kernel cannot be keywords
    path: Int32, stays: Uint8, ends: tuple[int, int], exits: tuple[int, int], out: Pieces, n: int
) -> int:
    """Write the pieces between kept vertices of a part of an arc."""
    begin, end = ends
    start = begin
    for k in range(begin + 1, end + 1):
        if not stays[k]:
            continue
        at = _open_piece(out, n)
        copy_vertices(path, (start, k + 1), out.coords, at)
        out.last[n] = at + k - start
        out.positions[n] = start
        out.exits[n] = (8 * exits[0] if start == begin else 0) + (exits[1] if k == end else 0)
        start = k
        n += 1
    return n


@subkernel
def _list_moved(  # noqa: PLR0917 - arrays of a kernel cannot be keywords
    path: Int32,
    stays: Uint8,
    ends: tuple[int, int],
    exits: tuple[int, int],
    movers: tuple[int, int],
    places: Int32,
    out: Pieces,
    n: int,
) -> int:
    """Write a part of an arc for every case of its movers: as ordinary pieces, or as one rigid piece."""
    if movers[0] < 0 and movers[1] < 0:
        return n
    begin, end = ends
    for one in range(2 if movers[0] >= 0 else 1):
        for two in range(2 if movers[1] >= 0 else 1):
            start = n
            if one or two:
                at = _open_piece(out, n)
                head, tail = places[:2] if one else path[begin], places[2:] if two else path[end]
                out.coords[at, 0], out.coords[at, 1] = head[0], head[1]
                at = copy_vertices(path, (begin, end + 1), out.coords, at + 1)
                out.coords[at, 0], out.coords[at, 1] = tail[0], tail[1]
                out.last[n] = at
                out.exits[n] = 8 * exits[0] + exits[1]
                n += 1
            else:
                n = _list_plain(path, stays, ends, exits, out, n)
            if movers[0] >= 0:
                _fill(out.needs[:, 0], (start, n), 2 * movers[0] + one)
            if movers[1] >= 0:
                _fill(out.needs[:, 1], (start, n), 2 * movers[1] + two)
    return n


@subkernel
def _list_walls(path: Int32, corners: Int32, is_ring: bool, out: Pieces, n: int) -> int:
    """Write a rigid piece for each wall, with the part of the arc that lies nearest to it."""
    if is_ring:
        edge, foot = _find_foot(path, corners[0])
        turned = np.empty((len(path) + 1, 2), np.int32)
        turned[0, 0], turned[0, 1] = foot
        at = copy_vertices(path, (edge + 1, len(path)), turned, 1)
        at = copy_vertices(path, (1, edge + 1), turned, at)
        turned[at, 0], turned[at, 1] = foot
        path = turned
    edges, feet = _match_corners(path, corners)
    for wall in range(len(corners) - 1):
        at = _open_piece(out, n)
        at = copy_vertices(corners, (wall, wall + 1), out.coords, at)
        at = copy_vertices(feet, (wall, wall + 1), out.coords, at)
        at = copy_vertices(path, (edges[wall] + 1, edges[wall + 1] + 1), out.coords, at)
        at = copy_vertices(feet, (wall + 1, wall + 2), out.coords, at)
        out.last[n] = copy_vertices(corners, (wall + 1, wall + 2), out.coords, at) - 1
        out.positions[n] = -1
        n += 1
    return n


@subkernel
def _find_foot(path: Int32, corner: Int32) -> tuple[int, tuple[np.int32, np.int32]]:
    """The edge nearest to a corner, and where on it, in whole units."""
    best = 0
    foot, least = _project(path[0], path[1], corner)
    for edge in range(1, len(path) - 1):
        here, distance2 = _project(path[edge], path[edge + 1], corner)
        if distance2 < least:
            best, least, foot = edge, distance2, here
    return best, foot


@subkernel
def _project(a: Int32, b: Int32, corner: Int32) -> tuple[tuple[np.int32, np.int32], float]:
    """The vertex nearest to a corner on an edge along rows or columns, or the nearer end of another edge."""
    row, col = a[0], a[1]
    if a[0] == b[0] or a[1] == b[1]:
        row = max(min(a[0], b[0]), min(max(a[0], b[0]), corner[0]))
        col = max(min(a[1], b[1]), min(max(a[1], b[1]), corner[1]))
    else:
        to_a = float(corner[0] - a[0]) ** 2 + float(corner[1] - a[1]) ** 2
        to_b = float(corner[0] - b[0]) ** 2 + float(corner[1] - b[1]) ** 2
        if to_b < to_a:
            row, col = b[0], b[1]
    return (row, col), float(corner[0] - row) ** 2 + float(corner[1] - col) ** 2


@subkernel
def _match_corners(path: Int32, corners: Int32) -> tuple[Int64, Int32]:
    """Where on a path corners came from, in its order: edges and feet with the least sum of squared distances.

    The first and the last corner came from the ends of the path.
    """
    m, n = len(corners), len(path) - 1
    feet = np.empty((m, 2), np.int32)
    edges = np.zeros(m, np.int64)
    cost, back = np.zeros(n), np.zeros((m, n), np.int64)
    for j in range(1, m - 1):
        least, best = np.inf, 0
        for edge in range(n):
            if cost[edge] < least:
                least, best = cost[edge], edge
            _, distance2 = _project(path[edge], path[edge + 1], corners[j])
            back[j, edge] = best
            cost[edge] = least + distance2
    edge = 0
    for other in range(n):
        if cost[other] < cost[edge]:
            edge = other
    for j in range(m - 2, 0, -1):
        edges[j] = edge
        here, _ = _project(path[edge], path[edge + 1], corners[j])
        feet[j, 0], feet[j, 1] = here
        edge = back[j, edge]
    copy_vertices(path, (0, 1), feet, 0)
    copy_vertices(path, (n, n + 1), feet, m - 1)
    edges[0], edges[m - 1] = 0, n - 1
    return edges, feet


@kernel
def place_arcs(arcs: Arcs, kept: Uint8, links: Links, active: Uint8) -> Arcs:
    """The arcs of kept vertices only, with the courses and ends that active proposals ((n,) uint8) give them."""
    most = len(links.walls.coords) * 2
    for k in range(len(kept)):
        most += kept[k] != 0
    coords = np.empty((most, 2), np.int32)
    offsets = np.zeros(len(arcs.offsets), np.int64)
    for arc in range(len(arcs.keys)):
        n, first, last = offsets[arc], arcs.offsets[arc], arcs.offsets[arc + 1] - 1
        wall = links.wall[arc]
        one, two = links.movers[arc, 0], links.movers[arc, 1]
        is_one, is_two = one >= 0 and active[one] != 0, two >= 0 and active[two] != 0
        if wall >= 0 and active[links.walls.owners[wall]]:
            corners = links.walls.coords[links.walls.offsets[wall] : links.walls.offsets[wall + 1]]
            n = copy_vertices(corners, (0, len(corners)), coords, n)
        else:
            head, tail = first + links.cuts[arc, 0], first + links.cuts[arc, 1]
            is_whole = links.cuts[arc, 0] == last - first and (is_one or is_two)
            for k in range(first, last + 1):
                is_passed = is_whole or (is_one and k < head) or (is_two and k > tail)
                if kept[k] and (k in (first, last) or not is_passed):
                    row, col = arcs.coords[k, 0], arcs.coords[k, 1]
                    if k == first and is_one:
                        row, col = links.places[arc, 0], links.places[arc, 1]
                    elif k == last and is_two:
                        row, col = links.places[arc, 2], links.places[arc, 3]
                    coords[n, 0], coords[n, 1] = row, col
                    n += 1
        offsets[arc + 1] = n
    return Arcs(
        coords[: offsets[-1]],
        offsets,
        arcs.keys,
        arcs.is_ring,
        arcs.is_backward,
        arcs.is_single,
        arcs.ring_offsets,
    )
