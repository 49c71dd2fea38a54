"""A mosaic's pixels are those of its scenes: the one that wins, at the place that projection says, in any window."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

import geoseg.raster.mosaic
import geoseg.raster.reader
from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid, Window
from geoseg.legend import LAND_COVER, ClassLegend
from geoseg.raster.aoi import parse_aoi
from geoseg.raster.classes import ClassRaster
from geoseg.raster.member import MosaicMember, open_member
from geoseg.raster.mosaic import ClassMosaic
from geoseg.raster.positions import find_offset, find_pixels
from geoseg.raster.reader import RasterSource, close_thread_dataset
from geoseg.raster.scale import ByteScale
from geoseg.raster.scene import SceneInfo
from geoseg.region.grid import find_zones
from tests.region.making import (
    NODATA,
    Uint8,
    locate_by_pixel,
    make_classes,
    make_grid,
    mosaic_by_pixel,
    open_scene,
    write_scene,
)

ORDERS = {"newest": [3, 0, 1, 2], "first": [0, 1, 2, 3], "confidence": [0, 1, 2, 3]}
DATES = ["2021-05-01", "2020-01-01T10:00:00Z", None, "2021-05-01T00:00:01+00:00"]


def turn(grid: GeoGrid, degrees: float) -> GeoGrid:
    return replace(grid, transform=grid.transform @ Affine.rotation(degrees))


def beside(epsg: int, shape: tuple[int, int], east_m: float, south_m: float, pixel: float) -> GeoGrid:
    """A grid in another CRS whose corner lies so far from that of `make_grid`."""
    move = Transformer.from_crs(32737, epsg, always_xy=True)
    x, y = move.transform(530_000 + east_m, 9_330_000 - south_m)
    return make_grid(shape, epsg=epsg, x=x, y=y, pixel=pixel)


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClassMosaic, list[tuple[GeoGrid, tuple[Uint8, Uint8]]]]:
    """Four scenes that overlap: aligned, in the zone beside, in degrees, and turned; of three pixel sizes."""
    folder = tmp_path_factory.mktemp("scenes")
    grids = [
        make_grid((180, 210), x=530_010, y=9_329_990),
        beside(32736, (200, 160), 40, 30, 0.4),
        beside(4326, (150, 180), 20, 50, 7e-6),
        turn(make_grid((160, 200), x=530_050.13, y=9_329_985.4), 20),
    ]
    scenes = [(grid, make_classes((grid.rows, grid.cols), seed)) for seed, grid in enumerate(grids)]
    legend = replace(LAND_COVER, nodata=200)
    members = [
        write_scene(folder, f"s{i}", *scene, datetime=date, legend=legend if i == 1 else LAND_COVER)
        for i, (scene, date) in enumerate(zip(scenes, DATES, strict=True))
    ]
    return ClassMosaic(make_grid((300, 330)), tuple(map(open_scene, members))), scenes


@pytest.mark.parametrize("precedence", ORDERS)
def test_each_pixel_is_that_of_the_winner(region, precedence) -> None:  # type: ignore[no-untyped-def]
    mosaic, scenes = replace(region[0], precedence=precedence), region[1]
    expected = mosaic_by_pixel(mosaic.grid, scenes, ORDERS[precedence], surest=precedence == "confidence")
    block = mosaic.read_block(mosaic.grid.window)
    for got, wanted in zip(block, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert len(np.unique(block.members)) == 5


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 290),
    st.integers(0, 320),
    st.integers(1, 300),
    st.integers(1, 330),
    st.sampled_from(list(ORDERS)),
    st.sampled_from([16, 50, 512]),
)
def test_windows_of_any_cut_hold_the_same(region, row, col, rows, cols, precedence, side) -> None:  # type: ignore[no-untyped-def]
    mosaic = replace(region[0], precedence=precedence)
    whole = mosaic.read_block(mosaic.grid.window)
    window = Window(row, col, rows, cols).intersect(mosaic.grid.window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geoseg.raster.mosaic, "BLOCK_PX", side)
        patch.setattr(geoseg.raster.mosaic, "ALIGNED_PX", side)
        block = mosaic.read_block(window)
    there = window.within(mosaic.grid.window)
    if block is None:
        assert (whole.members[there] == -1).all()
    else:
        for part, all_ in zip(block, whole, strict=True):
            np.testing.assert_array_equal(part, all_[there])


POLAR = make_grid((200, 200), epsg=32661, x=1_999_000, y=2_001_000, pixel=10)
NORTHERN = make_grid((200, 200), epsg=32631, x=400_000, y=9_300_000)
PLACES = {
    "zone beside": (make_grid((200, 200)), beside(32736, (300, 300), -20, -20, 0.3)),
    "coarse": (make_grid((200, 200), pixel=1000, y=9_900_000), beside(4326, (400, 400), -90_000, -600_000, 0.01)),
    "near a pole": (NORTHERN, make_grid((900, 900), epsg=32661, x=1.88e6, y=1.34e6, pixel=150)),
    "half a pixel": (make_grid((150, 150)), make_grid((150, 150), x=530_000.25, y=9_330_000.25)),
    "turned": (make_grid((150, 150)), turn(make_grid((150, 150)), 45)),
    "over the pole": (POLAR, make_grid((900, 3600), epsg=4326, x=-180, y=90, pixel=0.1)),
}


@pytest.mark.parametrize(("target", "source"), PLACES.values(), ids=PLACES)
def test_positions_are_those_of_each_pixel_projected(target: GeoGrid, source: GeoGrid) -> None:
    rows, cols = find_pixels(target, source, target.window)
    expected = locate_by_pixel(target, source, target.window)
    there = (expected[0] >= 0) & (expected[0] < source.rows) & (expected[1] >= 0) & (expected[1] < source.cols)
    np.testing.assert_array_equal((rows >= 0) & (rows < source.rows) & (cols >= 0) & (cols < source.cols), there)
    np.testing.assert_array_equal(rows[there], expected[0][there])
    np.testing.assert_array_equal(cols[there], expected[1][there])
    assert there.any()


@pytest.mark.parametrize("west", [179.9995, -180.0005, 539.9995])
def test_longitudes_come_round(west: float) -> None:
    source = make_grid((100, 100), epsg=4326, x=west, y=10, pixel=1e-5)
    x, y = Transformer.from_crs(4326, 32601, always_xy=True).transform(-180, 9.9995)
    target = make_grid((40, 40), epsg=32601, x=x - 20, y=y + 20, pixel=1.0)
    rows, cols = find_pixels(target, source, target.window)
    assert (np.diff(cols, axis=1) >= 0).all()
    assert (np.diff(rows, axis=0) >= 0).all()
    assert cols.min() > 20
    assert cols.max() < 80


def test_an_aligned_scene_is_not_resampled(region, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    mosaic, scenes = region
    monkeypatch.setattr(geoseg.raster.mosaic, "find_pixels", None)
    alone = replace(mosaic, members=mosaic.members[:1])
    classes, confidence = alone.read(mosaic.grid.window)
    assert find_offset(mosaic.grid, scenes[0][0]) == (-20, -20)
    inside = slice(20, 200), slice(20, 230)
    np.testing.assert_array_equal(classes[inside], scenes[0][1][0])
    np.testing.assert_array_equal(confidence[inside], scenes[0][1][1])
    outside = np.ones(classes.shape, bool)
    outside[inside] = False
    assert (classes[outside] == NODATA).all()
    assert (confidence[outside] == 0).all()


@pytest.mark.parametrize(
    ("east_m", "aligned"), [(0, True), (7.5, True), (7.5 + 1e-9, True), (7.6, False), (0.01, False)]
)
def test_alignment(east_m: float, aligned: bool) -> None:
    offset = find_offset(make_grid((10, 10)), make_grid((9, 9), x=530_000 + east_m))
    assert offset == ((0, -round(east_m * 2)) if aligned else None)
    assert find_offset(make_grid((10, 10)), make_grid((9, 9), pixel=0.5001)) is None
    assert find_offset(make_grid((10, 10)), make_grid((10, 10), epsg=32736)) is None


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[MosaicMember, tuple[Uint8, Uint8]]]:
    """Six scenes of the same 12 x 15 pixels, a third of them unknown, with few different confidences."""
    folder, made = tmp_path_factory.mktemp("stack"), []
    for number in range(6):
        random = np.random.default_rng(number)
        classes = random.choice(np.array([0, 1, 2, 3, NODATA, NODATA], np.uint8), (12, 15))
        confidence = np.where(classes == NODATA, 0, random.choice([50, 100], classes.shape)).astype(np.uint8)
        member = open_scene(write_scene(folder, str(number), make_grid((12, 15)), (classes, confidence)))
        made.append((member, (classes, confidence)))
    return made


MOMENTS = st.sampled_from(
    [None, "2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01T00:30:00+01:00", "2021-12-31T23:59:59.5Z"]
)


@settings(max_examples=150, deadline=None)
@given(
    st.permutations(range(6)),
    st.lists(MOMENTS, min_size=6, max_size=6),
    st.integers(1, 6),
    st.sampled_from(list(ORDERS)),
)
def test_precedence(stack, order, dates, count, precedence) -> None:  # type: ignore[no-untyped-def]
    chosen = [stack[number] for number in order[:count]]
    members = tuple(replace(member, datetime=date) for (member, _), date in zip(chosen, dates, strict=False))
    mosaic = ClassMosaic(make_grid((12, 15)), members, precedence)
    # In UTC; a day begins at midnight; 00:30 in Berlin is the day before.
    ages = {
        None: 0,
        "2020-01-01T00:30:00+01:00": 1,
        "2020-01-01": 2,
        "2020-01-01T00:00:00Z": 2,
        "2021-12-31T23:59:59.5Z": 3,
    }
    block = mosaic.read_block(mosaic.grid.window)
    for row, col in np.ndindex(12, 15):
        candidates = [
            (int(pair[1][row, col]), ages[dates[i]], -i)
            for i, (_, pair) in enumerate(chosen)
            if pair[0][row, col] != NODATA
        ]
        best = {
            "newest": lambda found: max(found, key=lambda c: c[1:]),
            "first": lambda found: max(found, key=lambda c: c[2]),
            "confidence": lambda found: max(found, key=lambda c: (c[0], c[2])),
        }[precedence]
        wanted = -best(candidates)[2] if candidates else -1
        assert block.members[row, col] == wanted
        values = (NODATA, 0) if wanted < 0 else tuple(int(band[row, col]) for band in chosen[wanted][1])
        assert (block.classes[row, col], block.confidence[row, col]) == values


def count_opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    opened: list[str] = []
    real: Callable[..., object] = geoseg.raster.reader.open_dataset
    close_thread_dataset()
    monkeypatch.setattr(geoseg.raster.reader, "open_dataset", lambda path: (opened.append(path), real(path))[1])
    return opened


def test_where_no_scene_lies_nothing_is_opened(region, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    opened = count_opened(monkeypatch)
    mosaic = replace(region[0], grid=make_grid((100_000, 100_000)))
    assert mosaic.read(Window(50_000, 50_000, 2000, 2000)) is None
    assert mosaic.read(Window(90_000, 10, 5, 5)) is None
    assert opened == []
    touched = mosaic.find_tiles((500, 500))
    assert touched.shape == (200, 200)
    assert touched.sum() == 1


def test_a_scene_below_others_is_not_read(stack, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    opened = count_opened(monkeypatch)
    full = next(i for i, (_, (classes, _)) in enumerate(stack) if (classes[0] != NODATA).any())
    col = int(np.flatnonzero(stack[full][1][0][0] != NODATA)[0])
    order = [full, *(i for i in range(6) if i != full)]
    mosaic = ClassMosaic(make_grid((12, 15)), tuple(stack[i][0] for i in order), "first")
    assert mosaic.read(Window(0, col, 1, 1)) is not None
    assert {Path(path).parent.name for path in opened} == {str(full)}


def test_ten_thousand_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning takes neither files nor minutes, a task is told little, a window reads what it touches."""
    grid = make_grid((50_000, 50_000))
    members = []
    for i in range(10_000):
        place = make_grid((600, 600), x=530_000 + 250 * (i % 100), y=9_330_000 - 250 * (i // 100))
        place = replace(place, crs=grid.crs)
        source = RasterSource(f"/none/{i}.tif", place, (1,), "uint8", ByteScale(), fingerprint=str(i))
        members.append(MosaicMember(ClassRaster(source, 255, LAND_COVER), source, SceneInfo(str(i), None)))
    mosaic = ClassMosaic(grid, tuple(members), "first")
    read: list[int] = []

    def read_member(self: MosaicMember, window: Window) -> tuple[Uint8, Uint8, Uint8]:
        read.append(int(self.scene.name or -1))
        return np.ones(window.shape, np.uint8), np.ones(window.shape, np.uint8), np.ones(window.shape, bool)

    monkeypatch.setattr(MosaicMember, "read", read_member)
    assert len(pickle.dumps(mosaic)) < 10e6
    assert mosaic.read_block(Window(25_000, 25_000, 300, 300)).members.max() <= 50 * 100 + 50
    assert 1 <= len(set(read)) <= 4
    assert mosaic.find_tiles((2048, 2048)).all()
    assert len(pickle.dumps(mosaic)) < 10e6


def test_pickled_it_is_the_same(region) -> None:  # type: ignore[no-untyped-def]
    mosaic = region[0]
    mosaic.read(Window(0, 0, 50, 50))
    again = pickle.loads(pickle.dumps(mosaic))
    assert again.fingerprint == mosaic.fingerprint
    for got, wanted in zip(again.read_block(mosaic.grid.window), mosaic.read_block(mosaic.grid.window), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_the_fingerprint_tells_everything_apart(region) -> None:  # type: ignore[no-untyped-def]
    mosaic = region[0]
    first, *others = mosaic.members
    variants = [
        mosaic,
        replace(mosaic, precedence="first"),
        replace(mosaic, members=(*others, first)),
        replace(mosaic, members=(replace(first, datetime="1999-01-01"), *others)),
        replace(mosaic, grid=make_grid((300, 331))),
        replace(mosaic, aoi=parse_aoi("39.27,-6.07,39.2715,-6.059", mosaic.grid)),
        replace(mosaic, within=find_zones([mosaic.grid])[0][0].band),
    ]
    assert len({variant.fingerprint for variant in variants}) == len(variants)


def test_nothing_is_known_beyond_the_area(region) -> None:  # type: ignore[no-untyped-def]
    whole = region[0].read_block(region[0].grid.window)
    aoi = parse_aoi("39.27,-6.07,39.2715,-6.059", region[0].grid)
    part = replace(region[0], aoi=aoi).read_block(region[0].grid.window)
    mask = aoi.mask(region[0].grid.window)
    np.testing.assert_array_equal(part.classes, np.where(mask, whole.classes, NODATA))
    np.testing.assert_array_equal(part.members, np.where(mask, whole.members, -1))
    assert 0 < mask.sum() < mask.size


def test_scenes_that_do_not_fit_are_refused(tmp_path: Path, region) -> None:  # type: ignore[no-untyped-def]
    mosaic, pair = region[0], make_classes((20, 20), 1)
    names = ClassLegend((*LAND_COVER.classes[:3], replace(LAND_COVER.classes[3], name="trees")))
    other = open_scene(write_scene(tmp_path, "other", make_grid((20, 20)), pair, legend=names))
    with pytest.raises(InputError, match="other classes"):
        replace(mosaic, members=(*mosaic.members, other))
    with pytest.raises(OptionError, match="--precedence latest"):
        replace(mosaic, precedence="latest")
    with pytest.raises(InputError, match="no scene"):
        replace(mosaic, members=())
    with pytest.raises(InputError, match="the date soon"):
        open_scene(replace(write_scene(tmp_path, "dated", make_grid((20, 20)), pair), datetime="soon"))
    scene = write_scene(tmp_path, "scene", make_grid((20, 20)), pair)
    with pytest.raises(InputError, match="a confidence raster"):
        open_member(scene.confidence, scene.confidence, scene=SceneInfo(None, None))
    with rasterio.open(scene.classes) as dataset, rasterio.open(tmp_path / "a.tif", "w", **dataset.profile) as nameless:
        nameless.write(dataset.read())
    with pytest.raises(InputError, match="without names"):
        open_member(tmp_path / "a.tif", scene.confidence, scene=SceneInfo(None, None))
    with pytest.raises(InputError, match="another grid"):
        open_member(scene.classes, mosaic.members[0].confidence.path, scene=SceneInfo(None, None))  # type: ignore[arg-type]


def test_a_damaged_scene_is_named(tmp_path: Path) -> None:
    member = write_scene(tmp_path, "cut", make_grid((600, 600)), make_classes((600, 600), 3, grain_px=1))
    mosaic = ClassMosaic(make_grid((600, 600)), (open_scene(member),))
    content = member.classes.read_bytes()
    member.classes.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"classes\.tif"):
        mosaic.read(Window(0, 0, 600, 600))


def test_neighbouring_zones_share_no_longitude() -> None:
    zones = [zone for zone, _ in find_zones([make_grid((10, 10), epsg=4326, x=35.9, y=0.1, pixel=0.02)])]
    assert [zone.name for zone in zones] == ["36N", "36S", "37N", "37S"]
    for one, other in pairwise(zones):
        assert CRS.from_wkt(one.crs) != CRS.from_wkt(other.crs)
    grid = make_grid((64, 64), epsg=4326, x=35.5, y=0.5, pixel=1 / 64)
    claims = []
    for zone in zones:
        rows, cols = find_pixels(grid, zone.band, grid.window)
        claims.append((rows >= 0) & (rows < zone.band.rows) & (cols >= 0) & (cols < zone.band.cols))
    np.testing.assert_array_equal(np.sum(claims, axis=0), 1)
