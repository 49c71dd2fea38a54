"""Vector labels: burnt where they are on the ground, the same whatever the window, file or CRS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.features import rasterize

from geoseg.errors import GeosegError, InputError, OptionError
from geoseg.grid import GEOD, GeoGrid, Window
from geoseg.legend import LAND_COVER
from geoseg.training.job import read_job
from geoseg.training.losses import IGNORE
from geoseg.training.samples import Sampler
from geoseg.training.scenes import SceneReader, find_scenes
from geoseg.training.shapes import LabelShapes
from geoseg.training.source import Source
from geoseg.training.vectors import read_shapes
from tests.training.scenery import make_job, make_source, write_raster

UTM = CRS.from_epsg(32737)
GRID = GeoGrid(UTM.to_wkt(), Affine(0.4, 0, 500_000, 0, -0.4, 9_330_000), 100, 120)


def to_ground(shapes: list[shapely.Geometry], grid: GeoGrid = GRID) -> list[shapely.Geometry]:
    """From pixels (x = column, y = row) to the grid's CRS."""

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(grid.to_world(points[:, 1], points[:, 0]), axis=1)

    return [shapely.transform(s, move) for s in shapes]


def write_layer(
    path: Path, shapes: list[shapely.Geometry], crs: Any = UTM, *, grid: GeoGrid = GRID, **columns: Any
) -> Path:
    """A vector file in any CRS; the shapes are in pixels."""
    frame = geopandas.GeoDataFrame(columns, geometry=to_ground(shapes, grid), crs=UTM)
    (frame.to_crs(crs) if crs else frame.set_crs(None, allow_override=True)).to_file(path)
    return path


def make_vector_source(**changes: Any) -> Source:
    return make_source(**({"kind": "vector", "labels": "{stem}.gpkg", "only": "building"} | changes))


def burn(source: Source, path: Path, grid: GeoGrid = GRID, extent: Path | None = None) -> NDArray[np.uint8]:
    shapes, valid = read_shapes(source, LAND_COVER, grid, path, extent)
    labels = shapes.burn(grid.window)
    if valid is not None:
        labels[valid.burn(grid.window) == 0] = IGNORE
    return labels


corners = st.tuples(st.floats(-20, 140, width=32), st.floats(-20, 120, width=32))
triangles = st.lists(corners, min_size=3, max_size=3).map(shapely.Polygon)


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(st.tuples(triangles, st.integers(0, 3)), max_size=8),
    cuts=st.tuples(st.integers(1, 99), st.integers(1, 119)),
)
def test_any_windows_together_are_the_rasterised_whole(
    shapes: list[tuple[shapely.Polygon, int]], cuts: tuple[int, int]
) -> None:
    polygons = np.array([p for p, _ in shapes], object)
    labels = np.array([i for _, i in shapes], np.uint8)
    burner = LabelShapes(polygons, labels, labels.astype(np.int64), elsewhere=0)
    row, col = cuts
    parts = [
        [burner.burn(Window(0, 0, row, col)), burner.burn(Window(0, col, row, 120 - col))],
        [burner.burn(Window(row, 0, 100 - row, col)), burner.burn(Window(row, col, 100 - row, 120 - col))],
    ]
    rounded = shapely.transform(polygons, lambda p: np.round(p * 256) / 256)
    order = np.argsort(labels, kind="stable")
    pairs = [(rounded[i], int(labels[i])) for i in order]
    expected = rasterize(pairs, (100, 120), dtype="uint8") if pairs else np.zeros((100, 120), np.uint8)
    assert np.array_equal(np.block(parts), expected)


BOXES = [shapely.box(10, 10, 30, 25), shapely.box(20, 20, 50, 60), shapely.box(70, 5, 110, 95)]


@pytest.mark.parametrize(
    ("suffix", "crs"),
    [("geojson", "EPSG:4326"), ("gpkg", "EPSG:3857"), ("gpkg", "EPSG:21037"), ("fgb", "EPSG:4326"), ("shp", UTM)],
)
def test_files_of_any_kind_and_crs_say_the_same(tmp_path: Path, suffix: str, crs: Any) -> None:
    path = write_layer(tmp_path / f"a.{suffix}", BOXES, crs, kind=["house", "house", "wood"])
    source = make_vector_source(only="", class_column="kind", values={"vegetation": ("wood",), "building": ("house",)})
    expected = rasterize([(BOXES[2], 3), (BOXES[0], 1), (BOXES[1], 1)], (100, 120), dtype="uint8")
    assert np.array_equal(burn(source, path), expected)
    partial = burn(replace(source, only="vegetation"), path)
    assert np.array_equal(partial, expected == 3)


def test_what_is_listed_last_lies_on_top_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    for step in (1, -1):
        path = write_layer(tmp_path / f"{step}.fgb", BOXES[:2][::step], kind=["a", "b"][::step])
        source = make_vector_source(only="", class_column="kind", values={"building": ("b",), "road": ("a",)})
        assert np.array_equal(burn(source, path), rasterize([(BOXES[1], 1), (BOXES[0], 2)], (100, 120), dtype="uint8"))


def test_numbers_nulls_and_unlisted_values(tmp_path: Path) -> None:
    path = write_layer(tmp_path / "a.gpkg", BOXES, code=[7, None, 9])
    source = make_vector_source(only="", class_column="code", values={"building": ("7",), "ignore": ("*",)})
    labels = burn(source, path)
    assert [int(labels[12, 12]), int(labels[50, 40]), int(labels[50, 90]), int(labels[0, 0])] == [1, IGNORE, IGNORE, 0]
    with pytest.raises(InputError, match="no class covers '', '9'"):
        burn(replace(source, values={"building": ("7",)}), path)


def test_outside_of_the_extent_nothing_is_known(tmp_path: Path) -> None:
    path = write_layer(tmp_path / "a.gpkg", BOXES[:1])
    extent = write_layer(tmp_path / "e.geojson", [shapely.box(0, 0, 60, 100)], "EPSG:4326")
    labels = burn(make_vector_source(), path, extent=extent)
    assert (labels[:, 60:] == IGNORE).all()
    assert np.array_equal(labels[:, :60], rasterize([(BOXES[0], 1)], (100, 60), dtype="uint8"))
    empty = write_layer(tmp_path / "empty.gpkg", [shapely.box(900, 0, 910, 10)])
    assert set(np.unique(burn(make_vector_source(), empty, extent=extent))) == {0, IGNORE}


def mercator_grid(latitude: float, gsd_m: float, size: int) -> GeoGrid:
    pixel = gsd_m / np.cos(np.radians(latitude))
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(30.0, latitude)
    return GeoGrid(CRS.from_epsg(3857).to_wkt(), Affine(pixel, 0, x, 0, -pixel, y), size, size)


@pytest.mark.parametrize("latitude", [0.0, 45.0, 70.0])
@pytest.mark.parametrize(("width", "azimuth"), [(6.0, 0.0), (6.0, 90.0), (11.0, 37.0), (3.0, 200.0)])
def test_lines_have_their_width_on_the_ground(tmp_path: Path, latitude: float, width: float, azimuth: float) -> None:
    """Length times width, and round ends; a pixel of the edge may fall on either side, half of them each."""
    grid = mercator_grid(latitude, 0.5, 400)
    lon, lat = grid.to_lonlat.transform(*grid.to_world(np.array([200.0]), np.array([200.0])))
    length = 120.0
    ends = [GEOD.fwd(lon[0], lat[0], azimuth + turn, length / 2)[:2] for turn in (0, 180)]
    frame = geopandas.GeoDataFrame({"width_m": [width]}, geometry=[shapely.LineString(ends)], crs=4326)
    frame.to_file(tmp_path / "a.gpkg")
    labels = burn(make_vector_source(only="road", width_column="width_m"), tmp_path / "a.gpkg", grid)
    height_m, width_m = grid.ground_resolution_m()
    expected = length * width + np.pi * (width / 2) ** 2
    outline = 2 * length + np.pi * width
    assert labels.sum() * height_m * width_m == pytest.approx(expected, abs=0.3 * outline * max(height_m, width_m))
    # The burnt shape itself, before it is rounded to whole pixels.
    shapes, _ = read_shapes(make_vector_source(only="road", width_m=width), LAND_COVER, grid, tmp_path / "a.gpkg", None)
    area = sum(p.area for p in shapes._polygons) * height_m * width_m
    assert area == pytest.approx(expected, rel=0.01)


def test_lines_without_width_get_the_stated_one(tmp_path: Path) -> None:
    lines = [shapely.LineString([(-10, y), (130, y)]) for y in (10, 30, 50, 70)]
    path = write_layer(tmp_path / "a.gpkg", lines, width=["4", None, "wide", "8.0"])
    source = make_vector_source(only="road", width_column="width", width_m=2.0)
    assert (burn(source, path).sum(axis=0) == [10 + 5 + 5 + 20] * 120).all()
    with pytest.raises(InputError, match=r"2 line\(s\) without a width") as caught:
        burn(replace(source, width_m=0.0), path)
    assert "width_m" in caught.value.remedy


def test_a_rotated_grid_and_lines_that_come_from_outside(tmp_path: Path) -> None:
    grid = replace(GRID, transform=GRID.transform @ Affine.rotation(30))
    line = shapely.LineString([(-5000, 50), (5000, 50)])
    path = write_layer(tmp_path / "a.fgb", [line], grid=grid)
    labels = burn(make_vector_source(only="road", width_m=4.0), path, grid)
    assert (labels[45:55] == 1).all()
    assert labels.sum() == 1200


def test_scenes_with_vector_labels(tmp_path: Path) -> None:
    """One layer serves many images; images that it does not cover, or without georeference, are named and skipped."""
    image = np.zeros((3, 100, 120), np.uint8)
    write_raster(tmp_path / "a.tif", image)
    write_raster(tmp_path / "b.tif", image, shift=20.0)
    write_raster(tmp_path / "c.tif", image, shift=9000.0)
    write_raster(tmp_path / "d.png", image, gsd=None)
    write_layer(tmp_path / "all.geojson", BOXES, "EPSG:4326")
    source = make_vector_source(labels="all.geojson", images=("?.tif", "?.png"))
    scenes, skipped = find_scenes(make_job(tmp_path, source), LAND_COVER, use="train")
    assert [s.image.name for s in scenes] == ["a.tif", "b.tif"]
    assert [("no shape on the image" in t, "no georeference" in t) for t in skipped] == [(True, False), (False, True)]
    reader = SceneReader(LAND_COVER, bands=3, cache_mb=0)
    first, second = (reader.read(s, s.window)[1] for s in scenes)
    assert np.array_equal(first[:, 50:], second[:, :70])
    assert first.any()


def write_points(path: Path) -> Path:
    return write_layer(path, [shapely.Point(5, 5)])


@pytest.mark.parametrize(
    ("write", "changes", "kind", "said"),
    [
        (lambda p: write_layer(p, BOXES), {"only": "", "class_column": "kind"}, OptionError, "no attribute 'kind'"),
        (lambda p: write_layer(p, BOXES), {"layer": "b"}, OptionError, "no layer 'b'"),
        (lambda p: write_layer(p, BOXES, None), {}, InputError, "no coordinate reference system"),
        (lambda p: write_layer(p, BOXES[:0]), {}, InputError, "no shape on the image"),
        (write_points, {}, InputError, "wrong kind, such as Point"),
        (lambda p: p, {}, InputError, "not there"),
        (lambda p: p.write_bytes(b"no layer"), {}, InputError, "cannot be read"),
    ],
)
def test_faults_are_named(tmp_path: Path, write: Any, changes: Any, kind: type[GeosegError], said: str) -> None:
    path = tmp_path / "a.gpkg"
    write(path)
    with pytest.raises(kind, match=said) as caught:
        burn(make_vector_source(**changes), path)
    assert caught.value.expected


def test_of_several_layers_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    for name in ("houses", "roads"):
        frame = geopandas.GeoDataFrame(geometry=to_ground(BOXES[:1]), crs=UTM)
        frame.to_file(path, layer=name)
    with pytest.raises(OptionError, match="2 layers") as caught:
        burn(make_vector_source(), path)
    assert "'roads'" in caught.value.expected
    assert burn(make_vector_source(layer="roads"), path).sum() == BOXES[0].area


def test_the_layer_of_an_extent_is_polygons(tmp_path: Path) -> None:
    path, extent = write_layer(tmp_path / "a.gpkg", BOXES), write_points(tmp_path / "e.gpkg")
    with pytest.raises(InputError, match="Point"):
        burn(make_vector_source(), path, extent=extent)
    far = write_layer(tmp_path / "f.gpkg", [shapely.box(9000, 0, 9010, 10)])
    with pytest.raises(InputError, match="does not reach"):
        burn(make_vector_source(), path, extent=far)


def test_raster_files_are_left_alone(tmp_path: Path) -> None:
    """Nothing is written beside the image: no masks, no chips."""
    write_raster(tmp_path / "a.tif", np.zeros((3, 100, 120), np.uint8))
    write_layer(tmp_path / "a.gpkg", BOXES)
    before = sorted(p.name for p in tmp_path.iterdir())
    scenes, _ = find_scenes(make_job(tmp_path, make_vector_source()), LAND_COVER, use="train")
    SceneReader(LAND_COVER, bands=3, cache_mb=1).read(scenes[0], scenes[0].window)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert raster.shape == scenes[0].window.shape


JOB = """
ground_resolution_m = 0.4
crop_px = 32
[network]
[normalisation]
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]
[schedule]
steps = 3
batch = 6
[[source]]
name = "houses and woods"
use = "train"
images = ["a.tif"]
kind = "vector"
labels = "{stem}.fgb"
class_column = "kind"
scale = [0.7, 1.4]
[source.values]
building = ["house"]
vegetation = ["wood"]
[[source]]
name = "roads"
use = "train"
images = ["a.tif"]
kind = "vector"
labels = "roads.geojson"
only = "road"
width_m = 4.0
"""


def test_from_a_job_file_to_batches_that_depend_on_their_number_only(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 100, 120), np.uint8)
    write_raster(tmp_path / "a.tif", image)
    write_layer(tmp_path / "a.fgb", BOXES, kind=["house", "house", "wood"])
    write_layer(tmp_path / "roads.geojson", [shapely.LineString([(-10, 50), (130, 50)])], "EPSG:4326")
    (tmp_path / "job.toml").write_text(JOB)
    job = read_job(tmp_path / "job.toml", root=tmp_path)
    batches = []
    for cache_mb, before in ((0, 0), (10, 5)):
        scenes, _ = find_scenes(job, LAND_COVER, use="train")
        sampler = Sampler(job, scenes, SceneReader(LAND_COVER, bands=3, cache_mb=cache_mb))
        for number in range(before):
            sampler.draw_batch(number)
        batches.append([sampler.draw_batch(number) for number in (7, 8)])
    for one, other in zip(*batches, strict=True):
        assert one.images.tobytes() == other.images.tobytes()
        assert one.labels.tobytes() == other.labels.tobytes()
        assert np.array_equal(one.only, other.only)
    assert batches[0][0].images.tobytes() != batches[0][1].images.tobytes()
    assert sampler.frequencies()["roads"] == pytest.approx({"not road": 0.9, "road": 0.1})
