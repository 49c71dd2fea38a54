"""Labelled images: found below the root, checked, read window by window."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid, Window
from geoseg.legend import ClassLegend
from geoseg.training.coco import coco_shapes, read_coco
from geoseg.training.images import ImageInfo, describe_image, read_bands, read_image
from geoseg.training.job import TrainingJob
from geoseg.training.labels import decode_labels, ignore_bright, known_class
from geoseg.training.layers import read_whole
from geoseg.training.losses import IGNORE
from geoseg.training.shapes import LabelShapes
from geoseg.training.source import Source
from geoseg.training.vectors import read_shapes

LOG = logging.getLogger(__name__)

Pixels = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Image uint8 (H, W, bands) and labels uint8 (H, W)."""

STRIP_PX = 16_000_000
"""How much of a scene is looked through at once."""


@dataclass(frozen=True)
class Scene:
    """One labelled image.

    Args:
        source: what its labels mean.
        image: its file.
        mask: the raster with its labels, where they are one.
        rows: height in pixels.
        cols: width in pixels.
        resolution_m: (row, col) ground resolution.
        only: the one class that is known, or `FULL`.
        shapes: its labels, where they are shapes.
        extent: 1 where `shapes` are valid; everywhere if None.
        alpha: 1-based index of the image's alpha band; 0 where there is none.
    """

    source: Source
    image: Path
    mask: Path | None
    rows: int
    cols: int
    resolution_m: tuple[float, float]
    only: int
    shapes: LabelShapes | None = None
    extent: LabelShapes | None = None
    alpha: int = 0

    @property
    def window(self) -> Window:
        """The whole scene."""
        return Window(0, 0, self.rows, self.cols)

    def cut_strips(self) -> Iterator[Window]:
        """The scene from top to bottom, in windows of a bounded size."""
        rows = max(1, STRIP_PX // self.cols)
        for row in range(0, self.rows, rows):
            yield Window(row, 0, min(rows, self.rows - row), self.cols)


class SceneReader:
    """Reads scenes by window and keeps decoded ones in memory, as many as fit."""

    def __init__(self, legend: ClassLegend, *, bands: int, cache_mb: int) -> None:
        self.legend = legend
        self._bands, self._left = bands, cache_mb * 1_000_000
        self._cache: dict[tuple[str, Path], Pixels] = {}
        self._lock = Lock()

    def read(self, scene: Scene, window: Window) -> Pixels:
        """The pixels of a window at full resolution; beyond the scene the image is reflected, the labels ignored.

        Raises:
            InputError: the files cannot be read.
        """
        inner = window.intersect(scene.window)
        if inner.is_empty:
            raise InputError(f"{window} lies outside of {scene.image}", expected="a window that meets it")
        image, labels = self._read_inside(scene, inner)
        if inner == window:
            return image, labels
        margin = (
            (inner.row - window.row, window.row_stop - inner.row_stop),
            (inner.col - window.col, window.col_stop - inner.col_stop),
        )
        return (
            np.pad(image, (*margin, (0, 0)), mode="symmetric"),
            np.pad(labels, margin, constant_values=IGNORE),
        )

    def _read_inside(self, scene: Scene, window: Window) -> Pixels:
        size = scene.rows * scene.cols * (self._bands + 1)
        key = scene.source.name, scene.image
        with self._lock:
            if key not in self._cache and size <= self._left:
                self._cache[key] = self._decode(scene, scene.window)
                self._left -= size
        if key in self._cache:
            image, labels = self._cache[key]
            block = window.within(scene.window)
            return image[block], labels[block]
        return self._decode(scene, window)

    def _decode(self, scene: Scene, window: Window) -> Pixels:
        source = scene.source
        image, valid = read_image(scene.image, window, alpha=scene.alpha)
        if scene.shapes is not None:
            labels = scene.shapes.burn(window)
            if scene.extent is not None:
                labels[scene.extent.burn(window) == 0] = IGNORE
        else:
            mask = None if scene.mask is None else read_bands(scene.mask, window, as_colors=source.kind == "colors")
            labels = decode_labels(source, self.legend, image, mask)
        labels = ignore_bright(labels, image, source.ignore_above)
        labels[~valid] = IGNORE
        return np.ascontiguousarray(image[: self._bands].transpose(1, 2, 0)), labels


def find_scenes(job: TrainingJob, legend: ClassLegend, *, use: str) -> tuple[list[Scene], list[str]]:
    """The scenes of a job that are used to "train" or for "validation", and what was skipped and why.

    Raises:
        OptionError: the files of a source match nothing.
        InputError: no scene is left.
    """
    _forget_files()
    root = Path(job.root)
    scenes: list[Scene] = []
    skipped: list[str] = []
    for source in (s for s in job.source if s.use == use):
        known_class(source, legend)
        paths = _match_files(root, source)
        for path in paths:
            try:
                scenes.append(_open_scene(path, source, legend, len(job.normalisation.mean)))
            except InputError as error:
                skipped.append(str(error))
        if source.kind == "coco":
            skipped += _list_missing(paths, source)
    _forget_files()
    for text in skipped:
        LOG.warning("skipped: %s", text)
    if not scenes and skipped:
        found = f"none of {len(skipped)} scenes to use for {use!r} can be read; first: {skipped[0]}"
        raise InputError(found, expected="at least one")
    return scenes, skipped


def keep_readable(scenes: Sequence[Scene], reader: SceneReader) -> tuple[list[Scene], list[str]]:
    """The scenes that can be read to their last pixel, and why the others cannot.

    Raises:
        InputError: no scene is left.
    """
    kept: list[Scene] = []
    skipped: list[str] = []
    for scene in scenes:
        try:
            for strip in scene.cut_strips():
                reader.read(scene, strip)
        except InputError as error:
            LOG.warning("skipped: %s", error)
            skipped.append(str(error))
        else:
            kept.append(scene)
    if skipped and not kept:
        found = f"none of {len(skipped)} scenes can be read; first: {skipped[0]}"
        raise InputError(found, expected="at least one")
    return kept, skipped


def _forget_files() -> None:
    """A label file that serves many images is remembered for one search only: it is large, and may change."""
    read_whole.cache_clear()
    read_coco.cache_clear()


def _list_missing(paths: Sequence[Path], source: Source) -> list[str]:
    """Annotated images that are not there."""
    folders: dict[Path, set[Path]] = {}
    for path in paths:
        folders.setdefault(_name_file(source.labels, path, source), set()).add(path.parent)
    found = []
    for labels, places in folders.items():
        with suppress(InputError):  # each of its images was skipped for it
            found += [f"{labels}: its image {name} is not there" for name in read_coco(labels).list_missing(places)]
    return found


def _match_files(root: Path, source: Source) -> Sequence[Path]:
    try:
        kept = {p for pattern in source.images for p in root.glob(pattern)}
        kept -= {p for pattern in source.exclude for p in root.glob(pattern)}
    except (NotImplementedError, ValueError) as error:
        raise OptionError(
            f"source {source.name!r}: {error}", expected="files or globs relative to the root, such as 'oam/*.tif'"
        ) from error
    if not kept:
        raise OptionError(
            f"source {source.name!r}: no file below {root} matches {', '.join(source.images)}",
            remedy="set root, or give --root",
        )
    return sorted(kept)


def _open_scene(path: Path, source: Source, legend: ClassLegend, bands: int) -> Scene:
    image = describe_image(path)
    if image.bands < max(bands, 4 if source.kind == "ndvi" else 0):
        raise InputError(f"{path} has {image.bands} bands", expected=f"{bands} bands, and a fourth for kind 'ndvi'")
    mask: Path | None = None
    shapes: LabelShapes | None = None
    extent: LabelShapes | None = None
    if source.kind == "vector":
        if image.grid is None:
            raise InputError(f"{path} has no georeference", expected="a georeferenced image for vector labels")
        border = _name_file(source.extent, path, source) if source.extent else None
        labels = _name_file(source.labels, path, source)
        shapes, extent = read_shapes(source, legend, image.grid, labels, border)
    elif source.kind == "coco":
        labels = _name_file(source.labels, path, source)
        shapes = coco_shapes(source, legend, path, (image.rows, image.cols), labels)
    elif source.kind != "ndvi":
        mask = _name_file(source.labels, path, source)
        _check_mask(mask, image, source)
    resolution = _ground_resolution_m(path, image, source)
    only = known_class(source, legend)
    return Scene(source, path, mask, image.rows, image.cols, resolution, only, shapes, extent, image.alpha)


def _name_file(template: str, image: Path, source: Source) -> Path:
    stem = image.stem.replace(*source.rename) if source.rename[0] else image.stem
    name = template.replace("{stem}", stem).replace("{folder}", image.parent.name)
    return Path(os.path.normpath(image.parent / name))


def _check_mask(path: Path, image: ImageInfo, source: Source) -> None:
    mask = describe_image(path)
    if (mask.rows, mask.cols) != (image.rows, image.cols):
        raise InputError(
            f"labels {path} are {mask.rows} x {mask.cols} pixels, their image is {image.rows} x {image.cols}",
            expected="labels on the image's own pixels",
        )
    if image.grid is not None and mask.grid is not None and not _is_aligned(image.grid, mask.grid):
        raise InputError(f"labels {path} lie elsewhere than their image", expected="the same transform")
    if source.kind == "colors" and mask.bands < 3:
        raise InputError(
            f"labels {path} have {mask.bands} band(s)",
            expected="red, green and blue, or a palette",
            remedy="for class ids use kind 'classes'",
        )


def _ground_resolution_m(path: Path, image: ImageInfo, source: Source) -> tuple[float, float]:
    if source.ground_resolution_m:
        return source.ground_resolution_m, source.ground_resolution_m
    if image.grid is None:
        raise InputError(f"{path} has no georeference", remedy=f"give ground_resolution_m to {source.name!r}")
    resolution = image.grid.ground_resolution_m()
    if not all(math.isfinite(r) and r > 0 for r in resolution):
        found = f"the ground resolution of {path} cannot be told from its georeference"
        raise InputError(found, remedy=f"give ground_resolution_m to {source.name!r}")
    return resolution


def _is_aligned(grid: GeoGrid, other: GeoGrid) -> bool:
    rows, cols = np.array([0.0, grid.rows]), np.array([0.0, grid.cols])
    x, y = grid.to_world(rows, cols)
    other_x, other_y = other.to_world(rows, cols)
    pixel = math.sqrt(abs(grid.transform.determinant))
    return bool(np.hypot(x - other_x, y - other_y).max() < 0.5 * pixel)
