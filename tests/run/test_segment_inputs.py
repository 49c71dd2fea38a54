"""Every kind of raster through the whole route, with an engine that needs no weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

import geoseg
from geoseg.errors import InputError
from geoseg.legend import LAND_COVER
from geoseg.run import graph
from geoseg.run import segment as segment_module
from tests.conftest import CORNER, UTM, MakeRaster
from tests.fakes import FakeEngine
from tests.polygons.tracing import normalize

NODATA = LAND_COVER.nodata
CORE_PX = 64
TURNED = Affine.translation(530_000, 9_330_000) @ Affine.rotation(31) @ Affine.shear(9, 0) @ Affine.scale(0.5, -0.5)
DEGREE = 1 / 111_320


@pytest.fixture(autouse=True)
def small_patches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The shipped package with patches of 128 px, halo 32 px and pixels of 0.5 m, and the fake engine behind it."""
    load = geoseg.load_model

    def load_small(model: str | Path, *, refine: bool) -> Any:
        sizes = {"patch_px": 128, "halo_px": 32, "ground_resolution_m": 0.5}
        return replace(load(model, refine=refine), legend=LAND_COVER, bands=("red", "green", "blue"), **sizes)

    for module in (segment_module, graph):
        monkeypatch.setattr(module, "load_package", load_small)
    monkeypatch.setattr(graph, "open_engine", lambda package, geometry, *, device: FakeEngine(geometry))
    graph._engines.clear()
    yield
    graph._engines.clear()


def paint(rows: int = 150, cols: int = 190, *, seed: int = 1) -> NDArray[np.uint8]:
    """A grey image (3, rows, cols) of soft spots over the whole range of brightness."""
    noise = np.random.default_rng(seed).standard_normal((rows, cols))
    spots = ndimage.gaussian_filter(noise, 5, mode="wrap")
    ranks = spots.ravel().argsort().argsort().reshape(rows, cols)
    return np.repeat((ranks * 256 // ranks.size).astype(np.uint8)[None], 3, axis=0)


class Run:
    """A finished run and what its files hold."""

    def __init__(self, image: Path, folder: Path, *, suffix: str = ".gpkg", **options: Any) -> None:
        self.result = geoseg.segment(
            image,
            folder / f"map{suffix}",
            classes_raster=folder / "map_classes.tif",
            confidence_raster=folder / "map_confidence.tif",
            **({"tile_px": CORE_PX, "patch_px": 128, "exact": True} | options),
        )
        assert self.result.classes_raster is not None
        assert self.result.confidence_raster is not None
        with rasterio.open(self.result.classes_raster) as raster:
            self.classes, self.transform, self.crs = raster.read(1), raster.transform, raster.crs
            self.nodata = raster.nodata
            assert raster.tags()["GEOSEG_SOURCE"] == image.name
        with rasterio.open(self.result.confidence_raster) as raster:
            self.confidence = raster.read(1)
            self.tags = raster.tags()
        self.layer = geoseg.open_layer(self.result.output)

    def burn(self, values: NDArray[Any], *, fill: int, dtype: str) -> NDArray[Any]:
        """The polygons on the class raster's pixels, in the layer's order."""
        if len(self.layer) == 0:
            return np.full(self.classes.shape, fill, dtype)
        # In pixels, because GDAL finds the pixels of a turned grid only so.
        back = ~self.transform
        moved = shapely.transform(
            self.layer.geometry.to_numpy(),
            lambda p: np.stack(
                [back.a * p[:, 0] + back.b * p[:, 1] + back.c, back.d * p[:, 0] + back.e * p[:, 1] + back.f], 1
            ),
        )
        pairs = zip(moved, values, strict=True)
        burnt: NDArray[Any] = rasterio.features.rasterize(pairs, self.classes.shape, fill=fill, dtype=dtype)
        return burnt

    def check(self, image: Path) -> None:
        """What holds of every run."""
        with rasterio.open(image) as source:
            assert self.classes.shape == self.confidence.shape == source.shape
            assert self.transform == source.transform
            assert self.crs == source.crs
            assert self.layer.crs == source.crs
        assert self.nodata == NODATA
        assert {"GEOSEG_VERSION", "GEOSEG_MODEL", "GEOSEG_MODEL_CHECKSUM"} <= set(self.tags)
        assert set(np.unique(self.classes)) <= {*LAND_COVER.names, NODATA}
        assert (self.confidence[self.classes == NODATA] == 0).all()
        assert (self.confidence[self.classes != NODATA] > 0).all()
        assert self.layer.is_valid.all()
        burnt = self.burn(self.layer["class_id"].to_numpy(), fill=0, dtype="uint8")
        np.testing.assert_array_equal(burnt, np.where(self.classes == NODATA, 0, self.classes))


def run_and_check(image: Path, folder: Path, **options: Any) -> Run:
    run = Run(image, folder, **options)
    run.check(image)
    return run


class TestResult:
    @pytest.fixture
    def image(self, make_raster: MakeRaster) -> Path:
        return make_raster(paint())

    def test_account(self, image: Path, tmp_path: Path) -> None:
        run = run_and_check(image, tmp_path)
        result = run.result
        assert result.output == tmp_path / "map.gpkg"
        assert result.classes_raster == tmp_path / "map_classes.tif"
        assert result.confidence_raster == tmp_path / "map_confidence.tif"
        assert result.polygons == run.layer["class"].value_counts().to_dict()
        assert set(result.polygons) == {"building", "road", "vegetation"}
        for name, area in run.layer.groupby("class")["area_m2"].sum().items():
            assert result.area_m2[name] == pytest.approx(area, abs=0.0005 * len(run.layer))
        assert result.pixels == 150 * 190
        assert result.tiles == result.tiles_computed == 9
        assert result.seconds > 0
        assert result.peak_bytes > 2**20
        assert result.pixels_computed == result.pixels
        assert result.mpx_per_s == pytest.approx(result.pixels / 1e6 / result.seconds)

    def test_the_speed_is_that_of_what_was_computed(self, image: Path, tmp_path: Path) -> None:
        options = {"work_dir": tmp_path / "work", "overwrite": True}
        first = Run(image, tmp_path, **options).result
        (tmp_path / "map.gpkg").unlink()
        left = sorted((tmp_path / "work").rglob("r000002_c*"))
        assert left
        for path in left:
            path.unlink()
        part = Run(image, tmp_path, **options).result
        assert (part.tiles_computed, part.tiles, part.pixels) == (3, 9, first.pixels)
        assert 0 < part.pixels_computed < first.pixels
        assert part.mpx_per_s == pytest.approx(part.pixels_computed / 1e6 / part.seconds)
        again = Run(image, tmp_path, **options).result
        assert (again.tiles_computed, again.pixels_computed, again.mpx_per_s) == (0, 0, 0.0)

    def test_the_network_is_counted(self, image: Path, tmp_path: Path) -> None:
        result = Run(image, tmp_path, suffix=".gpkg", roads=True).result
        network = geoseg.open_layer(tmp_path / "map.gpkg", "roads")
        assert result.road_segments == len(network) > 0
        assert result.road_length_m == pytest.approx(network["length_m"].sum(), abs=0.001 * len(network))

    def test_the_background_leaves_no_polygons(self, image: Path, tmp_path: Path) -> None:
        run = run_and_check(image, tmp_path)
        assert (run.classes == 0).any()
        assert set(run.layer["class_id"]) == {1, 2, 3}
        assert {i: LAND_COVER.names[i] for i in (1, 2, 3)} == dict(
            zip(run.layer["class_id"], run.layer["class"], strict=True)
        )

    def test_confidence_is_the_mean_over_the_polygon(self, image: Path, tmp_path: Path) -> None:
        run = run_and_check(image, tmp_path)
        number = run.burn(np.arange(1, len(run.layer) + 1), fill=0, dtype="int32")
        pixels = np.bincount(number.ravel())
        mean = np.bincount(number.ravel(), run.confidence.ravel() / 255.0) / pixels
        np.testing.assert_allclose(run.layer["confidence"], mean[1:], atol=0.5001e-4)
        assert run.layer["confidence"].between(0, 1).all()
        assert run.layer["confidence"].nunique() > 10

    @pytest.mark.parametrize("suffix", [".fgb", ".geojson", ".parquet"])
    def test_the_bytes_know_neither_tiles_nor_workers(self, image: Path, tmp_path: Path, suffix: str) -> None:
        one = Run(image, tmp_path / "one", suffix=suffix, tile_px=1000, workers=1).result
        for tile_px, workers in [(1, 2), (128, 1)]:
            other = Run(image, tmp_path / str(tile_px), suffix=suffix, tile_px=tile_px, workers=workers).result
            assert other.tiles > one.tiles
            for name in ("output", "classes_raster", "confidence_raster"):
                assert getattr(other, name).read_bytes() == getattr(one, name).read_bytes()

    def test_progress_is_told_of_every_stage_and_tile(self, image: Path, tmp_path: Path) -> None:
        class Listener:
            def __init__(self) -> None:
                self.stages: dict[str, int | None] = {}
                self.steps: dict[str, int] = {}

            def start(self, stage: str, total: int | None) -> None:
                self.stages[stage], self.steps[stage] = total, 0

            def advance(self, steps: int = 1) -> None:
                self.steps[list(self.stages)[-1]] += steps

            def note(self, text: str) -> None:
                pass

        listener = Listener()
        run = Run(image, tmp_path, progress=listener)
        tiles = run.result.tiles
        assert listener.stages == {
            "segment": tiles,
            "trace roads": tiles,
            "write polygons": None,
            "write classes": None,
            "write confidence": None,
        }
        assert listener.steps["segment"] == listener.steps["trace roads"] == tiles > 1
        assert listener.steps["write polygons"] == len(run.layer)

    def test_a_relative_output_in_a_new_folder(
        self, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        result = geoseg.segment("../scene.tif", "new/and/newer/map.fgb", classes_raster="classes/c.tif")
        assert result.output == Path("new/and/newer/map.fgb")
        monkeypatch.chdir(tmp_path)
        assert len(geoseg.open_layer("elsewhere/new/and/newer/map.fgb")) == sum(result.polygons.values())
        assert (tmp_path / "elsewhere/classes/c.tif").is_file()

    @pytest.mark.parametrize("victim", ["classes_raster", "confidence_raster"])
    def test_an_output_never_replaces_the_input(self, image: Path, tmp_path: Path, victim: str) -> None:
        (tmp_path / "link.tif").symlink_to(image)
        before = image.read_bytes()
        for path in (image, tmp_path / "." / "link.tif"):
            with pytest.raises(geoseg.OutputError, match="input"):
                geoseg.segment(image, tmp_path / "map.gpkg", overwrite=True, **{victim: path})
        assert image.read_bytes() == before

    def test_an_output_never_replaces_the_area_of_interest(self, image: Path, tmp_path: Path) -> None:
        area = tmp_path / "area.gpkg"
        geopandas.GeoDataFrame(geometry=[shapely.box(530_010, 9_329_950, 530_060, 9_329_990)], crs=UTM).to_file(area)
        before = area.read_bytes()
        with pytest.raises(geoseg.OutputError, match="input"):
            geoseg.segment(image, area, aoi=area, overwrite=True)
        assert area.read_bytes() == before

    @pytest.mark.parametrize("option", ["classes_raster", "confidence_raster"])
    def test_a_raster_is_a_geotiff(self, image: Path, tmp_path: Path, option: str) -> None:
        with pytest.raises(geoseg.OptionError, match=r"\.tif"):
            geoseg.segment(image, tmp_path / "map.gpkg", **{option: tmp_path / "classes.png"})


class TestUnknownPixels:
    """A hole of every kind: 255 in the class raster, confidence 0, no polygon."""

    @pytest.fixture
    def hole(self) -> NDArray[np.bool_]:
        hole = np.zeros((150, 190), bool)
        hole[30:90, 50:140] = True
        hole[:, :3] = True
        hole |= np.random.default_rng(2).random(hole.shape) < 0.03
        return hole

    def check_hole(self, run: Run, hole: NDArray[np.bool_]) -> None:
        np.testing.assert_array_equal(run.classes == NODATA, hole)
        assert not run.burn(np.ones(len(run.layer)), fill=0, dtype="uint8")[hole].any()
        assert len(run.layer) > 10

    def test_nodata_value(self, make_raster: MakeRaster, tmp_path: Path, hole: NDArray[np.bool_]) -> None:
        image = make_raster(np.where(hole, 0, np.maximum(paint(), 1)).astype(np.uint8), nodata=0)
        self.check_hole(run_and_check(image, tmp_path), hole)

    def test_alpha_band(self, make_raster: MakeRaster, tmp_path: Path, hole: NDArray[np.bool_]) -> None:
        alpha = np.where(hole, 0, 255).astype(np.uint8)
        image = make_raster(np.concatenate([paint(), alpha[None]]), photometric="rgb", alpha="yes")
        self.check_hole(run_and_check(image, tmp_path), hole)

    def test_internal_mask(self, make_raster: MakeRaster, tmp_path: Path, hole: NDArray[np.bool_]) -> None:
        image = make_raster(paint())
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(image, "r+") as raster:
            raster.write_mask(~hole)
        self.check_hole(run_and_check(image, tmp_path), hole)

    def test_not_a_number(self, make_raster: MakeRaster, tmp_path: Path, hole: NDArray[np.bool_]) -> None:
        values = paint().astype(np.float32) * 3.7 - 100
        values[0][hole] = np.nan
        values[2, 30:60, 50:140] = np.inf
        values[1, 60:90, 50:140] = -np.inf
        image = make_raster(values)
        self.check_hole(run_and_check(image, tmp_path), hole)


class TestValues:
    def test_uint16_is_rescaled(self, make_raster: MakeRaster, tmp_path: Path) -> None:
        """From the 2nd to the 98th percentile: the same classes as of the image that was rescaled beforehand."""
        values = paint().astype(np.uint16) * 201 + 1000
        low, high = np.percentile(values[0], (2, 98))
        scaled = np.clip((values - low) * (255 / (high - low)) + 0.5, 0, 255).astype(np.uint8)
        wide = run_and_check(make_raster(values, "wide.tif"), tmp_path / "wide")
        narrow = run_and_check(make_raster(scaled, "narrow.tif"), tmp_path / "narrow")
        np.testing.assert_array_equal(wide.classes, narrow.classes)
        assert len(wide.layer) > 10

    def test_palette_is_expanded(self, make_raster: MakeRaster, tmp_path: Path) -> None:
        grey = paint()
        image = make_raster(255 - grey[:1], "palette.tif", photometric="palette")
        with rasterio.open(image, "r+") as raster:
            raster.write_colormap(1, {i: (255 - i, 255 - i, 255 - i, 255) for i in range(256)})
        coloured = run_and_check(image, tmp_path / "palette")
        plain = run_and_check(make_raster(grey, "plain.tif"), tmp_path / "plain")
        np.testing.assert_array_equal(coloured.classes, plain.classes)


SHAPES = {
    "one pixel": (1, 1),
    "one row": (1, 150),
    "one column": (150, 1),
    "below a patch": (40, 50),
    "wide": (20, 300),
}


class TestGrids:
    @pytest.mark.parametrize("name", SHAPES)
    def test_small_and_narrow(self, make_raster: MakeRaster, tmp_path: Path, name: str) -> None:
        image = np.full((3, *SHAPES[name]), 160, np.uint8)
        image[:, :, : SHAPES[name][1] // 2] = 20
        run = run_and_check(make_raster(image), tmp_path)
        assert 2 in run.classes

    @pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
    def test_rotated_and_sheared(self, make_raster: MakeRaster, tmp_path: Path, suffix: str) -> None:
        image = make_raster(paint(), transform=TURNED)
        run = run_and_check(image, tmp_path, suffix=suffix)
        assert len(run.layer) > 10
        ratio = run.layer["area_m2"] / run.layer.area  # of the ellipsoid to the map of UTM
        assert ratio.between(0.999, 1.002).all()

    def test_south_up(self, make_raster: MakeRaster, tmp_path: Path) -> None:
        image = make_raster(paint(), transform=Affine(0.5, 0, 530_000, 0, 0.5, 9_330_000))
        assert len(run_and_check(image, tmp_path).layer) > 10

    def test_pixels_that_are_not_square(self, make_raster: MakeRaster, tmp_path: Path) -> None:
        place = Affine(0.5 * DEGREE, 0, 15, 0, -0.25 * DEGREE, 60)  # at 60 degrees, 0.25 m either way
        image = make_raster(paint(), "square.tif", crs="EPSG:4326", transform=place)
        assert len(run_and_check(image, tmp_path / "square").layer) > 10
        place = Affine(0.5 * DEGREE, 0, 39, 0, -0.25 * DEGREE, -6)  # at the equator, twice as wide as high
        image = make_raster(paint(), "wide.tif", crs="EPSG:4326", transform=place)
        run = run_and_check(image, tmp_path / "wide")
        assert len(run.layer) > 10
        assert run.layer["area_m2"].sum() == pytest.approx((run.classes % NODATA > 0).sum() * 0.125, rel=0.02)

    @pytest.mark.parametrize("pixel_m", [0.125, 0.37, 2.0])
    def test_another_ground_resolution(self, make_raster: MakeRaster, tmp_path: Path, pixel_m: float) -> None:
        image = make_raster(paint(), transform=Affine(pixel_m, 0, 530_000, 0, -pixel_m, 9_330_000))
        run_and_check(image, tmp_path)


class TestAreaOfInterest:
    @pytest.fixture
    def image(self, make_raster: MakeRaster) -> Path:
        return make_raster(paint())

    def check_area(self, image: Path, folder: Path, aoi: str | Path, inside: NDArray[np.bool_]) -> Run:
        """`inside` may be wrong along its outline: pixels whose centres lie on it."""
        full, part = run_and_check(image, folder / "full"), run_and_check(image, folder / "part", aoi=aoi)
        kept = part.classes != NODATA
        np.testing.assert_array_equal(part.classes[kept], full.classes[kept])
        np.testing.assert_array_equal(part.confidence[kept], full.confidence[kept])
        assert (kept == inside)[ndimage.binary_erosion(inside) | ~ndimage.binary_dilation(inside)].all()
        assert not part.burn(np.ones(len(part.layer)), fill=0, dtype="uint8")[~kept].any()
        assert 0 < kept.sum() < kept.size
        return part

    def test_box_in_degrees(self, image: Path, tmp_path: Path) -> None:
        """Tiles beside the box cost nothing."""
        corners = geopandas.GeoSeries([shapely.box(530_070, 9_329_930, 530_090, 9_329_960)], crs=UTM).to_crs(4326)
        inside = np.zeros((150, 190), bool)
        inside[80:140, 140:180] = True
        part = self.check_area(image, tmp_path, ",".join(map(str, corners.total_bounds)), inside)
        assert part.result.tiles < 9

    def test_file_in_another_crs(self, image: Path, tmp_path: Path) -> None:
        star = shapely.Polygon([(20, 15), (140, 30), (180, 20), (120, 80), (150, 140), (60, 100)])
        placed = shapely.transform(star, lambda p: np.stack([530_000 + 0.5 * p[:, 0], 9_330_000 - 0.5 * p[:, 1]], 1))
        geopandas.GeoDataFrame(geometry=[placed], crs=UTM).to_crs(3857).to_file(tmp_path / "star.fgb")
        inside = rasterio.features.rasterize([star], (150, 190)).astype(bool)
        self.check_area(image, tmp_path, tmp_path / "star.fgb", inside)

    def test_tiles_do_not_show(self, image: Path, tmp_path: Path) -> None:
        aoi = tmp_path / "area.gpkg"
        disc = shapely.Point(530_045, 9_329_962).buffer(30)
        geopandas.GeoDataFrame(geometry=[disc], crs=UTM).to_file(aoi)
        runs = [Run(image, tmp_path / str(n), suffix=".fgb", aoi=aoi, tile_px=n).result for n in (1, 128, 1000)]
        assert len({run.output.read_bytes() for run in runs}) == 1
        assert len({run.classes_raster.read_bytes() for run in runs if run.classes_raster}) == 1


def test_what_geoseg_wrote_is_neither_imagery_nor_mistaken_for_classes(make_raster: MakeRaster, tmp_path: Path) -> None:
    Run(make_raster(paint(), transform=CORNER), tmp_path)
    with pytest.raises(InputError, match=r"a class raster that geoseg wrote(.|\n)*geoseg polygonize"):
        geoseg.segment(tmp_path / "map_classes.tif", tmp_path / "again.gpkg")
    with pytest.raises(InputError, match=r"a confidence raster that geoseg wrote(.|\n)*--classes-raster"):
        geoseg.polygonize(tmp_path / "map_confidence.tif", tmp_path / "again.gpkg")


def test_polygonize_of_the_class_raster_gives_the_same_polygons(make_raster: MakeRaster, tmp_path: Path) -> None:
    run = Run(make_raster(paint(), transform=CORNER), tmp_path)
    again = geoseg.open_layer(
        geoseg.polygonize(tmp_path / "map_classes.tif", tmp_path / "again.gpkg", tile_px=37).output
    )
    again = again[again["class_id"] != 0]
    assert normalize(again["class_id"], again.geometry) == normalize(run.layer["class_id"], run.layer.geometry)
    assert set(again["class"]) == set(run.layer["class"])
