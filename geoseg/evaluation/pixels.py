"""A prediction against the truth: pixels of every class, and buildings one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import InputError, OptionError
from geoseg.evaluation.confusion import ConfusionMatrix, mean_known
from geoseg.evaluation.objects import ObjectScore, score_objects
from geoseg.evaluation.sides import CHECK_PLACE, NODATA, ClassLayer, ClassSource, open_sides
from geoseg.grid import GeoGrid, Window
from geoseg.layers.read import is_layer_path
from geoseg.legend import LAND_COVER, ClassLegend

WINDOW_PX = 2048


@dataclass(frozen=True)
class EvaluationResult:
    """What a comparison found.

    Args:
        classes: names, in the order of the matrix.
        pixels: the comparison pixel by pixel.
        left_out_px: pixels about which one of the sides knows nothing.
        buildings: buildings one by one at IoU 0.5; None unless both sides are polygon layers.
    """

    classes: tuple[str, ...]
    pixels: ConfusionMatrix
    left_out_px: int
    buildings: ObjectScore | None

    def format(self) -> str:
        """A table for people; a dash stands where a score is 0 / 0."""
        matrix = self.pixels
        scores = np.stack([matrix.iou, matrix.precision, matrix.recall, matrix.f1])
        rows = [*zip(self.classes, scores.T, strict=True), ("mean", [mean_known(score) for score in scores])]
        width = max(len(name) for name, _ in rows)
        lines = [" " * width + "".join(f"{title:>11}" for title in ("IoU", "precision", "recall", "F1"))]
        lines += [f"{name:{width}}" + "".join(f"{_show(s):>11}" for s in row) for name, row in rows]
        lines.append(f"{matrix.pixels:,} pixels, {_show(matrix.accuracy)} of them right; {self.left_out_px:,} left out")
        if self.buildings:
            b = self.buildings
            lines.append(
                f"buildings at IoU 0.5: precision {_show(b.precision)}, recall {_show(b.recall)}, F1 {_show(b.f1)} "
                f"({b.found:,} found, {b.made_up:,} made up, {b.missed:,} missed)"
            )
        return "\n".join(lines)


def _show(score: float) -> str:
    return f"{score:.4f}" if np.isfinite(score) else "-"


def evaluate(
    predicted: Path | str,
    truth: Path | str,
    *,
    legend: ClassLegend = LAND_COVER,
    only_class: str | None = None,
    resolution_m: float = 0.5,
) -> EvaluationResult:
    """Compare a prediction with the truth; either may be a class raster (uint8) or a polygon layer.

    Everything is brought to the grid of the truth: polygons are burnt in where they cover a pixel's centre, a raster
    on another grid is resampled to the nearest pixel. If the truth is a layer, the grid is the prediction's; if both
    are, it is new. Rasters are read in windows, so memory does not grow with them; layers are held whole.

    Args:
        predicted: raster of class ids, or polygons with `class_id` or `class`.
        truth: the same; 255 (no data) is left out.
        legend: the classes.
        only_class: compare this class with everything else, for a truth that knows one class; polygons without a
            class column are of it.
        resolution_m: pixel of the grid if both are layers.

    Raises:
        InputError: a side cannot be read, holds unknown classes, or has no CRS where one is needed; or there is no
            pixel that both sides know.
        OptionError: the legend has no class of that name.
    """
    predicted, truth = Path(predicted), Path(truth)
    only_id = _find_class(only_class, legend)
    names = tuple(c.name for c in legend.classes) if only_class is None else ("everything else", only_class)
    index = _index_classes(legend, only_id)
    matrix, total = ConfusionMatrix.zero(len(names)), 0
    found, expected = (
        ClassLayer.open(p, legend=legend, only_class=only_id) if is_layer_path(p) else p for p in (predicted, truth)
    )
    with open_sides(found, expected, resolution_m=resolution_m) as (grid, found_classes, expected_classes):
        for window in _cut_windows(grid):
            matrix += ConfusionMatrix.count(
                _read_indices(expected_classes, window, index, truth),
                _read_indices(found_classes, window, index, predicted),
                len(names),
            )
            total += window.rows * window.cols
    if not matrix.pixels:
        raise InputError(
            f"{predicted} and {truth}: there is no pixel that both know",
            expected="two sides that overlap where neither is nodata",
            remedy=CHECK_PLACE,
        )
    building_ids = [c.id for c in legend.classes if c.kind == "building" and only_id in (None, c.id)]
    buildings = None
    if building_ids and isinstance(found, ClassLayer) and isinstance(expected, ClassLayer):
        buildings = _compare_objects(found, expected, building_ids)
    return EvaluationResult(names, matrix, total - matrix.pixels, buildings)


_UNKNOWN, _UNHEARD = -1, -2


def _find_class(name: str | None, legend: ClassLegend) -> int | None:
    if name is None:
        return None
    ids = {c.name: c.id for c in legend.classes}
    if name not in ids:
        raise OptionError(f"there is no class '{name}'", expected=f"one of {', '.join(ids)}")
    return ids[name]


def _index_classes(legend: ClassLegend, only_id: int | None) -> NDArray[np.int16]:
    """(256,) place of a class id in the matrix."""
    index = np.full(256, _UNHEARD, np.int16)
    for i, known in enumerate(legend.classes):
        index[known.id] = i if only_id is None else int(known.id == only_id)
    index[[legend.nodata, NODATA]] = _UNKNOWN
    return index


def _cut_windows(grid: GeoGrid) -> Iterator[Window]:
    for row in range(0, grid.rows, WINDOW_PX):
        for col in range(0, grid.cols, WINDOW_PX):
            yield Window(row, col, WINDOW_PX, WINDOW_PX).intersect(grid.window)


def _read_indices(side: ClassSource, window: Window, index: NDArray[np.int16], path: Path) -> NDArray[np.int16]:
    ids = side.read(window)
    places = index[ids]
    if (places == _UNHEARD).any():
        unknown = ", ".join(str(i) for i in np.unique(ids[places == _UNHEARD])[:5])
        raise InputError(f"{path} has unknown classes: {unknown}", expected="the class ids of the legend, and 255")
    return places


def _compare_objects(predicted: ClassLayer, truth: ClassLayer, ids: list[int]) -> ObjectScore:
    expected = truth.frame[np.isin(truth.class_id, ids)]
    found = predicted.frame[np.isin(predicted.class_id, ids)].to_crs(expected.crs)
    return score_objects(
        shapely.make_valid(found.geometry.to_numpy()),
        shapely.make_valid(expected.geometry.to_numpy()),
        confidence=found["confidence"].to_numpy(np.float64) if "confidence" in found else None,
    )
