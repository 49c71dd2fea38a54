"""Scenes: true ground resolution, windows, bad files skipped by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoseg.errors import InputError, OptionError
from geoseg.grid import Window
from geoseg.legend import LAND_COVER
from geoseg.training.losses import IGNORE
from geoseg.training.scenes import SceneReader, find_scenes
from tests.training.scenery import make_job, make_source, write_raster, write_scene


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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
