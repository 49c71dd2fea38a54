"""How training went, on one page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.legend import ClassLegend, LegendClass
from geoseg.page import Page
from geoseg.training.charts import BLUE, GREY, ORANGE, Curve, draw_curves
from geoseg.training.history import STEPS, VALIDATIONS, read_columns
from geoseg.training.job import TrainingJob
from geoseg.training.losses import IGNORE
from geoseg.training.tiles import TileScore
from geoseg.training.validate import Score

RISE = 0.02
"""The relative change of a loss that is more than chance."""

UNKNOWN_COLOR, WRONG_COLOR = (128, 128, 128), (230, 20, 110)

Columns = Mapping[str, NDArray[np.float64]]


def write_report(
    folder: Path,
    job: TrainingJob,
    *,
    legend: ClassLegend,
    frequencies: Mapping[str, Mapping[str, float]],
    scores: Mapping[str, Score],
    tiles: Sequence[TileScore],
    skipped: Sequence[str],
) -> Path:
    """Write `report.html` into the folder of a run, from the run's tables and what is known at its end.

    Args:
        folder: of the run, with what `History` wrote.
        job: that was run.
        frequencies: share of the labelled pixels by source and class.
        scores: of the best weights, by source.
        tiles: of `score_tiles`, from worst to best by source.
        skipped: samples that could not be used, and why.
        legend: gives the classes their colours.

    Raises:
        InputError: the tables of the run cannot be read.
        OutputError: the page cannot be written.
    """
    steps, log = read_columns(folder / STEPS), read_columns(folder / VALIDATIONS)
    page = Page(f"Training: {job.package.name if job.package else job.network.architecture}")
    _add_outcome(page, log, scores)
    _add_curves(page, steps, log, scores, legend)
    if frequencies:
        page.add_heading("How often classes occur")
        names = list(dict.fromkeys(name for shares in frequencies.values() for name in shares))
        rows = [[source, *(shares.get(n, np.nan) for n in names)] for source, shares in frequencies.items()]
        page.add_table(["source", *names], rows, caption="Share of the labelled pixels of the images to train on.")
    _add_scores(page, scores)
    _add_tiles(page, tiles)
    page.add_heading("Samples that were skipped")
    page.add_list(skipped) if skipped else page.add_text("None.")
    _add_settings(page, job)
    return page.write(folder / "report.html")


def judge_fit(log: Columns) -> str:
    """What the losses say about over-fitting, in words.

    Args:
        log: columns of `log.csv`.
    """
    gap = log["validation_loss"] - log["train_loss"] if log else np.empty(0)
    known = np.flatnonzero(np.isfinite(gap))
    if not known.size:
        return "There is no validation loss to compare with the training loss, so over-fitting cannot be told."
    step, train, validation = (log[name][known] for name in ("step", "train_loss", "validation_loss"))
    best, last = _find_best(log["mean_iou"][known]), len(known) - 1
    text = (
        f"At the best step, {step[best]:,.0f}, the validation loss is {validation[best]:.4f} and the training loss "
        f"{train[best]:.4f}: a gap of {gap[known][best]:+.4f}. "
    )
    if best == last:
        return text + "It is the last one validated: the scores were still rising, and more steps may help."
    change = validation[last] / validation[best] - 1
    since = f"Until the last validation, step {step[last]:,.0f}, the validation loss "
    if change <= RISE:
        return text + since + f"changed by {change:+.1%}: no sign of over-fitting."
    if train[last] < train[best]:
        return text + since + f"rose by {change:.1%} while the training loss fell: the network was over-fitting."
    return text + since + f"rose by {change:.1%}, and so did the training loss: learning was unstable."


def _find_best(mean_iou: NDArray[np.float64]) -> int:
    """The last of the highest: the weights that are kept."""
    return int(len(mean_iou) - 1 - np.argmax(mean_iou[::-1]))


def _add_outcome(page: Page, log: Columns, scores: Mapping[str, Score]) -> None:
    if log and scores:
        best = _find_best(log["mean_iou"])
        page.add_text(
            f"Mean IoU {log['mean_iou'][best]:.4f} at step {log['step'][best]:,.0f}, the weights that are kept."
        )
    page.add_text(judge_fit(log))
    page.add_text(
        "The training loss is that of changed crops while the weights move, the validation loss that of whole images "
        "with averaged weights: early in training the gap may well be negative."
    )


def _add_curves(page: Page, steps: Columns, log: Columns, scores: Mapping[str, Score], legend: ClassLegend) -> None:
    if log:
        best = float(log["step"][_find_best(log["mean_iou"])])
        losses = {"training": Curve(log["step"], log["train_loss"], BLUE)}
        losses["validation"] = Curve(log["step"], log["validation_loss"], ORANGE)
        losses["gap"] = Curve(log["step"], log["validation_loss"] - log["train_loss"], GREY)
        page.add_heading("Loss")
        page.add_figure(draw_curves(losses, label="loss", mark=best), alt="Training and validation loss over the step")
        page.add_heading("Scores on what is held out")
        mean = {"mean of all": Curve(log["step"], log["mean_iou"], BLUE)}
        page.add_figure(draw_curves(mean, label="mean IoU", top=1, mark=best), alt="Mean IoU over the step")
        colors = {c.name: c.color for c in legend.classes}
        for source, score in scores.items():
            named = {name: f"{source}: {name}" for name in score.names}
            curves = {n: Curve(log["step"], log[c], colors.get(n, GREY)) for n, c in named.items() if c in log}
            chart = draw_curves(curves, label="IoU", top=1, mark=best)
            page.add_heading(source, level=3)
            page.add_figure(chart, alt=f"IoU of every class of {source} over the step")
    if steps:
        page.add_heading("Steps")
        for name, column, color, is_log in (
            ("loss of the batch", "loss", BLUE, False),
            ("learning rate", "rate", GREY, False),
            ("norm of the gradient", "gradient_norm", ORANGE, True),
        ):
            curve = Curve(steps["step"], steps[column], color)
            page.add_figure(draw_curves({name: curve}, label=name, is_log=is_log), alt=f"{name} over the step")
        norms = steps["gradient_norm"]
        page.add_text(f"{np.count_nonzero(~np.isfinite(norms)):,} of {len(norms):,} gradients were not finite.")


def _add_scores(page: Page, scores: Mapping[str, Score]) -> None:
    if not scores:
        return
    page.add_heading("Scores of the best weights")
    for source, score in scores.items():
        page.add_heading(source, level=3)
        page.add_table(["class", "IoU", "precision", "recall", "F1", "pixels"], _list_scores(score))
        page.add_matrix(score.names, score.counts, caption="Truth by prediction: share of the row, and pixels.")


def _list_scores(score: Score) -> Iterator[list[object]]:
    hits, truth, found = np.diag(score.counts), score.counts.sum(1), score.counts.sum(0)
    for name, hit, there, predicted in zip(score.names, hits, truth, found, strict=True):
        iou = score.iou.get(name, np.nan)
        f1 = _divide(2 * hit, there + predicted)
        yield [name, iou, _divide(hit, predicted), _divide(hit, there), f1, int(there)]
    yield ["mean", score.mean_iou, "", "", "", int(truth.sum())]


def _add_tiles(page: Page, tiles: Sequence[TileScore]) -> None:
    if not tiles:
        return
    page.add_heading("Where it does worst and best")
    classes = {c.name: c.color for tile in tiles for c in tile.classes if c.kind != "background"}
    page.add_key(classes | {"background": (0, 0, 0), "unknown": UNKNOWN_COLOR, "wrong": WRONG_COLOR})
    for source in dict.fromkeys(tile.source for tile in tiles):
        listed = [tile for tile in tiles if tile.source == source]
        half = (len(listed) + 1) // 2
        for name, part in (("worst", listed[:half]), ("best", listed[: half - 1 : -1])):
            if part:
                page.add_heading(f"{source}: {name}", level=3)
            for tile in part:
                page.add_pictures(_picture(tile), caption=_describe(tile))


def _describe(tile: TileScore) -> str:
    each = ", ".join(f"{name} {iou:.2f}" for name, iou in tile.iou.items())
    return f"{tile.image}, row {tile.window.row}, column {tile.window.col}: mean IoU {tile.mean_iou:.2f} ({each})"


def _picture(tile: TileScore) -> dict[str, NDArray[np.uint8]]:
    grey = tile.picture.mean(axis=2, keepdims=True) * 0.5 + 110
    errors = np.broadcast_to(grey, tile.picture.shape).astype(np.uint8)
    errors[(tile.truth != tile.predicted) & (tile.truth != IGNORE)] = WRONG_COLOR
    return {
        "image": tile.picture,
        "truth": _paint(tile.truth, tile.classes),
        "prediction": _paint(tile.predicted, tile.classes),
        "errors": errors,
    }


def _paint(indices: NDArray[np.uint8], classes: Sequence[LegendClass]) -> NDArray[np.uint8]:
    colors = np.full((256, 3), UNKNOWN_COLOR, np.uint8)
    colors[: len(classes)] = [c.color for c in classes]
    return colors[indices]


def _add_settings(page: Page, job: TrainingJob) -> None:
    page.add_heading("The job")
    rows = [[s.name, s.use, s.kind, s.only or "all", f"{s.weight:g}", s.attribution] for s in job.source]
    page.add_table(["source", "use", "labels", "classes", "weight", "owed to"], rows)
    settings = [
        (name, value) for name, value in _flatten(job) if name.split(".")[0] not in ("source", "package", "root")
    ]
    page.add_table(["setting", "value"], [[name, _to_text(value)] for name, value in settings])


def _flatten(settings: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Settings of any depth as one list, "schedule.steps" for that of a part."""
    if dataclasses.is_dataclass(settings):
        settings = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from _flatten(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, settings


def _to_text(value: object) -> str:
    return ", ".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value)


def _divide(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
