"""A written network opens as a graph in which routes are found."""

from __future__ import annotations

from pathlib import Path

import geopandas
import networkx as nx
import numpy as np
import pytest

from geoseg.errors import InputError
from geoseg.files import gdal_name
from geoseg.grid import GeoGrid
from geoseg.roads.gaps import BridgeRule
from geoseg.roads.graph import open_network
from tests.roads.streets import UTM, RoadNetwork, burn, make_grid, trace

STREETS = [([(x, 0), (x, 500)], 8.0) for x in (100, 300)] + [([(0, y), (500, y)], 6.0) for y in (100, 200, 400)]
STREETS += [([(330, 300), (400, 300)], 6.0), ([(408, 300), (480, 300)], 6.0)]


def as_frame(network: RoadNetwork, grid: GeoGrid) -> geopandas.GeoDataFrame:
    batch = network.describe(grid)
    return geopandas.GeoDataFrame(batch.columns, geometry=batch.geometries, crs=grid.crs)


@pytest.fixture(scope="module")
def network() -> RoadNetwork:
    grid = make_grid(1000, 1000)
    return trace(burn(STREETS, grid), grid, bridges=BridgeRule())


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "geojson.gz", "fgb", "parquet"])
def test_routes_are_found_in_every_format(network: RoadNetwork, tmp_path: Path, suffix: str) -> None:
    grid = make_grid(1000, 1000)
    path, frame = tmp_path / f"roads.{suffix}", as_frame(network, grid)
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        driver = {"driver": "GeoJSON"} if "geojson" in suffix else {}
        frame.to_file(gdal_name(path), layer="roads", **driver)
    graph = open_network(path)
    assert isinstance(graph, nx.MultiGraph)
    assert graph.number_of_edges() == len(network)
    assert graph.number_of_nodes() == len(network.node_px)
    assert nx.number_connected_components(graph) == 2
    x0, y0 = grid.to_world(np.array(200.0), np.array(200.0))
    x1, y1 = grid.to_world(np.array(800.0), np.array(600.0))
    near = [
        min(graph, key=lambda n: (graph.nodes[n]["x"] - x) ** 2 + (graph.nodes[n]["y"] - y) ** 2)
        for x, y in ((x0, y0), (x1, y1))
    ]
    length = nx.shortest_path_length(graph, *near, weight="length_m")
    assert length == pytest.approx(200 + 300, abs=2)
    for a, b, data in graph.edges(data=True):
        tips = {tuple(np.round(data["geometry"].coords[i], 6)) for i in (0, -1)}
        assert tips == {(round(graph.nodes[n]["x"], 6), round(graph.nodes[n]["y"], 6)) for n in (a, b)}
        assert data["width_m"] > 3
    assert sum(data["bridged"] for *_, data in graph.edges(data=True)) == 1


def test_the_roads_among_other_layers(network: RoadNetwork, tmp_path: Path) -> None:
    path, frame = tmp_path / "map.gpkg", as_frame(network, make_grid(1000, 1000))
    frame.buffer(1).to_frame("geometry").to_file(path, layer="polygons")
    frame.to_file(path, layer="roads", mode="a")
    assert open_network(path).number_of_edges() == len(network)


def test_what_is_no_network_is_refused(network: RoadNetwork, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not there"):
        open_network(tmp_path / "none.gpkg")
    (tmp_path / "text.gpkg").write_text("text")
    with pytest.raises(InputError, match="cannot be read"):
        open_network(tmp_path / "text.gpkg")
    frame = as_frame(network, make_grid(1000, 1000))
    frame.to_file(tmp_path / "roads.fgb")
    (tmp_path / "cut.fgb").write_bytes((tmp_path / "roads.fgb").read_bytes()[:2000])
    with pytest.raises(InputError, match="cut off"):
        open_network(tmp_path / "cut.fgb")
    frame.drop(columns="node_to").to_file(tmp_path / "lines.gpkg")
    with pytest.raises(InputError, match="node_to"):
        open_network(tmp_path / "lines.gpkg")
    frame.assign(geometry=frame.buffer(1)).to_file(tmp_path / "areas.gpkg")
    with pytest.raises(InputError, match="no road network"):
        open_network(tmp_path / "areas.gpkg")
    assert frame.crs == UTM
