"""The loop: it learns, it stops with a reason, it goes on where it was."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.errors import ModelError, OptionError, OutputError
from geoseg.models.networks import build_network, load_weights, read_weights
from geoseg.training import fit
from geoseg.training.checkpoint import read_description, write_folder
from geoseg.training.fit import TrainingError, train
from geoseg.training.job import Normalisation
from geoseg.training.optimize import learning_rate_factor, update_average
from geoseg.training.validate import Score, count_pairs, predict_classes
from tests.training.scenery import write_scene

JOB = """
ground_resolution_m = 0.4
crop_px = 32
seed = 3
[network]
decoder_channels = [16, 16, 8, 8, 8]
[normalisation]
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]
[schedule]
threads = 1
steps = {steps}
batch = 4
encoder_rate = 2e-3
decoder_rate = 5e-3
average_decay = 0.8
validate_steps = {validate}
checkpoint_steps = {checkpoint}
[[source]]
name = "scenes"
use = "train"
images = ["a.tif"]
kind = "classes"
labels = "{{stem}}_classes.tif"
[[source]]
name = "held out"
use = "validation"
images = ["{held_out}.tif"]
kind = "classes"
labels = "{{stem}}_classes.tif"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scene(tmp_path, "a", seed=1, size=192)
    write_scene(tmp_path, "b", seed=2, size=96)
    return tmp_path


def write_job(folder: Path, name: str = "job", *, steps: int, validate: int = 100, held_out: str = "b") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(JOB.format(steps=steps, validate=validate, checkpoint=3, held_out=held_out))
    return path


def test_it_learns_and_leaves_all_that_a_package_needs(folder: Path) -> None:
    result = train(write_job(folder, steps=30, validate=15), folder / "out", root=folder)
    assert result.steps == 30
    assert result.skipped == ()
    assert result.metrics["mean_iou"] > 0.5
    described = read_description(folder / "out" / "best")
    assert described["metrics"] == result.metrics
    assert described["network"] == {
        "architecture": "Unet",
        "encoder": "mobilenet_v2",
        "bands": 3,
        "classes": 4,
        "decoder_channels": [16, 16, 8, 8, 8],
    }
    assert described["normalisation"] == {"mean": [127.5] * 3, "std": [127.5] * 3}
    assert described["ground_resolution_m"] == 0.4
    assert described["seed"] == 3
    assert described["sources"] == {"train": {"scenes": ["a.tif"]}, "validation": {"held out": ["b.tif"]}}
    assert [c["name"] for c in described["legend"]["classes"]] == ["background", "building", "road", "vegetation"]
    assert str(folder) not in json.dumps(described | {"command": ""})
    load_weights(build_network(result.spec), result.weights)
    with (folder / "out" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == [15, 30]
    assert max(float(r["mean_iou"]) for r in rows) == pytest.approx(result.metrics["mean_iou"], abs=1e-4)


def test_a_stopped_run_goes_on_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = write_job(folder, steps=6)
    train(job, folder / "whole", root=folder)
    learn_batch = fit._Run._learn_batch

    def stop_at_four(run: fit._Run, *arguments: object) -> float:
        if run.step == 4:
            raise KeyboardInterrupt
        return learn_batch(run, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(fit._Run, "_learn_batch", stop_at_four)
        assert train(job, folder / "parts", root=folder).steps == 4
    assert train(job, folder / "parts", root=folder).steps == 6
    whole, parts = (read_weights(folder / run / "last" / "weights.safetensors") for run in ("whole", "parts"))
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], rtol=1e-4, atol=1e-5)


def test_another_job_does_not_go_on_in_the_same_folder(folder: Path) -> None:
    train(write_job(folder, steps=1), folder / "out", root=folder)
    other = write_job(folder, "other", steps=1)
    other.write_text(other.read_text().replace("seed = 3", "seed = 4"))
    with pytest.raises(OptionError, match="another job"):
        train(other, folder / "out", root=folder)


def test_a_held_out_scene_must_not_be_trained_on(folder: Path) -> None:
    with pytest.raises(OptionError, match=r"a\.tif is used for training and for validation"):
        train(write_job(folder, steps=1, held_out="a"), folder / "out", root=folder)


def test_a_loss_that_is_not_finite_stops_with_a_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "segmentation_loss", lambda *a, **k: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(TrainingError, match="loss is nan at step 0"):
        train(write_job(folder, steps=2), folder / "out", root=folder)
    assert not (folder / "out" / "best").exists()


def test_the_rate_rises_falls_and_ends_at_zero() -> None:
    rates = [learning_rate_factor(p, 0.1) for p in np.linspace(0, 1, 101)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(1)
    assert int(np.argmax(rates)) == 10
    assert rates[-1] == pytest.approx(0)
    assert (np.diff(rates[10:]) <= 0).all()


def test_the_average_of_a_constant_is_the_constant() -> None:
    network, average = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    nn.init.constant_(network.weight, 5.0)
    for step in range(400):
        update_average(average, network, decay=0.95, step=step)
    torch.testing.assert_close(average.weight, network.weight)
    assert average.num_batches_tracked == network.num_batches_tracked


def test_scores_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
    score = Score(("no", "yes", "never"), count_pairs(truth, np.array([[0, 1, 1, 1, 1]], np.uint8), 3))
    assert score.iou == pytest.approx({"no": 1 / 2, "yes": 2 / 3})
    assert score.mean_iou == pytest.approx(7 / 12)


class Brightness(nn.Module):
    """Class 1 where the image is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = nn.Parameter(torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1, keepdim=True) * self.sign


@pytest.mark.parametrize("shape", [(5, 7), (800, 33), (31, 1600), (768, 769)])
def test_every_pixel_is_predicted_in_its_place(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    classes = predict_classes(Brightness(), Normalisation((127.5,) * 3, (127.5,) * 3), image)
    assert np.array_equal(classes, (image.mean(axis=2) > 127.5).astype(np.uint8))


def test_a_checkpoint_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_folder(tmp_path / "c", {"a.safetensors": {"x": torch.zeros(1)}}, {"n": 1})
    write_folder(tmp_path / "c", {"b.safetensors": {"x": torch.ones(1)}}, {"n": 2})
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["b.safetensors", "checkpoint.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    assert read_description(tmp_path / "c") == {"n": 2}
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_folder(tmp_path / "file" / "c", {}, {})
    with pytest.raises(ModelError, match="cannot be read"):
        read_description(tmp_path / "none")
