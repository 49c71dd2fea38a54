"""Arrays give what files give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geoseg.errors import InputError, OptionError
from geoseg.models.engine import PatchGeometry
from geoseg.run import graph
from geoseg.run.array import segment_array
from geoseg.run.demo import make_demo_scene
from geoseg.run.segment import segment
from tests.conftest import CORNER, UTM, MakeRaster
from tests.fakes import FakeEngine

rioxarray = pytest.importorskip("rioxarray")
xr = pytest.importorskip("xarray")

# rioxarray multiplies transforms as affine 2 had it.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_fake(_package: object, geometry: PatchGeometry, **_: object) -> FakeEngine:
        return FakeEngine(geometry)

    monkeypatch.setattr(graph, "open_engine", open_fake)
    monkeypatch.setattr(graph, "_engines", {})


def paint(rows: int, cols: int, dtype: str) -> NDArray[Any]:
    """Blobs of some size, in the range that sensors of this data type have."""
    rng = np.random.default_rng(rows)
    coarse = rng.integers(0, 256, (3, rows // 20 + 1, cols // 20 + 1))
    values = np.kron(coarse, np.ones((20, 20), int))[:, :rows, :cols] + rng.integers(0, 9, (3, rows, cols))
    return np.clip(values, 0, 255).astype(dtype) if dtype == "uint8" else (values * 13.5 + 400).astype(dtype)


def segment_file(path: Path, **options: Any) -> Pair:
    folder = path.parent
    segment(
        path,
        folder / "map.fgb",
        classes_raster=folder / "classes.tif",
        confidence_raster=folder / "confidence.tif",
        exact=True,
        overwrite=True,
        workers=1,
        **options,
    )
    with rasterio.open(folder / "classes.tif") as classes, rasterio.open(folder / "confidence.tif") as confidence:
        return classes.read(1), confidence.read(1)


def open_chunked(path: Path, bands: int, rows: int, cols: int) -> Any:
    return rioxarray.open_rasterio(path, chunks={"band": bands, "y": rows, "x": cols})


def assert_equal(array: Any, expected: Pair, **options: Any) -> None:
    pair = [segment_array(array, output=output, **options) for output in ("classes", "confidence")]
    for found, wanted in zip(dask.compute(*pair), expected, strict=True):
        np.testing.assert_array_equal(found.values, wanted)


@pytest.mark.usefixtures("fake_engine")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_equal_to_the_file_for_any_chunks(make_raster: MakeRaster, dtype: str) -> None:
    values = paint(800, 700, dtype)
    values[:, 300:420, 100:700] = 0
    cut: dict[str, Any] = {"patch_px": 1024}
    if dtype == "float32":
        values[1, 720:750, 5:40] = np.nan
    path = make_raster(values, nodata=0)
    expected = segment_file(path, **cut)
    assert (expected[0] == 255).any()
    assert len(np.unique(expected[0])) == 5
    for chunks in ((1, 256, 256), (2, 97, 700)):
        assert_equal(open_chunked(path, *chunks), expected, **cut)
    assert_equal(rioxarray.open_rasterio(path), expected, **cut)
    assert_equal(rioxarray.open_rasterio(path).load(), expected, tile_px=1, **cut)
    assert_equal(da.from_array(values, chunks=500), expected, crs=UTM, transform=CORNER, nodata=0, **cut)


@pytest.mark.usefixtures("fake_engine")
@pytest.mark.parametrize(
    ("shape", "size_m"), [((40, 50), 0.5), ((150, 90), 3.1), ((900, 1400), 0.11), ((2500, 1700), 0.4)]
)
def test_equal_at_any_size_and_resolution(make_raster: MakeRaster, shape: tuple[int, int], size_m: float) -> None:
    transform = Affine(size_m, 0, 530_000, 0, -size_m, 9_330_000)
    path = make_raster(paint(*shape, "uint8"), transform=transform)
    assert_equal(open_chunked(path, 3, 64, 70), segment_file(path))


@pytest.mark.usefixtures("fake_engine")
def test_equal_on_a_rotated_grid_in_degrees(make_raster: MakeRaster) -> None:
    transform = Affine.translation(39.2, -6.1) @ Affine.rotation(20) @ Affine.scale(4e-6, -4e-6)
    path = make_raster(paint(300, 420, "uint16"), transform=transform, crs="EPSG:4326")
    array = open_chunked(path, 3, 100, 100)
    assert_equal(array, segment_file(path))
    assert segment_array(array).rio.transform().almost_equals(transform, 1e-12)


def test_equal_with_a_shipped_model(tmp_path: Path) -> None:
    scene = make_demo_scene(tmp_path, size_px=300).image
    expected = segment_file(scene, model="landcover-rgb-fast")
    assert_equal(rioxarray.open_rasterio(scene, chunks=128), expected, model="landcover-rgb-fast")


@pytest.mark.usefixtures("fake_engine")
def test_nothing_is_computed_before_compute() -> None:
    reads: list[object] = []

    def read(block_info: Any) -> NDArray[np.uint16]:
        reads.append(block_info)
        return np.zeros((3, 128, 128), np.uint16)

    values = da.map_blocks(
        read, chunks=((3,), (128,) * 20, (128,) * 20), dtype=np.uint16, meta=np.empty((0,) * 3, "u2")
    )
    classes = segment_array(values, crs=UTM, transform=CORNER, value_range=(0, 1000))
    assert not reads
    assert isinstance(classes.data, da.Array)
    classes[:40, :40].compute(scheduler="sync")
    # A corner needs one patch, not the whole array.
    assert 0 < len(reads) < 200


@pytest.mark.usefixtures("fake_engine")
def test_both_outputs_share_their_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted = []
    predict = FakeEngine.predict
    monkeypatch.setattr(FakeEngine, "predict", lambda *given: predicted.extend(given[1]) or predict(*given))
    values = da.from_array(paint(700, 300, "uint8"), chunks=200)
    options: dict[str, Any] = {"crs": UTM, "transform": CORNER, "tile_px": 1, "patch_px": 1024}
    dask.compute(segment_array(values, **options), segment_array(values, output="confidence", **options))
    assert len(predicted) == 2


@pytest.mark.usefixtures("fake_engine")
def test_the_grid_is_kept(make_raster: MakeRaster, tmp_path: Path) -> None:
    array = rioxarray.open_rasterio(make_raster(paint(120, 90, "uint8")), chunks=64)
    classes = segment_array(array.rename(x="easting", y="northing").rio.set_spatial_dims("easting", "northing"))
    assert classes.dims == ("northing", "easting")
    assert classes.rio.transform() == CORNER
    classes = segment_array(array)
    assert classes.rio.crs == array.rio.crs
    assert classes.rio.transform() == array.rio.transform()
    assert classes.rio.nodata == 255
    xr.testing.assert_equal(classes.x, array.x)
    assert classes.attrs["flag_meanings"].split()[1] == "building"
    classes.rio.to_raster(tmp_path / "classes.tif")
    with rasterio.open(tmp_path / "classes.tif") as written:
        assert (written.crs, written.transform, written.nodata) == (UTM, CORNER, 255)
    # rioxarray keeps the old pixel size here; the coordinates tell the true one.
    coarse = segment_array(array[:, ::2, ::3])
    assert coarse.rio.transform()[:6] == pytest.approx((1.5, 0, 530_000 - 0.5 + 0, 0, -1, 9_330_000 + 0.25), abs=1)
    assert coarse.rio.transform().a == pytest.approx(1.5)


@pytest.mark.usefixtures("fake_engine")
def test_a_value_range_is_taken_instead_of_percentiles() -> None:
    values = paint(100, 100, "uint8")
    options: dict[str, Any] = {"crs": UTM, "transform": CORNER}
    expected = segment_array(values, **options)
    found = segment_array(values.astype(np.float32), value_range=(0, 255), **options)
    np.testing.assert_array_equal(found, expected)


def test_what_is_no_image_is_refused() -> None:
    values = paint(100, 100, "uint8")
    with pytest.raises(InputError, match="place on Earth"):
        segment_array(values)
    with pytest.raises(InputError, match="place on Earth"):
        segment_array(xr.DataArray(values, dims=("band", "y", "x")))
    options: dict[str, Any] = {"crs": UTM, "transform": CORNER}
    with pytest.raises(InputError, match=r"\(bands, y, x\)"):
        segment_array(values[0], **options)
    with pytest.raises(InputError, match=r"\(bands, y, x\)"):
        segment_array(values.astype(complex), **options)
    with pytest.raises(InputError, match="2 band"):
        segment_array(values[:2], **options)
    with pytest.raises(OptionError, match="output"):
        segment_array(values, output="both", **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="CRS"):
        segment_array(values, crs="EPSG:0", transform=CORNER)
    with pytest.raises(InputError, match="valid pixel"):
        segment_array(np.full((3, 64, 64), np.nan, np.float32), **options).compute()
