"""What of a graph is no road but an artefact of thinning, and junctions that are one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geoseg.roads.chains import Chains
from geoseg.roads.ends import is_outer
from geoseg.roads.lines import Bool, Float64, Int64
from geoseg.roads.scale import RoadScale

MIN_ROAD_M = 10.0
"""A line that meets no other one is a road from this length on."""


def prune(graph: Chains, scale: RoadScale) -> Chains:
    """Drop, all at a time and until there are none, branches, patches and ways round holes that are too short."""
    while not (kept := _find_kept(graph, scale)).all():
        graph = graph.take(kept)
    return graph


def _find_kept(graph: Chains, scale: RoadScale) -> Bool:
    """(m,) bool, edges that are no branches, patches or ways round holes that are too short."""
    degree = graph.degrees()[graph.ends]
    length = graph.spans["length_m"]
    is_loose = degree == 1
    half_m = np.where(degree > 2, graph.radius_m[graph.ends], 0).max(axis=1, initial=0)
    # At the border of the raster a road does not end: it only has to leave the junction.
    least_m = np.where((is_loose & is_outer(graph, scale)[graph.ends]).any(axis=1), half_m, 2 * half_m)
    is_spur = is_loose.any(axis=1) & (length < least_m)
    is_patch = is_loose.all(axis=1) & (length < np.maximum(graph.spans["width_m"], MIN_ROAD_M))
    return np.asarray(~(is_spur | is_patch | _find_detours(graph, length, half_m)), bool)


def _find_detours(graph: Chains, length: Float64, half_m: Float64) -> Bool:
    """(m,) bool, edges that go round a hole in the road and not round a block.

    These are loops, and all but the shortest of edges between the same nodes, whose ring is shorter than that around
    the road's width at its junction.
    """
    a, b = np.sort(graph.ends, axis=1).T
    order = np.lexsort((np.arange(len(graph)), length, b, a))
    first = np.ones(len(graph), bool)
    first[1:] = (np.diff(a[order]) != 0) | (np.diff(b[order]) != 0)
    shortest = order[np.maximum.accumulate(np.where(first, np.arange(len(graph)), 0))]
    ring = np.where(a[order] == b[order], length[order], length[order] + length[shortest])
    found = np.zeros(len(graph), bool)
    found[order] = (~first | (a[order] == b[order])) & (ring < 2 * np.pi * half_m[order])
    return found


def snap_junctions(graph: Chains, scale: RoadScale) -> Chains:
    """Make one node of junctions that are no further from each other than the road is wide, the closest ones first.

    A chain of junctions does not become one: what is joined fits into the width of the road.
    """
    degree, length = graph.degrees(), graph.spans["length_m"]
    a, b = graph.ends.T
    radius = graph.radius_m[graph.ends].max(axis=1, initial=0)
    short = np.flatnonzero((degree[a] > 2) & (degree[b] > 2) & (a != b) & (length <= 2 * radius))
    place = graph.place * np.array(scale.cell_m) / 2
    group = np.arange(len(place))
    box: dict[int, tuple[Float64, Float64]] = {}
    contracted = np.zeros(len(graph), bool)
    for edge in short[np.lexsort((short, length[short]))].tolist():
        first, second = sorted((_root(group, int(a[edge])), _root(group, int(b[edge]))))
        if first == second:
            contracted[edge] = True
            continue
        corners = [box.get(i, (place[i], place[i])) for i in (first, second)]
        low, high = np.minimum(*(c[0] for c in corners)), np.maximum(*(c[1] for c in corners))
        if np.hypot(*(high - low)) <= 2 * radius[edge]:
            group[second] = first
            box[first] = low, high
            contracted[edge] = True
    root = np.array([_root(group, i) for i in range(len(group))], np.int64)
    members = np.bincount(root, minlength=len(root))
    total = np.stack([np.bincount(root, graph.place[:, i], minlength=len(root)) for i in (0, 1)], axis=1)
    centre = np.asarray(total / np.maximum(members, 1)[:, None], np.float64)
    widest = graph.radius_m.copy()
    np.maximum.at(widest, root, graph.radius_m)
    moved = replace(graph, ends=root[graph.ends], place=centre, radius_m=widest)
    return moved.take(~contracted)


def _root(group: Int64, node: int) -> int:
    while group[node] != node:
        group[node] = group[group[node]]
        node = int(group[node])
    return node
