"""A class raster becomes the layer that GDAL's own tracing of the whole raster describes, whatever the tiles."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Geod, Transformer

import geoseg
from geoseg.layers.columns import POLYGON_COLUMNS
from geoseg.legend import LAND_COVER
from tests.conftest import CORNER, UTM, MakeRaster
from tests.polygons.tracing import Raster, draw_comb, draw_frames, draw_spiral, normalize, rasters, reference

SUFFIXES = [".gpkg", ".geojson", ".fgb", ".parquet"]
COLUMNS = [*(column.name for column in POLYGON_COLUMNS), "geometry"]

TURNED = Affine.translation(530_000, 9_330_000) @ Affine.rotation(31) @ Affine.shear(9, 0) @ Affine.scale(0.5, -0.7)
PLACES = {
    "UTM south": (UTM, CORNER),
    "UTM north, south up": ("EPSG:32633", Affine(0.25, 0, 500_000, 0, 0.25, 5_600_000)),
    "Web Mercator": ("EPSG:3857", Affine(0.5, 0, 4_360_000, 0, -0.5, -690_000)),
    "degrees": ("EPSG:4326", Affine(2.0**-17, 0, 39.5, 0, -(2.0**-17), -6.25)),
}


def write_classes(
    path: Path, classes: NDArray[Any], *, crs: str = UTM, transform: Affine = CORNER, **more: Any
) -> Path:
    rows, cols = classes.shape
    profile = {"driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": classes.dtype}
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, **more) as raster:
        raster.write(classes, 1)
    return path


def whole(path: Path, mask: NDArray[np.bool_] | None = None) -> list[tuple[int, bytes]]:
    """What GDAL makes of a class raster, in its CRS."""
    with rasterio.open(path) as raster:
        classes = raster.read(1)
        known = raster.dataset_mask() > 0 if mask is None else mask
        found = list(rasterio.features.shapes(classes, known, connectivity=4, transform=raster.transform))
    return normalize([int(value) for _, value in found], [shapely.geometry.shape(shape) for shape, _ in found])


def features(path: Path) -> list[tuple[int, bytes]]:
    """What a layer holds, after checking that all of it is valid."""
    layer = geoseg.open_layer(path)
    assert layer.is_valid.all()
    return normalize(layer["class_id"], layer.geometry)


def pixel_features(path: Path, crs: str, transform: Affine) -> list[tuple[int, bytes]]:
    """What a layer holds in pixels of a grid: every vertex is a pixel corner."""
    layer = geoseg.open_layer(path)
    assert layer.is_valid.all()
    back = ~transform
    moved = shapely.transform(
        layer.to_crs(crs).geometry.to_numpy(),
        lambda p: np.stack(
            [back.a * p[:, 0] + back.b * p[:, 1] + back.c, back.d * p[:, 0] + back.e * p[:, 1] + back.f], 1
        ),
    )
    corners = shapely.transform(moved, lambda p: np.round(p) + 0.0)  # no -0
    if len(layer):
        assert np.abs(shapely.get_coordinates(moved) - shapely.get_coordinates(corners)).max() < 0.05
    return normalize(layer["class_id"], corners)


@settings(max_examples=30, deadline=None)
@given(
    st.one_of(rasters(12), rasters(60), rasters(120)),
    st.one_of(st.integers(1, 130), st.integers(1, 9)),
    st.sampled_from([None, 0, 255]),
    st.sampled_from(list(PLACES)),
    st.sampled_from([".gpkg", ".fgb", ".parquet"]),
)
def test_the_layer_is_what_gdal_gives_for_the_whole_raster(
    classes: Raster, tile_px: int, nodata: int | None, place: str, suffix: str
) -> None:
    tile_px = max(tile_px, max(classes.shape) // 12)  # a thousand tiles of a file each would only be slow
    crs, transform = PLACES[place]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_classes(folder / "classes.tif", classes, crs=crs, transform=transform, nodata=nodata)
        result = geoseg.polygonize(path, folder / f"map{suffix}", tile_px=tile_px, workers=2)
        expected = whole(path)
        assert features(result.output) == expected
        assert sum(result.polygons.values()) == len(expected)
        assert geoseg.open_layer(result.output).crs == crs


HARD = {
    "spiral": draw_spiral(31),
    "comb": draw_comb(40, 31),
    "frames": draw_frames(33),
    "checkerboard": (np.indices((24, 25)).sum(axis=0) % 2).astype(np.uint8),
    "one pixel": np.full((1, 1), 7, np.uint8),
    "one row": np.arange(90, dtype=np.uint8)[None] // 7 % 3,
    "one column": np.arange(90, dtype=np.uint8)[:, None] // 7 % 3,
}


@pytest.mark.parametrize("tile_px", [1, 5, 1000])
@pytest.mark.parametrize("name", HARD)
def test_hard_rasters_on_a_turned_grid(tmp_path: Path, name: str, tile_px: int) -> None:
    tile_px = 4 if tile_px == 1 and HARD[name].size > 200 else tile_px
    path = write_classes(tmp_path / "classes.tif", HARD[name], transform=TURNED)
    result = geoseg.polygonize(path, tmp_path / "map.parquet", tile_px=tile_px)
    assert pixel_features(result.output, UTM, TURNED) == reference(HARD[name])


@pytest.mark.parametrize("place", PLACES)
def test_geojson_holds_the_same_polygons_in_degrees(tmp_path: Path, place: str) -> None:
    crs, transform = PLACES[place]
    classes = np.random.default_rng(1).integers(0, 3, (40, 30)).astype(np.uint8)
    path = write_classes(tmp_path / "classes.tif", classes, crs=crs, transform=transform)
    result = geoseg.polygonize(path, tmp_path / "map.geojson", tile_px=13)
    assert geoseg.open_layer(result.output).crs == "EPSG:4326"
    assert pixel_features(result.output, crs, transform) == reference(classes)


@pytest.fixture
def blobs() -> Raster:
    row, col = np.mgrid[:90, :110]
    waves = np.sin(row * 0.31) + np.sin(col * 0.23) + np.sin((row + col) * 0.17) + np.sin(row * 0.9 - col * 0.7)
    classes = np.digitize(waves, [-1, 0, 1]).astype(np.uint8)
    classes[20:30, 40:75] = 255
    return classes


@pytest.mark.parametrize("suffix", [".fgb", ".geojson", ".parquet"])
def test_the_bytes_know_neither_tiles_nor_workers(tmp_path: Path, blobs: Raster, suffix: str) -> None:
    path = write_classes(tmp_path / "classes.tif", blobs, nodata=255)
    one = geoseg.polygonize(path, tmp_path / f"one{suffix}", tile_px=1000, workers=1).output.read_bytes()
    for tile_px, workers in [(7, 1), (16, 2), (41, 3)]:
        other = tmp_path / str(tile_px) / f"one{suffix}"
        assert geoseg.polygonize(path, other, tile_px=tile_px, workers=workers).output.read_bytes() == one


def test_masked_pixels_leave_no_polygons(tmp_path: Path, blobs: Raster) -> None:
    classes = np.where(blobs == 255, 1, blobs)
    mask = np.random.default_rng(5).random(classes.shape) < 0.8
    profile = {"height": 90, "width": 110, "count": 1, "dtype": "uint8", "crs": UTM, "transform": CORNER}
    path = tmp_path / "classes.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", driver="GTiff", **profile) as raster:
        raster.write(classes, 1)
        raster.write_mask(mask)
    assert list(tmp_path.iterdir()) == [path]
    result = geoseg.polygonize(path, tmp_path / "map.fgb", tile_px=32)
    assert features(result.output) == whole(path, mask)


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("int16", -9999), ("uint16", 65535), ("int32", -1), ("uint16", 7), ("uint8", 0), ("uint8", 200), ("int16", None)],
)
def test_integers_of_any_width(tmp_path: Path, dtype: str, nodata: int | None) -> None:
    """Ids 0 to 254, or to 255 where nothing is nodata."""
    top = 255 if nodata is None else 254
    classes = np.random.default_rng(6).choice([0, 1, 7, 200, top], (30, 45)).astype(dtype)
    if nodata is not None:
        classes[5:12, 8:30] = nodata
    path = write_classes(tmp_path / "classes.tif", classes, nodata=nodata)
    result = geoseg.polygonize(path, tmp_path / "map.fgb", tile_px=11)
    assert features(result.output) == whole(path)
    assert set(result.polygons) == {str(i) for i in np.unique(classes) if i != nodata}


def test_an_id_that_stands_for_masked_pixels_is_refused(tmp_path: Path) -> None:
    path = write_classes(tmp_path / "classes.tif", np.array([[1, 255, -9999]], np.int16), nodata=-9999)
    with pytest.raises(geoseg.InputError, match="value 255"):
        geoseg.polygonize(path, tmp_path / "map.fgb")
    assert not (tmp_path / "map.fgb").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns(tmp_path: Path, class_raster: Callable[..., Path], suffix: str) -> None:
    classes = np.tile(np.arange(4, dtype=np.uint8).repeat(5), (8, 1))
    result = geoseg.polygonize(class_raster(classes), tmp_path / f"map{suffix}", tile_px=3)
    layer = geoseg.open_layer(result.output)
    assert list(layer.columns) == COLUMNS
    assert dict(zip(layer["class_id"], layer["class"], strict=True)) == LAND_COVER.names
    assert layer["class_id"].dtype == np.int32
    assert layer["confidence"].isna().all()
    np.testing.assert_allclose(layer["area_m2"], 10.0, rtol=2e-3)  # 5 x 8 pixels of 0.5 m, but for UTM's scale
    np.testing.assert_allclose(layer["perimeter_m"], 13.0, rtol=2e-3)
    assert layer["area_m2"].dtype == layer["perimeter_m"].dtype == np.float64
    assert (layer.geom_type == "Polygon").all()
    if suffix != ".parquet":
        styles = ["layer_styles"] if suffix == ".gpkg" else []
        assert pyogrio.list_layers(result.output)[:, 0].tolist() == ["polygons", *styles]
        assert result.polygons == dict.fromkeys(LAND_COVER.names.values(), 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_but_nodata_is_an_empty_layer(tmp_path: Path, suffix: str) -> None:
    path = write_classes(tmp_path / "classes.tif", np.full((9, 12), 255, np.uint8), nodata=255)
    result = geoseg.polygonize(path, tmp_path / f"map{suffix}", tile_px=4)
    layer = geoseg.open_layer(result.output)
    assert len(layer) == 0
    assert isinstance(layer, geopandas.GeoDataFrame)
    assert layer.crs == ("EPSG:4326" if suffix == ".geojson" else UTM)
    assert result.polygons == result.area_m2 == {}


def test_small_polygons_are_left_out_after_the_join(tmp_path: Path) -> None:
    """The block is cut into 25 tiles of 4 m2 each, none of which passes the filter that the block passes."""
    classes = np.zeros((40, 40), np.uint8)
    classes[2:22, 2:22] = 1
    classes[30:33, 30:33] = 2
    path = write_classes(tmp_path / "classes.tif", classes)
    result = geoseg.polygonize(path, tmp_path / "map.fgb", tile_px=4, min_area_m2=50)
    assert result.polygons == {"0": 1, "1": 1}
    kept = features(result.output)
    assert kept == [feature for feature in whole(path) if feature[0] != 2]


@pytest.mark.parametrize("limit", [1.0, 5.0, 40.0])
def test_the_filter_takes_what_the_area_column_says(
    tmp_path: Path, make_raster: MakeRaster, blobs: Raster, limit: float
) -> None:
    path = make_raster(blobs[None], nodata=255)
    every = geoseg.open_layer(geoseg.polygonize(path, tmp_path / "all.fgb", tile_px=9).output)
    kept = geoseg.open_layer(geoseg.polygonize(path, tmp_path / "kept.fgb", tile_px=9, min_area_m2=limit).output)
    wanted = every[every["area_m2"] >= limit]
    assert 0 < len(kept) < len(every)
    assert normalize(kept["class_id"], kept.geometry) == normalize(wanted["class_id"], wanted.geometry)


@pytest.mark.parametrize("place", PLACES)
def test_areas_sum_to_the_ground_that_is_known(tmp_path: Path, blobs: Raster, place: str) -> None:
    """Pixel by pixel, on the ellipsoid, by another library."""
    crs, transform = PLACES[place]
    path = write_classes(tmp_path / "classes.tif", blobs, crs=crs, transform=transform, nodata=255)
    result = geoseg.polygonize(path, tmp_path / "map.parquet", tile_px=20)
    row, col = np.nonzero(blobs != 255)
    cols = np.stack([col, col + 1, col + 1, col])
    rows = np.stack([row, row, row + 1, row + 1])
    x, y = transform.a * cols + transform.b * rows + transform.c, transform.d * cols + transform.e * rows + transform.f
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    geod = Geod(ellps="WGS84")
    pixels = [abs(geod.polygon_area_perimeter(lon[:, i], lat[:, i])[0]) for i in range(len(row))]
    assert sum(result.area_m2.values()) == pytest.approx(sum(pixels), rel=1e-6)
    column = geoseg.open_layer(result.output)["area_m2"]  # to 3 decimals
    assert column.sum() == pytest.approx(sum(pixels), abs=0.0005 * len(column))
    for name, area in result.area_m2.items():
        mine = [pixel for pixel, value in zip(pixels, blobs[row, col], strict=True) if str(value) == name]
        assert area == pytest.approx(sum(mine), rel=1e-6)


@pytest.mark.parametrize("option", ["min_area_m2", "simplify_m"])
@pytest.mark.parametrize("value", [float("nan"), -1.0])
def test_limits_that_are_none_are_refused(tmp_path: Path, blobs: Raster, option: str, value: float) -> None:
    path = write_classes(tmp_path / "classes.tif", blobs)
    with pytest.raises(geoseg.OptionError, match=option.rpartition("_")[0].replace("_", "-")):
        geoseg.polygonize(path, tmp_path / "map.fgb", **{option: value})
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("workers", [0, -1])
def test_a_number_of_workers_that_is_none_is_refused(tmp_path: Path, blobs: Raster, workers: int) -> None:
    path = write_classes(tmp_path / "classes.tif", blobs)
    with pytest.raises(geoseg.OptionError, match="--workers"):
        geoseg.polygonize(path, tmp_path / "map.fgb", workers=workers)


@pytest.mark.parametrize("content", ["{}", "[1, 2]", "not json", '{"runs": 3}'])
def test_a_work_directory_of_other_origin_is_left_alone(tmp_path: Path, blobs: Raster, content: str) -> None:
    """Also where it holds a file that has the name of ours."""
    path = write_classes(tmp_path / "classes.tif", blobs)
    folder = tmp_path / "experiment"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "me.jpg").write_text("precious")
    (folder / "run.json").write_text(content)
    with pytest.raises(geoseg.OutputError, match="not a work directory"):
        geoseg.polygonize(path, tmp_path / "map.fgb", work_dir=folder)
    assert (folder / "photos" / "me.jpg").read_text() == "precious"
    assert (folder / "run.json").read_text() == content


@pytest.mark.parametrize("moment", ["_record", "_settle"])
def test_a_run_killed_when_its_layer_was_written_is_completed_by_the_same_command(
    tmp_path: Path, class_raster: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise SystemExit

    path, layer = class_raster(np.eye(40, dtype=np.uint8)), tmp_path / "map.gpkg"
    with monkeypatch.context() as patch:
        patch.setattr(f"geoseg.run.execute.{moment}", die)
        with pytest.raises(SystemExit):
            geoseg.polygonize(path, layer)
    assert layer.exists()
    again = geoseg.polygonize(path, layer)
    assert again.tiles_computed == 0
    assert not (tmp_path / ".geoseg" / "map.gpkg" / "traces").exists()
    with pytest.raises(geoseg.OutputError, match="exists"):
        geoseg.polygonize(path, layer)
