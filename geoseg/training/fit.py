"""Training: from a job to weights, a report and a package."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geoseg.legend import ClassLegend
from geoseg.models.networks import NetworkSpec
from geoseg.progress import Progress
from geoseg.training.checkpoint import WEIGHTS
from geoseg.training.job import read_job
from geoseg.training.package import package_weights
from geoseg.training.run import TrainingRun
from geoseg.training.step import TrainingError

__all__ = ["TrainResult", "TrainingError", "train"]


@dataclass(frozen=True)
class TrainResult:
    """What training left behind.

    Args:
        weights: safetensors file of the best averaged weights; `checkpoint.json` lies beside it.
        spec: the network that the weights belong to.
        metrics: "step", "mean_iou" and, by validation source, the per-class IoU.
        steps: how many steps were made.
        skipped: samples that could not be used, and why.
        report: page with curves, scores and pictures.
        package: the model package, where the job asks for one.
    """

    weights: Path
    spec: NetworkSpec
    metrics: Mapping[str, Any]
    steps: int
    skipped: tuple[str, ...]
    report: Path
    package: Path | None = None

    def format(self) -> str:
        """The scores of every place, and where the weights are."""
        lines = [f"{self.steps} steps, mean IoU {self.metrics['mean_iou']:.4f} at step {self.metrics['step']}"]
        for place, score in self.metrics["sources"].items():
            lines.append(f"{place}: " + ", ".join(f"{name} {iou:.4f}" for name, iou in score["iou"].items()))
        lines += [f"skipped: {sample}" for sample in self.skipped]
        return "\n".join([*lines, f"-> {self.package or self.weights}", f"-> {self.report}"])


def train(job_path: Path, output: Path, *, root: Path | None = None, progress: Progress | None = None) -> TrainResult:
    """Train the network of a job, or go on where an earlier run in `output` stopped.

    `output` receives `steps.csv` and `log.csv`, `best/` (averaged weights with the best score, and
    `checkpoint.json`), `last/` (all that is needed to go on), `report.html` and, where the job says so, the model
    package. Ctrl-C ends training after the step that is under way, with a last validation; a second one ends all.
    A run that was killed and goes on leaves what it would have left otherwise, to the byte, on a CPU with as many
    threads and with `minutes` = 0; a GPU's sums have no fixed order.

    Args:
        job_path: a job in TOML.
        output: folder of the run.
        root: in place of the job's own root of all paths.
        progress: told of stages and steps.

    Raises:
        OptionError: the job cannot work.
        InputError: no imagery can be used.
        ModelError: the encoder's first weights cannot be had, or a checkpoint is damaged.
        TrainingError: the loss or its gradient is no longer finite.
        OutputError: a checkpoint cannot be written.
    """
    job = read_job(job_path, root=root)
    if job.schedule.threads:
        torch.set_num_threads(job.schedule.threads)
    torch.manual_seed(job.seed)
    command = shlex.join(["geoseg", "train", str(job_path), "-o", str(output)])
    run = TrainingRun(job, output, ClassLegend(job.legend), command=command, progress=progress)
    run.learn()
    metrics = run.finish()
    weights = output / "best" / WEIGHTS
    result = TrainResult(weights, run.spec, metrics, run.step, run.skipped, run.report())
    if job.package is None:
        return result
    package = package_weights(job, job.package, output / "best", output / job.package.name)
    return dataclasses.replace(result, package=package.path)
