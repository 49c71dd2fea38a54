"""Drawn roads of real scenes, burnt into a class raster and found again."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.features import rasterize

from geoseg.evaluation.road_layers import score_road_layers
from geoseg.grid import GeoGrid
from tests.roads.streets import ROAD, trace
from tests.roads.test_graph import as_frame
from tests.roads.test_tiles import assert_same

SCENES = ["banepa2_train_z19x2", "banepa_np_z20_c0", "catanduanes_ph_z20_c0", "zanzibar_z20_c0", "zanzibar_z20_c1"]


@pytest.mark.data
@pytest.mark.parametrize("scene", SCENES)
def test_burnt_roads_are_found_again(data_dir: Path, scene: str) -> None:
    folder = data_dir / "oam" / "labels"
    if not folder.is_dir():
        pytest.skip(f"no labels in {folder}")
    with rasterio.open(folder / f"{scene}_classes.tif") as raster:
        grid = GeoGrid(raster.crs.to_wkt(), raster.transform, *raster.shape)
    truth = geopandas.read_file(folder / f"{scene}_roads.geojson")
    utm = truth.to_crs(truth.estimate_utm_crs())
    areas = geopandas.GeoSeries(utm.buffer(utm["width_m"] / 2, cap_style="flat")).to_crs(grid.crs)
    classes = rasterize([(a, ROAD) for a in areas], (grid.rows, grid.cols), transform=grid.transform, dtype="uint8")
    network = trace(classes, grid)
    assert_same(trace(classes, grid, tile_px=(512, 700)), network)
    frame = as_frame(network, grid)
    corners = np.array([[0, 0], [0, grid.cols], [grid.rows, grid.cols], [grid.rows, 0]], float)
    xy = np.stack(grid.to_world(*corners.T), axis=1)
    outline = geopandas.GeoDataFrame(geometry=geopandas.GeoSeries.from_wkt([_polygon(xy)], crs=grid.crs))
    score = score_road_layers(frame, truth, area=outline)
    assert score.roads.completeness > 0.99
    assert score.roads.correctness > 0.99
    assert score.routes.apls > 0.9


def _polygon(xy: np.ndarray) -> str:
    return "POLYGON ((" + ", ".join(f"{x} {y}" for x, y in [*xy, xy[0]]) + "))"
