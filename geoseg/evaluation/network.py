"""Road lines as a graph."""

from __future__ import annotations

import networkx as nx
import numpy as np
import shapely
from numpy.typing import NDArray

# Lines are noded on a millimetre grid, on which "ends on that line" is an exact statement.
_GRID_M = 0.001


def build_network(lines: NDArray[np.object_], *, snap_m: float = 3.0) -> nx.MultiGraph:
    """Join lines into a network whose nodes are junctions and ends only.

    Lines that cross are joined there: what has no levels cannot tell a bridge from a junction. A loose end no further
    than `snap_m` from another road is led to the nearest point of it; a stub beyond a junction that is shorter than
    that is cut off. The network depends neither on the vertices at which the lines were split nor on their order or
    direction. Two nodes may be joined by several edges, and a ring is an edge from a node to itself.

    Args:
        lines: (n,) shapely LineStrings in metres.
        snap_m: how far a loose end may be from the road that it belongs to; centrelines are often drawn to the edge of
            a road only, so half the width of one.

    Returns:
        Nodes are (x, y) in metres; every edge has `geometry`, a LineString from node to node, and `length_m`.
    """
    edges = _node(lines)
    loose, near = _lead_ends(edges, snap_m)
    edges = _node(np.concatenate([edges, shapely.linestrings(np.stack([loose, near], axis=1))]))
    ends, degree = _count_ends(edges)
    is_stub = (degree.min(axis=1) == 1) & (degree.max(axis=1) > 2) & (shapely.length(edges) < snap_m)
    edges = _node(edges[~is_stub])
    graph = nx.MultiGraph()
    ends, _ = _count_ends(edges)
    for edge, (start, stop) in zip(edges, ends.tolist(), strict=True):
        graph.add_edge(tuple(start), tuple(stop), geometry=edge, length_m=edge.length)
    return graph


def _node(lines: NDArray[np.object_]) -> NDArray[np.object_]:
    """(n,) LineStrings that meet at ends only, where there is never just one other; in an order of their own."""
    edges = shapely.get_parts(shapely.line_merge(shapely.union_all(lines, grid_size=_GRID_M)))
    edges = np.asarray(edges[shapely.length(edges) > 0], object)
    edges = edges[np.lexsort((shapely.length(edges), *shapely.bounds(edges).T))]
    _, degree = _count_ends(edges)
    # A ring that nothing meets has no natural start; one that hangs on a junction has.
    free = shapely.is_closed(edges) & (degree[:, 0] == 2)
    edges[free] = shapely.normalize(edges[free])
    return edges


def _count_ends(edges: NDArray[np.object_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(n, 2, 2) x, y of both ends of every edge, and (n, 2) how many ends meet there."""
    if not len(edges):
        return np.zeros((0, 2, 2)), np.zeros((0, 2), np.int64)
    ends = np.stack([shapely.get_coordinates(shapely.get_point(edges, i)) for i in (0, -1)], axis=1)
    _, index, count = np.unique(ends.reshape(-1, 2), axis=0, return_inverse=True, return_counts=True)
    return ends, count[index].reshape(-1, 2)


def _lead_ends(edges: NDArray[np.object_], snap_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(k, 2) loose ends that belong to another edge, and (k, 2) the nearest point of it."""
    ends, degree = _count_ends(edges)
    owner, side = np.nonzero(degree == 1)
    points = shapely.points(ends[owner, side])
    i, j = shapely.STRtree(edges).query(points, predicate="dwithin", distance=snap_m)
    # An end just beyond a junction belongs to that road already.
    other = (owner[i] != j) & ~_meet_near(points[i], edges[owner[i]], edges[j], snap_m)
    i, j = i[other], j[other]
    order = np.lexsort((j, shapely.distance(points[i], edges[j]), i))
    i, first = np.unique(i[order], return_index=True)
    j = j[order][first]
    near = shapely.line_interpolate_point(edges[j], shapely.line_locate_point(edges[j], points[i]))
    return shapely.get_coordinates(points[i]), shapely.get_coordinates(near)


def _meet_near(
    points: NDArray[np.object_], edges: NDArray[np.object_], others: NDArray[np.object_], snap_m: float
) -> NDArray[np.bool_]:
    meeting = shapely.intersection(edges, others)
    return np.asarray(shapely.dwithin(points, meeting, snap_m))
