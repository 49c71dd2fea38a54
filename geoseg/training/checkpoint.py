"""Training on disk: safetensors and JSON, nothing that has to be unpickled."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from geoseg.errors import ModelError, OutputError
from geoseg.models.networks import load_weights, read_weights

WEIGHTS = "weights.safetensors"
AVERAGE = "average.safetensors"
OPTIMIZER = "optimizer.safetensors"
DESCRIPTION = "checkpoint.json"
REMEDY = "free some space, or choose another output; the same command goes on from the last checkpoint"


def write_folder(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], description: Mapping[str, Any]) -> None:
    """Write files of tensors and a `checkpoint.json` into a folder that appears, or is replaced, as a whole.

    Args:
        folder: the checkpoint.
        tensors: file name to tensors by name.
        description: anything JSON can hold.

    Raises:
        OutputError: the folder cannot be written.
    """
    fresh, stale = _name_versions(folder)
    try:
        restore_folder(folder)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name, weights in tensors.items():
            save_file({k: v.detach().cpu().clone().contiguous() for k, v in weights.items()}, fresh / name)
        (fresh / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
        shutil.rmtree(stale, ignore_errors=True)
        if folder.exists():
            os.replace(folder, stale)
        os.replace(fresh, folder)
        shutil.rmtree(stale, ignore_errors=True)
    # The library reports a full disk as an error of its own.
    except (OSError, SafetensorError) as error:
        raise OutputError(f"the checkpoint {folder} cannot be written: {error}", remedy=REMEDY) from error


def restore_folder(folder: Path) -> None:
    """Finish a replacement by `write_folder` that was killed between its two renamings.

    Raises:
        OutputError: the folder cannot be written.
    """
    fresh, stale = _name_versions(folder)
    if folder.exists() or not stale.exists():
        return
    try:
        # The old one is moved away only after the new one is complete.
        os.replace(fresh if fresh.exists() else stale, folder)
    except OSError as error:
        raise OutputError(f"the checkpoint {folder} cannot be restored: {error}", remedy=REMEDY) from error


def _name_versions(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")


def read_description(folder: Path) -> dict[str, Any]:
    """The `checkpoint.json` of a checkpoint.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    try:
        description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the checkpoint {folder} cannot be read: {error}",
            expected=f"a folder with a {DESCRIPTION}, as training writes it",
            remedy="choose another checkpoint, or train again into an empty folder",
        ) from error
    return description


def write_progress(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    description: Mapping[str, Any],
) -> None:
    """Write all that training needs to go on, modules and optimisers by the name of their file.

    Raises:
        OutputError: the folder cannot be written.
    """
    tensors = {name: module.state_dict() for name, module in modules.items()}
    tensors |= {name: list_moments(optimizer) for name, optimizer in optimizers.items()}
    write_folder(folder, tensors, description)


def read_progress(
    folder: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> dict[str, Any]:
    """Put the state of `write_progress` back and return its description.

    Raises:
        ModelError: the checkpoint is damaged or of another network.
    """
    for name, module in modules.items():
        load_weights(module, folder / name)
    for name, optimizer in optimizers.items():
        restore_moments(optimizer, read_weights(folder / name))
    return read_description(folder)


def list_moments(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers, by parameter and name."""
    states = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value) for index, state in states.items() for name, value in state.items()
    }


def restore_moments(optimizer: Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Put back what `list_moments` listed.

    Raises:
        ModelError: it is of another optimiser or network.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    try:
        for key, value in moments.items():
            index, name = key.split(".", 1)
            # In the memory order of its parameter, or the same numbers would be rounded in another way.
            is_moment = value.shape == parameters[int(index)].shape
            state = torch.empty_like(parameters[int(index)]).copy_(value) if is_moment else value
            states.setdefault(int(index), {})[name] = state.detach()
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    except (ValueError, IndexError) as error:
        raise ModelError(
            f"the optimiser's memory does not fit: {error}", expected="that of the same network and optimiser"
        ) from error
