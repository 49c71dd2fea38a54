"""One tile's classes and confidence as a small GeoTIFF that any GIS opens."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from geoseg.files import replace_file
from geoseg.grid import GeoGrid, Window
from geoseg.tiles.sealed import read_sealed, write_sealed

CACHE_BYTES = 4 * 2**20
"""GDAL's block cache while a tile is read; with its default, 5 % of the machine, each would be held twice."""

NOTHING = b"no known pixel"
"""Content of a tile that holds nothing; an empty file would look like one that a power cut emptied."""


def write_class_tile(
    path: Path, classes: NDArray[np.uint8], confidence: NDArray[np.uint8], *, grid: GeoGrid, window: Window, nodata: int
) -> int:
    """Write class ids and confidence (255 = 1.0), both uint8 (rows, cols), of one window.

    Where no pixel is known the file says just that.

    Returns:
        The file's size in bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    if not (classes != nodata).any():
        return write_nothing(path)
    with replace_file(path, tag=uuid.uuid4().hex) as temporary:
        write_sealed(temporary, _encode_tile(classes, confidence, grid, window))
    return path.stat().st_size


def write_nothing(path: Path) -> int:
    """Say in a tile's file that it holds nothing; without waiting for the disk, as that is quickly found again.

    Returns:
        The file's size in bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    with replace_file(path, tag=uuid.uuid4().hex, lasting=False) as temporary:
        temporary.write_bytes(NOTHING)
    return len(NOTHING)


def _encode_tile(classes: NDArray[np.uint8], confidence: NDArray[np.uint8], grid: GeoGrid, window: Window) -> bytes:
    # In memory: GDAL does not say when what it writes on closing a file finds no room, and half a tile is read as one
    # that holds nothing.
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=window.rows,
            width=window.cols,
            count=2,
            dtype="uint8",
            crs=CRS.from_wkt(grid.crs),
            transform=grid.transform @ Affine.translation(window.col, window.row),
            compress="deflate",
            zlevel=1,
            blockysize=min(64, window.rows),
            interleave="band",
            sparse_ok=True,
        ) as target:
            target.write(classes, 1)
            target.write(confidence, 2)
            target.descriptions = ("class", "confidence")
        encoded: bytes = memory.read()
        return encoded


def holds_nothing(path: Path) -> bool:
    """Whether a tile's file says that no pixel is known."""
    return path.stat().st_size == len(NOTHING) and path.read_bytes() == NOTHING


def read_class_tile(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Class ids and confidence, both uint8 (rows, cols), of a written tile; None where no pixel is known.

    Raises:
        InputError: the file was damaged after it was written.
    """
    if holds_nothing(path):
        return None
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), MemoryFile(read_sealed(path)) as memory, memory.open() as source:
        return source.read(1), source.read(2)
