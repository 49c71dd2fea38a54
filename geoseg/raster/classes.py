"""A raster whose values are class ids."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from geoseg.errors import InputError
from geoseg.grid import GeoGrid, Window
from geoseg.legend import ClassLegend
from geoseg.raster.cog import read_legend
from geoseg.raster.opening import explain_fault, open_dataset
from geoseg.raster.reader import GDAL_FAULTS, RasterSource, gdal_environment
from geoseg.raster.source import describe_dataset, fingerprint_source, locate_raster

MASKED_ID = 255
"""Stands for masked pixels where the raster names no nodata value of its own."""


@dataclass(frozen=True)
class ClassRaster:
    """A single-band raster of class ids 0 to 255, checked once by `open_class_raster`; picklable, holds no open file.

    Attributes:
        source: the raster.
        nodata: the id under which `read` gives pixels that are unknown; None where every pixel is known.
        legend: the names of the ids, where the raster tells them.
    """

    source: RasterSource
    nodata: int | None
    legend: ClassLegend | None

    @property
    def grid(self) -> GeoGrid:
        """Where its pixels are."""
        return self.source.grid

    @property
    def fingerprint(self) -> str:
        """Changes with the file."""
        return self.source.fingerprint

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids, uint8 (rows, cols), of a window inside the raster.

        Raises:
            InputError: the file cannot be read there, or holds values that are no class ids.
        """
        (values,), valid = self.source.read_values(window)
        wrong = valid & ((values < 0) | (values > 255))
        if self.nodata is not None:
            wrong |= valid & (values == self.nodata)
        if wrong.any():
            raise InputError(
                f"{self.source.path}: value {values[wrong][0]} in a class raster",
                expected="class ids 0 to 255, and masked pixels that no class id stands for",
                remedy="reclassify the raster to uint8",
            )
        known = values if self.nodata is None else np.where(valid, values, self.nodata)
        classes: NDArray[np.uint8] = known.astype(np.uint8, copy=False)
        return classes


def open_class_raster(path: str | Path, *, confidence: bool = False) -> ClassRaster:
    """Check a class raster: one band of integers, georeferenced.

    Args:
        path: the raster.
        confidence: whether that of the confidence is meant, which is told from others only here.

    Raises:
        InputError: it is missing, broken, not georeferenced, has several bands or no integers, or holds confidence.
    """
    name = locate_raster(path)
    try:
        with warnings.catch_warnings(), gdal_environment(name):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with open_dataset(name) as dataset:
                _check_kind(name, dataset, confidence=confidence)
                source = replace(describe_dataset(name, dataset, (1,)), palette=None)
                legend, files = read_legend(dataset), list(dataset.files) or [name]
    except GDAL_FAULTS as error:
        raise InputError(
            f"{name}: not readable as a raster ({explain_fault(error)})",
            expected="a complete class raster that GDAL opens",
            remedy="check the file with `gdalinfo FILE`; copy or download it again if it is incomplete",
        ) from error
    source = replace(source, fingerprint=fingerprint_source(source, files))
    nodata = None
    if source.may_hold_nodata:
        own = source.nodata[0] if source.nodata else None
        nodata = int(own) if own is not None and own in range(256) else MASKED_ID
    return ClassRaster(source, nodata, legend)


def refuse_classes(path: str | Path) -> None:
    """See that a raster, which can be opened, is no class raster of geoseg, whose colours would be taken for imagery.

    Raises:
        InputError: it is one.
    """
    with gdal_environment(str(path)), open_dataset(path) as dataset:
        if read_legend(dataset) is not None:
            raise InputError(
                f"{path}: a class raster that geoseg wrote",
                expected="imagery",
                remedy="use `geoseg polygonize` for classes",
            )


def _check_kind(name: str, dataset: rasterio.DatasetReader, *, confidence: bool) -> None:
    is_own = dataset.tags().get("TIFFTAG_SOFTWARE", "").startswith("geoseg")
    if is_own and dataset.descriptions == ("confidence",) and not confidence:
        raise InputError(
            f"{name}: a confidence raster that geoseg wrote",
            expected="a class raster",
            remedy="give the file of --classes-raster",
        )
    dtype = np.dtype(dataset.dtypes[0])
    if dataset.count != 1 or dtype.kind not in "ui":
        raise InputError(
            f"{name}: {dataset.count} band(s) of {dtype}",
            expected="one band of integer class ids, 0 to 255",
            remedy="use `geoseg segment` for imagery, or extract the band with gdal_translate -b N -ot Byte",
        )
