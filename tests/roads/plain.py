"""The rule of the join without bands: all of a raster at once, every end against every other one."""

from __future__ import annotations

from tempfile import TemporaryFile

import numpy as np

from geoseg.roads.chains import Chains
from geoseg.roads.draw import draw_bridges, draw_edges
from geoseg.roads.ends import aim_ends, trim_ends
from geoseg.roads.gaps import BridgeRule, is_open
from geoseg.roads.lines import LineFile
from geoseg.roads.places import link_places
from geoseg.roads.prune import prune, snap_junctions
from geoseg.roads.scale import RoadScale
from geoseg.roads.trace import RoadTile
from tests.roads.streets import ROAD, RoadNetwork, collect


def join_plainly(tiles: list[RoadTile], scale: RoadScale, rule: BridgeRule) -> RoadNetwork:
    blocks, points = (np.concatenate([getattr(tile, name) for tile in tiles]) for name in ("blocks", "points"))
    with TemporaryFile() as file:
        lines = LineFile(file, scale.cell_m)
        places = link_places(np.unique(blocks, axis=0), points[(points % 2 != 0).all(axis=1)], scale)
        spans = np.concatenate([lines.append(part) for part in [*tiles, places]])
        graph = prune(Chains.of_pieces(lines, spans), scale)
        graph = trim_ends(prune(snap_junctions(graph, scale), scale), scale)
        graph, pairs, width_m = bridge_plainly(graph, scale, rule)
        degree = graph.degrees() + np.bincount(pairs.ravel(), minlength=len(graph.place))
        drawn = list(draw_edges(graph, degree, scale, ROAD))
        return collect([*drawn, draw_bridges(graph.place[pairs], width_m, scale, ROAD)])


def bridge_plainly(graph: Chains, scale: RoadScale, rule: BridgeRule) -> tuple[Chains, np.ndarray, np.ndarray]:
    """The graph with nodes where bridges meet roads, the (n, 2) nodes of the bridges, and their (n,) widths."""
    half_m = np.array(scale.cell_m) / 2
    degree = graph.degrees()
    edge, side, direction = aim_ends(graph, degree, scale)
    node = graph.ends[edge, side]
    order = np.argsort(node)
    edge, node, direction = edge[order], node[order], direction[order]
    place, radius = graph.place[node] * half_m, graph.radius_m[node]
    pairs, width_m = [], []
    for _gap, a, b in sorted(list_pairs(place, radius, direction, rule)):
        used = {n for pair in pairs for n in pair}
        if used.isdisjoint(node[[a, b]]) and is_open(place[a], place[b], radius[[a, b]], scale=scale, rule=rule):
            pairs.append((node[a], node[b]))
            width_m.append(radius[a] + radius[b])
    used = {n for pair in pairs for n in pair}
    lines = graph.file.read(graph.spans)
    metres, half = lines.points * half_m, lines.width_m.astype(np.float64) / 2
    owner = np.repeat(np.arange(len(graph)), np.diff(lines.offsets))
    cuts = []
    for i in [i for i in range(len(node)) if node[i] not in used]:
        way = metres - place[i]
        length = np.hypot(*way.T)
        fits = (length - radius[i] - half <= rule.max_gap_m) & rule.is_ahead(way, direction[i]) & (owner != edge[i])
        if not fits.any():
            continue
        at = int(np.argmin(np.where(fits, length, np.inf)))
        road = owner[at]
        stops = graph.place[graph.ends[road, degree[graph.ends[road]] == 1]] * half_m
        both = np.array([radius[i], half[at]])
        if (np.hypot(*(stops - metres[at]).T) > 2 * half[at]).all() and is_open(
            place[i], metres[at], both, scale=scale, rule=rule
        ):
            cuts.append((road, at - lines.offsets[road], node[i], 2 * radius[i]))
    roads, points, tips = np.array([cut[:3] for cut in cuts], np.int64).reshape(-1, 3).T
    graph, met = graph.split(roads, points)
    nodes = np.concatenate([np.array(pairs, np.int64).reshape(-1, 2), np.stack([tips, met], axis=1)])
    return graph, nodes, np.array([*width_m, *(cut[3] for cut in cuts)])


def list_pairs(place, radius, direction, rule: BridgeRule) -> list[tuple[float, int, int]]:
    found = []
    for a in range(len(place)):
        b = np.arange(a + 1, len(place))
        way = place[b] - place[a]
        gap = np.hypot(*way.T) - radius[a] - radius[b]
        fits = (gap <= rule.max_gap_m) & rule.is_ahead(way, direction[a]) & rule.is_ahead(-way, direction[b])
        fits &= np.maximum(radius[a], radius[b]) <= 2 * np.minimum(radius[a], radius[b])
        found += zip(gap[fits].tolist(), [a] * fits.sum(), b[fits].tolist(), strict=True)
    return found
