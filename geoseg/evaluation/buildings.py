"""Buildings one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.evaluation.comparison import Comparison, find_judged
from geoseg.evaluation.confusion import FloatArray
from geoseg.evaluation.layer_side import LayerClasses
from geoseg.evaluation.objects import ObjectScore, find_overlaps, match_overlaps
from geoseg.evaluation.outlines import OutlineCounts, flatten_to_metres, measure_polis
from geoseg.evaluation.precision import HIT, IOU_STEPS, LEFT_OUT, WRONG, RankedObjects
from geoseg.evaluation.sides import ClassSource
from geoseg.polygons.join import join_tiles
from geoseg.polygons.trace import TileTrace, trace_tile

MARGIN_PX = 256
"""So far beyond the area of interest the objects of a raster are followed."""


@dataclass(frozen=True)
class BuildingScore:
    """What became of the buildings; scores of parts add up to that of the whole.

    Args:
        matched: found, made up and missed at IoU 0.5.
        ranked: for average precision; None if the prediction has no confidence.
        polis_sum: PoLiS distances of the matched pairs together, in metres (in pixels where there is no CRS).
        predicted: outlines of the predicted buildings.
        truth: outlines of the true buildings.
    """

    matched: ObjectScore
    ranked: RankedObjects | None
    polis_sum: float
    predicted: OutlineCounts
    truth: OutlineCounts

    def __add__(self, other: BuildingScore) -> BuildingScore:
        return BuildingScore(
            self.matched + other.matched,
            self.ranked + other.ranked if self.ranked and other.ranked else None,
            self.polis_sum + other.polis_sum,
            self.predicted + other.predicted,
            self.truth + other.truth,
        )

    @property
    def average_precision(self) -> float:
        """Mean over IoU 0.5 to 0.95 of the average precision; not a number without confidence or true buildings."""
        return float(self.ranked.average_precision.mean()) if self.ranked else float("nan")

    @property
    def polis(self) -> float:
        """Mean PoLiS distance of the matched pairs; not a number without any."""
        return self.polis_sum / self.matched.found if self.matched.found else float("nan")


def score_buildings(comparison: Comparison, ids: list[int]) -> BuildingScore:
    """Compare the objects of the classes `ids`: polygons of a layer, 4-connected components of a raster.

    All are matched; then a pair counts if the pixel below a point on the surface of the true object is judged, and an
    object without a partner if that of its own is. So the edge of the area makes neither false nor missed objects.
    Objects are held whole, some hundred bytes each and 16 a vertex.
    """
    predicted, confidence = collect_objects(comparison.predicted, comparison, ids)
    truth, _ = collect_objects(comparison.truth, comparison, ids)
    centres = [shapely.get_coordinates(shapely.point_on_surface(side)) for side in (predicted, truth)]
    judged = np.split(find_judged(comparison, np.concatenate(centres)), [len(predicted)])
    overlaps = find_overlaps(predicted, truth, min_iou=IOU_STEPS[0])
    outcome = np.empty((len(predicted), len(IOU_STEPS)), np.int8)
    outcome[:] = np.where(judged[0], WRONG, LEFT_OUT)[:, None]
    pairs = np.empty((0, 2), np.int64)
    for step, min_iou in reversed(list(enumerate(IOU_STEPS))):  # the pairs of the lowest stay
        pairs = match_overlaps(overlaps, (len(predicted), len(truth)), confidence=confidence, min_iou=min_iou)
        outcome[pairs[:, 0], step] = np.where(judged[1][pairs[:, 1]], HIT, LEFT_OUT)
    pairs = pairs[judged[1][pairs[:, 1]]]
    truths, counted = int(judged[1].sum()), outcome[:, 0] != LEFT_OUT
    found = len(pairs)
    origins = centres[1][pairs[:, 1]]
    polis = measure_polis(
        flatten_to_metres(predicted[pairs[:, 0]], origins, comparison.grid),
        flatten_to_metres(truth[pairs[:, 1]], origins, comparison.grid),
    )
    return BuildingScore(
        ObjectScore(found, int(counted.sum()) - found, truths - found),
        None if confidence is None else RankedObjects(np.nan_to_num(confidence), outcome, truths),
        float(polis.sum()),
        OutlineCounts.count(flatten_to_metres(predicted[counted], centres[0][counted], comparison.grid)),
        OutlineCounts.count(flatten_to_metres(truth[judged[1]], centres[1][judged[1]], comparison.grid)),
    )


def collect_objects(
    side: ClassSource, comparison: Comparison, ids: list[int]
) -> tuple[NDArray[np.object_], FloatArray | None]:
    """Valid polygons (n,) in the grid's CRS of the classes `ids` that touch the block, and their confidence."""
    if not isinstance(side, LayerClasses):
        batches = join_tiles(_trace_windows(side, comparison, ids))
        traced = [batch.geometries(comparison.grid.transform) for batch in batches]
        return np.concatenate([np.empty(0, object), *traced]), None
    near = side.find_near(comparison.block)
    near = near[np.isin(side.layer.class_id[near], ids)]
    geometries = side.mend(near)
    areal = ~shapely.is_empty(geometries)
    confidence = side.layer.confidence
    return geometries[areal], None if confidence is None else confidence[near[areal]]


def _trace_windows(side: ClassSource, comparison: Comparison, ids: list[int]) -> Iterator[TileTrace]:
    skip = [i for i in range(256) if i not in ids]
    shape = comparison.grid.window.shape
    for window in comparison.cut_windows(MARGIN_PX):
        yield trace_tile(side.read(window), window=window, grid_shape=shape, skip=skip)
