"""What GDAL may open from where, and which of its warnings are faults."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio._path import _parse_path
from rasterio.enums import Interleaving
from rasterio.env import ensure_env_with_credentials
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader

from geoseg.errors import InputError

SELF_CONTAINED = [
    "GTiff", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID", "PNG", "JPEG", "WEBP", "GPKG", "MBTiles", "NITF"
]  # fmt: skip
"""GDAL's drivers of formats that name no other file or host, as VRT, WMS and HDF5 do."""

MAX_BLOCK_BYTES = 256 * 2**20
RAW_BAND = "VRTRawRasterBand"

# Tags without which pixels or their place become others, and data that could not be decoded as it is.
_DAMAGE = re.compile(
    r'"(Geo\w*|GDALNoDataValue|Predictor|PhotometricInterpretation|PlanarConfiguration|SampleFormat|ExtraSamples'
    r'|FillOrder|ColorMap|JPEGTables|LercParameters|\w*(Offsets|ByteCounts))"[^;]*; tag ignored'
    r"|Invalid data type for tag (Strip|Tile)|Discarding \d+ bytes|JPEGLib:|libjpeg:"
    r'|Null count for "Geo|unit of measure not found'
)
_PLAIN = (
    (r"(\S+: ?)?TIFF\w+: ?Read error.*got \d+ bytes, expected \d+", "the file ends before them"),
    (r"(\S+: ?)?TIFF\w+: ?Failed to read directory at offset \d+", "its table of contents is cut off or damaged"),
    (r"'.*' not recognized as being in a supported file format\.", "not recognized as any format that GDAL reads"),
    (r";? ?It might help to specify the correct driver.*", ""),
    (r"'utf-8' codec can't decode .*", "text in it is not UTF-8"),
)
"""What libraries say of a file, and what that means to its owner."""

_THREAD = threading.local()


def is_remote(path: str) -> bool:
    """Whether a path is a URL or one of GDAL's virtual file systems."""
    return "://" in path or path.startswith("/vsi")


def open_dataset(path: str | Path, **options: Any) -> DatasetReader:
    """Open a raster; what came from elsewhere must not make GDAL read other files of this machine or call other hosts.

    From a URL, an archive or any other of GDAL's virtual file systems, and under the name of a TIFF, self-contained
    formats alone are opened. All else that a user has on disk or names is trusted: a VRT reads the rasters that it
    names, but nothing as raw bytes, in which any file is a raster.

    Raises:
        RasterioIOError: it cannot be opened, is of another format, or is damaged where it matters.
    """
    remote = is_remote(str(path))
    foreign = remote or Path(path).suffix.lower() in (".tif", ".tiff")
    try:
        with heed_warnings():
            dataset = _open_self_contained(str(path), **options) if foreign else rasterio.open(path, **options)
            if dataset.driver == "VRT" and RAW_BAND in dataset.tags(ns="xml:VRT").get("xml:VRT", ""):
                dataset.close()
                raise RasterioIOError(f"{path} reads a file as raw bytes, which may be any file")
            return dataset
    except RasterioIOError as error:
        if not remote or "not recognized" not in str(error):
            raise
        raise RasterioIOError(
            f"{error} From a URL or an archive no VRT or other format is opened that names further files; a copy of it "
            "on this machine is"
        ) from error


@ensure_env_with_credentials  # type: ignore[untyped-decorator]  # rasterio has no types
def _open_self_contained(path: str, **options: Any) -> DatasetReader:
    # rasterio.open takes a single driver only, in spite of what it says.
    return DatasetReader(_parse_path(path), driver=SELF_CONTAINED, **options)


def measure_block(name: str, dataset: DatasetReader) -> int:
    """Bytes of the largest block that GDAL decodes as a whole to read one pixel; `name` is for messages.

    Raises:
        InputError: they are too many to be decoded for every window.
    """
    pixel = sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    if dataset.interleaving is not Interleaving.pixel:
        pixel //= dataset.count
    largest = max(rows * cols for rows, cols in dataset.block_shapes) * pixel
    if largest > MAX_BLOCK_BYTES:
        raise InputError(
            f"{name}: blocks of {largest / 2**20:.0f} MiB, each of which is decoded whole to read one pixel of it",
            expected=f"blocks of at most {MAX_BLOCK_BYTES // 2**20} MiB",
            remedy="write it in tiles: gdal_translate -of COG -co COMPRESS=DEFLATE FILE tiled.tif",
        )
    return int(largest)


def explain_fault(error: BaseException) -> str:
    """What a library said of a file, in plain words where they are known, in one line."""
    # GDAL's own words are in the cause; rasterio's "Read failed. See previous exception for details." says nothing.
    while isinstance(error.__cause__, CPLE_BaseError):
        error = error.__cause__
    told = (str(error).strip() or type(error).__name__).splitlines()[-1]
    for pattern, words in _PLAIN:
        told = re.sub(pattern, words, told)
    return told


@contextmanager
def heed_warnings() -> Iterator[None]:
    """Turn those of GDAL's warnings that mean other pixels or another place into errors.

    Raises:
        RasterioIOError: GDAL went on over such a fault, in this thread.
    """
    _THREAD.damage = ""
    yield
    if _THREAD.damage:
        raise RasterioIOError(_THREAD.damage)


class _Watch(logging.Handler):
    """Keeps the first fault of a thread that heeds warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if getattr(_THREAD, "damage", None) == "" and _DAMAGE.search(message):
            _THREAD.damage = message


# One for good: handlers that come and go would get lost where threads open rasters at a time.
logging.getLogger("rasterio").addHandler(_Watch(logging.WARNING))
