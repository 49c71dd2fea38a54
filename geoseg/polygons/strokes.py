"""Boundaries of touching polygons as strokes: lines that run straight on where others end at them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from geoseg.polygons.chains import FloatArray, step_along
from geoseg.polygons.rings import Int64

# How far from a node the direction of an arc is read, and the least cosine with which one runs on as another.
REACH_PX = 8
STRAIGHT_ON = math.cos(math.radians(35))


@dataclass(frozen=True, eq=False)
class Arc:
    """A boundary between two nodes.

    Args:
        path: (n,) int64 vertices, from the lesser end to the greater one.
        polygons: those that have it, one or two.
    """

    path: Int64
    polygons: list[int]


@dataclass(frozen=True)
class Stroke:
    """Arcs one behind the other, each with whether it runs forward; a closed stroke ends where it starts."""

    arcs: list[tuple[int, bool]]
    closed: bool


def cut_arcs(
    rings: Sequence[Int64], owners: Sequence[int], is_node: np.ndarray
) -> tuple[list[Arc], list[list[tuple[int, bool]]]]:
    """Cut rings at nodes; what two rings share becomes one arc.

    Args:
        rings: vertex numbers of each ring, not closed, at least one of them a node.
        owners: the polygon of each ring.
        is_node: by vertex number.

    Returns:
        The arcs, in the order of their first two vertices, and for each ring its arcs and whether they run forward.
    """
    found: dict[tuple[int, int], Arc] = {}
    pieces: list[list[tuple[tuple[int, int], bool]]] = []
    for ring, owner in zip(rings, owners, strict=True):
        nodes = np.flatnonzero(is_node[ring])
        closed = np.append(np.roll(ring, -nodes[0]), ring[nodes[0]])
        cuts = np.append(nodes - nodes[0], len(ring))
        pieces.append([])
        for a, b in pairwise(cuts):
            path = closed[a : b + 1]
            ahead, astern = (int(path[0]), int(path[1])), (int(path[-1]), int(path[-2]))
            forward = ahead <= astern
            key = min(ahead, astern)
            arc = found.setdefault(key, Arc(path if forward else path[::-1], []))
            arc.polygons.append(owner)
            pieces[-1].append((key, forward))
    number = {key: i for i, key in enumerate(sorted(found))}
    return [found[key] for key in sorted(found)], [[(number[key], forward) for key, forward in p] for p in pieces]


def link_strokes(arcs: Sequence[Arc], vertices: FloatArray) -> list[Stroke]:
    """Join arcs to strokes: at each node the two that continue each other best, as long as any do.

    Args:
        arcs: as `cut_arcs` gives them.
        vertices: (n, 2) float64 positions in pixels.

    Source: Thomson and Richardson, The good continuation principle of perceptual organization applied to the
        generalization of road networks, 1999.
    """
    ends = defaultdict(list)
    for i, arc in enumerate(arcs):
        points, _ = step_along(vertices[arc.path], False)
        reach = min(REACH_PX, len(points) - 1)
        for end, away in ((0, points[reach] - points[0]), (1, points[-1 - reach] - points[-1])):
            ends[int(arc.path[-end])].append((i, end, away / (np.hypot(*away) or 1.0)))
    partner: dict[tuple[int, int], tuple[int, int]] = {}
    for meeting in ends.values():
        pairs = sorted(
            (round(float(one[2] @ two[2]), 9), one[:2], two[:2])
            for k, one in enumerate(meeting)
            for two in meeting[k + 1 :]
            if one[0] != two[0]
        )
        for cosine, here, there in pairs:
            if cosine < -STRAIGHT_ON and here not in partner and there not in partner:
                partner[here], partner[there] = there, here
    strokes, used = [], np.zeros(len(arcs), bool)
    beginnings = [(i, end) for i in range(len(arcs)) for end in (0, 1) if (i, end) not in partner]
    for i, end in beginnings + [(i, 0) for i in range(len(arcs))]:
        if used[i]:
            continue
        chain, here = [], (i, end)
        while not used[here[0]]:
            used[here[0]] = True
            chain.append((here[0], here[1] == 0))
            beyond = (here[0], 1 - here[1])
            if beyond not in partner:
                break
            here = partner[beyond]
        strokes.append(Stroke(chain, (i, end) in partner))
    return strokes


def trace_stroke(stroke: Stroke, arcs: Sequence[Arc]) -> tuple[Int64, Int64]:
    """The vertices of a stroke (a closed one does not repeat the first) and which of them are its nodes."""
    paths = [arcs[i].path if forward else arcs[i].path[::-1] for i, forward in stroke.arcs]
    lengths = np.cumsum([0] + [len(path) - 1 for path in paths])
    path = np.concatenate([p[:-1] for p in paths] + ([] if stroke.closed else [paths[-1][-1:]]))
    return path, lengths[:-1] if stroke.closed else lengths


def agree_directions(
    angles: FloatArray, weights: FloatArray, neighbours: Sequence[tuple[int, int]], *, within_deg: float = 8.0
) -> FloatArray:
    """Give neighbours whose directions are nearly equal, modulo a right angle, one direction.

    Args:
        angles: (n,) float64 in radians.
        weights: (n,) float64.
        neighbours: pairs of numbers.
        within_deg: what is nearly equal; of groups, the difference of their means.

    Returns:
        (n,) angles, the weighted mean of each group.
    """
    moment = weights * np.exp(4j * angles)
    group = np.arange(len(angles))

    def apart(a: int, b: int) -> float:
        return abs(math.degrees(np.angle(moment[group[a]] * np.conj(moment[group[b]])))) / 4

    for _, a, b in sorted((round(apart(a, b), 9), a, b) for a, b in neighbours):
        one, two = sorted((int(group[a]), int(group[b])))
        if one != two and apart(a, b) < within_deg:
            moment[one] += moment[two]
            group[group == two] = one
    return np.asarray(np.angle(moment[group]) / 4)
