"""Random training crops, drawn straight from the scenes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.training.augment import change_colors, turn_crop, turned_side_px
from geoseg.training.job import TrainingJob
from geoseg.training.losses import FULL, IGNORE
from geoseg.training.scenes import Pixels, Scene, SceneReader

LOG = logging.getLogger(__name__)

POINTS_PER_CLASS = 2000
"""How many pixels of a class are remembered per scene."""

DRAWS = 100
"""How often a crop is drawn before so many unreadable ones in a row are an error."""


@dataclass(frozen=True)
class Batch:
    """Crops: images uint8 (N, H, W, B), labels uint8 (N, H, W), the class each is about int64 (N,), their sources."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    only: NDArray[np.int64]
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Places:
    """Where a scene has which labels: ground area by label, and some (row, col) of each, int64 (K, 2)."""

    scene: Scene
    areas_m2: dict[int, float]
    points: dict[int, NDArray[np.int64]]


class Sampler:
    """Draws batches; a batch depends on the job and its number only, so that training can stop and go on.

    A scene that cannot be read at first is named in `skipped` and left out. So is one that becomes unreadable later,
    but it stays in the draw and each of its crops is drawn anew: what is drawn must not depend on when that happened.

    Raises:
        InputError: no scene can be read.
    """

    def __init__(self, job: TrainingJob, scenes: Sequence[Scene], reader: SceneReader) -> None:
        self._job, self._reader = job, reader
        self.skipped: list[str] = []
        self._unreadable: set[tuple[str, Path]] = set()
        self._places: dict[str, list[_Places]] = {}
        for scene in scenes:
            try:
                places = _find_places(scene, reader, np.random.default_rng(job.seed))
            except InputError as error:
                self._skip(scene, error)
                continue
            if places.areas_m2:
                self._places.setdefault(scene.source.name, []).append(places)
        self._weights = {s.name: s.weight for s in job.source if s.name in self._places and s.weight > 0}
        if not self._weights:
            raise InputError("no scene with labels is left to train on", expected="at least one readable scene")

    def draw_batch(self, number: int) -> Batch:
        """The batch of that number."""
        rng = np.random.default_rng([self._job.seed, number])
        crops = [self._draw_crop(rng) for _ in range(self._job.schedule.batch)]
        return Batch(
            np.stack([image for image, _, _ in crops]),
            np.stack([labels for _, labels, _ in crops]),
            np.array([scene.only for _, _, scene in crops]),
            tuple(scene.source.name for _, _, scene in crops),
        )

    def frequencies(self) -> dict[str, dict[str, float]]:
        """By source and class name: share of the labelled ground; for a partial source the class and "not CLASS"."""
        names = self._reader.legend.names
        shares: dict[str, dict[str, float]] = {}
        for source, places in self._places.items():
            only = places[0].scene.only
            shown = names if only == FULL else {0: f"not {names[only]}", 1: names[only]}
            areas = {name: sum(p.areas_m2.get(label, 0.0) for p in places) for label, name in shown.items()}
            shares[source] = {name: area / sum(areas.values()) for name, area in areas.items() if area}
        return shares

    def _draw_crop(self, rng: Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Scene]:
        for _ in range(DRAWS):
            crop = self._try_crop(rng)
            if crop is not None:
                return crop
        raise InputError(
            f"none of {DRAWS} crops in a row could be read, the last unreadable scene: {self.skipped[-1]}",
            expected="files that stay readable while training",
        )

    def _try_crop(self, rng: Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Scene] | None:
        names, weights = list(self._weights), np.array(list(self._weights.values()))
        places = self._places[names[rng.choice(len(names), p=weights / weights.sum())]]
        scene, row, col = self._draw_point(places, rng)
        job, amount = self._job, self._job.augmentation
        is_free = bool(rng.random() < amount.rotate)
        side = turned_side_px(job.crop_px) if is_free else job.crop_px
        low, high = np.log(scene.source.scale)
        gsd = job.ground_resolution_m * float(np.exp(rng.uniform(low, high)))
        try:
            image, labels = self._reader.read(scene, window_around(scene, (row, col), side * gsd))
        except InputError as error:
            self._skip(scene, error)
            return None
        image, labels = resample(image, labels, (side, side))
        image, labels = turn_crop(image, labels, rng, crop_px=job.crop_px, is_free=is_free)
        return change_colors(image, rng, amount), labels, scene

    def _draw_point(self, places: Sequence[_Places], rng: Generator) -> tuple[Scene, int, int]:
        """A scene and a pixel of it: of an evenly drawn class, or anywhere."""
        source = places[0].scene.source
        if rng.random() < source.balance:
            label = int(rng.choice(sorted({label for p in places for label in p.areas_m2})))
            areas = np.array([p.areas_m2.get(label, 0.0) for p in places])
            place = places[rng.choice(len(places), p=areas / areas.sum())]
            points = place.points[label]
            row, col = points[rng.integers(len(points))]
            shift = 0.25 * self._job.crop_px * self._job.ground_resolution_m / np.array(place.scene.resolution_m)
            row, col = (np.array([row, col]) + rng.uniform(-shift, shift)).astype(int)
        else:
            areas = np.array([sum(p.areas_m2.values()) for p in places])
            place = places[rng.choice(len(places), p=areas / areas.sum())]
            row, col = rng.integers(place.scene.rows), rng.integers(place.scene.cols)
        scene = place.scene
        return scene, int(np.clip(row, 0, scene.rows - 1)), int(np.clip(col, 0, scene.cols - 1))

    def _skip(self, scene: Scene, error: InputError) -> None:
        key = scene.source.name, scene.image
        if key not in self._unreadable:
            LOG.warning("skipped: %s", error)
            self._unreadable.add(key)
            self.skipped.append(str(error))


def window_around(scene: Scene, center: tuple[int, int], side_m: float) -> Window:
    """The window of a square of the ground around a pixel, moved into the scene where the scene is large enough."""
    spans = []
    for middle, size, gsd in zip(center, (scene.rows, scene.cols), scene.resolution_m, strict=True):
        extent = max(1, round(side_m / gsd))
        start = middle - extent // 2
        start = min(max(start, 0), size - extent) if extent <= size else (size - extent) // 2
        spans.append((start, extent))
    (row, rows), (col, cols) = spans
    return Window(row, col, rows, cols)


def resample(image: NDArray[np.uint8], labels: NDArray[np.uint8], shape: tuple[int, int]) -> Pixels:
    """Both at another (rows, cols): area averages when shrinking, bilinear when enlarging; labels nearest."""
    if image.shape[:2] == shape:
        return image, labels
    is_shrinking = shape[0] < image.shape[0] or shape[1] < image.shape[1]
    size = shape[1], shape[0]
    how = cv2.INTER_AREA if is_shrinking else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=how), np.uint8)
    nearest = cv2.resize(np.ascontiguousarray(labels), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return scaled.reshape(*shape, -1), np.asarray(nearest, np.uint8)


def read_whole(scene: Scene, reader: SceneReader, resolution_m: float) -> Pixels:
    """A whole scene at another ground resolution in metres.

    Raises:
        InputError: the files cannot be read.
    """
    image, labels = reader.read(scene, scene.window)
    rows, cols = (
        max(1, round(size * gsd / resolution_m))
        for size, gsd in zip(scene.window.shape, scene.resolution_m, strict=True)
    )
    return resample(image, labels, (rows, cols))


def _find_places(scene: Scene, reader: SceneReader, rng: Generator) -> _Places:
    """Read in strips, so that a scene of any size can be looked through."""
    areas: dict[int, float] = {}
    found: dict[int, list[NDArray[np.int64]]] = {}
    pixel_m2 = scene.resolution_m[0] * scene.resolution_m[1]
    for window in scene.cut_strips():
        _, labels = reader.read(scene, window)
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            if label == IGNORE:
                continue
            areas[int(label)] = areas.get(int(label), 0.0) + float(count) * pixel_m2
            positions = np.flatnonzero(labels == label)
            positions = rng.choice(positions, min(len(positions), POINTS_PER_CLASS), replace=False)
            rows, cols = np.unravel_index(positions, labels.shape)
            found.setdefault(int(label), []).append(np.stack([rows + window.row, cols], axis=1))
    points = {label: rng.permutation(np.concatenate(parts))[:POINTS_PER_CLASS] for label, parts in found.items()}
    return _Places(scene, areas, points)
