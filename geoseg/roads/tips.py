"""Loose ends that point at each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.roads.bands import BandFile
from geoseg.roads.edges import CUT, EdgeFile, Records
from geoseg.roads.ends import aim_ends
from geoseg.roads.gaps import BridgeRule, is_open, order_blocks
from geoseg.roads.lines import Bool, Float64, Int64
from geoseg.roads.scale import RoadScale

TIP = np.dtype(
    [
        ("cut", CUT),
        ("place", np.float64, 2),
        ("metres", np.float64, 2),
        ("direction", np.float64, 2),
        ("radius_m", np.float64),
    ]
)
"""A loose end: where it is on its edge, in half cells and in metres, where it points, and half its width."""


@dataclass(frozen=True, eq=False)
class TipPairs:
    """Decided tips.

    Args:
        first: (n,) `TIP`, the upper, or else the left one of each pair.
        second: (n,) `TIP`, the other one.
        gap_m: (n,) float64 between the roads' edges.
        rest: (k,) `TIP` that point at no other, in the order of their places.
    """

    first: Records
    second: Records
    gap_m: Float64
    rest: Records


def list_tips(file: EdgeFile, band: int, edges: Records, scale: RoadScale) -> Records:
    """(n,) `TIP` of the loose ends of all edges (m,) of a band."""
    graph = file.to_graph(edges)
    edge, side, direction = aim_ends(graph, edges["degree"].ravel(), scale)
    tips = np.empty(len(edge), TIP)
    tips["cut"]["band"], tips["cut"]["start"] = band, graph.spans["start"][edge]
    tips["cut"]["point"] = side * (graph.spans["size"][edge] - 1)
    tips["place"], tips["direction"] = edges["place"][edge, side], direction
    tips["metres"] = tips["place"] * np.array(scale.cell_m) / 2
    tips["radius_m"] = edges["radius_m"][edge, side]
    return tips


def pair_tips(tips: BandFile, file: EdgeFile, scale: RoadScale, rule: BridgeRule) -> Iterator[TipPairs]:
    """Pair, band by band, tips that point at each other, the closest ones first; each is used once.

    Tips wait until all are known that they, or those that they compete with, could be joined to.

    Args:
        tips: `TIP` by the band of their place.
        file: the network.
        scale: of the raster.
        rule: which gaps to close.
    """
    pool = np.empty(0, TIP)
    pairs = np.zeros((0, 2), np.int64)
    for band in range(file.bands.count):
        known = len(pool)
        pool = np.concatenate([pool, _sort_tips(tips.read(band))])
        pairs = np.concatenate([pairs, _find_pairs(pool, known, scale, rule)])
        # What a tip is joined to is at most twice as wide.
        reach_m = rule.max_gap_m + 3 * pool["radius_m"] + 1e-6
        meets_next = pool["metres"][:, 0] + reach_m >= file.bands.stop(band) * scale.cell_m[0] / 2
        links = coo_array((np.ones(len(pairs), np.int8), tuple(pairs.T)), shape=(len(pool),) * 2)
        count, group = connected_components(links, directed=False)
        waits = np.zeros(count, bool)
        waits[group[meets_next]] = True
        later = waits[group]
        is_later = later[pairs[:, 0]]
        yield _choose(pool, pairs[~is_later], ~later)
        pairs, pool = (np.cumsum(later) - 1)[pairs[is_later]], pool[later]


def _sort_tips(tips: Records) -> Records:
    return tips[np.lexsort((*tips["direction"].T, *tips["place"].T[::-1]))]


def _measure_gaps(pool: Records, pairs: Int64) -> Float64:
    a, b = pool[pairs[:, 0]], pool[pairs[:, 1]]
    return np.asarray(np.hypot(*(b["metres"] - a["metres"]).T) - a["radius_m"] - b["radius_m"], np.float64)


def _find_pairs(pool: Records, known: int, scale: RoadScale, rule: BridgeRule) -> Int64:
    """(n, 2) numbers of tips that may be joined, ascending, the second one of those behind the first `known` ones."""
    radius = pool["radius_m"]
    points = shapely.points(pool["metres"])
    reach = rule.max_gap_m + 2 * radius.max(initial=0)
    b, a = shapely.STRtree(points).query(points[known:], predicate="dwithin", distance=reach)
    pairs = np.stack([a, b + known], axis=1)[a < b + known]
    a, b = pairs.T
    way = pool["metres"][b] - pool["metres"][a]
    fits = _measure_gaps(pool, pairs) <= rule.max_gap_m
    fits &= rule.is_ahead(way, pool["direction"][a]) & rule.is_ahead(-way, pool["direction"][b])
    fits &= np.maximum(radius[a], radius[b]) <= 2 * np.minimum(radius[a], radius[b])
    pairs = pairs[fits]
    is_free = np.zeros(len(pairs), bool)
    for i in order_blocks(pool["metres"][pairs[:, 0]]).tolist():
        start, stop = pool["metres"][pairs[i]]
        is_free[i] = is_open(start, stop, radius[pairs[i]], scale=scale, rule=rule)
    return np.asarray(pairs[is_free], np.int64)


def _choose(pool: Records, pairs: Int64, decided: Bool) -> TipPairs:
    gap = _measure_gaps(pool, pairs)
    alone = decided.copy()
    kept = []
    for i in np.lexsort((*pairs.T[::-1], gap)).tolist():
        if alone[pairs[i]].all():
            alone[pairs[i]] = False
            kept.append(i)
    first, second = pool[pairs[kept]].T
    return TipPairs(first, second, gap[kept], pool[alone])
