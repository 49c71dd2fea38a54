"""Crops: labels stay on their pixels, whatever is done to the image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geoseg.errors import InputError
from geoseg.legend import LAND_COVER
from geoseg.training.augment import Augmentation
from geoseg.training.job import TrainingJob
from geoseg.training.losses import FULL, IGNORE
from geoseg.training.samples import Sampler, resample, window_around
from geoseg.training.scenes import Scene, SceneReader, find_scenes
from tests.training.scenery import CALM, make_job, make_source, write_raster, write_scene

COLORS = np.array([[60, 60, 60], [200, 40, 40], [220, 220, 40], [40, 200, 40]])


def make_sampler(job: TrainingJob, *, cache_mb: int = 10) -> Sampler:
    scenes, _ = find_scenes(job, LAND_COVER, use="train")
    return Sampler(job, scenes, SceneReader(LAND_COVER, bands=3, cache_mb=cache_mb))


@pytest.mark.parametrize("rotate", [0.0, 1.0])
@pytest.mark.parametrize(("gsd", "scale"), [(0.4, (1, 1)), (0.1, (1, 1)), (0.6, (0.7, 1.5)), (0.13, (0.5, 2.0))])
def test_labels_stay_on_their_pixels(tmp_path: Path, rotate: float, gsd: float, scale: tuple[float, float]) -> None:
    write_scene(tmp_path, "a", size=512, gsd=gsd)
    job = make_job(tmp_path, make_source(scale=scale), augmentation=replace(CALM, rotate=rotate))
    batch = make_sampler(job).draw_batch(0)
    assert batch.images.shape == (4, 32, 32, 3)
    assert batch.images.dtype == batch.labels.dtype == np.uint8
    assert (batch.only == FULL).all()
    nearest = np.abs(batch.images[:, :, :, None].astype(int) - COLORS).sum(-1).argmin(-1)
    known = batch.labels != IGNORE
    # Blends along the edges of the squares may look like a third class; 16 source pixels are few model pixels at 0.1 m.
    assert (nearest == batch.labels)[known].mean() > (0.75 if gsd < 0.2 else 0.9)
    assert known.mean() > 0.9


def test_a_batch_depends_on_its_number_only(tmp_path: Path) -> None:
    for stem in "ab":
        write_scene(tmp_path, stem, seed=ord(stem))
    job = make_job(tmp_path, make_source(scale=(0.8, 1.2)), augmentation=Augmentation())
    first, second = make_sampler(job), make_sampler(job, cache_mb=0)
    for number in (0, 1, 2):
        first.draw_batch(number)
    one, other = first.draw_batch(7), second.draw_batch(7)
    assert np.array_equal(one.images, other.images)
    assert np.array_equal(one.labels, other.labels)
    assert not np.array_equal(one.images, first.draw_batch(8).images)


def test_rare_classes_are_drawn_as_often(tmp_path: Path) -> None:
    labels = np.zeros((1, 512, 512), np.uint8)
    labels[0, 200:208, 300:308] = 2
    write_raster(tmp_path / "a.tif", np.zeros((3, 512, 512), np.uint8))
    write_raster(tmp_path / "a_classes.tif", labels)
    shares = []
    for balance in (0.0, 1.0):
        sampler = make_sampler(make_job(tmp_path, make_source(balance=balance)))
        batches = [sampler.draw_batch(n) for n in range(25)]
        shares.append(np.mean([(b.labels == 2).any(axis=(1, 2)).mean() for b in batches]))
    assert shares[0] < 0.1
    assert 0.35 < shares[1] < 0.65


def test_sources_are_drawn_by_weight(tmp_path: Path) -> None:
    write_scene(tmp_path, "a")
    write_scene(tmp_path, "b")
    full = make_source(name="full", images=("a.tif",), weight=3)
    part = make_source(name="part", images=("b.tif",), weight=1, kind="binary", only="road")
    sampler = make_sampler(make_job(tmp_path, full, part))
    only = np.concatenate([sampler.draw_batch(n).only for n in range(60)])
    assert set(only) == {FULL, 2}
    assert 0.65 < (only == FULL).mean() < 0.85


def test_scenes_that_vanish_are_named_and_skipped(tmp_path: Path) -> None:
    write_scene(tmp_path, "a")
    write_scene(tmp_path, "b")
    sampler = make_sampler(make_job(tmp_path), cache_mb=0)
    (tmp_path / "a.tif").unlink()
    for number in range(5):
        sampler.draw_batch(number)
    assert len(sampler.skipped) == 1
    assert "a.tif" in sampler.skipped[0]
    (tmp_path / "b.tif").unlink()
    with pytest.raises(InputError, match=r"none of 100 crops in a row could be read.*b\.tif"):
        sampler.draw_batch(9)


def test_what_is_drawn_does_not_depend_on_when_a_scene_vanished(tmp_path: Path) -> None:
    for stem in "abc":
        write_scene(tmp_path, stem, seed=ord(stem))
    early, late = (make_sampler(make_job(tmp_path), cache_mb=0) for _ in range(2))
    (tmp_path / "a.tif").unlink()
    for number in range(5):
        early.draw_batch(number)
    assert len(early.skipped) == 1
    for number in range(5, 9):
        one, other = early.draw_batch(number), late.draw_batch(number)
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.labels, other.labels)


def test_windows_stay_inside_where_they_can() -> None:
    scene = Scene(make_source(), Path("a"), None, 100, 50, (0.5, 0.25), FULL)
    window = window_around(scene, (0, 49), 10.0)
    assert (window.row, window.col, window.rows, window.cols) == (0, 10, 20, 40)
    wide = window_around(scene, (50, 25), 25.0)
    assert (wide.col, wide.cols) == (-25, 100)


def test_shrinking_averages_areas() -> None:
    image = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    small, labels = resample(image, np.zeros((12, 16), np.uint8), (6, 8))
    expected = image.reshape(6, 2, 8, 2, 3).mean((1, 3))
    assert np.abs(small - expected).max() <= 0.5
    assert labels.shape == (6, 8)


def test_class_shares_are_of_labelled_ground(tmp_path: Path) -> None:
    """A pixel of 0.8 m counts four times one of 0.4 m."""
    coarse, fine = np.zeros((1, 32, 32), np.uint8), np.full((1, 64, 64), 2, np.uint8)
    coarse[0, :8], coarse[0, 8:16] = 1, IGNORE
    for stem, labels, gsd in (("a", coarse, 0.8), ("b", fine, 0.4)):
        write_raster(tmp_path / f"{stem}.tif", np.zeros((3, *labels.shape[1:]), np.uint8), gsd=gsd)
        write_raster(tmp_path / f"{stem}_classes.tif", labels, gsd=gsd)
    part = make_source(name="part", only="road")
    shares = make_sampler(make_job(tmp_path, make_source(), part)).frequencies()
    assert set(shares) == {"scenes", "part"}
    assert shares["scenes"] == pytest.approx({"background": 2 / 7, "building": 1 / 7, "road": 4 / 7}, rel=1e-3)
    assert shares["part"] == pytest.approx({"not road": 3 / 7, "road": 4 / 7}, rel=1e-3)


def test_sources_may_label_one_image_differently(tmp_path: Path) -> None:
    write_scene(tmp_path, "a")
    job = make_job(tmp_path, make_source(name="all"), make_source(name="roads", only="road"))
    first, second = find_scenes(job, LAND_COVER, use="train")[0]
    reader = SceneReader(LAND_COVER, bands=3, cache_mb=10)
    full, part = reader.read(first, first.window)[1], reader.read(second, second.window)[1]
    assert np.array_equal(full == 2, part == 1)
    assert full.max() == 3
