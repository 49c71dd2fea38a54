"""Scenes: true ground resolution, windows, bad files skipped by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from geoseg.errors import InputError, OptionError
from geoseg.grid import Window
from geoseg.legend import LAND_COVER
from geoseg.training.losses import IGNORE
from geoseg.training.scenes import SceneReader, find_scenes, keep_readable
from tests.training.scenery import cut_short, make_job, make_source, write_raster, write_scene


def test_ground_resolution_is_geodesic_or_nominal(tmp_path: Path) -> None:
    write_scene(tmp_path, "a", gsd=0.25)
    write_raster(tmp_path / "plain" / "b.png", np.zeros((3, 8, 8), np.uint8), gsd=None)
    write_raster(tmp_path / "plain" / "b_mask.png", np.zeros((1, 8, 8), np.uint8), gsd=None)
    nominal = make_source(
        name="n", images=("plain/b.png",), kind="binary", only="road", labels="{stem}_mask.png", ground_resolution_m=0.8
    )
    scenes, skipped = find_scenes(make_job(tmp_path, make_source(), nominal), LAND_COVER, use="train")
    assert skipped == []
    assert scenes[0].resolution_m == pytest.approx((0.25, 0.25), rel=1e-3)
    assert scenes[1].resolution_m == (0.8, 0.8)


@settings(max_examples=40, deadline=None)
@given(
    row=st.integers(-40, 90),
    col=st.integers(-40, 90),
    rows=st.integers(1, 150),
    cols=st.integers(1, 150),
    mb=st.sampled_from([0, 1]),
)
def test_any_window_is_a_cut_of_the_whole(tmp_path: Path, row: int, col: int, rows: int, cols: int, mb: int) -> None:
    if not (tmp_path / "a.tif").exists():
        write_scene(tmp_path, "a")
    (scene,), _ = find_scenes(make_job(tmp_path), LAND_COVER, use="train")
    image, labels = SceneReader(LAND_COVER, bands=3, cache_mb=1).read(scene, scene.window)
    window = Window(row, col, rows, cols)
    reader = SceneReader(LAND_COVER, bands=3, cache_mb=mb)
    if window.intersect(scene.window).is_empty:
        with pytest.raises(InputError):
            reader.read(scene, window)
        return
    part_image, part_labels = reader.read(scene, window)
    assert part_image.shape == (rows, cols, 3)
    r, c = np.meshgrid(np.arange(row, row + rows), np.arange(col, col + cols), indexing="ij")
    inside = (r >= 0) & (r < scene.rows) & (c >= 0) & (c < scene.cols)
    assert np.array_equal(part_labels[inside], labels[r[inside], c[inside]])
    assert np.array_equal(part_image[inside], image[r[inside], c[inside]])
    assert (part_labels[~inside] == IGNORE).all()


def test_bad_scenes_are_named_and_skipped(tmp_path: Path) -> None:
    write_scene(tmp_path, "a")
    write_scene(tmp_path, "b")
    (tmp_path / "b_classes.tif").unlink()
    (tmp_path / "c.tif").write_bytes(b"no raster")
    write_scene(tmp_path, "d")
    write_raster(tmp_path / "d_classes.tif", np.zeros((1, 96, 96), np.uint8), shift=40.0)
    write_scene(tmp_path, "e")
    write_raster(tmp_path / "e_classes.tif", np.zeros((1, 48, 48), np.uint8), gsd=0.8)
    scenes, skipped = find_scenes(make_job(tmp_path), LAND_COVER, use="train")
    assert [s.image.stem for s in scenes] == ["a"]
    assert len(skipped) == 4
    for name, text in zip("bcde", skipped, strict=True):
        assert str(tmp_path / name) in text


def test_scenes_that_open_and_cannot_be_read_are_named_and_skipped(tmp_path: Path) -> None:
    for stem in "abc":
        write_scene(tmp_path, stem, size=256)
    cut_short(tmp_path / "b.tif")
    cut_short(tmp_path / "c_classes.tif")
    scenes, skipped = find_scenes(make_job(tmp_path), LAND_COVER, use="train")
    assert ([s.image.stem for s in scenes], skipped) == (["a", "b", "c"], [])
    reader = SceneReader(LAND_COVER, bands=3, cache_mb=10)
    kept, skipped = keep_readable(scenes, reader)
    assert [s.image.stem for s in kept] == ["a"]
    assert ["b.tif" in skipped[0], "c_classes.tif" in skipped[1]] == [True, True]
    with pytest.raises(InputError, match="none of 2 scenes can be read"):
        keep_readable(scenes[1:], reader)
    assert keep_readable([], reader) == ([], [])


COLLAR = np.s_[:, :, :24]
"""Where an image has no content."""

NDVI = {"kind": "ndvi", "only": "vegetation", "labels": ""}
KINDS = [
    {"kind": "classes"},
    {"kind": "binary", "only": "road"},
    {"kind": "colors", "colors": {"road": ((2, 2, 2),)}},
    NDVI,
]


def write_collared(path: Path, *, bands: int, alpha: bool) -> None:
    """An image with a collar: alpha 0, or nodata in all bands; a pixel that is nodata in some bands is valid."""
    image = np.random.default_rng(0).integers(1, 255, (bands, 96, 96), np.uint8)
    image[0, 50, 50] = 0
    image[COLLAR] = 0
    if not alpha:
        write_raster(path, image, nodata=0, photometric="minisblack")
        return
    opaque = np.full((1, 96, 96), 255, np.uint8)
    opaque[COLLAR] = 0
    write_raster(path, np.concatenate([image, opaque]))
    with rasterio.open(path, "r+") as raster:
        raster.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * (bands - 1), ColorInterp.alpha]


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: str(k["kind"]))
def test_where_the_image_says_nothing_nothing_is_labelled(tmp_path: Path, kind: dict[str, Any], alpha: bool) -> None:
    write_collared(tmp_path / "a.tif", bands=4 if kind is NDVI else 3, alpha=alpha)
    write_raster(tmp_path / "a_classes.tif", np.full((3, 96, 96), 2, np.uint8))
    (scene,), _ = find_scenes(make_job(tmp_path, make_source(**kind)), LAND_COVER, use="train")
    image, labels = SceneReader(LAND_COVER, bands=3, cache_mb=1).read(scene, Window(4, 4, 80, 90))
    assert image.shape == (80, 90, 3)
    assert (labels[:, :20] == IGNORE).all()
    assert (labels[:, 20:] != IGNORE).all()


def test_alpha_is_no_near_infrared(tmp_path: Path) -> None:
    """But GDAL calls near infrared alpha where its writer named no band."""
    write_collared(tmp_path / "a.tif", bands=3, alpha=True)
    image = np.random.default_rng(0).integers(0, 255, (4, 96, 96), np.uint8)
    write_raster(tmp_path / "b.tif", image)
    (scene,), skipped = find_scenes(make_job(tmp_path, make_source(**NDVI)), LAND_COVER, use="train")
    assert (scene.image.stem, scene.alpha) == ("b", 0)
    assert "a.tif has 3 bands" in skipped[0]
    _, labels = SceneReader(LAND_COVER, bands=3, cache_mb=1).read(scene, scene.window)
    assert (labels != IGNORE).all()


def test_when_nothing_is_left_it_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"no raster")
    with pytest.raises(InputError, match="none of 1 scenes"):
        find_scenes(make_job(tmp_path), LAND_COVER, use="train")
    with pytest.raises(OptionError, match="no file"):
        find_scenes(make_job(tmp_path, make_source(images=("*.jp2",))), LAND_COVER, use="train")
    with pytest.raises(OptionError, match="relative"):
        find_scenes(make_job(tmp_path, make_source(images=(f"{tmp_path}/*.tif",))), LAND_COVER, use="train")


def test_a_misspelt_class_is_no_unreadable_scene(tmp_path: Path) -> None:
    write_scene(tmp_path, "a")
    with pytest.raises(OptionError, match="'tree'"):
        find_scenes(make_job(tmp_path, make_source(kind="binary", only="tree")), LAND_COVER, use="train")


def test_excluded_files_are_left_out(tmp_path: Path) -> None:
    for stem in "abc":
        write_scene(tmp_path, stem)
    scenes, _ = find_scenes(make_job(tmp_path, make_source(exclude=("[bc].tif",))), LAND_COVER, use="train")
    assert [s.image.stem for s in scenes] == ["a"]
