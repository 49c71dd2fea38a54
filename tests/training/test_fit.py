"""The loop: it learns, it stops with a reason, it goes on where it was."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.errors import ModelError, OptionError, OutputError
from geoseg.models.networks import build_network, load_weights
from geoseg.training import step as step_module
from geoseg.training.checkpoint import read_description, restore_folder, write_folder
from geoseg.training.fit import TrainingError, train
from geoseg.training.history import History
from geoseg.training.job import Normalisation
from geoseg.training.step import Learner, StepResult
from geoseg.training.validate import Score, count_pairs, predict_classes, weigh_losses
from tests.training.scenery import cut_short, make_source, write_scene

JOB = """
ground_resolution_m = 0.4
crop_px = 32
seed = 3
[network]
{network}
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
checkpoint_steps = 3
{schedule}
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


def write_job(
    folder: Path,
    name: str = "job",
    *,
    steps: int,
    validate: int = 100,
    held_out: str = "b",
    network: str = "decoder_channels = [16, 16, 8, 8, 8]",
    schedule: str = "",
) -> Path:
    path = folder / f"{name}.toml"
    text = JOB.format(steps=steps, validate=validate, held_out=held_out, network=network, schedule=schedule)
    path.write_text(text)
    return path


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return [{k: v for k, v in row.items() if k != "minutes"} for row in csv.DictReader(file)]


class Counter:
    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.steps = 0

    def start(self, stage: str, total: int | None) -> None:
        self.stages.append((stage, total))

    def advance(self, steps: int = 1) -> None:
        self.steps += steps

    def note(self, text: str) -> None:
        pass


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than learning here."""
    monkeypatch.setattr("geoseg.training.run.write_report", lambda folder, *a, **k: folder / "report.html")


def test_a_job_may_have_classes_of_its_own(folder: Path) -> None:
    legend = "".join(
        f'[[legend]]\nid = {i}\nname = "{name}"\ncolor = [{60 * i}, 0, 0]\nkind = "area"\n'
        for i, name in enumerate(("soil", "water", "rock", "snow", "ice"))
    )
    job = write_job(folder, steps=2)
    job.write_text(job.read_text() + legend)
    result = train(job, folder / "out", root=folder)
    assert result.spec.classes == 5
    assert [c["name"] for c in read_description(folder / "out/best")["legend"]["classes"]][3:] == ["snow", "ice"]
    assert set(result.metrics["sources"]["held out"]["iou"]) <= {"soil", "water", "rock", "snow", "ice"}
    assert "snow" in result.report.read_text()


def test_it_learns_and_leaves_all_that_a_package_needs(folder: Path) -> None:
    progress = Counter()
    result = train(write_job(folder, steps=30, validate=15), folder / "out", root=folder, progress=progress)
    assert (progress.steps, [s for s in progress.stages if s[1]]) == (30, [("training", 30)])
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
        "encoder_depth": 5,
        "refiner_width": 0,
    }
    assert described["normalisation"] == {"mean": [127.5] * 3, "std": [127.5] * 3}
    assert described["ground_resolution_m"] == 0.4
    assert described["seed"] == 3
    assert described["sources"] == {"train": {"scenes": ["a.tif"]}, "validation": {"held out": ["b.tif"]}}
    assert [c["name"] for c in described["legend"]["classes"]] == ["background", "building", "road", "vegetation"]
    assert str(folder) not in json.dumps(described | {"command": ""})
    load_weights(build_network(result.spec), result.weights)
    rows = read_table(folder / "out" / "log.csv")
    assert [int(r["step"]) for r in rows] == [15, 30]
    assert max(float(r["mean_iou"]) for r in rows) == pytest.approx(result.metrics["mean_iou"], abs=1e-4)
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    assert all(float(r["validation_loss"]) > 0 for r in rows)
    steps = read_table(folder / "out" / "steps.csv")
    assert [int(r["step"]) for r in steps] == list(range(1, 31))
    assert all(float(r["gradient_norm"]) > 0 for r in steps)
    assert float(steps[0]["rate"]) < max(float(r["rate"]) for r in steps) <= 5e-3
    assert result.report.read_text().startswith("<!")


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = Learner.learn

    def learn_until(learner: Learner, batch: object, **where: Any) -> StepResult:
        # In the midst of a step, which nothing may tear.
        if where["step"] == step - 1:
            signal.raise_signal(signal.SIGINT)
        return learn(learner, batch, **where)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "learn", learn_until)


@pytest.mark.usefixtures("without_report")
def test_an_interrupted_run_ends_well_and_goes_on_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = write_job(folder, steps=6)
    train(job, folder / "whole", root=folder)
    with monkeypatch.context() as patch:
        stop_at(4, patch)
        assert train(job, folder / "parts", root=folder).steps == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert train(job, folder / "parts", root=folder).steps == 6
    assert_same_run(folder / "whole", folder / "parts", tables=["steps.csv"], checkpoints=["last"])
    assert [int(r["step"]) for r in read_table(folder / "parts" / "log.csv")] == [4, 6]


@pytest.mark.usefixtures("without_report")
def test_a_validation_that_a_checkpoint_knows_nothing_of_is_logged_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, record = write_job(folder, steps=1), History.record_validation

    def record_and_die(history: History, step: int, **what: Any) -> None:
        record(history, step, **what)
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(History, "record_validation", record_and_die)
        with pytest.raises(RuntimeError, match="killed"):
            train(job, folder / "out", root=folder)
    train(job, folder / "out", root=folder)
    assert [int(r["step"]) for r in read_table(folder / "out/log.csv")] == [1]
    assert [int(r["step"]) for r in read_table(folder / "out/steps.csv")] == [1]


@pytest.mark.usefixtures("without_report")
def test_a_held_out_scene_that_cannot_be_read_is_skipped(folder: Path) -> None:
    write_scene(folder, "c", size=256)
    cut_short(folder / "c.tif")
    result = train(write_job(folder, steps=1, held_out="[bc]"), folder / "out", root=folder)
    assert len(result.skipped) == 1
    assert "c.tif" in result.skipped[0]
    assert read_description(folder / "out/best")["sources"]["validation"] == {"held out": ["b.tif"]}


@pytest.mark.usefixtures("without_report")
def test_classes_may_weigh_differently(folder: Path) -> None:
    job = write_job(folder, steps=2)
    job.write_text(job.read_text() + "[loss.class_weights]\nroad = 2\n")
    assert train(job, folder / "out", root=folder).steps == 2


def assert_same_run(whole: Path, parts: Path, *, tables: list[str], checkpoints: list[str]) -> None:
    for table in tables:
        assert read_table(whole / table) == read_table(parts / table)
    for checkpoint in checkpoints:
        files = {p.name for p in (whole / checkpoint).iterdir()}
        assert files == {p.name for p in (parts / checkpoint).iterdir()}
        for name in files - {"checkpoint.json"}:
            assert (whole / checkpoint / name).read_bytes() == (parts / checkpoint / name).read_bytes(), name


# The first life ends between two checkpoints and after a validation that the second one repeats, the second one
# between the two renamings that replace a checkpoint.
KILLED = """
import os, signal, sys
from pathlib import Path
from geoseg.training import history, run
from geoseg.training.fit import train

job, output, root = sys.argv[1:]
record_step, replace = history.History.record_step, os.replace

def record(self, step, **what):
    record_step(self, step, **what)
    if life == "first" and step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

def rename(source, target):
    if life == "second" and Path(source).name == "last.new":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

history.History.record_step, os.replace = record, rename
run.write_report = lambda folder, *a, **k: folder
for life in ("first", "second", "third"):
    child = os.fork()
    if not child:
        train(Path(job), Path(output), root=Path(root))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), end=" ", flush=True)
"""


@pytest.mark.usefixtures("without_report")
def test_a_killed_run_leaves_what_it_would_have_left_to_the_byte(folder: Path) -> None:
    # A network with dropout, so that random numbers matter.
    network = 'architecture = "FPN"\ndecoder_channels = [32, 32]'
    job = write_job(folder, steps=10, validate=4, network=network)
    whole, parts = folder / "whole", folder / "parts"
    train(job, whole, root=folder)
    command = [sys.executable, "-c", KILLED, job, parts, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.split() == ["-9", "-9", "0"], done.stderr
    assert_same_run(whole, parts, tables=["steps.csv", "log.csv"], checkpoints=["last", "best"])
    described = [read_description(run / "best") | {"command": ""} for run in (whole, parts)]
    assert described[0] == described[1]
    assert sorted(p.name for p in parts.iterdir()) == sorted(p.name for p in whole.iterdir())


@pytest.mark.usefixtures("without_report")
def test_training_ends_when_the_score_rises_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means = iter([0.5, 0.4, 0.6, 0.6, 0.3, 0.9])
    monkeypatch.setattr("geoseg.training.run.weigh_scores", lambda *_: next(means))
    result = train(write_job(folder, steps=9, validate=1, schedule="patience = 2"), folder / "out", root=folder)
    assert result.steps == 5
    # Of two that score the same the later one is kept: its average is over more.
    assert (result.metrics["step"], result.metrics["mean_iou"]) == (4, 0.6)


@pytest.mark.usefixtures("without_report")
def test_a_network_that_is_not_local_is_warned_of_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for steps in (1, 2):
        train(write_job(folder, steps=steps, network='architecture = "PSPNet"'), folder / "out", root=folder)
    assert [
        r.message.startswith("PSPNet with mobilenet_v2 is not local") for r in caplog.records if r.levelno > 20
    ] == [True]


@pytest.mark.usefixtures("without_report")
def test_another_job_does_not_go_on_in_the_same_folder(folder: Path) -> None:
    train(write_job(folder, steps=1), folder / "out", root=folder)
    other = write_job(folder, "other", steps=1)
    other.write_text(other.read_text().replace("seed = 3", "seed = 4"))
    for job in (other, write_job(folder, "third", steps=1, schedule="momentum = 0.5")):
        with pytest.raises(OptionError, match="another job"):
            train(job, folder / "out", root=folder)


def test_a_held_out_scene_must_not_be_trained_on(folder: Path) -> None:
    with pytest.raises(OptionError, match=r"a\.tif is used for training and for validation"):
        train(write_job(folder, steps=1, held_out="a"), folder / "out", root=folder)


def test_a_loss_that_is_not_finite_stops_with_a_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "segmentation_loss", lambda x, *a, **k: x.mean() * float("nan"))
    with pytest.raises(
        TrainingError, match=r"at step 0 the loss is nan.*gradient nan.*rate 0; .* from scenes\n"
    ) as found:
        train(write_job(folder, steps=2), folder / "out", root=folder)
    assert "lower the learning rates" in found.value.remedy
    assert not (folder / "out" / "best").exists()


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The root has no slope at 0.
    monkeypatch.setattr(step_module, "segmentation_loss", lambda x, *a, **k: (x * 0).sum().sqrt())
    with pytest.raises(TrainingError, match=r"loss is 0, the norm of its gradient nan"):
        train(write_job(folder, steps=2), folder / "out", root=folder)


def test_scores_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
    score = Score(("no", "yes", "never"), count_pairs(truth, np.array([[0, 1, 1, 1, 1]], np.uint8), 3))
    assert score.iou == pytest.approx({"no": 1 / 2, "yes": 2 / 3})
    assert score.mean_iou == pytest.approx(7 / 12)


def test_losses_weigh_as_scores_do() -> None:
    counts = np.eye(2, dtype=np.int64)
    scores = {"a": Score(("x", "y"), counts, 1.0), "b": Score(("x", "y"), counts, 4.0), "c": Score(("x", "y"), counts)}
    sources = [make_source(name=name, weight=weight) for name, weight in (("a", 2.0), ("b", 1.0), ("c", 7.0))]
    assert weigh_losses(scores, sources) == pytest.approx(2.0)
    assert np.isnan(weigh_losses({}, sources))


class Brightness(nn.Module):
    """Class 1 where the image is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = nn.Parameter(torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1, keepdim=True) * self.sign


def test_a_failed_prediction_leaves_a_network_in_training() -> None:
    network = Brightness().train()
    with pytest.raises(RuntimeError):
        predict_classes(network, Normalisation((0.0,) * 2, (1.0,) * 2), np.zeros((8, 8, 3), np.uint8))
    assert network.training


@pytest.mark.parametrize("shape", [(5, 7), (800, 33), (31, 1600), (768, 769)])
def test_every_pixel_is_predicted_in_its_place(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    classes = predict_classes(Brightness(), Normalisation((127.5,) * 3, (127.5,) * 3), image)
    assert np.array_equal(classes, (image.mean(axis=2) > 127.5).astype(np.uint8))


def test_a_replacement_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    write_folder(tmp_path / "c", {}, {"n": 1})
    (tmp_path / "c").rename(tmp_path / "c.old")
    restore_folder(tmp_path / "c")
    assert read_description(tmp_path / "c") == {"n": 1}
    write_folder(tmp_path / "c.new", {}, {"n": 2})
    restore_folder(tmp_path / "c")
    assert read_description(tmp_path / "c") == {"n": 1}
    (tmp_path / "c").rename(tmp_path / "c.old")
    restore_folder(tmp_path / "c")
    assert read_description(tmp_path / "c") == {"n": 2}


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


def test_a_trained_network_is_gone_on_from(folder: Path, without_report: None) -> None:
    first = train(write_job(folder, "first", steps=30), folder / "first", root=folder)
    start = f'decoder_channels = [16, 16, 8, 8, 8]\nstart = "{folder / "first/best"}"'
    rates = "encoder_rate = 2e-3\ndecoder_rate = 5e-3"
    job = write_job(folder, "second", steps=1, network=start)
    job.write_text(job.read_text().replace(rates, "encoder_rate = 1e-9\ndecoder_rate = 1e-9"))
    second = train(job, folder / "second", root=folder)
    assert second.metrics["mean_iou"] == pytest.approx(first.metrics["mean_iou"], abs=0.05)
    (folder / "first").rename(folder / "elsewhere")
    job.write_text(job.read_text().replace("steps = 1\n", "steps = 2\n"))
    assert train(job, folder / "second", root=folder).steps == 2
    (folder / "elsewhere").rename(folder / "first")
    with pytest.raises(OptionError, match=r"network\.start"):
        train(
            write_job(folder, "third", steps=1, network=f'start = "{folder / "first/best"}"'), folder / "3", root=folder
        )
