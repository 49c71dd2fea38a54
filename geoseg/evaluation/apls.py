"""How well routes on the predicted roads agree with routes on the true ones."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

SPACING_M = 50.0
SNAP_M = 4.0
MIN_PATH_M = 10.0
_SOURCES = 128


@dataclass(frozen=True, slots=True)
class AplsScore:
    """Average path length similarity, both ways; fractions from 0 to 1, not a number where there is no path.

    Args:
        truth_onto_predicted: paths between control nodes of the truth, found again on the prediction.
        predicted_onto_truth: paths between control nodes of the prediction, found again on the truth.
        paths: how many paths were compared, (truth onto prediction, prediction onto truth).
        control_nodes: how many control nodes there are, (truth, prediction).
        max_nodes: sides with more control nodes than this were judged by that many of them, drawn by chance.
    """

    truth_onto_predicted: float
    predicted_onto_truth: float
    paths: tuple[int, int]
    control_nodes: tuple[int, int]
    max_nodes: int

    @property
    def apls(self) -> float:
        """Harmonic mean of both ways: 0 if only one side has paths, not a number if none has."""
        ways = np.array([self.truth_onto_predicted, self.predicted_onto_truth])
        if np.isnan(ways).all():
            return float("nan")
        return float(2 * ways.prod() / ways.sum()) if np.nan_to_num(ways).all() else 0.0

    @property
    def is_sampled(self) -> bool:
        """Whether a side had too many control nodes to compare all of them."""
        return max(self.control_nodes) > self.max_nodes


def measure_apls(predicted: nx.MultiGraph, truth: nx.MultiGraph, *, max_nodes: int = 1000, seed: int = 0) -> AplsScore:
    """Compare the lengths of the shortest paths between corresponding places of two road networks.

    - Control nodes are the junctions and ends of a network and points that cut every edge into the fewest equal parts
      of at most 50 m, whether it is straight or curved.
    - A control node corresponds to the nearest point of the other network, on an edge or a node, if that is no further
      than 4 m; the node is inserted there and changes no length.
    - Every unordered pair of control nodes that a path of length L joins is one comparison: min(1, |L - L'| / L), and
      1 where a corresponding node or the path between them is missing. One way is 1 minus the mean over all pairs.
    - APLS is the harmonic mean of truth onto prediction and prediction onto truth.
    - As in the authors' program, paths shorter than 10 m are left out: they measure the digitising of junctions. Unlike
      it, straight edges are cut too, edges of 37.5 to 50 m get no point in their middle, and no small component is
      dropped beforehand.

    Args:
        predicted: nodes are (x, y) in metres, edges have `geometry` from node to node and `length_m`.
        truth: the same.
        max_nodes: of more control nodes than this, so many are drawn by chance on each side.
        seed: of that draw.

    Source: Van Etten et al., SpaceNet: A Remote Sensing Dataset and Challenge Series (2018), the APLS metric: path
    length similarity, graph augmentation, node snapping and symmetry.
    """
    rng = np.random.default_rng(seed)
    found, expected = _Streets.of(predicted), _Streets.of(truth)
    there, truth_paths, truth_nodes = _compare(expected, found, max_nodes, rng)
    back, predicted_paths, predicted_nodes = _compare(found, expected, max_nodes, rng)
    return AplsScore(there, back, (truth_paths, predicted_paths), (truth_nodes, predicted_nodes), max_nodes)


@dataclass(frozen=True)
class _Places:
    """(n,) int64 edge of every place and (n,) float64 how far along it, from 0 to 1."""

    edge: NDArray[np.int64]
    along: NDArray[np.float64]

    def take(self, index: NDArray[np.integer]) -> _Places:
        return _Places(self.edge[index], self.along[index])


@dataclass(frozen=True)
class _Streets:
    """(m,) geometries and lengths of all edges, and (m, 2) int64 numbers of the nodes at their starts and stops."""

    lines: NDArray[np.object_]
    length_m: NDArray[np.float64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, graph: nx.MultiGraph) -> _Streets:
        edges = [data for _, _, data in graph.edges(data=True)]
        lines = np.array([e["geometry"] for e in edges], object)
        numbers = {node: i for i, node in enumerate(graph)}
        ends = [[numbers[line.coords[i]] for i in (0, -1)] for line in lines]
        return cls(lines, np.array([e["length_m"] for e in edges], np.float64), np.array(ends, np.int64).reshape(-1, 2))

    def place_controls(self) -> _Places:
        """Nodes, then points that cut the edges into equal parts."""
        _, first = np.unique(self.ends, return_index=True)
        parts = np.maximum(np.ceil(self.length_m / SPACING_M), 1).astype(np.int64)
        edge = np.repeat(np.arange(len(parts)), parts - 1)
        number = np.arange(len(edge)) - np.repeat(np.cumsum(parts - 1) - (parts - 1), parts - 1)
        return _Places(np.concatenate([first // 2, edge]), np.concatenate([first % 2, (number + 1) / parts[edge]]))

    def locate(self, places: _Places) -> NDArray[np.object_]:
        """(n,) shapely points."""
        points = shapely.line_interpolate_point(self.lines[places.edge], places.along, normalized=True)
        return np.asarray(points, object)

    def snap(self, points: NDArray[np.object_]) -> tuple[NDArray[np.int64], _Places]:
        """Indices of the points that are near enough, and where each of them comes to lie."""
        index, edge = shapely.STRtree(self.lines).query_nearest(points, max_distance=SNAP_M, all_matches=False)
        return index, _Places(edge, shapely.line_locate_point(self.lines[edge], points[index], normalized=True))

    def measure_paths(self, places: _Places) -> NDArray[np.float64]:
        """(n, n) metres of the shortest path between any two places, infinite where there is none."""
        n, edges, nodes = len(places.edge), len(self.lines), int(self.ends.max(initial=-1)) + 1
        edge = np.concatenate([np.arange(edges), places.edge, np.arange(edges)])
        along = np.concatenate([np.zeros(edges), places.along, np.ones(edges)])
        stop = np.concatenate([self.ends[:, 0], nodes + np.arange(n), self.ends[:, 1]])
        rank = np.repeat([0, 1, 2], [edges, n, edges])
        order = np.lexsort((rank, along, edge))
        edge, along, stop = edge[order], along[order], stop[order]
        steps = np.flatnonzero(edge[1:] == edge[:-1])
        length = (along[steps + 1] - along[steps]) * self.length_m[edge[steps]]
        a, b = np.minimum(stop[steps], stop[steps + 1]), np.maximum(stop[steps], stop[steps + 1])
        # Of two edges between the same stops only the shorter one matters; a sparse array would add them.
        order = np.lexsort((length, b, a))
        a, b, length = a[order], b[order], length[order]
        best = np.ones(len(a), bool)
        best[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
        web = csr_array((length[best], (a[best], b[best])), shape=(nodes + n, nodes + n))
        sources = np.split(nodes + np.arange(n), range(_SOURCES, n, _SOURCES))
        # Copied, since a view would keep the paths to all nodes of all parts.
        return np.concatenate([dijkstra(web, directed=False, indices=s)[:, nodes:].copy() for s in sources])


def _compare(own: _Streets, other: _Streets, max_nodes: int, rng: np.random.Generator) -> tuple[float, int, int]:
    """One way's similarity, the number of paths compared, and the number of control nodes in all."""
    places = own.place_controls()
    total = len(places.edge)
    if total > max_nodes:
        places = places.take(np.sort(rng.choice(total, max_nodes, replace=False)))
    here = own.measure_paths(places)
    index, snapped = other.snap(own.locate(places))
    there = np.full_like(here, np.inf)
    there[np.ix_(index, index)] = other.measure_paths(snapped)
    pairs = np.triu(np.isfinite(here) & (here >= MIN_PATH_M), 1)
    here, there = here[pairs], there[pairs]
    if not here.size:
        return float("nan"), 0, total
    return float(1 - np.minimum(1, np.abs(here - there) / here).mean()), int(here.size), total
