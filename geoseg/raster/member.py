"""One scene's classes and confidence, as a mosaic sees them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.legend import ClassLegend
from geoseg.raster.classes import ClassRaster, open_class_raster
from geoseg.raster.reader import RasterSource
from geoseg.raster.scene import SceneInfo


@dataclass(frozen=True)
class MosaicMember:
    """One scene's classes and their confidence (uint8, 255 = 1.0) on the same grid; picklable, holds no open file.

    Attributes:
        classes: class ids.
        confidence: a raster of one band; what it holds where classes are unknown does not matter.
        scene: what features say of their origin.
        datetime: ISO 8601; None where unknown.
    """

    classes: ClassRaster
    confidence: RasterSource
    scene: SceneInfo
    datetime: str | None = None

    @property
    def legend(self) -> ClassLegend:
        """The classes' names."""
        return self.classes.legend or ClassLegend.unnamed()

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
        """Class ids and confidence uint8, and which pixels are known, bool, all (rows, cols) of a window inside.

        Raises:
            InputError: a file cannot be read there.
        """
        classes, nodata = self.classes.read(window), self.classes.nodata
        known = np.ones(window.shape, bool) if nodata is None else classes != nodata
        confidence = self.confidence.read_values(window)[0][0] if known.any() else np.zeros(window.shape, np.uint8)
        return classes, confidence, known


def open_member(classes: Path, confidence: Path, *, scene: SceneInfo, datetime: str | None = None) -> MosaicMember:
    """Check one scene's class and confidence raster.

    Raises:
        InputError: one is missing or broken, names no classes, or their grids differ; or the datetime is none.
    """
    parse_datetime(datetime)
    raster, other = open_class_raster(classes), open_class_raster(confidence, confidence=True)
    if raster.legend is None:
        raise InputError(
            f"{classes}: class ids without names",
            expected="a class raster that geoseg wrote",
            remedy="segment it again",
        )
    if other.grid != raster.grid:
        raise InputError(
            f"{confidence} lies on another grid than {classes}",
            expected="both as one run wrote them",
            remedy="segment the scene again",
        )
    # Thousands of scenes name few CRSs: each is kept, and sent to workers, once.
    grid = replace(raster.grid, crs=sys.intern(raster.grid.crs))
    raster = replace(raster, source=replace(raster.source, grid=grid))
    return MosaicMember(raster, replace(other.source, grid=grid), scene, datetime)


def parse_datetime(text: str | None) -> datetime:
    """A moment in ISO 8601, in UTC where it names no zone; the earliest of all where nothing is known.

    Raises:
        InputError: it is none.
    """
    if text is None:
        return datetime.min.replace(tzinfo=UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"the date {text}",
            expected="ISO 8601, as 2024-05-31 or 2024-05-31T10:20:30Z",
            remedy="correct the scene's item",
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
