"""One step: float16 needs scaled losses, and its overflows are no fault."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.errors import OptionError
from geoseg.training.job import Precision, Schedule
from geoseg.training.losses import FULL
from geoseg.training.precision import autocast, choose_dtype
from geoseg.training.samples import Batch
from geoseg.training.step import Learner, TrainingError
from tests.training.scenery import make_job

CPU = torch.device("cpu")


def make_learner(precision: Precision) -> Learner:
    torch.manual_seed(0)
    job = make_job(Path(), schedule=Schedule(steps=4, batch=2, warmup=0.0, decoder_rate=0.1, precision=precision))
    return Learner(nn.Conv2d(3, 4, 3, padding=1), job, CPU)


def make_batch() -> Batch:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (2, 32, 32, 3), np.uint8), rng.integers(0, 4, (2, 32, 32)).astype(np.uint8)
    return Batch(images, labels, np.full(2, FULL), ("a", "b"))


def test_the_scale_of_float16_comes_back(tmp_path: Path) -> None:
    learner = make_learner("float16")
    scale = learner.scaler.get_scale()
    assert scale > 1
    result = learner.learn(make_batch(), step=0, progress=0.0)
    plain = make_learner("float32").learn(make_batch(), step=0, progress=0.0)
    assert result.loss == pytest.approx(plain.loss, rel=1e-2)
    assert result.gradient_norm == pytest.approx(plain.gradient_norm, rel=0.05)
    learner.scaler.update(128.0)
    learner.write(tmp_path / "last", {"step": 1})
    other = make_learner("float16")
    assert other.read(tmp_path / "last")["step"] == 1
    assert other.scaler.state_dict() == learner.scaler.state_dict()


def test_an_overflow_skips_the_step_and_lowers_the_scale_until_nothing_is_left_to_lower() -> None:
    learner = make_learner("float16")
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    learner.network.weight.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[operator, union-attr]
    before = learner.network.state_dict()["weight"].clone()
    scales = []
    for step in range(2):
        learner.learn(make_batch(), step=step, progress=0.0)
        scales.append(learner.scaler.get_scale())
    assert scales == [2.0, 1.0]
    with pytest.raises(TrainingError, match=r"norm of its gradient (inf|nan) .* from a, b\n"):
        learner.learn(make_batch(), step=2, progress=0.0)
    assert torch.equal(learner.network.state_dict()["weight"], before)


def test_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    wanted: dict[Precision, torch.dtype] = {
        "float32": torch.float32,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
        "mixed": torch.bfloat16,
    }
    assert {p: choose_dtype(p, CPU) for p in wanted} == wanted
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert {p: choose_dtype(p, cuda) for p in wanted} == wanted
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert choose_dtype("mixed", cuda) == torch.float16
    with pytest.raises(OptionError, match="mixed"):
        choose_dtype("bfloat16", cuda)
    with autocast("bfloat16", CPU):
        assert nn.Conv2d(3, 1, 1)(torch.zeros(1, 3, 4, 4)).dtype == torch.bfloat16
    with autocast("float32", CPU):
        assert nn.Conv2d(3, 1, 1)(torch.zeros(1, 3, 4, 4)).dtype == torch.float32


def test_a_step_depends_on_its_number_not_on_what_was_drawn_before() -> None:
    job = make_job(Path(), schedule=Schedule(steps=4, batch=2))
    losses = []
    for drawn in (0, 5):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Dropout(0.5), nn.Conv2d(8, 4, 1))
        learner = Learner(network, dataclasses.replace(job, seed=3), CPU)
        torch.rand(drawn)
        losses.append(learner.learn(make_batch(), step=7, progress=0.5))
    assert losses[0] == losses[1]
