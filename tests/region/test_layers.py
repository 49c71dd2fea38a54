"""The map of a region is that of one raster: no object twice, no seam, whatever the tiles, workers and their order."""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from geopandas.testing import assert_geodataframe_equal
from rasterio.enums import ColorInterp
from rasterio.features import shapes

import geoseg
from geoseg.errors import GeosegError, InputError, OutputError
from geoseg.grid import GeoGrid, Window
from geoseg.layers.read import open_layer
from geoseg.legend import LAND_COVER
from geoseg.raster.cog import write_class_raster, write_confidence_raster
from geoseg.raster.mosaic import ClassMosaic
from geoseg.region.grid import cut_grid
from geoseg.region.layers import RegionMember, write_region
from geoseg.run.classes import predict_classes
from geoseg.run.execute import SegmentResult
from geoseg.run.finish import Finish
from tests.conftest import MakeRaster
from tests.region.making import NODATA, Uint8, make_classes, make_grid, mosaic_by_pixel, open_scene, write_scene

EXACT = Finish(roads=False).exact()
WHOLE = make_grid((260, 330))
NAMES = LAND_COVER.names


def cut_scenes(folder: Path, pair: tuple[Uint8, Uint8], *, side: int = 130, step: int = 100) -> list[RegionMember]:
    """Overlapping pieces of one raster, each on its part of the grid."""
    made = []
    for row in range(0, WHOLE.rows, step):
        for col in range(0, WHOLE.cols, step):
            window = Window(row, col, side, side).intersect(WHOLE.window)
            part = window.within(WHOLE.window)
            date = f"20{len(made):02d}-01-01"
            made.append(
                write_scene(
                    folder, f"p{row}_{col}", cut_grid(WHOLE, window), (pair[0][part], pair[1][part]), datetime=date
                )
            )
    return made


@pytest.fixture(scope="module")
def pair() -> tuple[Uint8, Uint8]:
    return make_classes((WHOLE.rows, WHOLE.cols), 5)


@pytest.fixture(scope="module")
def pieces(pair: tuple[Uint8, Uint8], tmp_path_factory: pytest.TempPathFactory) -> list[RegionMember]:
    return cut_scenes(tmp_path_factory.mktemp("pieces"), pair)


def trace(classes: Uint8, transform: rasterio.Affine) -> set[tuple[str, bytes]]:
    """What rasterio makes of a raster: class and outline of every polygon that is not background."""
    known = (classes != NODATA) & (classes != 0)
    found = shapes(classes, mask=known, connectivity=4, transform=transform)
    return {(NAMES[int(value)], outline(shapely.geometry.shape(shape))) for shape, value in found}


def outline(polygon: shapely.Polygon) -> bytes:
    # Only corners: rasterio has a vertex at some places where a side goes straight on.
    return shapely.to_wkb(shapely.normalize(shapely.simplify(polygon, 0)))


def read_shapes(path: Path) -> set[tuple[str, bytes]]:
    frame = open_layer(path)
    found = [(name, outline(polygon)) for name, polygon in zip(frame["class"], frame.geometry, strict=True)]
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize("precedence", ["newest", "first", "confidence"])
def test_pieces_of_a_raster_give_the_polygons_of_the_raster(
    pair: tuple[Uint8, Uint8], pieces: list[RegionMember], tmp_path: Path, precedence: str
) -> None:
    result = write_region(pieces, tmp_path / "map.gpkg", precedence=precedence, tile_px=70, finish=EXACT)  # type: ignore[arg-type]
    assert read_shapes(tmp_path / "map.gpkg") == trace(pair[0], WHOLE.transform)
    write_class_raster(tmp_path / "whole.tif", WHOLE, [(WHOLE.window, pair[0])], legend=LAND_COVER)
    geoseg.polygonize(tmp_path / "whole.tif", tmp_path / "whole.gpkg", tile_px=512)
    whole = open_layer(tmp_path / "whole.gpkg")
    frame = open_layer(result.layers[0])
    assert frame["id"].tolist() == whole["id"][whole["class"] != "background"].tolist()
    assert result.polygons == frame["class"].value_counts().to_dict()


def test_with_all_that_finishes_a_map_it_is_that_of_one_scene(
    pair: tuple[Uint8, Uint8], pieces: list[RegionMember], tmp_path: Path
) -> None:
    alone = [write_scene(tmp_path, "whole", WHOLE, pair)]
    for name, members in (("one", alone), ("many", pieces)):
        write_region(members, tmp_path / f"{name}.gpkg", tile_px=100)
    for layer in ("polygons", "roads"):
        one, many = (open_layer(tmp_path / f"{name}.gpkg", layer) for name in ("one", "many"))
        assert len(one) > 20
        assert set(many["source"]) == {member.name for member in pieces}
        assert_geodataframe_equal(one.drop(columns=["source", "date"]), many.drop(columns=["source", "date"]))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Two scenes of two zones and sizes of pixel, with the classes that a mosaic of them must have."""
    folder = tmp_path_factory.mktemp("mixed")
    grids = [make_grid((150, 180)), make_grid((220, 160), epsg=32736, x=1_195_330, y=9_319_890, pixel=0.35)]
    x, y = rasterio.warp.transform("EPSG:32737", "EPSG:32736", [530_040], [9_329_985])
    grids[1] = replace(grids[1], transform=rasterio.Affine(0.35, 0, x[0], 0, -0.35, y[0]))
    scenes = [(grid, make_classes((grid.rows, grid.cols), seed + 20)) for seed, grid in enumerate(grids)]
    members = [
        write_scene(folder, name, *scene, datetime=date)
        for name, scene, date in zip("ab", scenes, ("2020-06-01", "2023-06-01T12:00:00Z"), strict=True)
    ]
    return members, scenes


def write_mixed(members: list[RegionMember], folder: Path, **options: object) -> Path:
    write_region(
        members, folder / "map.fgb", classes_raster=folder / "classes.tif", confidence_raster=folder / "confidence.tif",
        **({"crs": "EPSG:32737", "finish": Finish(), "tile_px": 512} | options),  # type: ignore[arg-type]
    )  # fmt: skip
    return folder


def test_scenes_of_all_kinds_give_the_polygons_of_their_mosaic(mixed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    members, scenes = mixed
    write_mixed(members, tmp_path, finish=EXACT, tile_px=64)
    with rasterio.open(tmp_path / "classes.tif") as raster, rasterio.open(tmp_path / "confidence.tif") as surety:
        grid = replace(WHOLE, transform=raster.transform, rows=raster.height, cols=raster.width)
        written = raster.read(1), surety.read(1)
    assert grid.transform.a == 0.35
    classes, confidence, numbers = mosaic_by_pixel(grid, scenes, [1, 0])
    np.testing.assert_array_equal(written[0], classes)
    np.testing.assert_array_equal(written[1], confidence)
    assert read_shapes(tmp_path / "map.fgb") == trace(classes, grid.transform)
    frame = open_layer(tmp_path / "map.fgb")
    corners = shapely.get_coordinates(shapely.get_point(frame.exterior.to_numpy(), 0))
    cols, rows = np.rint(np.array(~grid.transform @ tuple(corners.T))).astype(int)
    first = numbers[rows, cols]
    assert set(first) == {0, 1}
    assert frame["source"].tolist() == [f"{'ab'[number]}.tif" for number in first]
    assert frame["date"].tolist() == [("2020-06-01", "2023-06-01")[number] for number in first]
    assert frame["confidence"].notna().all()


@pytest.fixture(scope="module")
def one(mixed, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    return write_mixed(mixed[0], tmp_path_factory.mktemp("one"))


LOCAL = pytest.param({"tile_px": 90, "scheduler": "local", "workers": 2}, marks=pytest.mark.cluster)


@pytest.mark.parametrize(
    "options", [{"tile_px": 57}, {"tile_px": 100, "workers": 3}, LOCAL], ids=["tiles", "threads", "processes"]
)
def test_files_do_not_tell_how_they_were_made(mixed, one: Path, tmp_path: Path, options: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    other = write_mixed(mixed[0], tmp_path / "other", **options)
    for name in ("map.fgb", "map_roads.fgb", "classes.tif", "confidence.tif"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def write_halves(folder: Path, classes: Uint8, surety: Uint8) -> list[RegionMember]:
    """Two scenes side by side, cut from one of 100 x 200 pixels."""
    grid = make_grid(classes.shape)
    members = []
    for window in (Window(0, col, 100, 100) for col in (0, 100)):
        block = window.within(grid.window)
        pair = classes[block], surety[block]
        members.append(write_scene(folder, str(window.col), cut_grid(grid, window), pair))
    return members


def test_a_building_across_a_border_is_one(tmp_path: Path) -> None:
    classes = np.zeros((100, 200), np.uint8)
    classes[30:60, 80:130] = 1
    surety = np.full(classes.shape, 200, np.uint8)
    write_region(write_halves(tmp_path, classes, surety), tmp_path / "map.gpkg", tile_px=64)
    frame = open_layer(tmp_path / "map.gpkg")
    assert frame["class"].tolist() == ["building"]
    assert frame.geometry[0].equals(shapely.box(530_040, 9_329_970, 530_065, 9_329_985))
    assert frame["source"].tolist() == ["0.tif"]


def test_roofs_that_touch_are_told_apart_across_borders(tmp_path: Path) -> None:
    classes = np.zeros((100, 200), np.uint8)
    classes[30:60, 50:150] = 1
    surety = np.full(classes.shape, 200, np.uint8)
    surety[:, [*range(73, 77), *range(118, 122)]] = 120
    halves = write_halves(tmp_path, classes, surety)
    for tile_px in (37, 64, 200):
        layer = tmp_path / f"map{tile_px}.fgb"
        write_region(halves, layer, tile_px=tile_px, finish=replace(EXACT, separate=True))
        frame = open_layer(layer)
        assert frame["class"].tolist() == ["building"] * 3
        assert sorted(frame.geometry.area) == pytest.approx([187.5, 225.0, 337.5], rel=0.15)
        assert layer.read_bytes() == (tmp_path / "map37.fgb").read_bytes()


def test_a_second_run_does_what_is_left(mixed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def run(**options: object):  # type: ignore[no-untyped-def]
        how = {"tile_px": 100, "work_dir": tmp_path / "work", "overwrite": True} | options
        return write_region(mixed[0], tmp_path / "map.gpkg", **how)  # type: ignore[arg-type]

    first = run()
    assert first.tiles_computed == first.tiles > 4
    made = (tmp_path / "map.gpkg").stat().st_mtime_ns
    assert run().tiles_computed == 0
    assert (tmp_path / "map.gpkg").stat().st_mtime_ns == made
    (tmp_path / "map.gpkg").unlink()
    for stage in ("classes", "components", "traces"):
        sorted((tmp_path / "work" / stage).iterdir())[0].unlink()
    assert run().tiles_computed == 1
    (tmp_path / "map.gpkg").unlink()
    lost = sorted((tmp_path / "work" / "sources").iterdir())[0]
    lost.unlink()
    assert run().tiles_computed == 1
    assert open_layer(tmp_path / "map.gpkg")["source"].notna().all()
    (tmp_path / "map.gpkg").unlink()
    lost.write_bytes(b"not what was written")
    with pytest.raises(GeosegError, match="the finished tile"):
        run()
    assert run(precedence="first").tiles_computed == first.tiles
    os.utime(mixed[0][0].classes, (1, 1))
    assert run(precedence="first").tiles_computed == first.tiles
    with pytest.raises(OutputError, match="exists"):
        run(overwrite=False, precedence="newest")


def test_nothing_between_far_scenes_costs_anything(tmp_path: Path) -> None:
    """Two scenes 60 km apart: 14,400 million pixels, of whose tiles only those that a scene touches are looked at."""
    members, expected = [], set()
    for seed, (x, y) in enumerate([(530_000, 9_330_000), (590_000, 9_270_000)]):
        grid, pair = make_grid((90, 90), x=x, y=y), make_classes((90, 90), seed)
        members.append(write_scene(tmp_path, str(seed), grid, pair))
        expected |= trace(pair[0], grid.transform)
    result = write_region(members, tmp_path / "map.gpkg", tile_px=256, finish=EXACT)
    assert result.pixels > 14e9
    assert result.tiles <= 8
    assert read_shapes(tmp_path / "map.gpkg") == expected
    finished = write_region(members, tmp_path / "finished.gpkg", tile_px=256)
    assert finished.tiles == result.tiles
    assert len(open_layer(tmp_path / "finished.gpkg", "roads")) > 0


def test_an_area_is_that_of_the_region(pair: tuple[Uint8, Uint8], pieces: list[RegionMember], tmp_path: Path) -> None:
    area = geopandas.GeoDataFrame(geometry=[shapely.Point(530_080, 9_329_930).buffer(40)], crs="EPSG:32737")
    area.to_crs(4326).to_file(tmp_path / "area.geojson")
    write_region(pieces, tmp_path / "map.gpkg", aoi=tmp_path / "area.geojson", tile_px=64, finish=EXACT)
    rows, cols = np.mgrid[: WHOLE.rows, : WHOLE.cols] + 0.5
    x, y = WHOLE.to_world(rows, cols)
    inside = shapely.contains_xy(area.geometry[0], x, y)
    got = {outline for _, outline in read_shapes(tmp_path / "map.gpkg")}
    wanted = {outline for _, outline in trace(np.where(inside, pair[0], NODATA), WHOLE.transform)}
    # The circle's corners are rounded to 1/256 pixel: a pixel or two at its rim may differ.
    assert len(got ^ wanted) <= 4
    with pytest.raises(InputError, match="holds no pixel"):
        write_region(pieces, tmp_path / "far.gpkg", aoi="1,1,2,2")


def test_an_input_is_not_overwritten(pieces: list[RegionMember]) -> None:
    with pytest.raises(OutputError, match="is an input"):
        write_region(pieces, pieces[0].classes.with_name("m.gpkg"), classes_raster=pieces[0].classes, overwrite=True)


class TestPredictClasses:
    """What a region is made of: the rasters of a scene, and nothing else."""

    def run(self, image: Path, folder: Path, **options: object) -> SegmentResult:
        how = {"tile_px": 1, "patch_px": 416, "model": "landcover-rgb-fast"} | options
        return predict_classes(image, folder / "classes.tif", folder / "confidence.tif", **how)  # type: ignore[arg-type]

    @pytest.fixture
    def image(self, make_raster: MakeRaster, light_model: None) -> Path:
        values = np.random.default_rng(3).integers(0, 256, (40, 50)).astype(np.uint8)
        return make_raster(np.stack([np.kron(values, np.ones((10, 10), np.uint8))] * 3))

    def test_they_are_those_of_segment(self, image: Path, tmp_path: Path) -> None:
        result = self.run(image, tmp_path / "own")
        rasters = {"classes_raster": tmp_path / "classes.tif", "confidence_raster": tmp_path / "confidence.tif"}
        same = {"tile_px": 1, "patch_px": 416, "model": "landcover-rgb-fast"}
        geoseg.segment(image, tmp_path / "map.gpkg", exact=True, **rasters, **same)  # type: ignore[arg-type]
        for name in ("classes.tif", "confidence.tif"):
            with rasterio.open(tmp_path / "own" / name) as own, rasterio.open(tmp_path / name) as other:
                np.testing.assert_array_equal(own.read(), other.read())
        assert result.output == tmp_path / "own" / "classes.tif"
        assert result.tiles_computed == result.tiles > 1
        assert result.polygons == {}
        work = tmp_path / "own" / ".geoseg" / "classes.tif"
        assert sorted(path.name for path in work.iterdir()) == ["lock", "run.json"]

    def test_only_classes_are_made(self, image: Path, tmp_path: Path) -> None:
        self.run(image, tmp_path, work_dir=tmp_path / "work")
        assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["classes", "lock", "run.json"]

    def test_a_second_run_goes_on(self, image: Path, tmp_path: Path) -> None:
        first = self.run(image, tmp_path, work_dir=tmp_path / "work")
        assert self.run(image, tmp_path, work_dir=tmp_path / "work", overwrite=True).tiles_computed == 0
        (tmp_path / "confidence.tif").unlink()
        sorted((tmp_path / "work" / "classes").iterdir())[0].unlink()
        again = self.run(image, tmp_path, work_dir=tmp_path / "work", overwrite=True)
        assert (again.tiles_computed, again.tiles) == (1, first.tiles)

    def test_scenes_that_a_model_saw_make_a_region(self, image: Path, tmp_path: Path) -> None:
        self.run(image, tmp_path)
        member = RegionMember("scene", tmp_path / "classes.tif", tmp_path / "confidence.tif")
        result = write_region([member], tmp_path / "map.gpkg", finish=EXACT, tile_px=128)
        same = {"tile_px": 1, "patch_px": 416, "model": "landcover-rgb-fast", "exact": True, "roads": False}
        geoseg.segment(image, tmp_path / "alone.gpkg", **same)  # type: ignore[arg-type]
        assert open_layer(result.layers[0])["id"].tolist() == open_layer(tmp_path / "alone.gpkg")["id"].tolist()

    def test_imagery_of_all_kinds_makes_one_region(
        self, make_raster: MakeRaster, light_model: None, tmp_path: Path
    ) -> None:
        """Bytes in red, green, blue; 16 bits in blue, green, red and alpha, in degrees, beside it and over it."""
        random = np.random.default_rng(8)
        first, second = (np.kron(random.integers(0, top, (3, 30, 30)), np.ones((1, 10, 10))) for top in (256, 4000))
        x, y = rasterio.warp.transform("EPSG:32737", "EPSG:4326", [530_070], [9_329_960])
        image = make_raster(first.astype(np.uint8), "first.tif")
        alpha = np.where(np.arange(300) < 280, 65_535, 0) * np.ones((1, 300, 1))
        other = make_raster(
            np.concatenate([second, alpha]).astype(np.uint16),
            "second.tif",
            crs="EPSG:4326",
            transform=rasterio.Affine(4e-6, 0, x[0], 0, -4e-6, y[0]),
        )
        with rasterio.open(other, "r+") as raster:
            raster.colorinterp = [ColorInterp[name] for name in ("blue", "green", "red", "alpha")]
        members, scenes = [], []
        for name, path in (("a", image), ("b", other)):
            self.run(path, tmp_path / name)
            members.append(RegionMember(name, tmp_path / name / "classes.tif", tmp_path / name / "confidence.tif"))
            with rasterio.open(members[-1].classes) as classes, rasterio.open(members[-1].confidence) as confidence:
                grid = GeoGrid(classes.crs.to_wkt(), classes.transform, classes.height, classes.width)
                scenes.append((grid, (classes.read(1), confidence.read(1))))
        write_mixed(members, tmp_path, finish=EXACT, precedence="confidence")
        with rasterio.open(tmp_path / "classes.tif") as raster:
            region = GeoGrid(raster.crs.to_wkt(), raster.transform, raster.height, raster.width)
            written = raster.read(1)
        classes, _, numbers = mosaic_by_pixel(region, scenes, [0, 1], surest=True)
        assert min(np.bincount(numbers.ravel() + 1)) > 1000
        np.testing.assert_array_equal(written, classes)
        assert read_shapes(tmp_path / "map.fgb") == trace(classes, region.transform)


def test_memory_follows_the_window(tmp_path: Path, pieces: list[RegionMember]) -> None:
    """A scene of 4,096 x 4,096 pixels, warped: reading 256 x 256 of it holds less than a tenth of the scene."""
    grid = make_grid((4096, 4096))
    classes = np.tile(make_classes((256, 256), 1, unknown=0)[0], (16, 16))
    place = tmp_path / "big"
    place.mkdir()
    write_class_raster(place / "classes.tif", grid, [(grid.window, classes)], legend=LAND_COVER)
    write_confidence_raster(place / "confidence.tif", grid, [(grid.window, classes + 1)])
    member = open_scene(RegionMember("big", place / "classes.tif", place / "confidence.tif"))
    mosaic = ClassMosaic(make_grid((4000, 4000), x=530_003.1), (member,) * 50, "confidence")
    mosaic.read(Window(0, 0, 10, 10))
    tracemalloc.start()
    assert mosaic.read(Window(2000, 2000, 256, 256)) is not None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.6e6 * 6
