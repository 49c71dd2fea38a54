"""Gaps that are closed, and gaps that are none."""

from __future__ import annotations

import itertools
from tempfile import TemporaryFile

import numpy as np
import pytest

from geoseg.errors import OptionError
from geoseg.grid import Window
from geoseg.roads.chains import Chains
from geoseg.roads.gaps import BridgeRule
from geoseg.roads.lines import LineFile, Lines
from tests.roads.streets import ROAD, burn, make_grid, trace

GRID = make_grid(400, 600)


def bridges(streets, **rule) -> int:
    network = trace(burn(streets, GRID), GRID, bridges=BridgeRule(**rule))
    assert (np.isnan(network.confidence[network.bridged])).all()
    return int(network.bridged.sum())


def test_what_is_in_line_is_joined() -> None:
    streets = [([(20, 100), (140, 100)], 6.0), ([(150, 100), (280, 104)], 7.0)]
    network = trace(burn(streets, GRID), GRID, bridges=BridgeRule())
    assert network.bridged.sum() == 1
    bridge = int(np.flatnonzero(network.bridged)[0])
    assert set(np.bincount(network.ends.ravel())[network.ends[bridge]]) == {2}
    assert network.width_m[bridge] == pytest.approx(6.5, abs=0.7)
    assert len(trace(burn(streets, GRID), GRID)) == 2


def test_what_is_too_far_turned_or_beside_is_not() -> None:
    start = ([(20, 100), (140, 100)], 6.0)
    assert bridges([start, ([(150, 100), (280, 100)], 6.0)]) == 1
    assert bridges([start, ([(155, 100), (280, 100)], 6.0)]) == 0
    assert bridges([start, ([(155, 100), (280, 100)], 6.0)], max_gap_m=16.0) == 1
    assert bridges([start, ([(150, 106), (150, 180)], 6.0)]) == 0, "a corner"
    assert bridges([start, ([(20, 112), (140, 112)], 6.0)]) == 0, "side by side"
    assert bridges([start, ([(143, 112), (280, 112)], 6.0)]) == 0, "an offset"
    assert bridges([start, ([(150, 100), (280, 100)], 20.0)]) == 0, "another kind of road"
    assert bridges([start, ([(150, 100), (280, 100)], 6.0)], max_gap_m=0.0) == 0


def test_an_end_is_joined_once_to_the_nearest() -> None:
    streets = [([(20, 100), (140, 100)], 6.0), ([(148, 97), (280, 90)], 6.0), ([(151, 104), (280, 120)], 6.0)]
    assert bridges(streets) == 1


def test_gaps_are_judged_block_by_block() -> None:
    grid = make_grid(2400, 2400)
    streets = [([(x, y), (x + 50, y)], 6.0) for x in range(10, 1100, 60) for y in range(20, 1180, 60)]
    asked: list[Window] = []

    def read(window: Window) -> tuple[np.ndarray, None]:
        asked.append(window)
        return np.zeros(window.shape, np.uint8), None

    network = trace(burn(streets, grid), grid, bridges=BridgeRule(read=read))
    assert network.bridged.sum() > 200
    blocks = [(w.row // 512, w.col // 512) for w in asked]
    assert len(set(blocks)) == 25
    assert sum(one != two for one, two in itertools.pairwise(blocks)) < 3 * 25


@pytest.mark.parametrize(
    ("between", "sure", "joined"), [(0, 120, 1), (0, 250, 0), (3, 250, 1), (1, 120, 0), (255, 0, 1)]
)
def test_what_lies_in_the_gap_decides(between: int, sure: int, joined: int) -> None:
    classes = burn([([(20, 100), (140, 100)], 6.0), ([(150, 100), (280, 100)], 6.0)], GRID)
    classes[180:220, 281:299] = between
    confidence = np.full(classes.shape, sure, np.uint8)
    asked: list[Window] = []

    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        asked.append(window)
        assert window.intersect(GRID.window) == window
        part = window.within(GRID.window)
        return classes[part], confidence[part]

    rule = BridgeRule(background=[0], blocking=[1], read=read)
    network = trace(classes, GRID, confidence=confidence, bridges=rule)
    assert network.bridged.sum() == joined
    assert [max(w.shape) <= 30 for w in asked] == [True]
    np.testing.assert_allclose(network.confidence[~network.bridged], sure / 255, atol=0.01)
    assert classes.max() >= ROAD


@pytest.mark.parametrize("gap", [3, 8, 11])
def test_an_end_that_points_at_a_road_is_led_to_it(gap: float) -> None:
    streets = [([(150, 0), (150, 200)], 8.0), ([(20, 100), (146 - gap, 100)], 6.0), ([(154 + gap, 60), (280, 60)], 6.0)]
    network = trace(burn(streets, GRID), GRID, bridges=BridgeRule())
    assert network.bridged.sum() == 2
    degree = np.bincount(network.ends.ravel())
    assert sorted(degree) == [1, 1, 1, 1, 2, 2, 3, 3]
    junctions = network.node_px[degree == 3]
    np.testing.assert_allclose(junctions, [[120, 300], [200, 300]], atol=1.5)
    assert len(network) == 7
    far = [([(150, 0), (150, 200)], 8.0), ([(20, 100), (130, 100)], 6.0)]
    assert bridges(far) == 0
    along = [([(150, 0), (150, 200)], 8.0), ([(140, 20), (140, 180)], 6.0)]
    assert bridges(along) == 0


@pytest.mark.parametrize("at", [[3], [1, 8], [0, 5, 5, 9], [0], [4, 5]])
def test_a_road_is_cut_at_points_that_both_parts_keep(at: list[int]) -> None:
    points = np.stack([np.zeros(20), 2 * np.arange(20)], axis=1).astype(np.int32)
    points[10:] += [4, 0]
    lines = Lines(np.array([0, 10, 20]), points, np.arange(20, dtype=np.float32), np.arange(20, dtype=np.int16))
    with TemporaryFile() as file:
        spill = LineFile(file, (0.5, 0.5), batch_points=4)
        graph = Chains.of_pieces(spill, spill.append(lines))
        cut, node = graph.split(np.ones(len(at), np.int64), np.array(at))
        found = spill.read(cut.spans)
    inner = sorted({i for i in at if 0 < i < 9})
    tips = np.stack([found.offsets[:-1], found.offsets[1:] - 1], axis=1)
    np.testing.assert_array_equal(np.diff(found.offsets), [10, *(1 + np.diff([0, *inner, 9]))])
    expected = [*range(10), *sorted([*range(10, 20), *(10 + i for i in inner)])]
    np.testing.assert_array_equal(found.points, points[expected])
    np.testing.assert_array_equal(found.confidence, expected)
    np.testing.assert_array_equal(cut.place[node], points[10 + np.array(at)])
    np.testing.assert_array_equal(cut.place[cut.ends], found.points[tips])
    np.testing.assert_allclose(cut.spans["length_m"], 0.5 * (np.diff(found.offsets) - 1))


def test_impossible_rules_are_refused() -> None:
    with pytest.raises(OptionError):
        BridgeRule(max_angle_deg=120)
