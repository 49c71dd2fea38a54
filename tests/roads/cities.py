"""Generated towns, and how near a network comes to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.evaluation.apls import measure_apls
from geoseg.evaluation.network import build_network
from geoseg.evaluation.roads import score_roads
from geoseg.grid import GeoGrid
from tests.roads.streets import RoadNetwork

Street = tuple[list[list[float]], float]


def make_city(seed: int, *, size_m: float = 500.0, step_m: float = 95.0) -> list[Street]:
    """Winding streets of 4 to 12 m between jittered corners, some missing, some dead ends."""
    rng = np.random.default_rng(seed)
    n = int(size_m // step_m)
    corners = np.stack(np.meshgrid(*[np.arange(1, n + 1) * step_m - 20] * 2), -1) + rng.normal(0, 9, (n, n, 2))
    streets: list[Street] = []
    for i in range(n):
        for j in range(n):
            for a, b in ((i, j + 1), (i + 1, j)):
                if a < n and b < n and rng.random() < 0.85:
                    start, way = corners[i, j], corners[a, b] - corners[i, j]
                    t = np.linspace(0, 1, 20)[:, None]
                    side = np.array([-way[1], way[0]]) / np.hypot(*way)
                    bend = np.sin(t * np.pi) * side * rng.normal(0, 6)
                    streets.append(((start + t * way + bend).tolist(), float(rng.choice([4, 6, 8, 12]))))
            if rng.random() < 0.3:
                angle, start = rng.uniform(0.5, 1.0), corners[i, j]
                streets.append(
                    ([start.tolist(), (start + 35 * np.array([np.cos(angle), np.sin(angle)])).tolist()], 5.0)
                )
    return streets


@dataclass(frozen=True)
class Nearness:
    completeness: float
    correctness: float
    apls: float
    junctions: tuple[int, int]
    width_error_m: float
    length_ratio: float


def lines_m(network: RoadNetwork, grid: GeoGrid) -> NDArray[np.object_]:
    """(n,) lines in metres right and down from the corner."""
    height, width = grid.ground_resolution_m()
    xy = network.coords[:, ::-1] * np.array([width, height])
    return np.asarray(shapely.from_ragged_array(shapely.GeometryType.LINESTRING, xy, (network.offsets,)), object)


def compare(network: RoadNetwork, streets: list[Street], grid: GeoGrid) -> Nearness:
    found, truth = lines_m(network, grid), np.array([shapely.LineString(line) for line, _ in streets], object)
    score = score_roads(found, truth, buffer_m=2.0)
    graphs = build_network(found), build_network(truth)
    middles = shapely.line_interpolate_point(found, 0.5, normalized=True)
    widths = np.array([width for _, width in streets])[shapely.STRtree(truth).nearest(middles)]
    junctions = [sum(degree > 2 for _, degree in graph.degree()) for graph in graphs]
    return Nearness(
        score.completeness,
        score.correctness,
        measure_apls(*graphs).apls,
        (junctions[0], junctions[1]),
        float(np.median(np.abs(network.width_m - widths))),
        score.predicted_m / score.truth_m,
    )
