"""What makes a map of classes: every step by itself, all together, and none of it depends on tiles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

import geoseg
from geoseg.legend import LAND_COVER, ClassLegend
from geoseg.polygons.marks import MAX_SIDE
from geoseg.progress import Silence
from geoseg.run.finish import MIN_UNIT_M2, Finish
from tests.conftest import MakeRaster

PIXEL_M2 = 0.25
ALL = {"min_unit_m2": "auto", "simplify_m": "auto", "regularize": True, "smooth": True, "roads": True}


@pytest.fixture(scope="module")
def classes() -> NDArray[np.uint8]:
    """Woods, houses and crossing streets on 160 x 200 m, with specks and ragged edges; nodata in a corner."""
    rng = np.random.default_rng(5)
    row, col = np.mgrid[:320, :400]
    wood = ndimage.gaussian_filter(rng.standard_normal(row.shape), 14) > 0.01
    image = np.where(wood, 3, 0).astype(np.uint8)
    for r, c in rng.uniform(20, 300, (40, 2)):
        angle = rng.uniform(0, 1.5)
        along = (row - r) * np.cos(angle) + (col - c) * np.sin(angle)
        across = (col - c) * np.cos(angle) - (row - r) * np.sin(angle)
        image[(abs(along) < 14) & (abs(across) < 9)] = 1
    image[abs(row - 0.4 * col - 60) < 8] = 2
    image[abs(col - 210) < 7] = 2
    specks = rng.random(row.shape) < 0.01
    image[specks] = rng.integers(0, 4, specks.sum())
    image[280:, 350:] = LAND_COVER.nodata
    return image


@pytest.fixture
def raster(classes: NDArray[np.uint8], class_raster: Callable[..., Path]) -> Path:
    return class_raster(classes)


@pytest.mark.parametrize("tile_px", [57, 130])
def test_all_steps_together_do_not_show_tiles(raster: Path, tmp_path: Path, tile_px: int) -> None:
    folders = tmp_path / "whole", tmp_path / "tiles"
    for folder, size in zip(folders, (400, tile_px), strict=True):
        geoseg.polygonize(raster, folder / "map.fgb", tile_px=size, **ALL)
    for name in ("map.fgb", "map_roads.fgb"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_the_layers_of_a_finished_map(raster: Path, tmp_path: Path) -> None:
    path = tmp_path / "map.gpkg"
    geoseg.polygonize(raster, path, tile_px=150, **ALL)
    assert set(pyogrio.list_layers(path)[:, 0]) == {"polygons", "roads", "layer_styles"}
    layer = geoseg.open_layer(path)
    assert shapely.is_valid(layer.geometry.to_numpy()).all()
    assert shapely.coverage_is_valid(layer.geometry.to_numpy())
    assert layer["id"].is_unique
    buildings = layer["class"] == "building"
    assert (layer["length_m"].notna() == buildings).all()
    assert (layer["length_m"] >= layer["width_m"])[buildings].all()
    exact = geoseg.polygonize(raster, tmp_path / "exact.gpkg", min_unit_m2="auto").area_m2
    for name, area_m2 in layer.groupby("class")["area_m2"].sum().items():
        assert area_m2 == pytest.approx(exact[str(name)], rel=0.03)
    network = geoseg.open_network(path)
    assert networkx.is_connected(network)
    assert max(dict(network.degree).values()) == 4
    assert sum(length for *_, length in network.edges(data="length_m")) == pytest.approx(370, rel=0.05)


def test_nothing_below_the_minimum_unit_and_no_new_hole(
    raster: Path, classes: NDArray[np.uint8], tmp_path: Path
) -> None:
    geoseg.polygonize(raster, tmp_path / "map.gpkg", tile_px=90, min_unit_m2=6.0)
    layer = geoseg.open_layer(tmp_path / "map.gpkg")
    assert layer["area_m2"].min() >= 6.0 * 0.999
    known = (classes != LAND_COVER.nodata).sum() * PIXEL_M2
    assert layer.geometry.area.sum() == pytest.approx(known)
    every = geoseg.open_layer(geoseg.polygonize(raster, tmp_path / "every.gpkg").output)
    assert len(every) > 3 * len(layer)


def test_units_by_class_leave_the_others(raster: Path, tmp_path: Path) -> None:
    geoseg.polygonize(raster, tmp_path / "map.gpkg", min_unit_m2={"vegetation": 20.0})
    smallest = geoseg.open_layer(tmp_path / "map.gpkg").groupby("class")["area_m2"].min()
    assert smallest["vegetation"] >= 20 * 0.999
    assert smallest["building"] < 1


def test_roads_have_their_own_file_where_a_format_holds_one_layer(raster: Path, tmp_path: Path) -> None:
    done = geoseg.polygonize(raster, tmp_path / "map.geojson", roads=True)
    assert done.roads == tmp_path / "map_roads.geojson"
    assert geoseg.polygonize(raster, tmp_path / "map.geojson", roads=True, overwrite=True).roads == done.roads
    assert len(geoseg.open_layer(tmp_path / "map_roads.geojson")) > 0
    (tmp_path / "map.geojson").unlink()
    with pytest.raises(geoseg.OutputError, match=r"map_roads\.geojson"):
        geoseg.polygonize(raster, tmp_path / "map.geojson", roads=True)


def test_another_finish_keeps_the_work_that_it_does_not_touch(raster: Path, tmp_path: Path) -> None:
    keep = {"work_dir": tmp_path / "work", "tile_px": 150, "overwrite": True}
    first = geoseg.polygonize(raster, tmp_path / "map.gpkg", **keep, **ALL)
    assert first.tiles_computed == first.tiles == 9
    same = geoseg.polygonize(raster, tmp_path / "map.gpkg", **keep, **(ALL | {"simplify_m": 1.3}))
    assert same.tiles_computed == 0
    other = geoseg.polygonize(raster, tmp_path / "map.gpkg", **keep, **(ALL | {"min_unit_m2": 50.0}))
    assert other.tiles_computed == 9
    fresh = geoseg.polygonize(raster, tmp_path / "fresh.gpkg", tile_px=150, **(ALL | {"min_unit_m2": 50.0}))
    assert other.polygons == fresh.polygons
    assert other.area_m2 == fresh.area_m2


def test_nothing_of_an_earlier_minimum_unit_is_left(raster: Path, tmp_path: Path) -> None:
    keep = {"work_dir": tmp_path / "work", "tile_px": 150}
    geoseg.polygonize(raster, tmp_path / "merged.gpkg", **keep, min_unit_m2=50.0)
    geoseg.polygonize(raster, tmp_path / "map.fgb", **keep)
    geoseg.polygonize(raster, tmp_path / "fresh" / "map.fgb", tile_px=150)
    assert (tmp_path / "map.fgb").read_bytes() == (tmp_path / "fresh" / "map.fgb").read_bytes()


def test_a_raster_too_large_for_a_finish_is_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "wide.tif"
    profile = {"driver": "GTiff", "height": 4, "width": MAX_SIDE + 1, "count": 1, "dtype": "uint8", "SPARSE_OK": True}
    with rasterio.open(path, "w", **profile, crs="EPSG:32737", transform=Affine(0.1, 0, 500_000, 0, -0.1, 9_330_000)):
        pass
    heard = Listener()
    with pytest.raises(geoseg.OptionError, match=f"{MAX_SIDE + 1}(.|\n)*--simplify"):
        geoseg.polygonize(path, tmp_path / "map.fgb", min_unit_m2=1.0, simplify_m=0.1, progress=heard)
    assert heard.stages == []


class Listener(Silence):
    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []

    def start(self, stage: str, total: int | None) -> None:
        self.stages.append((stage, total))


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({}, [("trace", 4)]),
        ({"roads": True}, [("trace", 4), ("trace roads", 4)]),
        ({"min_unit_m2": 4.0}, [("find small areas", 4), ("merge small areas", None), ("trace", 4)]),
        ({"min_unit_m2": 4.0, "roads": True}, [("find small areas", 4), ("merge small areas", None), ("trace", 8)]),
    ],
)
def test_stages_are_called_what_they_do(
    raster: Path, tmp_path: Path, options: dict[str, Any], stages: list[tuple[str, int | None]]
) -> None:
    heard = Listener()
    geoseg.polygonize(raster, tmp_path / "map.gpkg", tile_px=200, progress=heard, **options)
    assert heard.stages == [*stages, ("write polygons", None)]


def test_roads_of_an_earlier_run_are_not_left_beside_another_map(raster: Path, tmp_path: Path) -> None:
    path, roads = tmp_path / "map.fgb", tmp_path / "map_roads.fgb"
    geoseg.polygonize(raster, path, roads=True)
    before = path.read_bytes(), roads.read_bytes()
    with pytest.raises(geoseg.OutputError, match=r"map_roads\.fgb(.|\n)*remove it"):
        geoseg.polygonize(raster, path, overwrite=True)
    assert (path.read_bytes(), roads.read_bytes()) == before
    geoseg.polygonize(raster, tmp_path / "map.gpkg")
    roads.unlink()
    geoseg.polygonize(raster, path, overwrite=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"roads": True}, "--roads, and no class"),
        ({"regularize": True, "simplify_m": "auto"}, "--regularize, and no class"),
        ({"smooth": True, "simplify_m": "auto"}, "--smooth, and no class"),
        ({"regularize": True}, "--regularize without --simplify"),
        ({"min_unit_m2": "auto"}, "without class names"),
        ({"min_unit_m2": {"building": 3.0}}, "without class names"),
    ],
)
def test_what_a_raster_without_names_cannot_have(
    make_raster: MakeRaster, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    plain = make_raster(np.ones((1, 30, 40), np.uint8), "plain.tif")
    with pytest.raises(geoseg.OptionError, match=message):
        geoseg.polygonize(plain, tmp_path / "out" / "map.geojson", **options)
    assert not (tmp_path / "out").exists()


def test_one_minimum_unit_for_all_is_said_in_one_number(make_raster: MakeRaster, tmp_path: Path) -> None:
    plain = make_raster(np.ones((1, 30, 40), np.uint8), "plain.tif")
    geoseg.polygonize(plain, tmp_path / "map.fgb", min_unit_m2=4.0)
    assert json.loads(pyogrio.read_info(tmp_path / "map.fgb")["layer_metadata"]["geoseg"])["min_unit_m2"] == 4.0


class TestFinish:
    """What a user says becomes options for the classes of a legend."""

    def test_by_kind(self) -> None:
        options = Finish().options(LAND_COVER, pixel_m=0.4)
        assert dict(options.min_unit_m2) == {c.id: MIN_UNIT_M2[c.kind] for c in LAND_COVER.classes}
        assert (options.simplify_m, options.regularize, options.smooth, options.roads) == (0.4, (1,), (3,), (2,))

    def test_exact_is_none_of_it(self) -> None:
        options = Finish(min_area_m2=3.0).exact().options(LAND_COVER, pixel_m=0.4)
        assert not options.generalises
        assert (options.min_unit_m2, options.regularize, options.smooth) == ((), (), ())
        assert options.min_area_m2 == 3.0

    def test_without_simplification_outlines_stay(self) -> None:
        options = Finish(simplify_m=0).options(LAND_COVER, pixel_m=0.4)
        assert (options.simplify_m, options.regularize, options.smooth) == (None, (), ())

    def test_one_unit_for_all_classes_of_a_raster_without_names(self) -> None:
        options = Finish(min_unit_m2=2.0).options(ClassLegend.unnamed(), pixel_m=1.0)
        assert dict(options.min_unit_m2) == dict.fromkeys(range(256), 2.0)

    @pytest.mark.parametrize(
        "finish",
        [
            Finish(min_unit_m2={"house": 1.0}),
            Finish(min_unit_m2=-1.0),
            Finish(min_unit_m2={"road": float("nan")}),
            Finish(simplify_m=-0.5),
            Finish(simplify_m=float("inf")),
            Finish(min_area_m2=float("nan")),
        ],
    )
    def test_nonsense_is_refused(self, finish: Finish) -> None:
        with pytest.raises(geoseg.OptionError):
            finish.options(LAND_COVER, pixel_m=0.4)
