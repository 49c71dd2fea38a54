"""A layer that is divided is the same layer: every feature whole, in one part, as it was."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from geopandas.testing import assert_geodataframe_equal

import geoseg.region.split
from geoseg.errors import InputError, OptionError, OutputError
from geoseg.grid import GeoGrid
from geoseg.layers.read import open_layer
from geoseg.region.layers import RegionMember, RegionResult, write_region
from geoseg.region.split import Split
from geoseg.run.finish import Finish
from tests.region.making import make_classes, make_grid, write_scene

LAYERS = "polygons", "roads"


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[RegionMember]:
    """Three scenes in a row that overlap; two of them have the same name."""
    folder, made = tmp_path_factory.mktemp("scenes"), []
    for number in range(3):
        grid = make_grid((160, 200), x=530_000 + 70 * number, y=9_330_000 - 13 * number)
        pair = make_classes((160, 200), number, grain_px=5)
        made.append(write_scene(folder, f"s{number}", grid, pair, datetime=f"202{number}-07-01"))
    return [made[0], made[1], RegionMember(made[2].id, made[2].classes, made[2].confidence, made[2].datetime, "s1.tif")]


@pytest.fixture(scope="module")
def whole(members: list[RegionMember], tmp_path_factory: pytest.TempPathFactory) -> dict[str, geopandas.GeoDataFrame]:
    path = tmp_path_factory.mktemp("whole") / "map.gpkg"
    write_region(members, path, tile_px=128)
    return {layer: open_layer(path, layer) for layer in LAYERS}


def read_parts(result: RegionResult, layer: str) -> dict[str, geopandas.GeoDataFrame]:
    return {part: open_layer(files[0], layer) for part, files in result.parts.items()}


def by_id(frames: list[geopandas.GeoDataFrame]) -> geopandas.GeoDataFrame:
    return pd.concat(frames).sort_values("id", kind="stable").reset_index(drop=True)


@pytest.mark.parametrize("split", ["scene", "sheet:50", "sheet:64.5", "sheet:100000"])
def test_the_parts_together_are_the_whole(
    members: list[RegionMember], whole: dict[str, geopandas.GeoDataFrame], tmp_path: Path, split: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(geoseg.region.split, "HELD_BYTES", 10_000)
    result = write_region(members, tmp_path / "map.gpkg", tile_px=128, split=split)
    assert {p.name for p in tmp_path.glob("*.gpkg")} == {path.name for path in result.layers}
    for layer in LAYERS:
        parts = read_parts(result, layer)
        assert_geodataframe_equal(by_id(list(parts.values())), by_id([whole[layer]]), check_dtype=False)
        for part in parts.values():
            # In the order of the whole.
            places = whole[layer].reset_index().set_index("id")["index"].loc[part["id"]].to_numpy()
            assert (np.diff(places) > 0).all()
    assert result.polygons == whole["polygons"]["class"].value_counts().to_dict()


def test_scenes_of_one_name_are_two_parts(members: list[RegionMember], tmp_path: Path) -> None:
    result = write_region(members, tmp_path / "map.fgb", tile_px=128, split="scene", finish=Finish(roads=False))
    assert list(result.parts) == ["s0", "s1", "s2"]
    sources = {part: set(open_layer(files[0])["source"]) for part, files in result.parts.items()}
    assert sources == {"s0": {"s0.tif"}, "s1": {"s1.tif"}, "s2": {"s1.tif"}}
    dates = {part: set(open_layer(files[0])["date"]) for part, files in result.parts.items()}
    assert dates == {"s0": {"2020-07-01"}, "s1": {"2021-07-01"}, "s2": {"2022-07-01"}}


def test_sheets_hold_the_features_that_begin_on_them(members: list[RegionMember], tmp_path: Path) -> None:
    finish = Finish(roads=False).exact()
    result = write_region(members, tmp_path / "map.fgb", tile_px=128, split="sheet:32", finish=finish)
    assert len(result.parts) > 10
    for part, (path,) in result.parts.items():
        frame = open_layer(path)
        east, north = (int(text[1:]) for text in part.split("_"))
        assert east % 32 == north % 32 == 0
        first = shapely.get_coordinates(shapely.get_point(frame.exterior.to_numpy(), 0))
        # The corner of the first pixel, up and to the left of its centre.
        centre = first + np.array([0.25, -0.25])
        assert ((centre[:, 0] > east) & (centre[:, 0] < east + 32)).all()
        assert ((centre[:, 1] > north) & (centre[:, 1] < north + 32)).all()


def test_other_formats_have_roads_beside(members: list[RegionMember], tmp_path: Path) -> None:
    result = write_region(members, tmp_path / "map.geojson.gz", tile_px=128, split="scene")
    assert sorted(path.name for path in result.layers) == [
        f"map_{name}.geojson.gz" for name in ("s0", "s0_roads", "s1", "s1_roads", "s2", "s2_roads")
    ]


def test_zones_meet_without_overlap(tmp_path: Path) -> None:
    """Pixels of a zone are those whose centres lie in it; together they cover what the scenes do."""
    scene = GeoGrid(
        make_grid((1, 1), epsg=4326).crs,
        make_grid((1, 1), epsg=4326, x=41.9995, y=0.0004, pixel=1e-5).transform,
        80,
        100,
    )
    classes, confidence = make_classes((80, 100), 1, unknown=0)
    members = [write_scene(tmp_path, "across", scene, (classes, confidence))]
    result = write_region(
        members, tmp_path / "map.gpkg", split="utm", tile_px=64, finish=Finish().exact(),
        classes_raster=tmp_path / "classes.tif", confidence_raster=tmp_path / "confidence.tif",
    )  # fmt: skip
    assert list(result.parts) == ["37N", "37S", "38N", "38S"]
    assert len(result.rasters) == 8
    area_m2 = 0.0
    for zone, epsg in {"37N": 32637, "37S": 32737, "38N": 32638, "38S": 32738}.items():
        with rasterio.open(tmp_path / f"classes_{zone}.tif") as raster:
            assert raster.crs.to_epsg() == epsg
            grid = GeoGrid(raster.crs.to_wkt(), raster.transform, raster.height, raster.width)
            known = raster.read(1) != 255
        rows, cols = np.mgrid[: grid.rows, : grid.cols] + 0.5
        lon, lat = grid.to_lonlat.transform(*grid.to_world(rows, cols))
        mine = ((lon < 42) == (zone[:2] == "37")) & ((lat > 0) == (zone[2] == "N"))
        inside = (lon > 41.9995) & (lon < 42.0005) & (lat < 0.0004) & (lat > -0.0004)
        np.testing.assert_array_equal(known, mine & inside)
        area_m2 += float(known.sum() * grid.transform.a**2)
    whole = 100 * 80 * np.prod(scene.ground_resolution_m())
    assert area_m2 == pytest.approx(whole, rel=0.01)
    frames = [open_layer(files[0], "polygons").to_crs(4326) for files in result.parts.values()]
    assert sum(len(frame) for frame in frames) == sum(result.polygons.values())


def test_an_area_within_one_zone_leaves_the_other_out(tmp_path: Path) -> None:
    scene = make_grid((80, 100), epsg=4326, x=41.9995, y=5, pixel=1e-5)
    members = [write_scene(tmp_path, "across", scene, make_classes((80, 100), 1))]
    result = write_region(members, tmp_path / "map.gpkg", split="utm", aoi="41.9996,4.9995,41.9998,4.9999")
    assert list(result.parts) == ["37N"]


@pytest.mark.parametrize("text", ["sheets", "sheet:", "sheet:0", "sheet:-5", "sheet:1.2.3", "zone", ""])
def test_what_is_no_split_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--split"):
        Split.parse(text)


def test_sheets_need_lengths(members: list[RegionMember], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="WGS 84"):
        write_region(members, tmp_path / "map.gpkg", split="sheet:50", crs="EPSG:4326")
    assert not list(tmp_path.iterdir())


def test_what_cannot_work_is_found_before_any_work(members: list[RegionMember], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"map\.doc"):
        write_region(members, tmp_path / "map.doc", split="scene")
    with pytest.raises(OptionError, match="--crs EPSG:3857 and"):
        write_region(members, tmp_path / "map.gpkg", split="utm", crs="EPSG:3857")
    with pytest.raises(InputError, match="no scene"):
        write_region([], tmp_path / "map.gpkg")
    assert not list(tmp_path.iterdir())


def test_parts_replace_nothing_unless_told(members: list[RegionMember], tmp_path: Path) -> None:
    (tmp_path / "map_s1.gpkg").write_text("mine")
    with pytest.raises(OutputError, match=r"map_s1\.gpkg exists"):
        write_region(members, tmp_path / "map.gpkg", split="scene")
    assert [path.name for path in tmp_path.iterdir()] == ["map_s1.gpkg"]
