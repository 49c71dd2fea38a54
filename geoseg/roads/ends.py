"""Where roads end that meet no other one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geoseg.kernel import kernel
from geoseg.roads.chains import Chains
from geoseg.roads.lines import Bool, Float32, Float64, Int64
from geoseg.roads.scale import RoadScale

AIM_M = (4.0, 12.0)
"""How far back from its end the direction of a road is taken: twice its width, within these limits."""

FULL_WIDTH = 0.8
"""A loose end belongs to the middle of the road from where it has this share of its mean width."""


def trim_ends(graph: Chains, scale: RoadScale) -> Chains:
    """Cut loose ends back to where the road has nearly its width: thinning leads them into a corner of its end.

    An end where that is further away than the road is wide, as that of a road that tapers off, stays.
    """
    edge, side = _find_ends(graph, graph.degrees(), scale)
    half_m = np.array(scale.cell_m) / 2
    spans, place, radius = graph.spans.copy(), graph.place.copy(), graph.radius_m.copy()
    cut = np.zeros((len(graph), 2), np.int64)
    for part, lines in graph.file.read_batches(spans[edge]):
        width = spans["width_m"][edge[part]]
        cut[edge[part], side[part]] = _count_narrow(
            lines.offsets, lines.points * half_m, lines.width_m, side[part], width
        )
    cut[spans["size"] - cut.sum(axis=1) < 2] = 0
    shorter = cut.any(axis=1)
    first, last = cut[shorter, 0], spans["size"][shorter] - 1 - cut[shorter, 1]
    spans[shorter] = graph.file.cut(spans[shorter], first, last)
    for number, tip in ((0, 0), (1, 3)):
        moved = cut[:, number] > 0
        node = graph.ends[moved, number]
        place[node], radius[node] = spans["tips"][moved, tip], spans["tip_width_m"][moved, number] / 2
    return replace(graph, spans=spans, place=place, radius_m=radius).merge()


def is_outer(graph: Chains, scale: RoadScale) -> Bool:
    """(n,) whether nodes lie at the border of the raster, where roads go on unseen."""
    last = 2 * np.array(scale.shape) - 2
    return np.asarray(((graph.place < 2) | (graph.place > last - 2)).any(axis=1), bool)


def aim_ends(graph: Chains, degree: Int64, scale: RoadScale) -> tuple[Int64, Int64, Float64]:
    """Find the loose ends that lie within the raster, and where they point.

    Args:
        graph: a network or a part of it.
        degree: (n,) int64, how many edges and bridges end at each node.
        scale: of the raster.

    Returns:
        (k,) int64 edges; (k,) int64 their sides, 0 or 1; (k, 2) float64 unit vectors (row, col) on the ground.
    """
    edge, side = _find_ends(graph, degree, scale)
    node = graph.ends[edge, side]
    back_m = np.clip(4 * graph.radius_m[node], *AIM_M)
    half_m = np.array(scale.cell_m) / 2
    origin = np.empty((len(edge), 2))
    for part, lines in graph.file.read_batches(graph.spans[edge]):
        origin[part] = _look_back(lines.offsets, lines.points * half_m, side[part], back_m[part])
    way = graph.place[node] * half_m - origin
    return edge, side, way / np.maximum(np.hypot(*way.T), 1e-9)[:, None]


def _find_ends(graph: Chains, degree: Int64, scale: RoadScale) -> tuple[Int64, Int64]:
    """(n,) edges and (n,) their sides, of loose ends that are not at the border of the raster."""
    edge, side = np.nonzero(degree[graph.ends] == 1)
    inner = ~is_outer(graph, scale)[graph.ends[edge, side]]
    return edge[inner], side[inner]


@kernel
def _count_narrow(offsets: Int64, metres: Float64, width: Float32, side: Int64, mean_m: Float64) -> Int64:
    """(n,) how many points each line has before the road has its width; 0 if there are none or they are too many."""
    count = np.zeros(len(side), np.int64)
    for i in range(len(side)):
        first, last = offsets[i], offsets[i + 1] - 1
        at, stop, step = (last, first, -1) if side[i] else (first, last, 1)
        way = 0.0
        while width[at] < FULL_WIDTH * mean_m[i]:
            if at == stop or way > mean_m[i]:
                count[i] = 0
                break
            way += np.hypot(metres[at + step, 0] - metres[at, 0], metres[at + step, 1] - metres[at, 1])
            at += step
            count[i] += 1
    return count


@kernel
def _look_back(offsets: Int64, metres: Float64, side: Int64, back_m: Float64) -> Float64:
    """(n, 2) the point in metres that is `back_m` along each line from its end, the last one at side 1."""
    result = np.empty((len(side), 2))
    for i in range(len(side)):
        first, last = offsets[i], offsets[i + 1] - 1
        at, stop, step = (last, first, -1) if side[i] else (first, last, 1)
        way = 0.0
        while at != stop and way < back_m[i]:
            way += np.hypot(metres[at + step, 0] - metres[at, 0], metres[at + step, 1] - metres[at, 1])
            at += step
        result[i, 0], result[i, 1] = metres[at, 0], metres[at, 1]
    return result
