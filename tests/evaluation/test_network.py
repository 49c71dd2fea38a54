"""Networks out of lines: what is joined, what is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.evaluation.network import build_network
from tests.evaluation.lines import cut_lines, lines, streets

STREET = [(0, 0), (100, 0)]


def degrees(graph):
    return sorted(dict(graph.degree).values())


def total_m(graph):
    return sum(e["length_m"] for *_, e in graph.edges(data=True))


def test_streets_that_cross_are_joined():
    graph = build_network(lines(STREET, [(50, -50), (50, 50)]))
    assert degrees(graph) == [1, 1, 1, 1, 4]
    assert (50.0, 0.0) in graph
    assert total_m(graph) == pytest.approx(200)


@pytest.mark.parametrize(("gap", "joined"), [(0.0, True), (0.001, True), (2.9, True), (3.1, False), (-2.0, True)])
def test_a_loose_end_is_led_to_its_street(gap, joined):
    graph = build_network(lines(STREET, [(50, gap), (50, 60)]), snap_m=3.0)
    assert degrees(graph) == ([1, 1, 1, 3] if joined else [1, 1, 1, 1])
    if joined:
        assert total_m(graph) == pytest.approx(160, abs=0.01)


def test_two_loose_ends_become_one_street():
    graph = build_network(lines([(0, 0), (40, 0)], [(42, 0), (100, 0)]))
    assert degrees(graph) == [1, 1]
    assert total_m(graph) == pytest.approx(100)


def test_rings_and_double_edges_are_kept():
    ring = [(0, 0), (0, 40), (40, 40), (40, 0), (0, 0)]
    assert degrees(build_network(lines(ring))) == [2]
    graph = build_network(lines(ring, [(-30, 20), (0, 20)], [(40, 20), (80, 20)]))
    assert degrees(graph) == [1, 1, 3, 3]
    assert graph.number_of_edges((0.0, 20.0), (40.0, 20.0)) == 2


def test_nothing_makes_an_empty_network():
    assert len(build_network(np.zeros(0, object))) == 0


@settings(max_examples=40, deadline=None)
@given(streets(), st.randoms(use_true_random=False))
def test_cuts_and_directions_do_not_matter(whole, random):
    expected, graph = build_network(whole), build_network(cut_lines(whole, random))
    assert degrees(graph) == degrees(expected)
    assert total_m(graph) == pytest.approx(total_m(expected), abs=0.05)


@settings(max_examples=40, deadline=None)
@given(streets())
def test_edges_run_from_node_to_node(whole):
    for u, v, edge in build_network(whole).edges(data=True):
        assert {u, v} == {edge["geometry"].coords[0], edge["geometry"].coords[-1]}
