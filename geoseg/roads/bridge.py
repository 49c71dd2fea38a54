"""Gaps between roads that end pointing at each other or at a road."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely

from geoseg.roads.bands import BandFile, Bands, OpenFile
from geoseg.roads.edges import CUT, EDGE, EdgeFile, Records, sort_edges
from geoseg.roads.gaps import BridgeRule, is_open, order_blocks
from geoseg.roads.lines import Float64, Int64
from geoseg.roads.scale import RoadScale
from geoseg.roads.tips import TIP, list_tips, pair_tips

RUN_POINTS = 32

GAP_STEPS = 64
"""Bridges between ends are sorted by their length in so many parts."""

BRIDGE = np.dtype([("gap_m", np.float64), ("place", np.float64, (2, 2)), ("width_m", np.float64)])
"""A bridge: how far from edge to edge between two ends, 0 from an end to a road; its nodes in half cells; its width."""

_NEAREST = np.dtype(
    [("length_m", float), ("edge", np.int64), ("point", np.int64), ("place", float, 2), ("half_m", float)]
)


def bridge_gaps(file: EdgeFile, scale: RoadScale, rule: BridgeRule, open_file: OpenFile) -> BandFile:
    """Find gaps to close, the shortest first: between two ends that point at each other, or an end and a road.

    No end is used twice. Ends whose widths differ by more than a factor of two are not of one road.

    Args:
        file: the network; where bridges meet its edges is noted in it.
        scale: of the raster.
        rule: which gaps to close.
        open_file: opens empty files.

    Returns:
        `BRIDGE`, part by part in their order.
    """
    bridges, tips, near = (BandFile(open_file(), dtype) for dtype in (BRIDGE, TIP, EDGE))
    bands = file.bands
    for band in range(bands.count):
        edges = file.read(band)
        ends = list_tips(file, band, edges, scale)
        tips.append(bands.find(ends["place"][:, 0]), ends)
        margin = edges["span"]["widest_m"] / scale.cell_m[0] + 1
        low, high = (bands.find(edges["span"]["rows"][:, i] + (2 * i - 1) * margin) for i in (0, 1))
        number, step = _count_up(high - low + 1)
        near.append(low[number] + step, edges[number])
    for found in pair_tips(tips, file, scale, rule):
        first, second, rest = found.first, found.second, found.rest
        part = np.clip(found.gap_m * GAP_STEPS / max(rule.max_gap_m, 1e-9), 0, GAP_STEPS - 1).astype(np.int64)
        bridges.append(part, _list_bridges(found.gap_m, first, second["place"], first["radius_m"] + second["radius_m"]))
        own, cuts, place = _find_roads(_read_near(near, rest, file, scale, rule), rest, file, scale, rule)
        part = GAP_STEPS + bands.find(own["place"][:, 0])
        bridges.append(part, _list_bridges(np.zeros(len(own)), own, place, 2 * own["radius_m"]))
        file.cut(np.concatenate([first["cut"], second["cut"], own["cut"], cuts]))
    return bridges


def read_bridges(bridges: BandFile, bands: Bands) -> Iterator[Records]:
    """`BRIDGE` between two ends, from the shortest to the longest, and then those from ends to roads, by place."""
    for part in range(GAP_STEPS + bands.count):
        found = bridges.read(part)
        if len(found):
            yield found[np.lexsort((*found["place"].reshape(-1, 4).T[::-1], found["gap_m"]))]


def _list_bridges(gap_m: Float64, tips: Records, place: Float64, width_m: Float64) -> Records:
    bridges = np.empty(len(tips), BRIDGE)
    bridges["gap_m"], bridges["width_m"] = gap_m, width_m
    bridges["place"][:, 0], bridges["place"][:, 1] = tips["place"], place
    return bridges


def _count_up(sizes: Int64) -> tuple[Int64, Int64]:
    """Each number of sizes (n,) as often as its size says, and 0, 1, ... for these."""
    number = np.repeat(np.arange(len(sizes)), sizes)
    return number, np.arange(len(number)) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _read_near(near: BandFile, tips: Records, file: EdgeFile, scale: RoadScale, rule: BridgeRule) -> Records:
    """(n,) in their order, the edges that tips may point at."""
    if not len(tips):
        return np.empty(0, EDGE)
    row, margin = tips["place"][:, 0], (tips["radius_m"] + rule.max_gap_m) * 2 / scale.cell_m[0] + 1
    low, high = (row - margin).min(), (row + margin).max()
    first, last = file.bands.find(np.array([low, high])).tolist()
    edges = np.concatenate([near.read(band) for band in range(first, last + 1)])
    _, number = np.unique(edges["span"]["start"], return_index=True)
    edges = edges[number]
    wide = edges["span"]["widest_m"] / scale.cell_m[0] + 1
    rows = edges["span"]["rows"]
    return sort_edges(edges[(rows[:, 1] + wide >= low) & (rows[:, 0] - wide <= high)])


def _find_roads(
    edges: Records, tips: Records, file: EdgeFile, scale: RoadScale, rule: BridgeRule
) -> tuple[Records, Records, Float64]:
    """(n,) tips that point at an edge, (n,) `CUT` where that is nearest, and (n, 2) the place of the node there."""
    half_m = np.array(scale.cell_m) / 2
    graph = file.to_graph(edges)
    # Sums of floats differ in their last digits.
    reach = (tips["radius_m"] + rule.max_gap_m + 1e-6)[:, None]
    tree = shapely.STRtree(shapely.box(*(tips["metres"] - reach).T, *(tips["metres"] + reach).T))
    best = np.zeros(len(tips), _NEAREST)
    best["length_m"] = np.inf
    for part, lines in file.lines.read_batches(graph.spans):
        metres, half = lines.points * half_m, lines.width_m.astype(np.float64) / 2
        tip, at = _pair_points(tree, lines.offsets, metres, half)
        edge = np.searchsorted(lines.offsets, at, side="right") - 1
        way = metres[at] - tips["metres"][tip]
        length = np.hypot(*way.T)
        fits = (length - tips["radius_m"][tip] - half[at] <= rule.max_gap_m) & rule.is_ahead(
            way, tips["direction"][tip]
        )
        fits &= graph.spans["start"][edge + part.start] != tips["cut"]["start"][tip]
        chosen = np.flatnonzero(fits & (length < best["length_m"][tip]))
        chosen = chosen[np.lexsort((at[chosen], length[chosen], tip[chosen]))]
        found, first = np.unique(tip[chosen], return_index=True)
        chosen = chosen[first]
        near = np.empty(len(found), _NEAREST)
        near["length_m"], near["edge"], near["place"] = (
            length[chosen],
            edge[chosen] + part.start,
            lines.points[at[chosen]],
        )
        near["point"], near["half_m"] = at[chosen] - lines.offsets[edge[chosen]], half[at[chosen]]
        best[found] = near
    road = edges[best["edge"]] if len(edges) else np.zeros(len(best), EDGE)
    metres = best["place"] * half_m
    # Where that road ends itself, both would have to point at each other.
    way = np.hypot(*np.moveaxis(road["place"] * half_m - metres[:, None], 2, 0))
    is_free = np.isfinite(best["length_m"]) & ((road["degree"] != 1) | (way > 2 * best["half_m"][:, None])).all(axis=1)
    own = np.flatnonzero(is_free)
    radius = np.stack([tips["radius_m"], best["half_m"]], axis=1)
    for i in own[order_blocks(tips["metres"][own])].tolist():
        is_free[i] = is_open(tips["metres"][i], metres[i], radius[i], scale=scale, rule=rule)
    best, road = best[is_free], road[is_free]
    point = best["point"]
    cuts = np.empty(len(best), CUT)
    cuts["band"], cuts["start"] = file.bands.find(road["span"]["tips"][:, 0, 0]), road["span"]["start"]
    cuts["point"] = point
    place = best["place"]
    for side, last in ((0, 0), (1, road["span"]["size"] - 1)):
        place[point == last] = road["place"][point == last, side]
    return tips[is_free], cuts, place


def _pair_points(tree: shapely.STRtree, offsets: Int64, metres: Float64, half: Float64) -> tuple[Int64, Int64]:
    """(n,) numbers of boxes and (n,) of points of lines, of which no pair is missing where the road meets the box.

    Neighbours along a line are near each other: the box of a run of them stands for all, and is looked for at once.
    """
    along = np.arange(len(metres)) - np.repeat(offsets[:-1], np.diff(offsets))
    starts = np.flatnonzero(along % RUN_POINTS == 0)
    low, high = (limit.reduceat(metres, starts, axis=0) for limit in (np.minimum, np.maximum))
    widest = np.maximum.reduceat(half, starts)[:, None]
    run, found = tree.query(shapely.box(*(low - widest).T, *(high + widest).T))
    number, step = _count_up(np.diff(np.append(starts, len(metres)))[run])
    return found[number], starts[run][number] + step
