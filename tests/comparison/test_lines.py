"""Roads are compared by length."""

from __future__ import annotations

from pathlib import Path

import geopandas
import pyogrio
import pytest
import shapely
from shapely.affinity import translate

from geoseg.comparison.compare import compare
from geoseg.grid import GEOD
from tests.comparison.scenes import EAST, NORTH, make_layer, make_town, save, save_both


def make_roads(lines: list[list[tuple[float, float]]]) -> geopandas.GeoDataFrame:
    return make_layer([translate(shapely.LineString(line), EAST, NORTH) for line in lines], "road")


ALONG = [(0.0, 0.0), (400.0, 0.0), (1000.0, 0.0)]


def test_lengths_that_appeared_and_vanished(tmp_path: Path) -> None:
    before = make_roads([ALONG, [(500, 0), (500, 300)]])
    # The same road, cut elsewhere and drawn 2 m aside; the branch is gone, another one leads south.
    after = make_roads([[(0, 2), (700, 2)], [(700, 2), (1000, 2)], [(200, 0), (200, -300)]])
    scale = 1 / 0.9996
    found = compare(*save_both(tmp_path, before, after)).lines["road"]
    truth = 1000 + 3, 297, 295
    assert (found.unchanged_m, found.appeared_m, found.vanished_m) == pytest.approx(
        [v * scale for v in truth], rel=2e-3
    )
    assert found.length_b_m == pytest.approx(found.unchanged_m + found.appeared_m)
    swapped = compare(tmp_path / "b.fgb", tmp_path / "a.fgb").lines["road"]
    assert (swapped.appeared_m, swapped.vanished_m) == (found.vanished_m, found.appeared_m)
    narrow = compare(tmp_path / "a.fgb", tmp_path / "b.fgb", buffer_m=1).lines["road"]
    assert narrow.appeared_m == pytest.approx(1300 * scale, rel=0.01)


def test_blocks_change_nothing(tmp_path: Path) -> None:
    streets = [[(0, 40.0 * i), (300, 40.0 * i + 9 * i)] for i in range(12)] + [
        [(35.0 * i, 0), (35.0 * i, 500)] for i in range(9)
    ]
    paths = save_both(tmp_path, make_roads(streets[::2]), make_roads(streets[5:]))
    results = []
    for block_bytes in (1, 900, 10**6):
        written = tmp_path / f"{block_bytes}.geojson"
        results.append((compare(*paths, written, block_bytes=block_bytes).lines, written.read_bytes()))
    assert results[0] == results[1] == results[2]


def test_the_stretches_are_written_beside_the_polygons(tmp_path: Path) -> None:
    houses, moved, _ = make_town()
    paths = tmp_path / "a.gpkg", tmp_path / "b.gpkg"
    for path, polygons, roads in zip(paths, (houses, moved), ([ALONG], [[(0, 0), (600, 0)]]), strict=True):
        polygons.to_file(path, layer="polygons")
        make_roads(roads).to_file(path, layer="roads")
    result = compare(*paths, tmp_path / "changes.gpkg")
    assert "lines, m" in result.format()
    names = set(pyogrio.list_layers(tmp_path / "changes.gpkg")[:, 0])
    assert {"changes", "changed_lines"} <= names
    written = geopandas.read_file(tmp_path / "changes.gpkg", layer="changed_lines")
    assert list(written.change) == ["unchanged", "vanished"]
    assert list(written.id_a.isna()) == [True, False]
    for line, length_m in zip(written.to_crs(4326).geometry, written.length_m, strict=True):
        assert length_m == pytest.approx(GEOD.geometry_length(line), abs=0.002)


def test_roads_beside_a_layer_are_those_inside_a_geopackage(tmp_path: Path) -> None:
    houses, moved, _ = make_town()
    for name, polygons, roads in (("a", houses, [ALONG]), ("b", moved, [[(0, 0), (600, 0)]])):
        polygons.to_file(tmp_path / f"{name}.gpkg", layer="polygons")
        make_roads(roads).to_file(tmp_path / f"{name}.gpkg", layer="roads")
        save(polygons, tmp_path / f"{name}.fgb")
        save(make_roads(roads), tmp_path / f"{name}_roads.fgb")
    inside, beside = (compare(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}") for suffix in (".gpkg", ".fgb"))
    assert inside.lines == beside.lines
    assert inside.polygons["building"].objects == beside.polygons["building"].objects


def test_no_roads_on_one_side(tmp_path: Path) -> None:
    roads = make_roads([ALONG])
    found = compare(save(roads, tmp_path / "a.gpkg"), save(roads.iloc[:0], tmp_path / "b.gpkg")).lines["road"]
    assert found.vanished_m == found.length_a_m > 1000
