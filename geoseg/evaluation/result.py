"""What a comparison found, for people and for programs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geoseg.evaluation.buildings import BuildingScore
from geoseg.evaluation.comparison import PixelCounts
from geoseg.evaluation.confusion import ConfusionMatrix, FloatArray, mean_known
from geoseg.evaluation.precision import IOU_STEPS
from geoseg.evaluation.road_layers import RoadComparison

TITLES = {
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "accuracy": "accuracy",
    "boundary_iou": "boundary",
}


@dataclass(frozen=True)
class EvaluationResult:
    """What a comparison found.

    Args:
        classes: names, in the order of the counts.
        counts: the comparison pixel by pixel.
        boundary_px: width of the bands along contours.
        slack_px: tolerance of the relaxed scores; 0 for none.
        pixel_m: (height, width) of a pixel in metres; not numbers where the rasters have no CRS.
        buildings: buildings one by one; None if the legend has none.
        roads: roads by length and by routes; None if the legend or both sides have none, or there is no CRS.
    """

    classes: tuple[str, ...]
    counts: PixelCounts
    boundary_px: int
    slack_px: int
    pixel_m: tuple[float, float]
    buildings: BuildingScore | None
    roads: RoadComparison | None

    @property
    def pixels(self) -> ConfusionMatrix:
        """Classes against classes."""
        return self.counts.matrix

    @property
    def left_out_px(self) -> int:
        """Pixels of the area that are ignored or unknown on a side."""
        return self.counts.left_out_px

    def format(self) -> str:
        """A table for people; a dash stands where a score is 0 / 0."""
        matrix, lines = self.pixels, []
        if self.classes:
            lines = self._format_rows(self._pixel_scores())
            if self.slack_px:
                lines += [f"with {self.slack_px} px slack", *self._format_rows(self._slack_scores())]
            right, left_out = _show(matrix.accuracy), self.left_out_px
            lines.append(f"{matrix.pixels:,} pixels, {right} of them right; {left_out:,} left out")
        if self.buildings:
            b, m = self.buildings, self.buildings.matched
            lines += [
                f"buildings at IoU 0.5: precision {_show(m.precision)}, recall {_show(m.recall)}, F1 {_show(m.f1)} "
                f"({m.found:,} found, {m.made_up:,} made up, {m.missed:,} missed)",
                f"buildings: average precision {_show(b.average_precision)}, PoLiS {_show(b.polis, 2)} {self._unit}, "
                f"corners {_show(b.predicted.mean_corners, 1)} (true {_show(b.truth.mean_corners, 1)}), right angles "
                f"{_show(b.predicted.right_share)} (true {_show(b.truth.right_share)})",
            ]
        if self.roads:
            r = self.roads.roads
            lines.append(
                f"roads: completeness {_show(r.completeness)}, correctness {_show(r.correctness)}, quality "
                f"{_show(r.quality)} ({r.predicted_m:,.0f} m predicted, {r.truth_m:,.0f} m true), "
                f"APLS {_show(self.roads.routes.apls)}"
            )
        elif not self.classes:
            lines.append("no roads on either side")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """Everything as JSON knows it: nested dicts, lists, text and numbers; None where a score is 0 / 0."""
        matrix = self.pixels
        pixel, slack = self._pixel_scores(), self._slack_scores() if self.slack_px else {}
        truth, predicted = matrix.counts.sum(axis=1), matrix.counts.sum(axis=0)
        table: dict[str, object] = {
            "accuracy": matrix.accuracy,
            "mean": {key: mean_known(scores) for key, scores in pixel.items()},
            "classes": {
                name: {
                    **{key: scores[i] for key, scores in pixel.items()},
                    "truth_px": int(truth[i]),
                    "predicted_px": int(predicted[i]),
                }
                for i, name in enumerate(self.classes)
            },
            "slack": {name: {key: scores[i] for key, scores in slack.items()} for i, name in enumerate(self.classes)}
            if slack
            else None,
            "confusion": {"classes": list(self.classes), "counts": matrix.counts.tolist()},
            "pixels": matrix.pixels,
            "left_out_px": self.left_out_px,
            "pixel_m": list(self.pixel_m),
            "boundary_px": self.boundary_px,
            "slack_px": self.slack_px,
            "buildings": _tell_buildings(self.buildings, self._unit) if self.buildings else None,
            "roads": _tell_roads(self.roads) if self.roads else None,
        }
        return {key: _clean(value) for key, value in table.items()}

    @property
    def _unit(self) -> str:
        """Of PoLiS."""
        return "px" if math.isnan(self.pixel_m[0]) else "m"

    def _pixel_scores(self) -> dict[str, FloatArray]:
        matrix = self.pixels
        return {
            "iou": matrix.iou,
            "precision": matrix.precision,
            "recall": matrix.recall,
            "f1": matrix.f1,
            "accuracy": matrix.class_accuracy,
            "boundary_iou": self.counts.boundary.iou,
        }

    def _slack_scores(self) -> dict[str, FloatArray]:
        slack = self.counts.slack
        return {"iou": slack.iou, "precision": slack.precision, "recall": slack.recall, "f1": slack.f1}

    def _format_rows(self, scores: dict[str, FloatArray]) -> list[str]:
        columns = list(scores.values())
        rows = [*zip(self.classes, np.stack(columns).T, strict=True), ("mean", [mean_known(c) for c in columns])]
        width = max(len(name) for name, _ in rows)
        head = " " * width + "".join(f"{TITLES[key]:>11}" for key in scores)
        return [head, *(f"{name:{width}}" + "".join(f"{_show(s):>11}" for s in row) for name, row in rows)]


def _tell_buildings(score: BuildingScore, unit: str) -> dict[str, object]:
    matched = score.matched
    by_iou = score.ranked.average_precision.tolist() if score.ranked else []
    return {
        "found": matched.found,
        "made_up": matched.made_up,
        "missed": matched.missed,
        "precision": matched.precision,
        "recall": matched.recall,
        "f1": matched.f1,
        "average_precision": score.average_precision,
        "average_precision_by_iou": dict(zip(map(str, IOU_STEPS), by_iou, strict=True)) if by_iou else None,
        f"polis_{unit}": score.polis,
        "corners": {"predicted": score.predicted.mean_corners, "truth": score.truth.mean_corners},
        "right_angle_share": {"predicted": score.predicted.right_share, "truth": score.truth.right_share},
    }


def _tell_roads(score: RoadComparison) -> dict[str, object]:
    roads, routes = score.roads, score.routes
    return {
        "completeness": roads.completeness,
        "correctness": roads.correctness,
        "quality": roads.quality,
        "predicted_m": roads.predicted_m,
        "truth_m": roads.truth_m,
        "apls": routes.apls,
        "apls_truth_onto_predicted": routes.truth_onto_predicted,
        "apls_predicted_onto_truth": routes.predicted_onto_truth,
        "apls_is_sampled": routes.is_sampled,
    }


def _show(score: float, digits: int = 4) -> str:
    return f"{score:.{digits}f}" if math.isfinite(score) else "-"


def _clean(value: object) -> object:
    """Python's own numbers, and None for what is none."""
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    if isinstance(value, float):  # numpy's float64 is one
        return float(value) if math.isfinite(value) else None
    return value
