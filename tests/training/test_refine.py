"""Refinement: it begins as the network it refines, sharpens blobs, goes on exactly, and leaves what packages need."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from geoseg.errors import ModelError, OptionError
from geoseg.legend import LAND_COVER
from geoseg.models.networks import NetworkSpec, build_network, load_weights, read_weights
from geoseg.models.refiner import RefinedNetwork
from geoseg.training import game
from geoseg.training.base import Base, read_base
from geoseg.training.checkpoint import read_description, write_folder
from geoseg.training.game import Game
from geoseg.training.job import Normalisation
from geoseg.training.losses import FULL, IGNORE
from geoseg.training.refine import refine
from geoseg.training.refine_job import RefineJob, RefineLoss, RefinerSize, RefineSchedule, read_refine_job
from geoseg.training.samples import Batch
from geoseg.training.step import TrainingError
from geoseg.training.validate import Score, count_pairs, predict_classes
from tests.training.scenery import cut_short, write_scene

SPEC = NetworkSpec("Unet", "mobilenet_v2", 3, 4, (16, 8, 8), 3)
NORMALISATION = Normalisation((127.5,) * 3, (127.5,) * 3)
COLORS = np.array([[60, 60, 60], [200, 40, 40], [220, 220, 40], [40, 200, 40]], np.uint8)
REFINE = """
base = "{base}"
training = "job.toml"
seed = 5
[refiner]
width = 4
[schedule]
threads = 1
steps = {steps}
batch = 2
rate = 2e-3
average_decay = 0.5
validate_steps = 3
checkpoint_steps = 2
[loss]
adversarial = {adversarial}
l1 = 0.5
[discriminator]
width = 4
r1 = 1.0
r1_every = 2
"""
TRAINING = """
ground_resolution_m = 1.0
crop_px = 32
[normalisation]
mean = [0]
std = [1]
[network]
[schedule]
steps = 1
[[source]]
name = "scenes"
use = "train"
images = ["a.tif"]
kind = "classes"
labels = "{stem}_classes.tif"
attribution = "made by code"
[[source]]
name = "held out"
use = "validation"
images = ["b.tif"]
kind = "classes"
labels = "{stem}_classes.tif"
"""


class Blurry(nn.Module):
    """A network that knows the colours and sees them out of focus: blobs in place of rectangles."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(6.0))
        self.register_buffer("colors", (torch.from_numpy(COLORS).float() - 127.5) / 127.5)

    def forward(self, images: Tensor) -> Tensor:
        blurred = functional.avg_pool2d(images, 13, 1, 6, count_include_pad=False)
        distances = (blurred.unsqueeze(1) - self.colors.view(1, 4, 3, 1, 1)).square().sum(2)
        return -self.sharpness * distances


def make_base(network: nn.Module) -> Base:
    return Base(network.eval(), SPEC, LAND_COVER, NORMALISATION, 0.4, ("base's makers",), "geoseg train base.toml")


def make_job(*, steps: int = 40, adversarial: float = 0.1, train_base: bool = False) -> RefineJob:
    schedule = RefineSchedule(steps=steps, rate=5e-3, base_rate=1e-3, average_decay=0.9)
    loss = RefineLoss(adversarial=adversarial, l1=0.5)
    return RefineJob("", "", schedule, RefinerSize(8), loss, train_base=train_base)


def draw_batch(number: int, *, count: int = 4, size: int = 64) -> Batch:
    """Noisy rectangles on a ground, with a corner that is not labelled."""
    rng = np.random.default_rng(number)
    labels = np.zeros((count, size, size), np.uint8)
    for sample in labels:
        for label in (1, 2, 3, 1):
            row, col, rows, cols = *rng.integers(0, size - 16, 2), *rng.integers(8, 28, 2)
            sample[row : row + rows, col : col + cols] = label
    images = np.clip(COLORS[labels] + rng.normal(0, 40, (*labels.shape, 3)), 0, 255).astype(np.uint8)
    labels[:, :8, :8] = IGNORE
    return Batch(images, labels, np.full(count, FULL))


def score(network: nn.Module) -> float:
    batch = draw_batch(10_000)
    pairs = [
        count_pairs(truth, predict_classes(network, NORMALISATION, image), 4)
        for image, truth in zip(batch.images, batch.labels, strict=True)
    ]
    return Score(("0", "1", "2", "3"), np.sum(pairs, axis=0)).mean_iou


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def are_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_blobs_become_rectangles(adversarial: float) -> None:
    torch.manual_seed(0)
    play = Game(make_job(adversarial=adversarial), make_base(Blurry()), torch.device("cpu"))
    blurred = score(play.average.network)
    assert score(play.average) == blurred
    before = state(play.average.network)
    reports = [play.learn_batch(draw_batch(step), step) for step in range(40)]
    assert score(play.average) > blurred + 0.1
    assert are_equal(state(play.model.network), before)
    assert are_equal(state(play.average.network), before)
    assert (play.adversary is None) == (adversarial == 0)
    assert all((r.verdict is None) == (adversarial == 0) for r in reports)
    if adversarial:
        assert all(r.gradient_ratio and r.gradient_ratio > 0 for r in reports)


def test_the_base_learns_where_the_job_says_so() -> None:
    play = Game(make_job(train_base=True), make_base(Blurry()), torch.device("cpu"))
    before = state(play.model.network)
    for step in range(3):
        play.learn_batch(draw_batch(step), step)
    assert not are_equal(state(play.model.network), before)
    assert not are_equal(state(play.average.network), before)


def test_partly_labelled_samples_stay_out_of_the_game() -> None:
    play = Game(make_job(), make_base(Blurry()), torch.device("cpu"))
    assert play.adversary
    before = state(play.adversary.discriminator)
    batch = draw_batch(0)
    labels = np.where(batch.labels == IGNORE, IGNORE, batch.labels == 2).astype(np.uint8)
    report = play.learn_batch(dataclasses.replace(batch, labels=labels, only=np.full(4, 2)), 1)
    assert report.verdict is None
    assert report.gradient_norm > 0
    assert are_equal(state(play.adversary.discriminator), before)


def test_a_loss_that_is_not_finite_stops_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(game, "segmentation_loss", lambda logits, *a, **k: logits.sum() * float("nan"))
    play = Game(make_job(), make_base(Blurry()), torch.device("cpu"))
    before = [p.detach().clone() for p in play.model.parameters()]
    with pytest.raises(TrainingError, match="supervised loss is nan at step 7"):
        play.learn_batch(draw_batch(0), 7)
    assert all(torch.equal(p, q) for p, q in zip(play.model.parameters(), before, strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scenes, a training job and the checkpoint of an untrained network."""
    write_scene(tmp_path, "a", seed=1, size=96)
    write_scene(tmp_path, "b", seed=2, size=64)
    torch.manual_seed(0)
    description = {
        "network": dataclasses.asdict(SPEC),
        "normalisation": dataclasses.asdict(NORMALISATION),
        "legend": dataclasses.asdict(LAND_COVER),
        "ground_resolution_m": 0.4,
        "attribution": ["base's makers"],
        "command": "geoseg train base.toml",
    }
    write_folder(tmp_path / "base", {"weights.safetensors": build_network(SPEC).state_dict()}, description)
    (tmp_path / "job.toml").write_text(TRAINING)
    return tmp_path


def write_job(folder: Path, name: str = "refine", *, steps: int = 6, adversarial: float = 0.1) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(REFINE.format(base=folder / "base", steps=steps, adversarial=adversarial))
    return path


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_it_leaves_all_that_a_package_needs_and_no_discriminator(folder: Path, adversarial: float) -> None:
    result = refine(write_job(folder, adversarial=adversarial), folder / "out", root=folder)
    described = read_description(folder / "out" / "best")
    assert result.steps == 6
    assert result.spec == dataclasses.replace(SPEC, refiner_width=4)
    assert described["metrics"] == result.metrics
    assert described["network"] == json.loads(json.dumps(dataclasses.asdict(result.spec)))
    assert described["normalisation"] == {"mean": [127.5] * 3, "std": [127.5] * 3}
    assert described["ground_resolution_m"] == 0.4
    assert described["sources"] == {"train": {"scenes": ["a.tif"]}, "validation": {"held out": ["b.tif"]}}
    assert described["attribution"] == ["base's makers", "made by code"]
    network = build_network(result.spec)
    load_weights(network, result.weights)
    assert isinstance(network, RefinedNetwork)
    assert sorted(p.name for p in result.weights.parent.iterdir()) == ["checkpoint.json", "weights.safetensors"]
    assert {n.split(".")[0] for n in read_weights(result.weights)} == {"network", "refiner"}
    assert (folder / "out" / "last" / "discriminator.safetensors").exists() == (adversarial > 0)
    with (folder / "out" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == [0, 3, 6]
    assert float(rows[0]["mean_iou"]) == pytest.approx(result.metrics["base_mean_iou"], abs=1e-5)
    assert result.metrics["mean_iou"] == pytest.approx(max(float(r["mean_iou"]) for r in rows), abs=1e-5)
    assert result.has_helped == (result.metrics["mean_iou"] > result.metrics["base_mean_iou"])
    assert all((r["discriminator"] == "") == (adversarial == 0) for r in rows[1:])


def test_best_is_the_network_alone_where_refinement_does_not_help(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.4, 0.5])
    monkeypatch.setattr("geoseg.training.refine.weigh_scores", lambda *a: next(scores))
    result = refine(write_job(folder), folder / "out", root=folder)
    assert not result.has_helped
    assert "refinement did not help" in result.format()
    weights = read_weights(result.weights)
    base = read_weights(folder / "base" / "weights.safetensors")
    assert are_equal({n.removeprefix("network."): v for n, v in weights.items() if n.startswith("network.")}, base)
    assert not weights["refiner.head.weight"].any()


@pytest.mark.parametrize("after", [0.4, 0.6])
def test_only_what_helped_is_packaged(folder: Path, monkeypatch: pytest.MonkeyPatch, after: float) -> None:
    scores = iter([0.5, after])
    made: list[Path] = []

    def package(imagery: object, packaging: object, checkpoint: Path, output: Path) -> argparse.Namespace:
        made.append(output)
        return argparse.Namespace(path=output)

    monkeypatch.setattr("geoseg.training.refine.weigh_scores", lambda *a: next(scores))
    monkeypatch.setattr("geoseg.training.refine.package_weights", package)
    job = write_job(folder, steps=1, adversarial=0.0)
    job.write_text(job.read_text() + '[package]\nname = "p"\nversion = "1"\nsummary = "s"\nhalo_images = ["a.tif"]\n')
    result = refine(job, folder / "out", root=folder)
    assert (result.package is not None) == (len(made) == 1) == (after > 0.5)
    assert ("not packaged" in result.format()) == (after < 0.5)


def test_an_interrupted_run_ends_after_its_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn_batch = Game.learn_batch

    def interrupt(play: Game, batch: Batch, step: int) -> game.StepReport:
        signal.raise_signal(signal.SIGINT)
        return learn_batch(play, batch, step)

    monkeypatch.setattr(Game, "learn_batch", interrupt)
    assert refine(write_job(folder, adversarial=0.0), folder / "out", root=folder).steps == 1
    assert read_description(folder / "out" / "last")["validated_step"] == 1


def test_a_held_out_scene_that_cannot_be_read_is_skipped(folder: Path) -> None:
    write_scene(folder, "c", size=256)
    cut_short(folder / "c.tif")
    (folder / "job.toml").write_text(TRAINING.replace("b.tif", "[bc].tif"))
    result = refine(write_job(folder, steps=1, adversarial=0.0), folder / "out", root=folder)
    assert len(result.skipped) == 1
    assert "c.tif" in result.skipped[0]


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_a_stopped_run_goes_on_exactly(folder: Path, monkeypatch: pytest.MonkeyPatch, adversarial: float) -> None:
    job = write_job(folder, adversarial=adversarial)
    refine(job, folder / "whole", root=folder)
    learn_batch = Game.learn_batch

    def die_at_five(play: Game, batch: Batch, step: int) -> game.StepReport:
        if step == 5:
            raise RuntimeError("killed")
        return learn_batch(play, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(Game, "learn_batch", die_at_five)
        with pytest.raises(RuntimeError, match="killed"):
            refine(job, folder / "parts", root=folder)
    assert read_description(folder / "parts" / "last")["step"] == 4
    assert refine(job, folder / "parts", root=folder).steps == 6
    for path in sorted((folder / "whole").glob("*/*.safetensors")):
        assert path.read_bytes() == (folder / "parts" / path.relative_to(folder / "whole")).read_bytes(), path.name
    whole, parts = (
        [r | {"minutes": ""} for r in csv.DictReader((folder / run / "log.csv").open())] for run in ("whole", "parts")
    )
    assert [r["mean_iou"] for r in whole] == [r["mean_iou"] for r in parts]


def test_another_job_does_not_go_on_in_the_same_folder(folder: Path) -> None:
    refine(write_job(folder, steps=1), folder / "out", root=folder)
    with pytest.raises(OptionError, match="another job"):
        refine(write_job(folder, steps=1, adversarial=0.0), folder / "out", root=folder)


def test_of_what_is_refined_already_the_network_alone_is_taken(folder: Path) -> None:
    refined = refine(write_job(folder, steps=1), folder / "out", root=folder)
    first, again = read_base(str(folder / "base")), read_base(str(refined.weights.parent))
    assert are_equal(state(again.network), state(first.network))
    assert (again.spec, again.command) == (first.spec, first.command)


def test_what_cannot_be_refined_is_said(folder: Path) -> None:
    with pytest.raises(ModelError, match="no model"):
        read_base("nothing of that name")
    (folder / "base" / "checkpoint.json").write_text("{}")
    with pytest.raises(ModelError, match="KeyError"):
        read_base(str(folder / "base"))


def test_a_job_without_held_out_imagery_is_refused(folder: Path) -> None:
    (folder / "job.toml").write_text(TRAINING.replace('"validation"', '"train"'))
    with pytest.raises(OptionError, match="holds no imagery out"):
        refine(write_job(folder), folder / "out", root=folder)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("steps = 0", "must be positive"),
        ("adversarial = -1.0", "must not be negative"),
        ("layers = 9", "1 to 5"),
        ("widht = 4", "did you mean 'width'"),
    ],
)
def test_a_wrong_job_is_refused(folder: Path, wrong: str, text: str) -> None:
    path = write_job(folder)
    key = wrong.partition(" = ")[0]
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{key} =")]
    table = {"steps": "[schedule]", "adversarial": "[loss]"}.get(key, "[discriminator]")
    lines.insert(lines.index(table) + 1, wrong)
    path.write_text("\n".join(lines))
    with pytest.raises(OptionError, match=text):
        read_refine_job(path)
