"""Optimisers: the named one, its groups, the rates, the average."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from geoseg.errors import ModelError
from geoseg.training.checkpoint import read_progress, write_progress
from geoseg.training.job import OptimizerName, Schedule
from geoseg.training.optimize import build_optimizer, learning_rate_factor, set_learning_rates, update_average

SCHEDULE = Schedule(steps=10, encoder_rate=0.01, decoder_rate=0.02, weight_decay=0.1, momentum=0.8, nesterov=True)
NAMES: tuple[tuple[OptimizerName, type[Optimizer]], ...] = (
    ("AdamW", AdamW),
    ("Adam", Adam),
    ("SGD", SGD),
    ("RMSprop", RMSprop),
)


def make_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = {"encoder": nn.Conv2d(3, 4, 3), "normalise": nn.BatchNorm2d(4), "head": nn.Conv2d(4, 2, 1)}
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network.to(memory_format=torch.channels_last)


def learn(network: nn.Module, optimizer: Optimizer, *, steps: range) -> None:
    for step in steps:
        images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        network(images).square().mean().backward()
        set_learning_rates(optimizer, 1 / (1 + step))
        optimizer.step()


@pytest.mark.parametrize(("name", "kind"), NAMES)
def test_every_parameter_has_its_rate_and_its_decay(name: OptimizerName, kind: type[Optimizer]) -> None:
    network = make_network()
    optimizer = build_optimizer(network, dataclasses.replace(SCHEDULE, optimizer=name))
    assert type(optimizer) is kind
    set_learning_rates(optimizer, 0.5)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    for title, parameter in network.named_parameters():
        rate = 0.005 if title.startswith("encoder") else 0.01
        assert found[id(parameter)] == (rate, 0.1 if parameter.ndim > 1 else 0.0), title
    if name in ("SGD", "RMSprop"):
        assert {g["momentum"] for g in optimizer.param_groups} == {0.8}
    if name == "SGD":
        assert all(g["nesterov"] for g in optimizer.param_groups)


def layout(tensor: torch.Tensor) -> list[int]:
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


@pytest.mark.parametrize(("name", "kind"), NAMES)
def test_memory_comes_back_to_the_byte(tmp_path: Path, name: OptimizerName, kind: type[Optimizer]) -> None:
    schedule = dataclasses.replace(SCHEDULE, optimizer=name)
    whole, parts = make_network(), make_network()
    optimizers = [build_optimizer(n, schedule) for n in (whole, parts)]
    learn(whole, optimizers[0], steps=range(6))
    learn(parts, optimizers[1], steps=range(3))
    write_progress(
        tmp_path / "last",
        {"w.safetensors": parts, "a.safetensors": parts},
        {"o.safetensors": optimizers[1]},
        {"step": 3},
    )
    other = make_network(1)
    again = build_optimizer(other, schedule)
    assert read_progress(
        tmp_path / "last", {"w.safetensors": other, "a.safetensors": make_network(2)}, {"o.safetensors": again}
    ) == {"step": 3}
    learn(other, again, steps=range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), other.state_dict().values(), strict=True))
    states = [o.state_dict()["state"] for o in (optimizers[0], again)]
    for index, state in states[0].items():
        for key, value in state.items():
            assert torch.equal(value, states[1][index][key])
            assert layout(value) == layout(states[1][index][key])


def test_memory_of_another_network_is_refused(tmp_path: Path) -> None:
    network = make_network()
    optimizer = build_optimizer(network, SCHEDULE)
    learn(network, optimizer, steps=range(1))
    write_progress(tmp_path / "last", {"w.safetensors": network}, {"o.safetensors": optimizer}, {})
    few = build_optimizer(nn.Conv2d(1, 1, 1), SCHEDULE)
    with pytest.raises(ModelError, match="memory does not fit"):
        read_progress(tmp_path / "last", {"w.safetensors": network}, {"o.safetensors": few})


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
