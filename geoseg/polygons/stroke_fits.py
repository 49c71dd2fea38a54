"""The kernels that fit walls to strokes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from geoseg.kernel import kernel, subkernel
from geoseg.polygons.chains import FloatArray
from geoseg.polygons.outlines import fit_stroke, thin_stroke
from geoseg.polygons.rings import Int64, Uint8
from geoseg.polygons.strokes import Boundaries, Strokes


class StrokeFits(NamedTuple):
    """Walls of strokes in the order of their chains, and where their nodes are on them.

    Args:
        nodes: (k,) int64, vertex numbers, in the order of the strokes: one more than a stroke has pieces.
        owner: (k,) int64, the wall of each; without walls, its place among the ends.
        order: (k,) int64, ascending along the chain.
        line: (m, 3) float64, of each wall (ux, uy, c); none if a stroke could not be straightened.
        line_offsets: (strokes + 1,) int64 into `line`.
        ends: (m, 2) float64, of the walls; without walls, the vertices of the thinned staircase.
        end_offsets: (strokes + 1,) int64 into `ends`.
        is_backward: (strokes,) uint8, 1 where the chain runs against the stroke.
    """

    nodes: Int64
    owner: Int64
    order: Int64
    line: FloatArray
    line_offsets: Int64
    ends: FloatArray
    end_offsets: Int64
    is_backward: Uint8


@kernel
def fit_strokes(  # noqa: PLR0917 - arrays of a kernel cannot be keywords
    strokes: Strokes,
    boundaries: Boundaries,
    angles: FloatArray,
    xy: FloatArray,
    tolerance_px: float,
    hits: FloatArray,
    hit_offsets: Int64,
) -> StrokeFits:
    """Fit walls to strokes, along the direction (`angles` by polygon, nan: thinned only) that most of them has.

    Walls retreat from hits: (h, 3) float64, x, y, and 1 or -1 for the left or the right of the stroke.
    """
    count = len(strokes.is_closed)
    most = len(boundaries.offsets) + 2 * count
    for k in range(len(boundaries.path) - 1):
        one, two = xy[boundaries.path[k]], xy[boundaries.path[k + 1]]
        most += math.ceil(abs(one[0] - two[0]) + abs(one[1] - two[1])) + 1
    nodes = np.full(len(strokes.pieces) + count, -1)
    owner, order = np.zeros(len(nodes), np.int64), np.zeros(len(nodes), np.int64)
    line, ends = np.empty((most, 3)), np.empty((most, 2))
    line_offsets, end_offsets = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    is_backward = np.zeros(count, np.uint8)
    for s in range(count):
        pieces = strokes.pieces[strokes.offsets[s] : strokes.offsets[s + 1]]
        closed = strokes.is_closed[s] != 0
        vertex, at = _trace_stroke(pieces, boundaries, closed)
        path = xy[vertex]
        angle = _choose_angle(pieces, boundaries, angles)
        if math.isnan(angle):
            kept, where, rank = thin_stroke(path, at, closed)
            lines, against = np.empty((0, 3)), False
        else:
            main = (math.cos(angle), math.sin(angle))
            lines, kept, where, rank, against = fit_stroke(
                path, at, closed, main, tolerance_px, hits[hit_offsets[s] : hit_offsets[s + 1]]
            )
        n, i, j = strokes.offsets[s] + s, line_offsets[s], end_offsets[s]
        for k in range(len(at)):
            nodes[n + k], owner[n + k], order[n + k] = vertex[at[k]], where[k], rank[k]
        line[i : i + len(lines)], ends[j : j + len(kept)] = lines, kept
        line_offsets[s + 1], end_offsets[s + 1], is_backward[s] = i + len(lines), j + len(kept), against
    return StrokeFits(nodes, owner, order, line, line_offsets, ends, end_offsets, is_backward)


@subkernel
def _trace_stroke(pieces: Int64, boundaries: Boundaries, closed: bool) -> tuple[Int64, Int64]:
    """The vertices of a stroke (a closed one does not repeat the first) and which of them are its nodes."""
    size = 1
    for piece in pieces:
        size += boundaries.offsets[(piece >> 1) + 1] - boundaries.offsets[piece >> 1] - 1
    vertex, at, n = np.empty(size, np.int64), np.zeros(len(pieces) + 1, np.int64), 0
    for k in range(len(pieces)):
        first, last = boundaries.offsets[pieces[k] >> 1], boundaries.offsets[(pieces[k] >> 1) + 1] - 1
        for step in range(last - first + 1):
            vertex[n + step] = boundaries.path[last - step if pieces[k] & 1 else first + step]
        n += last - first
        at[k + 1] = n
    return (vertex[:-1], at[:-1]) if closed else (vertex, at)


@subkernel
def _choose_angle(pieces: Int64, boundaries: Boundaries, angles: FloatArray) -> float:
    """The angle that most of the vertices of a stroke have in their polygons; nan if one of these is frozen."""
    best, most = 0.0, 0
    for piece in pieces:
        for polygon in boundaries.polygons[piece >> 1]:
            if polygon < 0:
                continue
            angle, votes = float(angles[polygon]), 0
            if math.isnan(angle):
                return angle
            for other in pieces:
                for voter in boundaries.polygons[other >> 1]:
                    if voter >= 0 and angles[voter] == angle:
                        votes += boundaries.offsets[(other >> 1) + 1] - boundaries.offsets[other >> 1]
            if votes > most or (votes == most and angle > best):
                best, most = angle, votes
    return best
