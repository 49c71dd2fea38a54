"""The tiles of the held-out scenes on which a network does best and worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import nn

from geoseg.grid import Window
from geoseg.legend import ClassLegend, LegendClass
from geoseg.training.job import TrainingJob
from geoseg.training.losses import FULL
from geoseg.training.samples import read_whole
from geoseg.training.scenes import Scene, SceneReader
from geoseg.training.validate import count_pairs, predict_classes

MIN_CLASS_SHARE = 0.01
"""A class with less of a tile, true and predicted together, does not count: a few pixels would decide."""


@dataclass(frozen=True)
class TileScore:
    """A tile and how well it was predicted.

    Args:
        source: name of the source.
        image: file name of the scene.
        window: where in the scene, in pixels of the job's ground resolution.
        classes: that `counts`, `truth` and `predicted` speak of; two where the source labels one class only.
        counts: int64 (K, K), truth by prediction.
        picture: uint8 (H, W, 3), the image.
        truth: uint8 (H, W), index of the class, 255 where unknown.
        predicted: uint8 (H, W), index of the class.
    """

    source: str
    image: str
    window: Window
    classes: tuple[LegendClass, ...]
    counts: NDArray[np.int64]
    picture: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    predicted: NDArray[np.uint8]

    @property
    def known_share(self) -> float:
        """Share of the tile whose truth is known."""
        return float(self.counts.sum() / self.truth.size)

    @property
    def iou(self) -> dict[str, float]:
        """Intersection over union of the classes that make up `MIN_CLASS_SHARE` of the known pixels, or more."""
        hit = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - hit
        least = max(1.0, MIN_CLASS_SHARE * self.counts.sum())
        return {c.name: float(h / u) for c, h, u in zip(self.classes, hit, union, strict=True) if u >= least}

    @property
    def mean_iou(self) -> float:
        """Mean over the classes of `iou`."""
        return float(np.mean(list(self.iou.values()))) if self.iou else 0.0


def score_tiles(
    network: nn.Module,
    job: TrainingJob,
    scenes: Sequence[Scene],
    reader: SceneReader,
    legend: ClassLegend,
    *,
    keep: int = 3,
    tile_px: int = 256,
    min_known_share: float = 0.5,
) -> tuple[TileScore, ...]:
    """The `keep` worst and the `keep` best tiles of every source, from worst to best; one scene is in memory at a time.

    Tiles of which too little is known do not take part, nor do those with a single class, rightly predicted: they
    would all be the best.

    Raises:
        InputError: a scene cannot be read.
    """
    kept: dict[str, list[TileScore]] = {}
    for scene in scenes:
        tiles = kept.setdefault(scene.source.name, [])
        for tile in cut_tiles(network, job, scene, reader, legend, tile_px=tile_px):
            if tile.known_share >= min_known_share and len(tile.iou) > 1:
                tiles.append(tile)
                tiles.sort(key=lambda t: (t.mean_iou, t.image, t.window.row, t.window.col))
                del tiles[keep:-keep]
    return tuple(tile for tiles in kept.values() for tile in tiles)


def cut_tiles(
    network: nn.Module,
    job: TrainingJob,
    scene: Scene,
    reader: SceneReader,
    legend: ClassLegend,
    *,
    tile_px: int,
) -> Iterator[TileScore]:
    """Every tile of a scene, row by row; their sides are about `tile_px`, so that none is a sliver.

    The scene is predicted whole, so that no tile suffers from its border and the counts add up to those of the scene.
    """
    image, truth = read_whole(scene, reader, job.ground_resolution_m)
    predicted = predict_classes(network, job.normalisation, image, precision=job.schedule.precision)
    classes = legend.classes
    if scene.only != FULL:
        known = legend.classes[scene.only]
        classes = LegendClass(0, f"not {known.name}", (0, 0, 0), "background"), replace(known, id=1)
        predicted = (predicted == scene.only).astype(np.uint8)
    whole = Window(0, 0, *truth.shape)
    row_edges, col_edges = (_cut_evenly(size, tile_px) for size in truth.shape)
    for top, bottom in pairwise(row_edges):
        for left, right in pairwise(col_edges):
            window = Window(top, left, bottom - top, right - left)
            part = window.within(whole)
            yield TileScore(
                source=scene.source.name,
                image=scene.image.name,
                window=window,
                classes=classes,
                counts=count_pairs(truth[part], predicted[part], len(classes)),
                picture=_to_rgb(image[part]),
                truth=truth[part].copy(),
                predicted=predicted[part].copy(),
            )


def _cut_evenly(size: int, part: int) -> list[int]:
    """Borders of the parts of 0 .. size, each about `part` long."""
    count = max(1, round(size / part))
    return [size * i // count for i in range(count + 1)]


def _to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy, or the tile would keep its whole scene in memory."""
    return image[..., :3].copy() if image.shape[-1] >= 3 else image[..., :1].repeat(3, axis=-1)
