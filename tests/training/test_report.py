"""The report of a run: tiles that add up and are rightly ranked, words that follow the curves, one page."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.legend import LAND_COVER
from geoseg.training.charts import MAX_POINTS, Curve, draw_curves, readable
from geoseg.training.history import History
from geoseg.training.job import TrainingJob
from geoseg.training.report import judge_fit, write_report
from geoseg.training.scenes import Scene, SceneReader, find_scenes
from geoseg.training.tiles import TileScore, cut_tiles, score_tiles
from geoseg.training.validate import Score, count_pairs, predict_classes
from tests.test_page import Seen
from tests.training.scenery import make_job, make_source, write_raster

COLORS = np.array([[60, 60, 60], [200, 40, 40], [220, 220, 40], [40, 200, 40]], np.uint8)
EVIL = "held <b>out</b>"


class Nearest(nn.Module):
    """The class whose colour is nearest: right where the image is not disturbed."""

    def __init__(self) -> None:
        super().__init__()
        self.colors = nn.Parameter((torch.from_numpy(COLORS) - 127.5) / 127.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -((x[:, None] - self.colors[None, :, :, None, None]) ** 2).sum(2)


def write_disturbed(folder: Path, stem: str, *, seed: int, only: int | None = None) -> None:
    """A scene of 200 x 140 pixels with noise that grows downwards, and a corner that nobody knows."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 4, (10, 7)), np.ones((20, 20))).astype(np.uint8)
    noise = rng.normal(size=(200, 140, 3)) * np.linspace(0, 300, 200)[:, None, None]
    image = np.clip(COLORS[labels] + noise, 0, 255).astype(np.uint8)
    labels = labels if only is None else (labels == only).astype(np.uint8)
    if only is None:
        labels[:70, :70] = 255
    write_raster(folder / f"{stem}.tif", image.transpose(2, 0, 1))
    write_raster(folder / f"{stem}_classes.tif", labels[None])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    folder = tmp_path_factory.mktemp("scenes")
    write_disturbed(folder, "a", seed=1)
    write_disturbed(folder, "b", seed=2)
    write_disturbed(folder, "r", seed=3, only=2)
    return make_job(
        folder,
        make_source(name="learnt from"),
        make_source(name=EVIL, use="validation", images=("a.tif", "b.tif"), attribution="see https://example.org"),
        make_source(name="roads", use="validation", images=("r.tif",), kind="binary", only="road"),
        ground_resolution_m=0.5,
    )


@pytest.fixture(scope="module")
def scenes(job: TrainingJob) -> list[Scene]:
    return find_scenes(job, LAND_COVER, use="validation")[0]


@pytest.fixture(scope="module")
def reader() -> SceneReader:
    return SceneReader(LAND_COVER, bands=3, cache_mb=10)


def test_tiles_add_up_to_their_scene(job: TrainingJob, scenes: list[Scene], reader: SceneReader) -> None:
    for scene in scenes:
        tiles, whole = ([*cut_tiles(Nearest(), job, scene, reader, LAND_COVER, tile_px=side)] for side in (50, 10_000))
        assert len(tiles) == 6
        assert len(whole) == 1
        assert whole[0].window.shape == (160, 112)
        known = whole[0].truth != 255
        assert whole[0].counts.sum() == np.count_nonzero(known) > 0
        expected = predict_classes(Nearest(), job.normalisation, whole[0].picture)
        expected = expected if scene.only < 0 else (expected == scene.only).astype(np.uint8)
        np.testing.assert_array_equal(whole[0].predicted, expected)
        size = 4 if scene.only < 0 else 2
        np.testing.assert_array_equal(whole[0].counts, count_pairs(whole[0].truth, expected, size))
        np.testing.assert_array_equal(sum(t.counts for t in tiles), whole[0].counts)
        for tile in tiles:
            part = tile.window.within(whole[0].window)
            np.testing.assert_array_equal(tile.picture, whole[0].picture[part])
            np.testing.assert_array_equal(tile.truth, whole[0].truth[part])
            assert tile.counts.sum() == np.count_nonzero(tile.truth != 255)


@pytest.mark.parametrize("keep", [1, 2, 20])
def test_the_worst_is_the_worst(job: TrainingJob, scenes: list[Scene], reader: SceneReader, keep: int) -> None:
    kept = score_tiles(Nearest(), job, scenes, reader, LAND_COVER, keep=keep, tile_px=50)
    for name in (EVIL, "roads"):
        every = [
            t
            for s in scenes
            if s.source.name == name
            for t in cut_tiles(Nearest(), job, s, reader, LAND_COVER, tile_px=50)
            if t.known_share >= 0.5 and len(t.iou) > 1
        ]
        scores = sorted(t.mean_iou for t in every)
        expected = scores if len(scores) <= 2 * keep else scores[:keep] + scores[-keep:]
        assert [t.mean_iou for t in kept if t.source == name] == expected
        assert scores[0] < 0.6 < 0.9 < scores[-1]
    assert all(a.mean_iou <= b.mean_iou for a, b in pairwise(kept) if a.source == b.source)
    assert all((t.truth != 255).mean() >= 0.5 for t in kept)


def test_a_kept_tile_does_not_keep_its_scene(job: TrainingJob, scenes: list[Scene], reader: SceneReader) -> None:
    for tile in score_tiles(Nearest(), job, scenes, reader, LAND_COVER, tile_px=50):
        for pixels in (tile.picture, tile.truth, tile.predicted):
            assert pixels.base is None or pixels.base.size == pixels.size


def test_a_few_pixels_do_not_decide(job: TrainingJob, scenes: list[Scene], reader: SceneReader) -> None:
    tile = next(cut_tiles(Nearest(), job, scenes[0], reader, LAND_COVER, tile_px=10_000))
    counts = np.diag([1000, 500, 0, 0])
    counts[0, 3] = 3
    tile = TileScore(**(vars(tile) | {"counts": counts}))
    assert tile.iou == {"background": 1000 / 1003, "building": 1.0}


def log_of(train: list[float], validation: list[float], mean_iou: list[float]) -> dict[str, np.ndarray]:
    columns = {"train_loss": train, "validation_loss": validation, "mean_iou": mean_iou}
    return {"step": np.arange(1.0, len(train) + 1) * 100} | {k: np.array(v) for k, v in columns.items()}


@pytest.mark.parametrize(
    ("train", "validation", "mean_iou", "words"),
    [
        ([0.9, 0.5, 0.2], [0.9, 0.6, 0.9], [0.3, 0.6, 0.5], "rose by 50.0% while the training loss fell"),
        ([0.9, 0.5, 0.7], [0.9, 0.6, 0.9], [0.3, 0.6, 0.5], "learning was unstable"),
        ([0.9, 0.5, 0.4], [0.9, 0.6, 0.6], [0.3, 0.6, 0.5], "changed by +0.0%: no sign of over-fitting"),
        ([0.9, 0.5, 0.4], [0.9, 0.6, 0.5], [0.3, 0.6, 0.7], "more steps may help"),
        ([0.9, 0.5, np.nan], [0.9, 0.6, 0.5], [0.3, 0.6, 0.5], "step, 200, the validation loss is 0.6000"),
        ([0.9], [np.nan], [0.0], "over-fitting cannot be told"),
        ([], [], [], "over-fitting cannot be told"),
    ],
)
def test_over_fitting_is_told_by_the_losses(
    train: list[float], validation: list[float], mean_iou: list[float], words: str
) -> None:
    assert words in judge_fit(log_of(train, validation, mean_iou))


def test_of_equal_steps_the_last_is_the_best() -> None:
    assert "At the best step, 200," in judge_fit(log_of([3, 2, 1], [3, 2, 2], [0.5, 0.5, 0.4]))


def test_the_page_shows_it_all(tmp_path: Path, job: TrainingJob, scenes: list[Scene], reader: SceneReader) -> None:
    scores = {
        EVIL: Score(tuple(c.name for c in LAND_COVER.classes), np.arange(16).reshape(4, 4)),
        "roads": Score(("not road", "road"), np.array([[10, 2], [3, 4]])),
    }
    history = History(tmp_path, step=0, validated_step=0)
    for step in range(1, 9):
        norm = float("inf") if step == 3 else 1.5
        history.record_step(step, minutes=step, loss=1 / step, gradient_norm=norm, rate=1e-3)
        if step % 4 == 0:
            history.record_validation(
                step, minutes=step, train_loss=1 / step, validation_loss=2 / step, mean_iou=step / 10, scores=scores
            )
    history.close()
    tiles = score_tiles(Nearest(), job, scenes, reader, LAND_COVER, keep=1, tile_px=50)
    shares = {"learnt from": {"background": 0.75, "road": 0.25}}
    skipped = ["x.tif has <1> band"]
    path = write_report(
        tmp_path, job, legend=LAND_COVER, frequencies=shares, scores=scores, tiles=tiles, skipped=skipped
    )
    assert path == tmp_path / "report.html"
    seen = Seen(path)
    text = "\n".join(seen.texts)
    assert all(link.startswith("data:image/") for link in seen.links)
    assert "b" not in seen.tags
    for expected in (
        "Mean IoU 0.8000 at step 8, the weights that are kept.",
        "1 of 8 gradients were not finite.",
        "0.7500",
        f"{EVIL}: worst",
        f"{EVIL}: best",
        "roads: worst",
        "see https://example.org",
        "x.tif has <1> band",
        "network.decoder_channels",
        "16, 16, 8, 8, 8",
        f"mean IoU {tiles[0].mean_iou:.2f}",
    ):
        assert expected in text, expected
    assert job.root not in path.read_text()
    charts = 3 + 2 + len(scores)
    assert seen.tags.count("img") == charts + 4 * len(tiles)
    assert len(tiles) == 4


def test_a_run_without_validation_has_a_report(tmp_path: Path, job: TrainingJob) -> None:
    History(tmp_path, step=0, validated_step=0).close()
    path = write_report(tmp_path, job, legend=LAND_COVER, frequencies={}, scores={}, tiles=(), skipped=())
    assert "over-fitting cannot be told" in path.read_text()


def test_a_long_curve_keeps_its_extremes() -> None:
    values = np.random.default_rng(0).random(50_000)
    values[31_415] = 17.0
    values[7] = np.nan
    axes = draw_curves({"a": Curve(np.arange(50_000.0), values, (0, 0, 0))}, label="a").axes[0]
    assert len(axes.lines[0].get_xdata()) == MAX_POINTS
    assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == 17.0


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (245, 215, 110), (10, 20, 90)])
def test_lines_stand_out_from_any_ground(color: tuple[int, int, int]) -> None:
    assert 60 <= sum(readable(color)) / 3 <= 180
