"""Roads of rasters, polygons and lines, whole and by windows."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from geoseg.evaluation import comparison
from geoseg.evaluation.evaluate import evaluate

UTM = "EPSG:32633"
X, Y = 390_000, 5_820_000
GRID = Affine(0.5, 0, X, 0, -0.5, Y)
SHAPE = (240, 320)
WIDTH_M = 4.0


def lines(*paths):
    """Lines through (east, south) in metres from the upper left corner."""
    return [shapely.LineString([(X + east, Y - south) for east, south in path]) for path in paths]


STREETS = lines([(-10, 60), (170, 60)], [(80, -10), (80, 130)], [(80, 60), (130, 110)])


def write(folder, kind, name, streets, crs=UTM):
    areas = shapely.buffer(streets, WIDTH_M / 2)
    if kind == "raster":
        classes = rasterio.features.rasterize(areas, out_shape=SHAPE, transform=GRID, default_value=2).astype(np.uint8)
        profile = {"count": 1, "dtype": "uint8", "crs": UTM, "transform": GRID, "height": SHAPE[0], "width": SHAPE[1]}
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", **profile) as dataset:
            dataset.write(classes, 1)
        return folder / f"{name}.tif"
    columns = {"class": ["road"] * len(streets)} if kind == "polygons" else {}
    frame = geopandas.GeoDataFrame(columns, geometry=list(areas if kind == "polygons" else streets), crs=UTM)
    frame.to_crs(crs).to_file(folder / f"{name}.gpkg")
    return folder / f"{name}.gpkg"


@pytest.fixture(params=[2048, 131])
def window_px(request, monkeypatch):
    monkeypatch.setattr(comparison, "WINDOW_PX", request.param)


@pytest.mark.usefixtures("window_px")
@pytest.mark.parametrize("kinds", ["raster lines", "lines raster", "polygons raster", "raster raster"])
def test_the_same_roads(tmp_path, kinds):
    sides = [write(tmp_path, kind, name, STREETS) for kind, name in zip(kinds.split(), "ab", strict=True)]
    result = evaluate(*sides, road_buffer_m=2.0)
    assert result.roads.roads.completeness == pytest.approx(1, abs=0.01)
    assert result.roads.roads.correctness == pytest.approx(1, abs=0.01)
    assert result.roads.routes.apls > 0.95
    # What lies beyond the raster is judged on neither side.
    assert result.roads.roads.truth_m == pytest.approx(160 + 120 + 50 * np.sqrt(2), rel=0.03)
    assert (result.classes == ()) == ("lines" in kinds)
    assert "APLS" in result.format()
    assert result.to_dict()["roads"]["apls"] == result.roads.routes.apls


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326"])
def test_two_layers_of_lines(tmp_path, crs):
    found = write(tmp_path, "lines", "a", STREETS[:1], crs=crs)
    result = evaluate(found, write(tmp_path, "lines", "b", STREETS))
    assert result.roads.roads.correctness == pytest.approx(1)
    assert result.roads.roads.completeness == pytest.approx(
        (180 + 6 + 3 * np.sqrt(2)) / (320 + 50 * np.sqrt(2)), abs=0.01
    )
    assert result.buildings is None


def test_areas_are_honoured(tmp_path):
    raster, truth = (write(tmp_path, kind, "a", STREETS) for kind in ("raster", "lines"))
    west = geopandas.GeoDataFrame(geometry=[shapely.box(X, Y - 120, X + 40, Y)], crs=UTM)
    west.to_crs("EPSG:4326").to_file(tmp_path / "west.gpkg")
    inside = evaluate(raster, truth, aoi=tmp_path / "west.gpkg").roads.roads
    outside = evaluate(raster, truth, ignore=tmp_path / "west.gpkg").roads.roads
    assert inside.truth_m == pytest.approx(40, abs=0.1)
    assert outside.truth_m == pytest.approx(120 + 120 + 50 * np.sqrt(2), abs=0.2)


def test_no_roads(tmp_path):
    raster, truth = (write(tmp_path, kind, "b", STREETS) for kind in ("raster", "lines"))
    corner = geopandas.GeoSeries([shapely.box(X + 2, Y - 20, X + 20, Y - 2)], crs=UTM).to_crs("EPSG:4326")
    assert evaluate(raster, truth, aoi=",".join(map(str, corner.total_bounds))).roads is None
    edge = shapely.Polygon([(X + 2, Y - 20), (X + 20, Y - 2), (X + 20, Y - 70)]).union(shapely.box(X, Y - 20, X + 9, Y))
    edge -= shapely.box(X, Y - 70, X + 30, Y - 50)  # its box holds a road, it does not
    geopandas.GeoDataFrame(geometry=[edge], crs=UTM).to_file(tmp_path / "edge.gpkg")
    nothing = evaluate(raster, truth, aoi=tmp_path / "edge.gpkg").roads
    assert nothing is None or nothing.roads.truth_m == 0
    house = shapely.box(X, Y - 10, X + 10, Y)
    geopandas.GeoDataFrame({"class": ["building"]}, geometry=[house], crs=UTM).to_file(tmp_path / "a.gpkg")
    assert evaluate(tmp_path / "a.gpkg", tmp_path / "a.gpkg").roads is None
