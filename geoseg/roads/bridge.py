"""Gaps between roads that end pointing at each other or at a road."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.errors import OptionError
from geoseg.grid import Window
from geoseg.roads.chains import Chains
from geoseg.roads.draw import to_pixels
from geoseg.roads.ends import aim_ends
from geoseg.roads.lines import Bool, Float64, Int64
from geoseg.roads.mask import Uint8
from geoseg.roads.scale import RoadScale

BLOCK_M = 256.0
"""Gaps are judged block by block, so that what is read for one is at hand for the next one."""

RUN_POINTS = 32

_NEAREST = np.dtype(
    [("length_m", float), ("edge", np.int64), ("point", np.int64), ("place", float, 2), ("half_m", float)]
)

ReadClasses = Callable[[Window], tuple[Uint8, Uint8 | None]]


@dataclass(frozen=True)
class BridgeRule:
    """Which gaps in a road are closed.

    Args:
        max_gap_m: from edge to edge; a longer gap stays open.
        max_angle_deg: by how much the gap may turn from the direction of the road at either end.
        max_confidence: of the background, 0 to 1, in the mean over the gap, other classes counting as 0; where it is
            surer, there is no road.
        background: class ids of the background.
        blocking: class ids that no road leads through, such as buildings.
        read: gives the classes of a window within the raster, (h, w) uint8, and their confidence or None; None: gaps
            are judged by direction alone.

    Raises:
        OptionError: a limit is out of its range.
    """

    max_gap_m: float = 12.0
    max_angle_deg: float = 30.0
    max_confidence: float = 0.8
    background: Collection[int] = ()
    blocking: Collection[int] = ()
    read: ReadClasses | None = None

    def is_ahead(self, way: Float64, direction: Float64) -> Bool:
        """(n,) whether ways (n, 2) lead where directions (n, 2), of length 1, point."""
        ahead = (way * direction).sum(axis=-1)
        return np.asarray(ahead >= np.cos(np.radians(self.max_angle_deg)) * np.hypot(*way.T), bool)

    def __post_init__(self) -> None:
        if not (self.max_gap_m >= 0 and 0 <= self.max_angle_deg <= 90 and 0 <= self.max_confidence <= 1):
            raise OptionError(
                f"gaps of {self.max_gap_m} m, {self.max_angle_deg} degrees, confidence {self.max_confidence}",
                expected="a length, an angle up to 90 degrees and a confidence from 0 to 1",
            )


@dataclass(frozen=True)
class _Tips:
    """(n,) nodes of loose ends, (n, 2) where they are in metres and where they point, (n,) half their width."""

    node: Int64
    place: Float64
    direction: Float64
    radius: Float64

    def take(self, kept: Bool) -> _Tips:
        return _Tips(self.node[kept], self.place[kept], self.direction[kept], self.radius[kept])


def bridge_gaps(graph: Chains, scale: RoadScale, rule: BridgeRule) -> tuple[Chains, Int64, Float64]:
    """Find gaps to close, the shortest first: between two ends that point at each other, or an end and a road.

    No end is used twice. Ends whose widths differ by more than a factor of two are not of one road.

    Args:
        graph: the network.
        scale: of the raster.
        rule: which gaps to close.

    Returns:
        The network with a node at every road that an end points at; (n, 2) int64 nodes that bridges join; (n,) float64
        width of each bridge.
    """
    ends, direction = aim_ends(graph, scale)
    tips = _Tips(ends, graph.place[ends] * np.array(scale.cell_m) / 2, direction, graph.radius_m[ends])
    a, b = _pair_tips(tips, scale, rule)
    alone = np.ones(len(ends), bool)
    alone[a] = alone[b] = False
    rest = tips.take(alone)
    own, edge, point = _find_roads(graph, rest, scale, rule)
    graph, node = graph.split(edge, point)
    pairs = np.concatenate([np.stack([ends[a], ends[b]], axis=1), np.stack([rest.node[own], node], axis=1)])
    return graph, pairs, np.concatenate([tips.radius[a] + tips.radius[b], 2 * rest.radius[own]])


def _pair_tips(tips: _Tips, scale: RoadScale, rule: BridgeRule) -> tuple[Int64, Int64]:
    """(n,) and (n,) numbers of tips that point at each other."""
    radius, place = tips.radius, tips.place
    points = shapely.points(place)
    reach = rule.max_gap_m + 2 * radius.max(initial=0)
    a, b = shapely.STRtree(points).query(points, predicate="dwithin", distance=reach)
    a, b = a[a < b], b[a < b]
    way = place[b] - place[a]
    gap = np.hypot(*way.T) - radius[a] - radius[b]
    fits = (gap <= rule.max_gap_m) & rule.is_ahead(way, tips.direction[a]) & rule.is_ahead(-way, tips.direction[b])
    fits &= np.maximum(radius[a], radius[b]) <= 2 * np.minimum(radius[a], radius[b])
    chosen = np.flatnonzero(fits)
    is_open = np.zeros(len(fits), bool)
    for i in chosen[_order_blocks(place[a[chosen]])].tolist():
        is_open[i] = _is_open(place[a[i]], place[b[i]], radius[[a[i], b[i]]], scale, rule)
    chosen = chosen[is_open[chosen]]
    taken = np.zeros(len(place), bool)
    kept = []
    for i in chosen[np.lexsort((b[chosen], a[chosen], gap[chosen]))].tolist():
        if not (taken[a[i]] or taken[b[i]]):
            taken[[a[i], b[i]]] = True
            kept.append(i)
    return a[kept], b[kept]


def _find_roads(graph: Chains, tips: _Tips, scale: RoadScale, rule: BridgeRule) -> tuple[Int64, Int64, Int64]:
    """(n,) numbers of tips that point at a road, (n,) edges, and (n,) their points where they are nearest."""
    half_m = np.array(scale.cell_m) / 2
    loose = graph.degrees()[graph.ends] == 1
    dead = np.zeros(len(graph.place), np.int64)
    edge, side = np.nonzero(loose)
    dead[graph.ends[edge, side]] = edge
    # Sums of floats differ in their last digits.
    reach = (tips.radius + rule.max_gap_m + 1e-6)[:, None]
    tree = shapely.STRtree(shapely.box(*(tips.place - reach).T, *(tips.place + reach).T))
    best = np.zeros(len(tips.node), _NEAREST)
    best["length_m"] = np.inf
    for part, lines in graph.file.read_batches(graph.spans):
        metres, half = lines.points * half_m, lines.width_m.astype(np.float64) / 2
        tip, at = _pair_points(tree, lines.offsets, metres, half)
        edge = np.searchsorted(lines.offsets, at, side="right") - 1
        way = metres[at] - tips.place[tip]
        length = np.hypot(*way.T)
        fits = (length - tips.radius[tip] - half[at] <= rule.max_gap_m) & rule.is_ahead(way, tips.direction[tip])
        fits &= edge + part.start != dead[tips.node[tip]]
        chosen = np.flatnonzero(fits & (length < best["length_m"][tip]))
        chosen = chosen[np.lexsort((at[chosen], length[chosen], tip[chosen]))]
        found, first = np.unique(tip[chosen], return_index=True)
        chosen = chosen[first]
        near = np.empty(len(found), _NEAREST)
        near["length_m"], near["edge"], near["place"] = length[chosen], edge[chosen] + part.start, metres[at[chosen]]
        near["point"], near["half_m"] = at[chosen] - lines.offsets[edge[chosen]], half[at[chosen]]
        best[found] = near
    own = np.flatnonzero(np.isfinite(best["length_m"]))
    is_open = np.zeros(len(best), bool)
    for i in own[_order_blocks(tips.place[own])].tolist():
        road, place, radius = best["edge"][i], best["place"][i], best["half_m"][i]
        # Where that road ends itself, both would have to point at each other.
        stops = graph.place[graph.ends[road, loose[road]]] * half_m
        if (np.hypot(*(stops - place).T) > 2 * radius).all():
            is_open[i] = _is_open(tips.place[i], place, np.array([tips.radius[i], radius]), scale, rule)
    return np.flatnonzero(is_open), best["edge"][is_open], best["point"][is_open]


def _pair_points(tree: shapely.STRtree, offsets: Int64, metres: Float64, half: Float64) -> tuple[Int64, Int64]:
    """(n,) numbers of boxes and (n,) of points of lines, of which no pair is missing where the road meets the box.

    Neighbours along a line are near each other: the box of a run of them stands for all, and is looked for at once.
    """
    along = np.arange(len(metres)) - np.repeat(offsets[:-1], np.diff(offsets))
    starts = np.flatnonzero(along % RUN_POINTS == 0)
    low, high = (limit.reduceat(metres, starts, axis=0) for limit in (np.minimum, np.maximum))
    widest = np.maximum.reduceat(half, starts)[:, None]
    run, found = tree.query(shapely.box(*(low - widest).T, *(high + widest).T))
    sizes = np.diff(np.append(starts, len(metres)))[run]
    before = np.cumsum(sizes) - sizes
    return np.repeat(found, sizes), np.arange(sizes.sum()) + np.repeat(starts[run] - before, sizes)


def _order_blocks(place: Float64) -> Int64:
    """(n,) order of places (n, 2) in metres: row by row of blocks, and block by block."""
    row, col = np.floor(place / BLOCK_M).T
    return np.asarray(np.lexsort((col, row)), np.int64)


def _is_open(start: Float64, stop: Float64, radius: Float64, scale: RoadScale, rule: BridgeRule) -> bool:
    """Whether what lies between two ends, given in metres, may hide a road."""
    if rule.read is None:
        return True
    length = float(np.hypot(*(stop - start)))
    inset = np.minimum(radius, length / 2)
    pixel_m = np.array(scale.cell_m) / scale.factors
    count = max(2, int((length - inset.sum()) / min(pixel_m) * 2))
    along = np.linspace(inset[0], length - inset[1], count)[:, None] / length
    pixels = np.floor(to_pixels((start + along * (stop - start)) / np.array(scale.cell_m) * 2, scale)).astype(np.int64)
    pixels = np.minimum(pixels, np.array(scale.grid_shape) - 1)
    low, size = pixels.min(axis=0), np.ptp(pixels, axis=0) + 1
    classes, confidence = rule.read(Window(int(low[0]), int(low[1]), int(size[0]), int(size[1])))
    found = classes[tuple((pixels - low).T)]
    if np.isin(found, list(rule.blocking)).any():
        return False
    if confidence is None:
        return True
    # What covers the ground, such as trees, says nothing about a road below.
    against = np.where(np.isin(found, list(rule.background)), confidence[tuple((pixels - low).T)], 0)
    return bool(against.mean() <= 255 * rule.max_confidence)
