"""The training loop."""

from __future__ import annotations

import copy
import csv
import dataclasses
import hashlib
import logging
import math
import shlex
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.errors import GeosegError, OptionError
from geoseg.legend import LAND_COVER, ClassLegend
from geoseg.models.networks import NetworkSpec, build_network, load_weights
from geoseg.training.checkpoint import WEIGHTS, read_description, read_progress, write_folder, write_progress
from geoseg.training.job import Schedule, TrainingJob, read_job
from geoseg.training.losses import segmentation_loss
from geoseg.training.optimize import build_optimizer, learning_rate_factor, set_learning_rates, update_average
from geoseg.training.package import package_weights
from geoseg.training.samples import Batch, Sampler
from geoseg.training.scenes import SceneReader, find_scenes
from geoseg.training.validate import Score, normalise, validate, weigh_scores

LOG = logging.getLogger(__name__)

BATCHES_AHEAD = 3


class TrainingError(GeosegError):
    """Training that cannot go on."""


@dataclass(frozen=True)
class TrainResult:
    """What training left behind.

    Args:
        weights: safetensors file of the best averaged weights; `checkpoint.json` lies beside it.
        spec: the network that the weights belong to.
        metrics: "step", "mean_iou" and, by validation source, the per-class IoU.
        steps: how many steps were made.
        skipped: samples that could not be used, and why.
        package: the model package, where the job asks for one.
    """

    weights: Path
    spec: NetworkSpec
    metrics: Mapping[str, Any]
    steps: int
    skipped: tuple[str, ...]
    package: Path | None = None

    def format(self) -> str:
        """The scores of every place, and where the weights are."""
        lines = [f"{self.steps} steps, mean IoU {self.metrics['mean_iou']:.4f} at step {self.metrics['step']}"]
        for place, score in self.metrics["sources"].items():
            lines.append(f"{place}: " + ", ".join(f"{name} {iou:.4f}" for name, iou in score["iou"].items()))
        lines += [f"skipped: {sample}" for sample in self.skipped]
        return "\n".join([*lines, f"-> {self.package or self.weights}"])


def train(job_path: Path, output: Path, *, root: Path | None = None) -> TrainResult:
    """Train the network of a job, or go on where an earlier run in `output` stopped.

    `output` receives `log.csv`, `best/` (averaged weights with the best score, and `checkpoint.json`), `last/` (all
    that is needed to go on) and, where the job says so, the model package. Ctrl-C ends training with a last validation.

    Args:
        job_path: a job in TOML.
        output: folder of the run.
        root: in place of the job's own root of all paths.

    Raises:
        OptionError: the job cannot work.
        InputError: no imagery can be used.
        TrainingError: the loss is no longer finite.
        OutputError: a checkpoint cannot be written.
    """
    job = read_job(job_path, root=root)
    if job.schedule.threads:
        torch.set_num_threads(job.schedule.threads)
    torch.manual_seed(job.seed)
    command = shlex.join(["geoseg", "train", str(job_path), "-o", str(output)])
    run = _Run(job, output, LAND_COVER, command=command)
    try:
        run.learn()
    except KeyboardInterrupt:
        LOG.warning("interrupted at step %d", run.step)
    result = run.finish()
    if job.package is None:
        return result
    package = package_weights(job, job.package, output / "best", output / job.package.name)
    return dataclasses.replace(result, package=package.path)


class _Run:
    """One run: the network, its average, where it is and what it knows of its quality."""

    def __init__(self, job: TrainingJob, output: Path, legend: ClassLegend, *, command: str) -> None:
        self.job, self.output, self.legend, self.command = job, output, legend, command
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        bands = len(job.normalisation.mean)
        net = job.network
        self.spec = NetworkSpec(
            net.architecture, net.encoder, bands, len(legend), net.decoder_channels, net.encoder_depth
        )
        self.network = build_network(self.spec)
        if net.encoder_weights:
            encoder = self.network.get_submodule("encoder")
            load_weights(encoder, Path(job.root) / net.encoder_weights, allow_surplus=True)
        self.network = self.network.to(self.device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network)
        self.optimizer = build_optimizer(self.network, job.schedule)
        reader = SceneReader(legend, bands=bands, cache_mb=job.cache_mb)
        self.train_scenes, skipped = find_scenes(job, legend, use="train")
        self.held_out, skipped_too = find_scenes(job, legend, use="validation")
        self.skipped = skipped + skipped_too
        shared = {s.image for s in self.train_scenes} & {s.image for s in self.held_out}
        if shared:
            raise OptionError(f"{min(shared)} is used for training and for validation", expected="places held out")
        self.reader = reader
        self.sampler = Sampler(job, self.train_scenes, reader)
        self.step, self.seconds, self.best, self.validated_step = 0, 0.0, -1.0, -1
        if (output / "last").exists():
            self._resume()

    def learn(self) -> None:
        """Go on to the end of the schedule."""
        schedule, started, before = self.job.schedule, time.monotonic(), self.seconds
        recent: list[float] = []
        with ThreadPoolExecutor(1) as executor:
            for batch in self._draw_ahead(executor):
                self.seconds = before + time.monotonic() - started
                progress = self._progress()
                if progress >= 1:
                    break
                factor = learning_rate_factor(progress, schedule.warmup)
                recent.append(self._learn_batch(batch, factor))
                self.step += 1
                if self.step % 20 == 0:
                    LOG.info("step %d, %.1f %%, loss %.4f", self.step, 100 * progress, np.mean(recent[-20:]))
                if self.step % schedule.checkpoint_steps == 0:
                    self._save_progress()
                if self.step % schedule.validate_steps == 0:
                    self._validate(float(np.mean(recent)))
                    recent.clear()

    def finish(self) -> TrainResult:
        """Validate once more and say what was reached."""
        self._save_progress()
        if self.step != self.validated_step:
            self._validate(float("nan"))
        described = read_description(self.output / "best")
        skipped = (*self.skipped, *self.sampler.skipped)
        return TrainResult(self.output / "best" / WEIGHTS, self.spec, described["metrics"], self.step, skipped)

    def _progress(self) -> float:
        schedule = self.job.schedule
        by_time = self.seconds / (60 * schedule.minutes) if schedule.minutes else 0.0
        return max(self.step / schedule.steps, by_time)

    def _draw_ahead(self, executor: ThreadPoolExecutor) -> Iterator[Batch]:
        """Batches from this step on, drawn while the network works on earlier ones."""
        number = self.step
        waiting: list[Future[Batch]] = [
            executor.submit(self.sampler.draw_batch, number + ahead) for ahead in range(BATCHES_AHEAD)
        ]
        while True:
            yield waiting.pop(0).result()
            number += 1
            waiting.append(executor.submit(self.sampler.draw_batch, number + BATCHES_AHEAD - 1))

    def _learn_batch(self, batch: Batch, factor: float) -> float:
        schedule, weights = self.job.schedule, self.job.loss
        set_learning_rates(self.optimizer, factor)
        self.network.train()
        images = normalise(torch.from_numpy(batch.images).to(self.device), self.job.normalisation)
        labels, only = torch.from_numpy(batch.labels).to(self.device), torch.from_numpy(batch.only).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=schedule.precision == "bfloat16"):
            logits: Tensor = self.network(images)
        loss = segmentation_loss(logits, labels, only, cross_entropy=weights.cross_entropy, dice=weights.dice)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {self.step}",
                expected="a finite loss",
                remedy="lower the learning rates, or set precision to 'float32'",
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip_norm)
        self.optimizer.step()
        update_average(self.average, self.network, decay=schedule.average_decay, step=self.step)
        return value

    def _validate(self, loss: float) -> None:
        scores = validate(self.average, self.job, self.held_out, self.reader, self.legend)
        mean = weigh_scores(scores, self.job.source)
        self.validated_step = self.step
        self._log(loss, mean, scores)
        # With nothing held out every mean is 0, and the newest weights are the best there are.
        if mean >= self.best:
            self.best = mean
            write_folder(self.output / "best", {WEIGHTS: self.average.state_dict()}, self._describe(mean, scores))

    def _log(self, loss: float, mean: float, scores: Mapping[str, Score]) -> None:
        row: dict[str, object] = {"step": self.step, "minutes": round(self.seconds / 60, 2), "loss": round(loss, 5)}
        row["mean_iou"] = round(mean, 5)
        for source, score in scores.items():
            iou = score.iou
            row |= {f"{source}: {name}": round(iou[name], 5) if name in iou else "" for name in score.names}
        LOG.info("validation: %s", row)
        path = self.output / "log.csv"
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(row)
            writer.writerow(row.values())

    def _describe(self, mean: float, scores: Mapping[str, Score]) -> dict[str, Any]:
        job = self.job
        return {
            "network": dataclasses.asdict(self.spec),
            "normalisation": dataclasses.asdict(job.normalisation),
            "legend": dataclasses.asdict(self.legend),
            "ground_resolution_m": job.ground_resolution_m,
            "metrics": {
                "step": self.step,
                "mean_iou": mean,
                "sources": {n: {"mean_iou": s.mean_iou, "iou": s.iou} for n, s in scores.items()},
            },
            "sources": {"train": self._list_images("train"), "validation": self._list_images("validation")},
            "attribution": sorted({s.attribution for s in job.source if s.attribution}),
            "skipped": [*self.skipped, *self.sampler.skipped],
            "seed": job.seed,
            "command": self.command,
        }

    def _list_images(self, use: str) -> dict[str, list[str]]:
        listed: dict[str, list[str]] = {}
        for scene in self.train_scenes if use == "train" else self.held_out:
            listed.setdefault(scene.source.name, []).append(scene.image.relative_to(self.job.root).as_posix())
        return listed

    def _save_progress(self) -> None:
        state = {"job": self._fingerprint(), "step": self.step, "seconds": self.seconds}
        write_progress(self.output / "last", self.network, self.average, self.optimizer, state)

    def _fingerprint(self) -> str:
        """What must not change when a run goes on."""
        fixed = dataclasses.replace(self.job, root="", schedule=Schedule(steps=1), package=None)
        return hashlib.sha256(repr(fixed).encode()).hexdigest()

    def _resume(self) -> None:
        if read_description(self.output / "last").get("job") != self._fingerprint():
            raise OptionError(
                f"{self.output} holds a run of another job",
                expected="the same job (its schedule and root may differ) or a new folder",
                remedy="choose another output, or remove the folder",
            )
        state = read_progress(self.output / "last", self.network, self.average, self.optimizer)
        self.step, self.seconds = state["step"], state["seconds"]
        if (self.output / "best").exists():
            self.best = read_description(self.output / "best")["metrics"]["mean_iou"]
        LOG.info("going on at step %d", self.step)
