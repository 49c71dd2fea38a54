"""Average path length similarity against closed-form cases and the written-out definition."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.evaluation.apls import measure_apls
from geoseg.evaluation.network import build_network
from tests.evaluation.lines import cut_lines, lines, streets

H = [[(0, -40), (0, 40)], [(40, -40), (40, 40)], [(0, 0), (40, 0)]]


def apls_of(predicted, truth, **options):
    return measure_apls(build_network(lines(*predicted)), build_network(lines(*truth)), **options)


@settings(max_examples=40, deadline=None)
@given(streets())
def test_a_network_equals_itself(whole):
    assert measure_apls(build_network(whole), build_network(whole)).apls == pytest.approx(1.0)


def test_a_removed_arm():
    arms = [[(0, 0), end] for end in ((40, 0), (-40, 0), (0, 40), (0, -40))]
    score = apls_of(arms[:3], arms)
    # Five nodes make ten paths, four of which lead to the lost end.
    assert (score.truth_onto_predicted, score.predicted_onto_truth) == pytest.approx((0.6, 1.0))
    assert score.apls == pytest.approx(0.75)
    assert score.control_nodes == (5, 4)
    assert score.paths == (10, 6)


def test_a_removed_bridge():
    score = apls_of(H[:2], H)
    # Nine of fifteen paths cross the bridge; without it both streets have a node in the middle, by their length.
    assert (score.truth_onto_predicted, score.predicted_onto_truth) == pytest.approx((6 / 15, 1.0))
    assert score.apls == pytest.approx(4 / 7)


@pytest.mark.parametrize("far", [4.5, 5.0, 10.0])
def test_a_detour_costs_its_share(far):
    straight, detour = [[(0, 0), (40, 0)]], [[(0, 0), (0, far), (40, far), (40, 0)]]
    score = apls_of(detour, straight)
    length = 40 + 2 * far
    assert score.truth_onto_predicted == pytest.approx(1 - 2 * far / 40)
    # Beyond 50 m the detour has a control node in its middle, from which the straight road is too far.
    lost = 2 * far / length + (2 if length > 50 else 0)
    assert score.predicted_onto_truth == pytest.approx(1 - lost / (3 if length > 50 else 1))


@pytest.mark.parametrize(("shift", "share"), [(3.9, 1.0), (4.1, 0.0)])
def test_a_parallel_network_is_the_same_within_four_metres(shift, share):
    moved = [[(x, y + shift) for x, y in street] for street in [[(0, 0), (200, 0)]]]
    assert apls_of(moved, [[(0, 0), (200, 0)]]).apls == pytest.approx(share)


def test_control_nodes_cut_long_edges_in_equal_parts():
    assert apls_of([[(0, 0), (100, 0)]], [[(0, 0), (101, 0)]]).control_nodes == (4, 3)


def test_the_shorter_of_two_ways_counts():
    ways = [[(-20, 0), (0, 0)], [(0, 0), (40, 0)], [(0, 0), (0, 20), (40, 20), (40, 0)], [(40, 0), (60, 0)]]
    graph = build_network(lines(*ways))
    assert graph.number_of_edges((0.0, 0.0), (40.0, 0.0)) == 2
    without = build_network(lines(*ways[:1], *ways[2:]))
    assert measure_apls(without, graph).truth_onto_predicted == pytest.approx(measure_slowly(graph, without))
    # Without the detour its node is lost, but no path between the others was the longer for it.
    assert measure_apls(build_network(lines(*ways[:2], ways[3])), graph).truth_onto_predicted == pytest.approx(0.6)


def test_sides_without_roads():
    none = nx.MultiGraph()
    assert apls_of(H, []).apls == 0.0
    assert apls_of([], H).apls == 0.0
    assert math.isnan(measure_apls(none, none).apls)


def test_large_networks_are_sampled_and_say_so():
    rng = np.random.default_rng(3)
    grid = [[(i * 60, 0), (i * 60, 600)] for i in range(11)] + [[(0, i * 60), (600, i * 60)] for i in range(11)]
    lost = [street for street in grid if rng.random() < 0.8]
    whole = apls_of(lost, grid)
    sampled = apls_of(lost, grid, max_nodes=150, seed=5)
    assert not whole.is_sampled
    assert sampled.is_sampled
    assert sampled == apls_of(lost, grid, max_nodes=150, seed=5)
    assert sampled.paths[0] <= 150 * 149 / 2
    assert sampled.apls == pytest.approx(whole.apls, abs=0.05)
    assert apls_of(grid, grid, max_nodes=100).apls == 1.0


@settings(max_examples=40, deadline=None)
@given(streets(), streets(), st.randoms(use_true_random=False))
def test_cuts_and_directions_do_not_matter(predicted, truth, random):
    whole = measure_apls(build_network(predicted), build_network(truth))
    pieces = measure_apls(build_network(cut_lines(predicted, random)), build_network(cut_lines(truth, random)))
    assert pieces.control_nodes == whole.control_nodes
    assert pieces.apls == pytest.approx(whole.apls, abs=1e-3, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(streets(5), streets(5))
def test_equals_the_written_out_definition(predicted, truth):
    # Off the raster, so that no control node lies just as far from two streets.
    found, expected = build_network(shapely.transform(predicted, lambda p: p * 1.01 + [0.7, 1.9])), build_network(truth)
    score = measure_apls(found, expected)
    assert score.truth_onto_predicted == pytest.approx(measure_slowly(expected, found), abs=1e-9, nan_ok=True)
    assert score.predicted_onto_truth == pytest.approx(measure_slowly(found, expected), abs=1e-9, nan_ok=True)


def measure_slowly(own, other):
    """One way's similarity, pair by pair; a place is an edge and the metres to both of its ends."""

    def place(edge, at):
        u, v = (edge.coords[0], at), (edge.coords[-1], edge.length - at)
        return edge, at, (u, v)

    def measure(distances, a, b):
        ways = [da + distances[u][v] + db for u, da in a[2] for v, db in b[2] if v in distances[u]]
        return min([*ways, abs(a[1] - b[1])] if a[0] is b[0] else ways, default=math.inf)

    def snap(point, edges):
        best = min(edges, key=point.distance)
        return place(best, best.project(point)) if point.distance(best) <= 4 else None

    own_edges = [e["geometry"] for *_, e in own.edges(data=True)]
    other_edges = [e["geometry"] for *_, e in other.edges(data=True)]
    places = {n: place(e, at) for e in own_edges for n, at in ((e.coords[0], 0.0), (e.coords[-1], e.length))}
    controls = list(places.values())
    for edge in own_edges:
        parts = math.ceil(edge.length / 50)
        controls += [place(edge, edge.length * i / parts) for i in range(1, parts)]
    here = dict(nx.all_pairs_dijkstra_path_length(own, weight="length_m"))
    there = dict(nx.all_pairs_dijkstra_path_length(other, weight="length_m"))
    losses = []
    for a, b in itertools.combinations(controls, 2):
        length = measure(here, a, b)
        if not 10 <= length < math.inf:
            continue
        pair = [snap(p[0].interpolate(p[1]), other_edges) for p in (a, b)]
        found = math.inf if None in pair else measure(there, *pair)
        losses.append(min(1.0, abs(length - found) / length))
    return 1 - sum(losses) / len(losses) if losses else math.nan
