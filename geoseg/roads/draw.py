"""Chains of cells into lines that are fit for a map."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel, subkernel
from geoseg.roads.chains import Chains
from geoseg.roads.ends import aim_ends
from geoseg.roads.lines import Bool, Float32, Float64, Int16, Int64
from geoseg.roads.network import NODE_STEPS, RoadSegments
from geoseg.roads.scale import RoadScale

SMOOTH_CELLS = 5
"""Points on either side over which a line is smoothed."""


TOLERANCE_CELLS = 0.75
"""How far a drawn line may be from the smoothed one; a straight road is a stair, half a cell off either way."""


def to_pixels(points: NDArray[np.floating], scale: RoadScale) -> Float64:
    """(..., 2) positions in half cells to (row, col) in pixels, within the raster; (0, 0) is its upper left corner."""
    pixels = (np.asarray(points, np.float64) / 2 + 0.5) * np.array(scale.factors)
    return np.asarray(np.clip(pixels, 0, np.array(scale.grid_shape)), np.float64)


def draw_edges(graph: Chains, degree: Int64, scale: RoadScale, class_id: int) -> Iterator[RoadSegments]:
    """Draw edges as lines, a batch at a time.

    Loose ends are led on by half the width of the road, to where it ends. At a junction lines go straight to the node
    within half a road's width.

    Args:
        graph: a network or a part of it.
        degree: (n,) int64, how many edges and bridges end at each node.
        scale: of the raster.
        class_id: the class of roads.
    """
    half_m = np.array(scale.cell_m) / 2
    place = graph.place.copy()
    edge, side, direction = aim_ends(graph, degree, scale)
    loose = graph.ends[edge, side]
    place[loose] += direction * graph.radius_m[loose][:, None] / half_m
    node_px = _place_nodes(place, scale)
    nodes = np.column_stack([place * half_m, np.where(degree > 2, graph.radius_m, 0.0)])
    for part, lines in graph.file.read_batches(graph.spans):
        metres, ends = lines.points * half_m, graph.ends[part]
        offsets, drawn = _draw(lines.offsets, metres, ends, nodes, TOLERANCE_CELLS * max(scale.cell_m))
        coords = to_pixels(drawn / half_m, scale)
        coords[offsets[:-1]], coords[offsets[1:] - 1] = node_px[ends[:, 0]], node_px[ends[:, 1]]
        described = _describe(lines.offsets, metres, lines.width_m, lines.confidence, graph.radius_m[ends])
        yield RoadSegments(offsets, coords, *described, np.zeros(len(ends), bool), class_id).without_points()


def draw_bridges(place: Float64, width_m: Float64, scale: RoadScale, class_id: int) -> RoadSegments:
    """Draw straight lines between pairs of nodes.

    Args:
        place: (n, 2, 2) float64 (row, col) in half cells of the two nodes of each.
        width_m: (n,) float64.
        scale: of the raster.
        class_id: the class of roads.
    """
    count = len(place)
    unknown = np.full(count, np.nan)
    coords = _place_nodes(place.reshape(-1, 2), scale)
    bridged = np.ones(count, bool)
    return RoadSegments(2 * np.arange(count + 1), coords, width_m, unknown, unknown, bridged, class_id).without_points()


def _place_nodes(place: Float64, scale: RoadScale) -> Float64:
    """(n, 2) nodes (row, col) in pixels, on their lattice, of places (n, 2) in half cells."""
    return np.asarray(np.rint(to_pixels(place, scale) * NODE_STEPS) / NODE_STEPS, np.float64)


@kernel
def _describe(
    offsets: Int64, metres: Float64, width: Float32, confidence: Int16, trim_m: Float64
) -> tuple[Float64, Float64, Float64]:
    """(m,) mean and standard deviation of the width, and mean confidence, 0 to 1, of each edge.

    Widths within the junctions at both ends, `trim_m` far, are those of the other roads; they count if there are none
    else.
    """
    m = len(offsets) - 1
    mean, spread, sure = np.empty(m), np.empty(m), np.empty(m)
    for edge in range(m):
        first, last = offsets[edge], offsets[edge + 1]
        total, known = 0.0, 0
        for i in range(first, last):
            if confidence[i] >= 0:
                total += confidence[i]
                known += 1
        sure[edge] = total / known / 255 if known else np.nan
        own, n = np.empty(last - first), 0
        for i in range(first, last):
            clear = True
            for side in range(2):
                end = last - 1 if side else first
                away = np.hypot(metres[i, 0] - metres[end, 0], metres[i, 1] - metres[end, 1])
                clear = clear and away > trim_m[edge, side]
            if clear:
                own[n] = width[i]
                n += 1
        if n == 0:
            for i in range(first, last):
                own[i - first] = width[i]
            n = last - first
        total = 0.0
        for i in range(n):
            total += own[i]
        mean[edge], total = total / n, 0.0
        for i in range(n):
            total += (own[i] - mean[edge]) ** 2
        spread[edge] = math.sqrt(total / n)
    return mean, spread, sure


@kernel
def _draw(offsets: Int64, metres: Float64, ends: Int64, nodes: Float64, tolerance_m: float) -> tuple[Int64, Float64]:
    """(m + 1,) offsets and (v, 2) vertices in metres of lines from node to node.

    Nodes are (n, 3): row and column in metres, and how far around a junction lines go straight to it.
    """
    m = len(offsets) - 1
    drawn = np.empty((len(metres) + 2 * m, 2))
    starts = np.zeros(m + 1, np.int64)
    used = 0
    for edge in range(m):
        a, b = nodes[ends[edge, 0]], nodes[ends[edge, 1]]
        line = np.empty((offsets[edge + 1] - offsets[edge] + 2, 2))
        line[0, 0], line[0, 1] = a[0], a[1]
        n = 1
        for i in range(offsets[edge], offsets[edge + 1]):
            y, x = metres[i, 0], metres[i, 1]
            is_near = np.hypot(y - a[0], x - a[1]) < a[2] or np.hypot(y - b[0], x - b[1]) < b[2]
            # A loop may lie within its junction as a whole.
            if not is_near or ends[edge, 0] == ends[edge, 1]:
                line[n, 0], line[n, 1] = y, x
                n += 1
        line[n, 0], line[n, 1] = b[0], b[1]
        soft = _smooth(line[: n + 1])
        kept = _pick(soft, tolerance_m)
        for i in range(len(soft)):
            if kept[i]:
                drawn[used, 0], drawn[used, 1] = soft[i, 0], soft[i, 1]
                used += 1
        starts[edge + 1] = used
    return starts, drawn[:used]


@subkernel
def _smooth(line: Float64) -> Float64:
    """(n, 2) vertices in the weighted mean of their neighbours; both ends stay."""
    n = len(line)
    soft = line.copy()
    for i in range(1, n - 1):
        k = min(SMOOTH_CELLS, i, n - 1 - i)
        y, x = 0.0, 0.0
        for j in range(-k, k + 1):
            y += (k + 1 - abs(j)) * line[i + j, 0]
            x += (k + 1 - abs(j)) * line[i + j, 1]
        soft[i, 0] = y / (k + 1) ** 2
        soft[i, 1] = x / (k + 1) ** 2
    return soft


@subkernel
def _pick(line: Float64, tolerance_m: float) -> Bool:
    """(n,) which vertices are needed for a line that is no further than the tolerance from all of them.

    Source: Douglas and Peucker, Algorithms for the reduction of the number of points required to represent a digitized
    line or its caricature (1973).
    """
    kept = np.zeros(len(line), np.bool_)
    kept[0] = kept[-1] = True
    stack = [(0, len(line) - 1)]
    while stack:
        low, high = stack.pop()
        dy, dx = line[high, 0] - line[low, 0], line[high, 1] - line[low, 1]
        length = np.hypot(dy, dx)
        worst = tolerance_m
        split = -1
        for i in range(low + 1, high):
            y, x = line[i, 0] - line[low, 0], line[i, 1] - line[low, 1]
            along = (y * dy + x * dx) / length if length > 0 else 0.0
            along = min(max(along, 0.0), length)
            share = along / length if length > 0 else 0.0
            away = np.hypot(y - share * dy, x - share * dx)
            if away > worst:
                worst = away
                split = i
        if split >= 0:
            kept[split] = True
            stack.append((low, split))
            stack.append((split, high))
    return kept
