"""Files, patterns, folders and lists."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import CRS
from rasterio.shutil import copy

from geoseg.catalog.find import find_scenes
from geoseg.catalog.scene import Candidate, make_safe, name_scenes
from geoseg.errors import GeosegError, InputError
from geoseg.grid import GeoGrid
from geoseg.legend import LAND_COVER
from geoseg.raster.cog import write_class_raster
from tests.conftest import MakeRaster


@pytest.fixture
def tif(make_raster: MakeRaster, rgb_values: np.ndarray) -> Path:
    return make_raster(rgb_values)


@pytest.fixture
def folder(tmp_path: Path, tif: Path) -> Path:
    root = tmp_path / "in"
    for name in ("b.tif", "a.TIF", "sub/c.tiff", "sub/deep/d.tif", ".hidden/e.tif", "out/f.tif", ".part.tif"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tif, root / name)
    for name in ("a.TIF.ovr", "a.TIF.aux.xml", "b.tfw", "b.tif.msk", "notes.md", "preview.png", "photo.jpg"):
        (root / name).write_bytes(b"")
    (root / "photo.jgw").write_bytes(b"")
    return root


def names(scenes: list) -> list[str]:
    return [Path(one.path).name for one in scenes]


def test_a_folder_gives_its_rasters_by_name_and_no_side_files(folder: Path) -> None:
    found = find_scenes([folder], skip=folder / "out")
    assert names(found) == ["a.TIF", "b.tif", "photo.jpg", "c.tiff", "d.tif"]
    assert [one.id for one in found] == ["a", "b", "photo", "c", "d"]
    assert all(Path(one.path).is_absolute() for one in found)
    assert names(find_scenes([folder])) == ["a.TIF", "b.tif", "f.tif", "photo.jpg", "c.tiff", "d.tif"]


def test_what_geoseg_made_is_no_scene_of_a_folder(folder: Path) -> None:
    """Someone who says `geoseg batch . -o region` twice, or kept class rasters beside the scenes."""
    for name in ("region/scenes/b/classes.tif", "region/region_classes.tif"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "b.tif", folder / name)
    for name in ("batch.json", "lock"):
        (folder / "region" / name).touch()
    grid = GeoGrid(CRS.from_epsg(32737).to_wkt(), Affine(0.5, 0, 530_000, 0, -0.5, 9_330_000), 9, 9)
    write_class_raster(folder / "map_classes.tif", grid, [(grid.window, np.zeros((9, 9), np.uint8))], legend=LAND_COVER)
    assert names(find_scenes([folder])) == ["a.TIF", "b.tif", "f.tif", "photo.jpg", "c.tiff", "d.tif"]
    assert names(find_scenes([folder / "map_classes.tif"])) == ["map_classes.tif"]


def test_parts_of_a_vrt_are_no_scenes_of_their_own(folder: Path) -> None:
    copy(folder / "b.tif", folder / "stack.vrt", driver="VRT")
    found = names(find_scenes([folder]))
    assert "stack.vrt" in found
    assert "b.tif" not in found
    assert names(find_scenes([folder / "stack.vrt", folder / "b.tif"])) == ["stack.vrt", "b.tif"]


def test_patterns_lists_and_dataset_names(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(find_scenes([f"{folder}/**/*.tif*"])) == ["a.TIF", "b.tif", "f.tif", "c.tiff", "d.tif"][1:]
    monkeypatch.chdir(tmp_path)
    assert names(find_scenes(["in/*.tif"])) == ["b.tif"]
    listed = tmp_path / "in" / "list.txt"
    listed.write_text('\ufeff# scenes\n\nsub/c.tiff\n"b.tif"\n  sub/deep/*.tif \nhttps://x.org/q.tif\nGPKG:q.gpkg:t\n')
    found = find_scenes([listed])
    assert names(found) == ["c.tiff", "b.tif", "d.tif", "q.tif", "GPKG:q.gpkg:t"]
    assert [one.id for one in found][:3] == ["c", "b", "d"]
    assert all(one.id.startswith("q-") for one in found[3:])
    (tmp_path / "outer.txt").write_text("in/list.txt\nin/b.tif\n")
    assert find_scenes(["outer.txt"]) == found


def test_each_raster_is_found_once_whatever_names_it(folder: Path) -> None:
    (folder / "link.tif").symlink_to(folder / "b.tif")
    found = find_scenes([folder / "b.tif", str(folder / "sub" / ".." / "b.tif"), folder / "link.tif", folder])
    assert names(found).count("b.tif") == 1
    assert "link.tif" not in names(found)
    signed = ["https://x.org/a.tif?X-Amz-Signature=1&v=2", "https://u:p@x.org/a.tif?X-Amz-Signature=2&v=2"]
    assert [one.path for one in find_scenes(signed)] == signed[:1]


@pytest.mark.parametrize("name", ['NETCDF:"a*.nc":red', "GPKG:a[1].gpkg:t"])
def test_names_of_gdal_are_no_patterns(name: str) -> None:
    assert [one.path for one in find_scenes([name])] == [name]


def test_a_name_with_brackets_is_a_name(folder: Path) -> None:
    shutil.copy(folder / "b.tif", folder / "b[1].tif")
    assert names(find_scenes([folder / "b[1].tif"])) == ["b[1].tif"]


def test_scenes_outside_the_area_are_left_out_unreadable_ones_stay(
    make_raster: MakeRaster, rgb_values: np.ndarray, tmp_path: Path
) -> None:
    inside = make_raster(rgb_values, "inside.tif")
    moved = Affine(0.5, 0, 530_000, 0, -0.5, 9_430_000)
    make_raster(rgb_values, "outside.tif", transform=moved)
    (tmp_path / "broken.tif").write_bytes(b"II*\0 no tiff")
    with rasterio.open(inside) as raster:
        x, y = raster.xy(10, 10)
    aoi = tmp_path / "aoi.gpkg"
    geopandas.GeoSeries([shapely.Point(x, y).buffer(3)], crs=32737).to_crs(3857).to_file(aoi)
    assert names(find_scenes([f"{tmp_path}/*.tif"], aoi=aoi)) == ["broken.tif", "inside.tif"]
    with pytest.raises(InputError, match="no scene in the area") as caught:
        find_scenes([inside], aoi="10,50,11,51")
    assert caught.value.remedy


@pytest.mark.parametrize("case", ["file", "folder", "pattern", "list", "empty list", "binary list", "loop", "nothing"])
def test_what_is_not_there_is_named(tmp_path: Path, case: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("".join(f"none{i}.tif\n" for i in range(9)))
    (tmp_path / "blank.txt").write_text("# nothing\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\xd8")
    (tmp_path / "loop.txt").write_text("loop.txt\n")
    source, fault = {
        "file": ("none.tif", "no such file"),
        "folder": ("empty", "without rasters"),
        "pattern": ("*.jp2", "no file matches"),
        "list": ("list.txt", "9 of 9 sources cannot be used"),
        "empty list": ("blank.txt", "an empty list"),
        "binary list": ("binary.txt", "not readable as a list"),
        "loop": ("loop.txt", "leads back"),
        "nothing": (None, "no scene"),
    }[case]
    with pytest.raises(GeosegError, match=fault) as caught:
        find_scenes([tmp_path / source] if source else [])
    assert caught.value.expected
    if case == "list":
        assert "none0.tif" in str(caught.value)
        assert "and 4 more" in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=60), unique=True, max_size=30))
def test_ids_are_unique_and_safe(texts: list[str]) -> None:
    found = [Candidate(f"/in/{i}/{text}", f"{i % 3}/{text}") for i, text in enumerate(texts)]
    found += [Candidate(f"/other/{i}/{text}", f"{i % 3}/{text}", text) for i, text in enumerate(texts)]
    ids = [one.id for one in name_scenes(found)]
    assert len({name.lower() for name in ids}) == len(ids)
    for name in ids:
        assert name == make_safe(name) or "-" in name
        assert name.isascii()
        assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        assert name[0] not in ".-"
        assert name[-1] != "."
        assert len(name) <= 160
    assert [one.id for one in name_scenes(found)] == ids


def test_ids_are_the_same_on_another_machine(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "b.tif", folder / "sub" / "b.tif")
    shutil.copytree(folder, tmp_path / "elsewhere" / "in")
    ids = [one.id for one in find_scenes([folder])]
    assert ids == [one.id for one in find_scenes([tmp_path / "elsewhere" / "in"])]
    assert len([one for one in ids if one.startswith("b-")]) == 2


@pytest.mark.parametrize("name", ["con", "NUL", "lpt1", "...", "region", "unknown", "日本", ""])
def test_names_that_a_system_refuses_become_others(name: str) -> None:
    assert make_safe(name).startswith("scene")


def test_no_part_of_a_map_has_the_name_of_the_roads_of_another() -> None:
    assert [make_safe(name) for name in ("city_roads", "City_ROADS", "roads", "roads_2")] == [
        "city-roads",
        "City-ROADS",
        "roads",
        "roads_2",
    ]
