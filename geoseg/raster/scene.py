"""Which scene a raster is, and of which day."""

from __future__ import annotations

import datetime
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from rasterio.errors import NotGeoreferencedWarning

from geoseg.errors import InputError
from geoseg.raster.opening import open_dataset
from geoseg.raster.reader import GDAL_FAULTS, gdal_environment

IMAGERY = "IMAGERY"
DATE_KEYS = (
    "ACQUISITIONDATETIME",
    "ACQUISITION_DATETIME",
    "ACQUISITION_DATE",
    "ACQUISITIONDATE",
    "DATE_ACQUIRED",
    "DATATAKE_1_DATATAKE_SENSING_START",
    "PRODUCT_START_TIME",
    "DATETIME",
    "START_DATETIME",
    "EXIF_DATETIMEORIGINAL",
    "TIFFTAG_DATETIME",
)
"""Metadata items that may hold the date, upper case, the surest first: a file's own date may be that of processing."""

_DATE = re.compile(r"\s*(\d{4})([-:/]?)(\d{2})\2(\d{2})(?:[T\s].*)?", re.DOTALL)
_FILE_NAME = re.compile(r"[^<>=&@|\"'?:/\\]+")


@dataclass(frozen=True, slots=True)
class SceneInfo:
    """What a layer says about where it comes from.

    Attributes:
        name: file name without folders, None where the source has none; never a path, a query or a credential.
        date: ISO 8601 date (YYYY-MM-DD) of the acquisition, as the raster's metadata say; None where they do not.
    """

    name: str | None
    date: str | None


def describe_source(path: str) -> SceneInfo:
    """Name and date of the raster that GDAL opens as `path` (of a VRT its own, not those of its parts).

    Raises:
        InputError: it cannot be opened.
    """
    try:
        with warnings.catch_warnings(), gdal_environment(path):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with open_dataset(path) as dataset:
                tags = {**dataset.tags(), **dataset.tags(ns=IMAGERY)}
    except GDAL_FAULTS as error:
        raise InputError(
            "a raster whose metadata cannot be read",
            expected="a raster that GDAL opens",
            remedy="check it with gdalinfo",
        ) from error
    return SceneInfo(name_scene(path), find_date(tags))


def name_scene(path: str) -> str | None:
    """The file name in a path, a URL or a GDAL dataset name; None where there is none to be told safely."""
    if os.path.exists(path):  # Path.exists raises where the name is too long, as an inline VRT may be
        return Path(path).name or None
    last = re.split(r"[/\\]", re.split(r"[?#]", path)[0].rstrip("/\\"))[-1]
    # NETCDF:"folder/file.nc":band: what follows the file is no part of its name, nor is a driver before it.
    parts = [part.strip("\"'") for part in unquote(last).split(":")]
    named = [part for part in parts if "." in part] or parts[-1:]
    return named[0] if _FILE_NAME.fullmatch(named[0]) else None


def find_date(tags: dict[str, str]) -> str | None:
    """The date (YYYY-MM-DD) in metadata items, keys in any case; None where none holds a valid one."""
    return next(_valid_dates({key.upper(): value for key, value in tags.items()}), None)


def _valid_dates(tags: dict[str, str]) -> Iterator[str]:
    for key in DATE_KEYS:
        match = _DATE.fullmatch(tags.get(key, ""))
        if match:
            try:
                yield datetime.date(int(match[1]), int(match[3]), int(match[4])).isoformat()
            except ValueError:
                continue
