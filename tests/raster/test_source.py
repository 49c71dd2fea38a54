from __future__ import annotations

import functools
import http.server
import pickle
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid, Window
from geoseg.raster.describe import describe_raster
from geoseg.raster.source import open_raster

Make = Callable[..., Path]
anywhere = st.builds(Window, st.integers(-400, 400), st.integers(-400, 400), st.integers(1, 300), st.integers(1, 300))


def reflect(values: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """The same by numpy alone: pad on all sides until the window is covered."""
    pad = 800
    padded = np.pad(values, ((0, 0), (pad, pad), (pad, pad)), mode="symmetric")
    rows, cols = window.within(Window(-pad, -pad, values.shape[1] + 2 * pad, values.shape[2] + 2 * pad))
    return padded[:, rows, cols]


@settings(max_examples=40, deadline=None)
@given(anywhere)
def test_read_equals_numpy_symmetric_padding(make_raster: Make, rgb_values: NDArray[np.uint8], window: Window) -> None:
    image, valid = open_raster(make_raster(rgb_values)).read(window)
    np.testing.assert_array_equal(image, reflect(rgb_values, window))
    common = window.intersect(Window(0, 0, 70, 90))
    assert valid.sum() == common.rows * common.cols
    if not common.is_empty:
        assert valid[common.within(window)].all()


@settings(max_examples=20, deadline=None)
@given(anywhere, st.integers(0, 299), st.integers(0, 299))
def test_a_pixel_does_not_depend_on_the_window(make_raster: Make, window: Window, row: int, col: int) -> None:
    values = np.random.default_rng(2).normal(500, 200, (3, 70, 90)).astype(np.float32)
    values[:, 20:30, 40:60] = np.nan
    source = open_raster(make_raster(values))
    row, col = row % window.rows, col % window.cols
    image, valid = source.read(window)
    one, known = source.read(Window(window.row + row, window.col + col, 1, 1))
    np.testing.assert_array_equal(image[:, row, col], one[:, 0, 0])
    assert valid[row, col] == known[0, 0]


def test_source_is_picklable_and_safe_in_threads(make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
    source = pickle.loads(pickle.dumps(open_raster(make_raster(rgb_values, tiled=True, blockxsize=16, blockysize=16))))
    windows = [Window(r, c, 33, 41) for r in range(-40, 90, 13) for c in range(-40, 90, 11)]
    with ThreadPoolExecutor(8) as pool:
        for window, (image, _) in zip(windows, pool.map(source.read, windows), strict=True):
            np.testing.assert_array_equal(image, reflect(rgb_values, window))


def test_rotated_and_sheared_transforms_are_supported(make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
    turned = Affine.translation(530_000, 9_330_000) @ Affine.rotation(30) @ Affine.shear(10) @ Affine.scale(0.5, -0.5)
    source = open_raster(make_raster(rgb_values, transform=turned))
    assert source.grid.transform.almost_equals(turned)
    np.testing.assert_array_equal(source.read(source.grid.window)[0], rgb_values)


class TestRefusals:
    def refuse(self, path: Path | str, *words: str, **options: object) -> None:
        with pytest.raises(InputError) as caught:
            open_raster(path, **options)
        for word in words:
            assert word in str(caught.value)
        assert caught.value.expected
        assert caught.value.remedy

    def test_missing_file(self, tmp_path: Path) -> None:
        self.refuse(tmp_path / "none.tif", "no such file")

    def test_directory(self, tmp_path: Path) -> None:
        self.refuse(tmp_path, "directory", "gdalbuildvrt")

    @pytest.mark.parametrize("content", [b"hello", b"II*\x00" + b"\xff" * 50])
    def test_not_a_raster(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.tif").write_bytes(content)
        self.refuse(tmp_path / "a.tif", "not readable")

    @pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
    @pytest.mark.parametrize("layout", [{}, {"tiled": True, "compress": "deflate"}, {"driver": "COG"}])
    def test_truncated(self, make_raster: Make, share: float, layout: dict[str, object]) -> None:
        values = np.random.default_rng(0).integers(0, 256, (3, 600, 700)).astype(np.uint8)
        path = make_raster(values, **layout)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=r"not readable|cannot be read"):
            open_raster(path).read(Window(0, 0, 600, 700))

    def test_damage_after_opening_names_the_window(self, make_raster: Make) -> None:
        path = make_raster(np.ones((3, 600, 700), np.uint8), compress="deflate", tiled=True)
        source = open_raster(path)
        path.write_bytes(path.read_bytes()[:400])
        with pytest.raises(InputError, match="rows 256 to 300, columns 512 to 520"):
            source.read(Window(256, 512, 44, 8))

    def test_no_crs(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        self.refuse(make_raster(rgb_values, crs=None), "coordinate reference system", "-a_srs")

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_no_georeference(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        self.refuse(make_raster(rgb_values, transform=None), "geotransform")

    def test_transform_of_another_crs(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        self.refuse(make_raster(rgb_values, crs="EPSG:4326"), "nowhere on Earth")

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_ground_control_points_only(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        points = [GroundControlPoint(r, c, 39 + c / 1e5, -6 - r / 1e5) for r, c in ((0, 0), (0, 90), (70, 0), (70, 90))]
        path = make_raster(rgb_values, crs=None, transform=None)
        with rasterio.open(path, "r+") as raster:
            raster.gcps = (points, rasterio.CRS.from_epsg(4326))
        self.refuse(path, "ground control points", "gdalwarp")

    @pytest.mark.parametrize("count", [1, 2])
    def test_too_few_bands(self, make_raster: Make, rgb_values: NDArray[np.uint8], count: int) -> None:
        self.refuse(make_raster(rgb_values[:count]), f"{count} band(s)", "gdal_translate")

    def test_alpha_is_no_colour(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        path = make_raster(rgb_values)
        with rasterio.open(path, "r+") as raster:
            raster.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha]
        self.refuse(path, "2 band(s)")

    def test_unknown_band(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        self.refuse(make_raster(rgb_values), "no band [7]", bands=(1, 2, 7))

    def test_complex_values(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        self.refuse(make_raster(rgb_values.astype(np.complex64)), "complex")

    def test_bands_of_several_types(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        make_raster(rgb_values[:1], name="a.tif")
        second = make_raster(rgb_values[1:].astype(np.uint16), name="b.tif")
        vrt = second.with_name("mixed.vrt")
        rasterio.shutil.copy(second, vrt, driver="VRT")
        band = '<VRTRasterBand dataType="Byte" band="3"><SimpleSource><SourceFilename relativeToVRT="1">a.tif'
        end = "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
        vrt.write_text(vrt.read_text().replace("</VRTDataset>", band + end))
        self.refuse(vrt, "uint16, uint8")

    def test_all_nodata(self, make_raster: Make) -> None:
        self.refuse(make_raster(np.zeros((3, 70, 90), np.uint8), nodata=0), "every pixel is nodata")
        self.refuse(make_raster(np.full((3, 70, 90), np.nan, np.float32)), "every pixel is nodata")

    @pytest.mark.parametrize("limits", [(1.0, 1.0), (2.0, 1.0), (0.0, float("nan"))])
    def test_value_range(self, make_raster: Make, rgb_values: NDArray[np.uint8], limits: tuple[float, float]) -> None:
        with pytest.raises(OptionError):
            open_raster(make_raster(rgb_values), value_range=limits)


class TestBands:
    def test_colour_interpretation_decides(self, make_raster: Make) -> None:
        values = np.arange(5, dtype=np.uint8).repeat(70 * 90).reshape(5, 70, 90) + 1
        path = make_raster(values)
        roles = [ColorInterp.undefined, ColorInterp.blue, ColorInterp.alpha, ColorInterp.green, ColorInterp.red]
        with rasterio.open(path, "r+") as raster:
            raster.colorinterp = roles
        assert open_raster(path).bands == (5, 4, 2)
        assert open_raster(path, bands=4).bands == (5, 4, 2, 1)
        assert open_raster(path, bands=(1, 1, 1)).bands == (1, 1, 1)

    def test_file_order_otherwise(self, make_raster: Make) -> None:
        path = make_raster(np.ones((8, 70, 90), np.uint16), photometric="minisblack")
        assert open_raster(path).bands == (1, 2, 3)

    def test_palette_becomes_rgb(self, make_raster: Make) -> None:
        index = np.random.default_rng(0).integers(0, 4, (1, 70, 90)).astype(np.uint8)
        path = make_raster(index)
        colors = {0: (1, 2, 3, 255), 1: (40, 50, 60, 255), 2: (250, 0, 9, 255), 3: (7, 7, 7, 255)}
        with rasterio.open(path, "r+") as raster:
            raster.write_colormap(1, colors)
        source = open_raster(path)
        image, valid = source.read(source.grid.window)
        table = np.array([colors[i][:3] for i in range(4)], np.uint8)
        np.testing.assert_array_equal(image, np.moveaxis(table[index[0]], -1, 0))
        assert valid.all()
        assert source.band_count == 3


class TestNodata:
    hole = np.s_[10:30, 20:60]

    def check(self, path: Path, rgb: NDArray[np.uint8]) -> None:
        source = open_raster(path)
        expected = np.ones((70, 90), bool)
        expected[self.hole] = False
        for fill in (0, 77):
            image, valid = source.read(Window(-5, -5, 80, 100), fill=fill)
            np.testing.assert_array_equal(valid[5:75, 5:95], expected)
            inner = image[:, 5:75, 5:95]
            np.testing.assert_array_equal(inner[:, expected], rgb[:, expected])
            assert (inner[:, ~expected] == fill).all()
            assert not valid[:5].any()

    def test_value_in_all_bands(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        rgb = rgb_values // 2 + 9
        rgb[0, 50:] = 3  # nodata in one band alone is a colour
        rgb[(slice(None), *self.hole)] = 3
        self.check(make_raster(rgb, nodata=3), rgb)

    def test_alpha_band(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        alpha = np.full((1, 70, 90), 255, np.uint8)
        alpha[(0, *self.hole)] = 0
        self.check(make_raster(np.concatenate([rgb_values, alpha]), photometric="rgb", alpha="yes"), rgb_values)

    @pytest.mark.parametrize("internal", [True, False])
    def test_mask_band(self, make_raster: Make, rgb_values: NDArray[np.uint8], internal: bool) -> None:
        path = make_raster(rgb_values)
        mask = np.full((70, 90), 255, np.uint8)
        mask[self.hole] = 0
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as raster:
            raster.write_mask(mask)
        assert path.with_name("scene.tif.msk").exists() is not internal
        self.check(path, rgb_values)

    def test_nan_and_infinity(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        values = rgb_values.astype(np.float32)
        values[(0, *self.hole)] = np.nan
        values[1, 10, 20:60], values[2, 11, 20:60] = np.inf, -np.inf
        source = open_raster(make_raster(values), value_range=(0, 255))
        image, valid = source.read(source.grid.window)
        expected = np.ones((70, 90), bool)
        expected[self.hole] = False
        np.testing.assert_array_equal(valid, expected)
        np.testing.assert_array_equal(image[:, expected], rgb_values[:, expected])
        assert (image[:, ~expected] == 0).all()


class TestScale:
    @pytest.mark.parametrize("dtype", ["uint16", "int16", "int8", "uint32", "int32", "float32", "float64"])
    def test_other_types_go_from_percentile_2_to_98(self, make_raster: Make, dtype: str) -> None:
        values = np.random.default_rng(3).normal(50, 20, (3, 70, 90)).astype(dtype)
        source = open_raster(make_raster(values))
        image, _ = source.read(source.grid.window)
        low, high = np.percentile(values.astype(float), (2, 98), axis=(1, 2), keepdims=True)
        expected = np.clip((values - low) / (high - low) * 255, 0, 255)
        assert np.abs(image - expected).max() <= 0.51
        assert all(a < b for a, b in source.scale.ranges)

    def test_nodata_is_left_out_of_the_percentiles(self, make_raster: Make) -> None:
        values = np.random.default_rng(3).integers(100, 200, (3, 70, 90)).astype(np.int16)
        values[:, :40] = -9999
        assert all(low >= 100 for low, _ in open_raster(make_raster(values, nodata=-9999)).scale.ranges)

    def test_one_value_everywhere(self, make_raster: Make) -> None:
        source = open_raster(make_raster(np.full((3, 70, 90), 7, np.uint16)))
        assert (source.read(source.grid.window)[0] == 0).all()

    def test_uint8_is_left_alone(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        assert open_raster(make_raster(rgb_values)).scale.ranges == ()


class TestFingerprint:
    def test_same_file_same_digest(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        path = make_raster(rgb_values)
        assert open_raster(path) == open_raster(path)

    def test_content_choice_and_scale_count(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        path = make_raster(rgb_values)
        digests = {
            open_raster(path).fingerprint,
            open_raster(path, bands=(3, 2, 1)).fingerprint,
            open_raster(path, value_range=(0, 100)).fingerprint,
        }
        make_raster(255 - rgb_values)
        assert len(digests | {open_raster(path).fingerprint}) == 4

    def test_a_vrt_changes_with_its_sources(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        path = make_raster(rgb_values)
        vrt = path.with_suffix(".vrt")
        rasterio.shutil.copy(path, vrt, driver="VRT")
        source = open_raster(vrt)
        np.testing.assert_array_equal(source.read(source.grid.window)[0], rgb_values)
        outer = path.with_name("outer.vrt")
        outer.write_text(vrt.read_text().replace("scene.tif", "scene.vrt"))
        nested = open_raster(outer)
        make_raster(255 - rgb_values)
        assert open_raster(vrt).fingerprint != source.fingerprint
        assert open_raster(outer).fingerprint != nested.fingerprint

    def test_overviews_and_statistics_do_not_count(self, make_raster: Make, rgb_values: NDArray[np.uint8]) -> None:
        path = make_raster(rgb_values)
        before = open_raster(path).fingerprint
        shutil.copy(path, path.with_name("scene.tif.ovr"))
        path.with_name("scene.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
        assert open_raster(path).fingerprint == before


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Python's file server with byte ranges, as GDAL reads them."""

    def do_GET(self) -> None:
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        try:
            content = Path(self.translate_path(self.path)).read_bytes()
        except OSError:
            return self.send_error(404)
        stop = min(int(last) + 1 if last else len(content), len(content))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - int(first)))
        self.end_headers()
        self.wfile.write(content[int(first) : stop])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(RangeHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_url(make_raster: Make, rgb_values: NDArray[np.uint8], server: str) -> None:
    make_raster(rgb_values)
    source = open_raster(f"{server}/scene.tif")
    np.testing.assert_array_equal(source.read(source.grid.window)[0], rgb_values)
    assert open_raster(f"{server}/scene.tif").fingerprint == source.fingerprint
    with pytest.raises(InputError, match="not readable"):
        open_raster(f"{server}/absent.tif")


def test_description_names_what_matters(make_raster: Make) -> None:
    said = describe_raster(make_raster(np.ones((4, 70, 90), np.uint16), nodata=0))
    assert (said.driver, said.rows, said.cols, said.epsg, said.band_count) == ("GTiff", 70, 90, 32737, 4)
    assert said.ground_resolution_m == pytest.approx((0.5, 0.5), rel=1e-3)
    assert said.bounds_lonlat[0] < said.bounds_lonlat[2]
    assert "value 0" in said.nodata
    assert "-> 0..255" in said.scale


@pytest.mark.data
def test_every_real_scene_opens_and_reads_what_rasterio_reads(data_dir: Path) -> None:
    scenes = sorted((data_dir / "oam").glob("*.tif"))
    assert scenes
    for path in scenes:
        source = open_raster(path)
        window = Window(source.grid.rows // 2, source.grid.cols // 2, 99, 101)
        with rasterio.open(path) as raster:
            expected = raster.read((1, 2, 3), window=rasterio.windows.Window(window.col, window.row, 101, 99))
        np.testing.assert_array_equal(source.read(window)[0], expected)


def test_grid_is_the_files_own(make_raster: Make, rgb_values: NDArray[np.uint8], tmp_path: Path) -> None:
    path = make_raster(rgb_values)
    with rasterio.open(path) as raster:
        assert open_raster(path).grid == GeoGrid(raster.crs.to_wkt(), raster.transform, 70, 90)
    moved = shutil.copy(path, tmp_path / "moved.tif")
    assert open_raster(moved).fingerprint != open_raster(path).fingerprint


@pytest.mark.parametrize(("name", "words"), [("", "no raster is named"), ("x" * 300 + ".tif", "name too long")])
def test_names_that_no_file_can_have(name: str, words: str) -> None:
    with pytest.raises(InputError, match=f"(?i){words}") as caught:
        open_raster(name)
    assert caught.value.expected
    assert caught.value.remedy


def test_a_folder_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        open_raster(tmp_path / "scene.tif")


def test_faults_are_told_in_plain_words(make_raster: Make, rgb_values: NDArray[np.uint8], tmp_path: Path) -> None:
    whole = make_raster(rgb_values.repeat(8, axis=1).repeat(8, axis=2), compress="deflate", blockysize=16)
    (tmp_path / "cut.tif").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "text.tif").write_text("no raster")
    (tmp_path / "empty.tif").touch()
    told = {
        "cut.tif": r"pixels cannot be read in rows .* \(the file ends before them\)",
        "text.tif": r"not readable as a raster \(not recognized as any format that GDAL reads\)",
        "empty.tif": "an empty file",
    }
    for name, words in told.items():
        with pytest.raises(InputError) as fault:
            open_raster(tmp_path / name)
        assert re.fullmatch(re.escape(f"{tmp_path / name}: ") + words, fault.value.found)


def test_text_that_is_not_utf8_is_a_fault_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.vrt").write_bytes(b'<VRTDataset rasterXSize="9" rasterYSize="9"><Geo\xff></VRTDataset>')
    with pytest.raises(InputError, match="not UTF-8"):
        open_raster(tmp_path / "a.vrt")
