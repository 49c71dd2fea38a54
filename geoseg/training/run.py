"""One run of training, from its first step or its last checkpoint to its report."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from geoseg.errors import OptionError
from geoseg.legend import ClassLegend
from geoseg.models.encoder import load_encoder
from geoseg.models.networks import NetworkSpec, build_network, is_local, load_weights
from geoseg.progress import Progress, Silence
from geoseg.training.base import read_base
from geoseg.training.checkpoint import WEIGHTS, read_description, restore_folder, write_folder
from geoseg.training.class_weights import weigh_classes
from geoseg.training.history import History
from geoseg.training.interrupt import catch_interrupt
from geoseg.training.job import Schedule, TrainingJob
from geoseg.training.report import write_report
from geoseg.training.samples import Batch, Sampler
from geoseg.training.scenes import SceneReader, find_scenes, keep_readable
from geoseg.training.step import Learner
from geoseg.training.tiles import score_tiles
from geoseg.training.validate import Score, validate, weigh_losses, weigh_scores

LOG = logging.getLogger(__name__)

BATCHES_AHEAD = 3


class TrainingRun:
    """What learns, what it learns from, where it is and what it knows of its quality.

    Args:
        job: what to do.
        output: folder of the run; where it holds one of the same job, that one goes on.
        legend: of the network.
        command: that brought it about, noted beside the weights.
        progress: told of stages and steps.

    Raises:
        OptionError: the job cannot work, or `output` holds another one.
        InputError: no imagery can be used.
        ModelError: the encoder's first weights cannot be had, or the checkpoint is damaged.
    """

    def __init__(
        self, job: TrainingJob, output: Path, legend: ClassLegend, *, command: str, progress: Progress | None
    ) -> None:
        self.job, self.output, self.legend, self.command = job, output, legend, command
        self.progress = progress or Silence()
        self.bands = len(job.normalisation.mean)
        self.reader = SceneReader(legend, bands=self.bands, cache_mb=job.cache_mb)
        self.train_scenes, skipped = find_scenes(job, legend, use="train")
        self.held_out, skipped_too = find_scenes(job, legend, use="validation")
        shared = {s.image for s in self.train_scenes} & {s.image for s in self.held_out}
        if shared:
            raise OptionError(f"{min(shared)} is used for training and for validation", expected="places held out")
        self.progress.start("reading labels", None)
        self.sampler = Sampler(job, self.train_scenes, self.reader)
        # Later than the scenes to train on, which need the reader's memory more.
        self.held_out, unreadable = keep_readable(self.held_out, self.reader)
        self._skipped = skipped + skipped_too + unreadable
        self.frequencies = self.sampler.frequencies()
        weights = weigh_classes(job.loss.class_weights, self.frequencies, job.source, legend)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.class_weights = torch.tensor(weights, device=device)
        restore_folder(output / "last")
        restore_folder(output / "best")
        goes_on = (output / "last").exists()
        network = self._build_network(is_new=not goes_on)
        self.learner = Learner(network, job, device, class_weights=self.class_weights)
        self.step, self.seconds, self.best, self.validated_step, self.stale = 0, 0.0, -1.0, -1, 0
        self.losses: list[float] = []
        if goes_on:
            self._resume()
        elif not is_local(self.learner.network):
            LOG.warning(
                "%s with %s is not local: far pixels have a say in every logit, so that no halo makes the seams "
                "between patches vanish; how much remains is measured when the model is packaged",
                job.network.architecture,
                job.network.encoder,
            )
        self.history = History(output, step=self.step, validated_step=self.validated_step)

    def _build_network(self, *, is_new: bool) -> nn.Module:
        """The weights to start from are looked for by a new run only: another one has its own, and they may be gone."""
        net = self.job.network
        self.spec = NetworkSpec(
            net.architecture, net.encoder, self.bands, len(self.legend), net.decoder_channels, net.encoder_depth
        )
        if is_new and net.start:
            return self._read_start(net.start)
        network = build_network(self.spec)
        if is_new and net.encoder_weights:
            load_encoder(network, self.spec, net.encoder_weights, root=Path(self.job.root))
        return network

    def _read_start(self, name_or_dir: str) -> nn.Module:
        start = read_base(name_or_dir)
        if start.spec != self.spec:
            raise OptionError(f"network.start is {start.spec}", expected=f"the job's network, {self.spec}")
        return start.network

    def learn(self) -> None:
        """Go on to the end of the schedule, until the score has not risen for long, or to the step after a Ctrl-C."""
        schedule, started, before = self.job.schedule, time.monotonic(), self.seconds
        self.progress.start("training", max(0, schedule.steps - self.step))
        with catch_interrupt() as interrupt, ThreadPoolExecutor(1) as executor:
            for batch in self._draw_ahead(executor):
                self.seconds = before + time.monotonic() - started
                if interrupt.is_set():
                    LOG.warning("interrupted at step %d", self.step)
                    break
                if self._done_share() >= 1 or 0 < schedule.patience <= self.stale:
                    break
                self._learn_batch(batch)
                if self.step % schedule.validate_steps == 0:
                    self._validate()
                if self.step % schedule.checkpoint_steps == 0:
                    self._save()

    def finish(self) -> Mapping[str, Any]:
        """Validate once more, keep all that is known, and return the metrics of the best weights."""
        self._save()
        if self.step != self.validated_step:
            self._validate()
            self._save()
        self.history.close()
        metrics: Mapping[str, Any] = read_description(self.output / "best")["metrics"]
        return metrics

    def report(self) -> Path:
        """Write the report on the best weights."""
        self.progress.start("report", None)
        best = copy.deepcopy(self.learner.average)
        load_weights(best, self.output / "best" / WEIGHTS)
        return write_report(
            self.output,
            self.job,
            legend=self.legend,
            frequencies=self.frequencies,
            scores=self._score(best),
            tiles=score_tiles(best, self.job, self.held_out, self.reader, self.legend),
            skipped=self.skipped,
        )

    @property
    def skipped(self) -> tuple[str, ...]:
        """Samples that could not be used, and why."""
        return (*self._skipped, *self.sampler.skipped)

    def _done_share(self) -> float:
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

    def _learn_batch(self, batch: Batch) -> None:
        result = self.learner.learn(batch, step=self.step, progress=self._done_share())
        self.step += 1
        self.losses.append(result.loss)
        self.history.record_step(self.step, minutes=self.seconds / 60, **dataclasses.asdict(result))
        self.progress.advance()
        if self.step % 20 == 0:
            LOG.info("step %d, %.1f %%, loss %.4f", self.step, 100 * self._done_share(), np.mean(self.losses[-20:]))

    def _score(self, network: nn.Module) -> dict[str, Score]:
        return validate(network, self.job, self.held_out, self.reader, self.legend, class_weights=self.class_weights)

    def _validate(self) -> None:
        scores = self._score(self.learner.average)
        mean = weigh_scores(scores, self.job.source)
        measured = {
            "train_loss": float(np.mean(self.losses)) if self.losses else float("nan"),
            "validation_loss": weigh_losses(scores, self.job.source),
            "mean_iou": mean,
        }
        # With nothing held out every mean is 0, and the newest weights are the best there are.
        if mean >= self.best:
            weights = {WEIGHTS: self.learner.average.state_dict()}
            write_folder(self.output / "best", weights, self._describe(mean, scores))
        # Only now, or Ctrl-C could leave a best score whose weights were never written.
        self.stale = 0 if mean > self.best else self.stale + 1
        self.best = max(self.best, mean)
        self.validated_step, self.losses = self.step, []
        self.history.record_validation(self.step, minutes=self.seconds / 60, scores=scores, **measured)
        LOG.info("validation: %s, %s", measured, {name: score.iou for name, score in scores.items()})

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
            "skipped": list(self.skipped),
            "seed": job.seed,
            "command": self.command,
        }

    def _list_images(self, use: str) -> dict[str, list[str]]:
        listed: dict[str, list[str]] = {}
        for scene in self.train_scenes if use == "train" else self.held_out:
            listed.setdefault(scene.source.name, []).append(scene.image.relative_to(self.job.root).as_posix())
        return listed

    def _save(self) -> None:
        state = {
            "job": self._fingerprint(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "stale": self.stale,
            "validated_step": self.validated_step,
            "losses": self.losses,
        }
        self.learner.write(self.output / "last", state)

    def _fingerprint(self) -> str:
        """What must not change when a run goes on."""
        used = self.job.schedule
        schedule = Schedule(steps=1, optimizer=used.optimizer, momentum=used.momentum)
        fixed = dataclasses.replace(self.job, root="", schedule=schedule, package=None)
        return hashlib.sha256(repr(fixed).encode()).hexdigest()

    def _resume(self) -> None:
        if read_description(self.output / "last").get("job") != self._fingerprint():
            raise OptionError(
                f"{self.output} holds a run of another job",
                expected="the same job (schedule and root may differ, not optimiser and momentum) or a new folder",
                remedy="choose another output, or remove the folder",
            )
        state = self.learner.read(self.output / "last")
        self.step, self.seconds, self.losses = state["step"], state["seconds"], state["losses"]
        self.best, self.stale, self.validated_step = state["best"], state["stale"], state["validated_step"]
        LOG.info("going on at step %d", self.step)
