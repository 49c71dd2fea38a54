"""Adversarial refinement: a refiner learns to make a trained network's masks look like true ones."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import logging
import shlex
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geoseg.errors import OptionError
from geoseg.models.networks import NetworkSpec
from geoseg.training.balance import Balance
from geoseg.training.base import THEN, Base, read_base
from geoseg.training.checkpoint import WEIGHTS, read_description, restore_folder, write_folder
from geoseg.training.game import Game
from geoseg.training.interrupt import catch_interrupt
from geoseg.training.job import Schedule, TrainingJob
from geoseg.training.package import package_weights
from geoseg.training.refine_job import RefineJob, RefineSchedule, read_imagery, read_refine_job
from geoseg.training.samples import Sampler
from geoseg.training.scenes import SceneReader, find_scenes, keep_readable
from geoseg.training.validate import Score, validate, weigh_scores

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RefineResult:
    """What refinement left behind.

    Args:
        weights: safetensors file of the best averaged weights, network and refiner; `checkpoint.json` lies beside it.
        spec: the network that the weights belong to.
        metrics: "step", "mean_iou", "base_mean_iou" and, by validation source, the per-class IoU.
        steps: how many steps were made.
        seconds: spent on them, validations included.
        warnings: what looked wrong on the way.
        skipped: samples that could not be used, and why.
        package: the model package, where the job asks for one and refinement helped.
    """

    weights: Path
    spec: NetworkSpec
    metrics: Mapping[str, Any]
    steps: int
    seconds: float
    warnings: tuple[str, ...]
    skipped: tuple[str, ...]
    package: Path | None = None

    @property
    def has_helped(self) -> bool:
        """Whether any refined network scored better on what is held out than the network alone."""
        return bool(self.metrics["step"])

    def format(self) -> str:
        """The scores of every place before and after, and where the weights are."""
        score, base = self.metrics["mean_iou"], self.metrics["base_mean_iou"]
        lines = [f"{self.steps} steps, mean IoU {score:.4f} at step {self.metrics['step']}, {base:.4f} unrefined"]
        if not self.has_helped:
            lines.append("refinement did not help: the best weights are those of the network alone, not packaged again")
        for place, found in self.metrics["sources"].items():
            lines.append(f"{place}: " + ", ".join(f"{name} {iou:.4f}" for name, iou in found["iou"].items()))
        lines += [f"warning: {text}" for text in self.warnings] + [f"skipped: {sample}" for sample in self.skipped]
        return "\n".join([*lines, f"-> {self.package or self.weights}"])


def refine(job_path: Path, output: Path, *, root: Path | None = None) -> RefineResult:
    """Train the refiner of a job, or go on where an earlier run in `output` stopped.

    `output` receives `log.csv`, `best/` (averaged weights of network and refiner with the best score, the untouched
    start among them, and `checkpoint.json`), `last/` (all that is needed to go on, the discriminator included) and,
    where the job says so and refinement helped, the model package. Ctrl-C ends training after the step that is under
    way, with a last validation; a second one ends all.

    Args:
        job_path: a job in TOML.
        output: folder of the run.
        root: in place of the training job's own root of all paths.

    Raises:
        OptionError: the job cannot work.
        ModelError: the network to refine cannot be read.
        InputError: no imagery can be used.
        TrainingError: a loss is no longer finite.
        OutputError: a checkpoint cannot be written.
    """
    job = read_refine_job(job_path)
    base = read_base(job.base)
    imagery = read_imagery(job, base, job_path.parent, root=root)
    if job.schedule.threads:
        torch.set_num_threads(job.schedule.threads)
    torch.manual_seed(job.seed)
    run = _Run(job, base, imagery, output, command=shlex.join(["geoseg", "refine", str(job_path), "-o", str(output)]))
    run.learn()
    result = run.finish()
    if job.package is None or not result.has_helped:
        return result
    package = package_weights(imagery, job.package, output / "best", output / job.package.name)
    return dataclasses.replace(result, package=package.path)


class _Run:
    """One run: the game, the imagery it is played on, and how far it has gone."""

    def __init__(self, job: RefineJob, base: Base, imagery: TrainingJob, output: Path, *, command: str) -> None:
        self.job, self.base, self.imagery, self.output, self.command = job, base, imagery, output, command
        self.game = Game(job, base, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self.reader = SceneReader(base.legend, bands=base.spec.bands, cache_mb=imagery.cache_mb)
        self.train_scenes, skipped = find_scenes(imagery, base.legend, use="train")
        self.held_out, skipped_too = find_scenes(imagery, base.legend, use="validation")
        shared = {s.image for s in self.train_scenes} & {s.image for s in self.held_out}
        if shared:
            raise OptionError(f"{min(shared)} is used for training and for validation", expected="places held out")
        self.sampler = Sampler(imagery, self.train_scenes, self.reader)
        self.held_out, unreadable = keep_readable(self.held_out, self.reader)
        self.skipped = skipped + skipped_too + unreadable
        self.balance = Balance(tuple(base.legend.names.values()))
        self.step, self.seconds, self.best, self.base_score, self.validated_step = 0, 0.0, -1.0, -1.0, -1
        restore_folder(output / "last")
        restore_folder(output / "best")
        if (output / "last").exists():
            self._resume()

    def learn(self) -> None:
        """Go on to the end of the schedule or to the step after a Ctrl-C.

        A new run is validated first, while it refines nothing yet.
        """
        schedule, before, started = self.job.schedule, self.seconds, time.monotonic()
        with catch_interrupt() as interrupt, ThreadPoolExecutor(1) as executor:
            if self.validated_step < 0:
                self._validate()
            following = executor.submit(self.sampler.draw_batch, self.step)
            while self.step < schedule.steps:
                if interrupt.is_set():
                    LOG.warning("interrupted at step %d", self.step)
                    break
                batch, following = following.result(), executor.submit(self.sampler.draw_batch, self.step + 1)
                self.balance.note(self.game.learn_batch(batch, self.step))
                self.step += 1
                self.seconds = before + time.monotonic() - started
                if self.step % 20 == 0:
                    LOG.info("step %d of %d", self.step, schedule.steps)
                if self.step % schedule.validate_steps == 0:
                    self._validate()
                elif self.step % schedule.checkpoint_steps == 0:
                    self._save_progress()

    def finish(self) -> RefineResult:
        """Validate once more and say what was reached."""
        if self.step != self.validated_step:
            self._validate()
        described = read_description(self.output / "best")
        return RefineResult(
            self.output / "best" / WEIGHTS,
            self.game.spec,
            described["metrics"],
            self.step,
            self.seconds,
            tuple(self.balance.warnings),
            (*self.skipped, *self.sampler.skipped),
        )

    def _validate(self) -> None:
        scores = validate(self.game.average, self.imagery, self.held_out, self.reader, self.base.legend)
        mean = weigh_scores(scores, self.imagery.source)
        if self.step == 0:
            self.base_score = mean
        if mean > self.best:
            weights = {WEIGHTS: self.game.average.state_dict()}
            write_folder(self.output / "best", weights, self._describe(mean, scores))
            self.best = mean
        self.validated_step = self.step
        self._log(mean, scores)
        self._save_progress()

    def _log(self, mean: float, scores: Mapping[str, Score]) -> None:
        row: dict[str, object] = {"step": self.step, "minutes": round(self.seconds / 60, 2), "mean_iou": round(mean, 5)}
        row |= self.balance.take_means()
        for source, score in scores.items():
            iou = score.iou
            row |= {f"{source}: {name}": round(iou[name], 5) if name in iou else None for name in score.names}
        LOG.info("validation: %s", row)
        path = self.output / "log.csv"
        with path.open("a" if self.step else "w", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if not self.step:
                writer.writeheader()
            writer.writerow(row)

    def _describe(self, mean: float, scores: Mapping[str, Score]) -> dict[str, Any]:
        base, imagery = self.base, self.imagery
        root = Path(imagery.root)
        listed: dict[str, dict[str, list[str]]] = {"train": {}, "validation": {}}
        for scene in (*self.train_scenes, *self.held_out):
            images = listed[scene.source.use].setdefault(scene.source.name, [])
            images.append(scene.image.relative_to(root).as_posix())
        return {
            "network": dataclasses.asdict(self.game.spec),
            "normalisation": dataclasses.asdict(base.normalisation),
            "legend": dataclasses.asdict(base.legend),
            "ground_resolution_m": base.ground_resolution_m,
            "metrics": {
                "step": self.step,
                "mean_iou": mean,
                "base_mean_iou": self.base_score,
                "sources": {n: {"mean_iou": s.mean_iou, "iou": s.iou} for n, s in scores.items()},
            },
            "sources": listed,
            "attribution": sorted({*base.attribution, *(s.attribution for s in imagery.source if s.attribution)}),
            "skipped": [*self.skipped, *self.sampler.skipped],
            "seed": self.job.seed,
            "command": base.command + THEN + self.command,
        }

    def _save_progress(self) -> None:
        state = {
            "job": self._fingerprint(),
            "step": self.step,
            "seconds": self.seconds,
            "validated_step": self.validated_step,
            "base_mean_iou": self.base_score,
            "warnings": self.balance.warnings,
        }
        self.game.write(self.output / "last", state)

    def _fingerprint(self) -> str:
        """What must not change when a run goes on."""
        job = dataclasses.replace(self.job, schedule=RefineSchedule(steps=1), package=None)
        imagery = dataclasses.replace(self.imagery, root="", schedule=Schedule(steps=1), package=None)
        return hashlib.sha256(repr((job, imagery)).encode()).hexdigest()

    def _resume(self) -> None:
        if read_description(self.output / "last").get("job") != self._fingerprint():
            raise OptionError(
                f"{self.output} holds a run of another job",
                expected="the same job (its schedule and root may differ) or a new folder",
                remedy="choose another output, or remove the folder",
            )
        state = self.game.read(self.output / "last")
        self.step, self.seconds, self.validated_step = state["step"], state["seconds"], state["validated_step"]
        self.base_score = state["base_mean_iou"]
        self.balance = Balance(tuple(self.base.legend.names.values()), warnings=state["warnings"])
        self.best = read_description(self.output / "best")["metrics"]["mean_iou"]
        LOG.info("going on at step %d", self.step)
