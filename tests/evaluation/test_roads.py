"""Completeness, correctness and quality of roads against closed-form cases."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import InputError, OptionError
from geoseg.evaluation.road_layers import RoadMask, score_road_layers
from geoseg.evaluation.roads import RoadScore, score_roads
from geoseg.grid import GEOD
from tests.evaluation.lines import cut_lines, lines, streets

STREET = lines([(0, 0), (100, 0)])
NONE = np.zeros(0, object)


@pytest.mark.parametrize(("shift", "share"), [(0.0, 1.0), (2.9, 1.0), (3.1, 0.0)])
def test_a_parallel_line_matches_within_the_buffer_only(shift, share):
    score = score_roads(lines([(0, shift), (100, shift)]), STREET, buffer_m=3.0)
    assert (score.completeness, score.correctness, score.quality) == (share, share, share)


def test_half_a_road_and_one_of_air():
    predicted = lines([(0, 0), (50, 0)], [(0, 500), (30, 500)])
    score = score_roads(predicted, STREET, buffer_m=3.0)
    assert score.completeness == pytest.approx(0.53)  # the buffer reaches 3 m beyond the end
    assert score.correctness == pytest.approx(50 / 80)
    assert score.quality == pytest.approx(50 / (80 + 47))


def test_a_crossing_road_matches_where_it_crosses():
    score = score_roads(lines([(50, -50), (50, 50)]), STREET, buffer_m=3.0)
    assert score.completeness == pytest.approx(0.06)
    assert score.correctness == pytest.approx(0.06)


@settings(max_examples=25, deadline=None)
@given(streets(), streets())
def test_sides_may_be_swapped(a, b):
    there, back = score_roads(a, b, buffer_m=5.0), score_roads(b, a, buffer_m=5.0)
    assert there.completeness == pytest.approx(back.correctness)
    assert there.correctness == pytest.approx(back.completeness)


@settings(max_examples=25, deadline=None)
@given(streets(), streets(), st.randoms(use_true_random=False))
def test_cuts_and_directions_do_not_matter(predicted, truth, random):
    whole = score_roads(predicted, truth, buffer_m=5.0)
    pieces = score_roads(cut_lines(predicted, random), cut_lines(truth, random), buffer_m=5.0)
    for name in ("predicted_m", "truth_m", "matched_predicted_m", "matched_truth_m"):
        assert getattr(pieces, name) == pytest.approx(getattr(whole, name), rel=1e-3, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(streets(), streets(), streets(), streets())
def test_scores_of_two_places_add_up(a, b, c, d):
    c, d = shapely.transform(np.array([*c]), lambda p: p + 1000), shapely.transform(np.array([*d]), lambda p: p + 1000)
    parts = score_roads(a, b, buffer_m=5.0) + score_roads(c, d, buffer_m=5.0)
    whole = score_roads(np.concatenate([a, c]), np.concatenate([b, d]), buffer_m=5.0)
    for name in ("predicted_m", "truth_m", "matched_predicted_m", "matched_truth_m"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name))
    assert parts.quality == pytest.approx(whole.quality)


def test_nothing_at_all():
    assert score_roads(NONE, STREET, buffer_m=3.0) == RoadScore(0.0, 0.0, 100.0, 0.0)
    assert np.isnan(score_roads(NONE, STREET, buffer_m=3.0).correctness)
    assert score_roads(NONE, STREET, buffer_m=3.0).quality == 0.0
    assert np.isnan(score_roads(NONE, NONE, buffer_m=3.0).quality)


def frame(coordinates, crs="EPSG:32737") -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(geometry=list(lines(*coordinates)), crs=crs)


TOWN = [[(530_010, 9_329_960), (530_090, 9_329_960)], [(530_050, 9_329_960), (530_050, 9_329_910)]]


def test_layers_meet_in_any_crs():
    truth = frame(TOWN)
    found = score_road_layers(truth.to_crs(3857), truth.to_crs(4326))
    assert found.roads.quality == pytest.approx(1.0)
    on_ground = sum(map(GEOD.geometry_length, truth.to_crs(4326).geometry))
    assert found.roads.truth_m == pytest.approx(on_ground, rel=1e-6)
    assert found.routes.apls == pytest.approx(1.0, abs=1e-4)


def test_a_mask_is_traced_and_nothing_is_asked_beyond_it(make_grid):
    mask = np.zeros((200, 200), bool)
    mask[77:84], mask[77:, 97:104] = True, True
    x, y = 530_000, 9_330_000
    truth = frame([[(x - 500, y - 40.25), (x + 500, y - 40.25)], [(x + 50.25, y - 40.25), (x + 50.25, y - 300)]])
    side = RoadMask(mask, make_grid(200, 200))
    for found in (score_road_layers(side, truth, buffer_m=1.0), score_road_layers(truth, side, buffer_m=1.0)):
        assert found.roads.truth_m == pytest.approx(100 + 59.75, abs=0.6)
        assert found.roads.quality == pytest.approx(1.0, abs=0.01)
        assert found.routes.apls > 0.98


def test_only_the_area_counts():
    truth = frame(TOWN)
    west = geopandas.GeoDataFrame(geometry=[shapely.box(530_000, 9_329_900, 530_050, 9_330_000)], crs=truth.crs)
    found = score_road_layers(truth.iloc[:1], truth, area=west.to_crs(4326), buffer_m=1.0)
    assert found.roads.predicted_m == pytest.approx(40, abs=0.02)
    assert score_road_layers(truth, truth.iloc[:1], buffer_m=1.0).roads.correctness < 0.7


def test_what_cannot_be_compared():
    truth = frame(TOWN)
    with pytest.raises(InputError, match="neither"):
        score_road_layers(truth.iloc[:0], truth.iloc[:0])
    with pytest.raises(InputError, match="CRS"):
        score_road_layers(truth.set_crs(None, allow_override=True), truth)
    with pytest.raises(InputError, match="Polygon"):
        score_road_layers(truth.set_geometry(truth.buffer(1)), truth)
    with pytest.raises(OptionError, match="buffer"):
        score_road_layers(truth, truth, buffer_m=0.0)
    empty = score_road_layers(truth.iloc[:0], truth)
    assert (empty.roads.completeness, empty.routes.apls) == (0.0, 0.0)
