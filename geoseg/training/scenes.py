"""Labelled images: found below the root, checked, read window by window."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid, Window
from geoseg.legend import ClassLegend
from geoseg.training.job import TrainingJob
from geoseg.training.labels import decode_labels, known_class
from geoseg.training.losses import IGNORE
from geoseg.training.source import Source

LOG = logging.getLogger(__name__)

Pixels = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Image uint8 (H, W, bands) and labels uint8 (H, W)."""


@dataclass(frozen=True)
class Scene:
    """One labelled image: its files, its size in pixels, its (row, col) ground resolution, the class it is about."""

    source: Source
    image: Path
    mask: Path | None
    rows: int
    cols: int
    resolution_m: tuple[float, float]
    only: int

    @property
    def window(self) -> Window:
        """The whole scene."""
        return Window(0, 0, self.rows, self.cols)


class SceneReader:
    """Reads scenes by window and keeps decoded ones in memory, as many as fit."""

    def __init__(self, legend: ClassLegend, *, bands: int, cache_mb: int) -> None:
        self._legend, self._bands, self._left = legend, bands, cache_mb * 1_000_000
        self._cache: dict[Path, Pixels] = {}
        self._lock = Lock()

    def read(self, scene: Scene, window: Window) -> Pixels:
        """The pixels of a window at full resolution; beyond the scene the image is reflected, the labels ignored.

        Raises:
            InputError: the files cannot be read.
        """
        inner = window.intersect(scene.window)
        if inner.is_empty:
            raise InputError(f"{window} lies outside of {scene.image}")
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
        with self._lock:
            if scene.image not in self._cache and size <= self._left:
                self._cache[scene.image] = self._decode(scene, scene.window)
                self._left -= size
        if scene.image in self._cache:
            image, labels = self._cache[scene.image]
            block = window.within(scene.window)
            return image[block], labels[block]
        return self._decode(scene, window)

    def _decode(self, scene: Scene, window: Window) -> Pixels:
        image = _read_bands(scene.image, window)
        mask = None if scene.mask is None else _read_bands(scene.mask, window)
        labels = decode_labels(scene.source, self._legend, image, mask)
        return np.ascontiguousarray(image[: self._bands].transpose(1, 2, 0)), labels


def find_scenes(job: TrainingJob, legend: ClassLegend, *, use: str) -> tuple[list[Scene], list[str]]:
    """The scenes of a job that are used to "train" or for "validation", and what was skipped and why.

    Raises:
        OptionError: the files of a source match nothing.
        InputError: no scene is left.
    """
    root = Path(job.root)
    scenes: list[Scene] = []
    skipped: list[str] = []
    for source in (s for s in job.source if s.use == use):
        for path in _match_files(root, source):
            try:
                scenes.append(_open_scene(path, source, legend, len(job.normalisation.mean)))
            except InputError as error:
                LOG.warning("skipped: %s", error)
                skipped.append(str(error))
    if not scenes and skipped:
        raise InputError(f"none of {len(skipped)} scenes to use for {use!r} can be read; first: {skipped[0]}")
    return scenes, skipped


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
    mask = None if source.kind == "ndvi" else path.parent / source.labels.replace("{stem}", path.stem)
    rows, cols, count, grid = _read_grid(path)
    if count < max(bands, 4 if source.kind == "ndvi" else 0):
        raise InputError(f"{path} has {count} bands", expected=f"{bands} bands, and a fourth for kind 'ndvi'")
    if mask is not None:
        mask_rows, mask_cols, _, mask_grid = _read_grid(mask)
        if (mask_rows, mask_cols) != (rows, cols):
            raise InputError(
                f"labels {mask} are {mask_rows} x {mask_cols} pixels, their image is {rows} x {cols}",
                expected="labels on the image's own pixels",
            )
        if grid is not None and mask_grid is not None and not _is_aligned(grid, mask_grid):
            raise InputError(f"labels {mask} lie elsewhere than their image", expected="the same transform")
    resolution = (source.ground_resolution_m, source.ground_resolution_m)
    if not source.ground_resolution_m:
        if grid is None:
            raise InputError(f"{path} has no georeference", remedy=f"give ground_resolution_m to {source.name!r}")
        resolution = grid.ground_resolution_m()
        if not all(math.isfinite(r) and r > 0 for r in resolution):
            raise InputError(f"the ground resolution of {path} cannot be told from its georeference")
    return Scene(source, path, mask, rows, cols, resolution, known_class(source, legend))


def _is_aligned(grid: GeoGrid, other: GeoGrid) -> bool:
    rows, cols = np.array([0.0, grid.rows]), np.array([0.0, grid.cols])
    x, y = grid.to_world(rows, cols)
    other_x, other_y = other.to_world(rows, cols)
    pixel = math.sqrt(abs(grid.transform.determinant))
    return bool(np.hypot(x - other_x, y - other_y).max() < 0.5 * pixel)


def _read_grid(path: Path) -> tuple[int, int, int, GeoGrid | None]:
    """Rows, columns, bands and, where there is one, the georeference."""
    try:
        with _open(path) as raster:
            if raster.dtypes[0] != "uint8":
                raise InputError(f"{path} is {raster.dtypes[0]}", expected="uint8")
            grid = None
            if raster.crs is not None:
                grid = GeoGrid(raster.crs.to_wkt(), raster.transform, raster.height, raster.width)
            return raster.height, raster.width, raster.count, grid
    except (RasterioError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a raster that GDAL opens") from error


def _read_bands(path: Path, window: Window) -> NDArray[np.uint8]:
    """All bands uint8 (B, H, W) of a window inside the raster; a palette becomes red, green, blue."""
    try:
        with _open(path) as raster:
            bands: NDArray[np.uint8] = raster.read(
                window=RasterWindow(window.col, window.row, window.cols, window.rows)
            )
            if raster.count == 1 and raster.colorinterp[0] == rasterio.enums.ColorInterp.palette:
                table = np.zeros((256, 3), np.uint8)
                for value, color in raster.colormap(1).items():
                    table[value] = color[:3]
                bands = np.ascontiguousarray(table[bands[0]].transpose(2, 0, 1))
            return bands
    except (RasterioError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a raster that GDAL opens") from error


def _open(path: Path) -> rasterio.DatasetReader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)
