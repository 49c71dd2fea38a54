"""A windowed, read-only raster: whatever GDAL opens, seen as uint8 bands and a validity mask."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window as DatasetWindow

from geoseg.errors import InputError
from geoseg.grid import GeoGrid, Window
from geoseg.raster.opening import explain_fault, heed_warnings, is_remote, open_dataset
from geoseg.raster.scale import ByteScale
from geoseg.redact import hide_credentials

CACHE_BYTES = 16 * 1024 * 1024
"""GDAL's block cache while geoseg reads; its default, 5 % of the machine, would grow with the machine."""

REMOTE_SETTINGS = {
    "GDAL_HTTP_CONNECTTIMEOUT": 15,
    "GDAL_HTTP_TIMEOUT": 300,
    "GDAL_HTTP_LOW_SPEED_TIME": 30,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
    "GDAL_HTTP_MAX_RETRY": 4,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/:/vsiadls/:/vsioss/:/vsiswift/",
}
"""How GDAL reads over a network, unless an environment variable of the same name says otherwise.

A connection must stand within 15 s and a request bring 1 kB/s over 30 s; 429, 5xx and broken connections are tried
again after 1, 2, 4 and 8 s. What a server said to one opening is not kept for the next: a failure may have been mended.
"""

STRIP_ROWS = 512
"""Rows that are searched at once for a valid pixel: whole blocks of most rasters."""

THREAD_DATASETS = 4
"""A mosaic goes to and fro between the rasters of the scenes that overlap."""

GDAL_FAULTS = (RasterioError, CPLE_BaseError, OSError, UnicodeDecodeError)
"""The last one: rasterio decodes what GDAL says, which may quote any byte of a file."""

_THREAD = threading.local()

hide_credentials("rasterio._env", "rasterio._err", "rasterio._base", "rasterio._io", "rasterio._warp", "rasterio.env")


@dataclass(frozen=True)
class RasterSource:
    """A raster that was checked once by `open_raster`; picklable, holds no open file.

    Attributes:
        path: file, VRT or URL as GDAL opens it; local paths are absolute.
        grid: where its pixels are.
        bands: 1-based indices of the bands to read, in this order.
        dtype: data type of the stored values.
        scale: how stored values become uint8.
        nodata: per band, the stored value that means nothing; a pixel is nodata where all bands have theirs.
        alpha_band: 1-based index of the band whose 0 means nodata.
        has_mask: whether the dataset carries a mask band (internal, `.msk`).
        palette: for colour-table rasters, RGBA of the values 0, 1, ... as bytes.
        fingerprint: hexadecimal digest that changes with the files or with any choice above.
        block_bytes: of the largest block that is decoded as a whole.
    """

    path: str = field(repr=False)  # may carry credentials
    grid: GeoGrid
    bands: tuple[int, ...]
    dtype: str
    scale: ByteScale
    nodata: tuple[float, ...] | None = None
    alpha_band: int | None = None
    has_mask: bool = False
    palette: bytes | None = None
    fingerprint: str = ""
    block_bytes: int = 0

    @property
    def band_count(self) -> int:
        """Bands of the images that `read` returns."""
        return 3 if self.palette is not None else len(self.bands)

    @property
    def may_hold_nodata(self) -> bool:
        """Whether a pixel inside the raster can be invalid at all."""
        floating = np.dtype(self.dtype).kind == "f"
        return floating or self.nodata is not None or self.alpha_band is not None or self.has_mask or bool(self.palette)

    def read(self, window: Window, *, fill: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read a window at full resolution; it may reach beyond the raster or lie outside it.

        Beyond the raster's edges the image goes on by symmetric reflection (edge pixels repeated, as often as needed)
        and is not valid. The result depends on the window alone. Safe from any thread.

        Args:
            window: pixels of `grid`, not empty.
            fill: image value of nodata pixels.

        Returns:
            image uint8 (B, h, w), 0 to 255, and valid bool (h, w).

        Raises:
            InputError: the file cannot be read there.
        """
        rows, cols = (
            _reflect(window.row, window.rows, self.grid.rows),
            _reflect(window.col, window.cols, self.grid.cols),
        )
        inside = find_inside(window, self.grid)
        values, valid = self.read_values(inside)
        image = self._to_image(values)
        if not valid.all():
            np.copyto(image, np.uint8(fill), where=~valid)
        if inside == window:
            return image, valid
        common = window.intersect(self.grid.window)
        if (inside.col, inside.cols) == (common.col, common.cols):
            # What is mirrored lies inside the window itself: slices are copied, not single pixels.
            beyond = common.col - window.col, window.col_stop - common.col_stop
            image = np.pad(image, ((0, 0), (0, 0), beyond), "symmetric")
        else:
            image = image.take(cols - inside.col, axis=2)
        image = image.take(rows - inside.row, axis=1)
        real = np.zeros(window.shape, bool)
        if not common.is_empty:
            real[common.within(window)] = valid[common.within(inside)]
        return image, real

    def read_values(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read stored values (bands, h, w) of a window inside the raster, and which pixels are valid, bool (h, w).

        Raises:
            InputError: the file cannot be read there.
        """
        with self._open(window) as dataset:
            values = dataset.read(self.bands, window=_place(window))
            shown = self._read_masks(dataset, window)
        valid = self.find_valid(values)
        return values, valid if shown is None else valid & shown

    def is_blank(self, window: Window) -> bool:
        """Whether surely no pixel of a window inside the raster is valid; little is read where one is.

        Raises:
            InputError: the file cannot be read there.
        """
        if not self.may_hold_nodata or self.block_bytes > CACHE_BYTES:
            return False
        middle = Window(window.row + window.rows // 2, window.col + window.cols // 2, 1, 1)
        starts = range(window.row // STRIP_ROWS * STRIP_ROWS, window.row_stop, STRIP_ROWS)
        strips = (Window(row, window.col, STRIP_ROWS, window.cols).intersect(window) for row in starts)
        with self._open(window) as dataset:
            return not any(self._holds_valid(dataset, part) for part in chain([middle], strips))

    def _holds_valid(self, dataset: rasterio.DatasetReader, window: Window) -> bool:
        # First what may spare the colours, which are often compressed more slowly.
        shown = self._read_masks(dataset, window)
        if shown is not None and not shown.any():
            return False
        valid = self.find_valid(dataset.read(self.bands, window=_place(window)))
        return bool((valid if shown is None else valid & shown).any())

    def _read_masks(self, dataset: rasterio.DatasetReader, window: Window) -> NDArray[np.bool_] | None:
        """Which pixels alpha and the mask band show, bool (h, w); None where there is neither."""
        shown = None
        if self.alpha_band is not None:
            shown = dataset.read(self.alpha_band, window=_place(window)) > 0
        if self.has_mask:
            masked = dataset.read_masks(self.bands[0], window=_place(window)) > 0
            shown = masked if shown is None else shown & masked
        return shown

    @contextmanager
    def _open(self, window: Window) -> Iterator[rasterio.DatasetReader]:
        """The dataset, to read a window from; GDAL's faults and relevant warnings become an InputError."""
        try:
            with gdal_environment(self.path), heed_warnings():
                yield _open_in_thread(self)
        except GDAL_FAULTS as error:
            raise InputError(
                f"{self.path}: pixels cannot be read in rows {window.row} to {window.row_stop}, "
                f"columns {window.col} to {window.col_stop} ({explain_fault(error)})",
                expected="a complete file",
                remedy="copy or download the raster again; `gdalinfo -checksum FILE` tells whether it is whole",
            ) from error

    def find_valid(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which pixels of stored values (bands, h, w) mean something by themselves, bool (h, w)."""
        valid = np.ones(values.shape[1:], bool)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(axis=0)
        if self.nodata is not None:
            said = values[0] != self.nodata[0]
            for band, value in zip(values[1:], self.nodata[1:], strict=True):
                said |= band != value
            valid &= said
        if self.palette is not None:
            valid &= self._palette_table()[np.minimum(values[0], len(self.palette) // 4 - 1), 3] > 0
        return valid

    def _to_image(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        if self.palette is None:
            return self.scale.to_uint8(values)
        colors = self._palette_table()[np.minimum(values[0], len(self.palette) // 4 - 1), :3]
        return np.ascontiguousarray(np.moveaxis(colors, -1, 0))

    def _palette_table(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.palette or b"", np.uint8).reshape(-1, 4)


def gdal_environment(path: str) -> rasterio.Env:
    """The GDAL settings under which a raster is read: bounded cache, `REMOTE_SETTINGS`, for URLs no folder listing."""
    options: dict[str, Any] = {**REMOTE_SETTINGS, **find_endpoint()}
    if is_remote(path):
        options["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"
    # GDAL would prefer what is set here to the environment, where users put what their network needs.
    options = {key: value for key, value in options.items() if key not in os.environ}
    # No code of a VRT is run, whatever the environment says.
    return rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_VRT_ENABLE_PYTHON="NO", **options)


def find_endpoint() -> dict[str, str]:
    """GDAL's settings for the S3 server that the AWS tools' variables name; GDAL has variables of its own."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if not url or "AWS_S3_ENDPOINT" in os.environ:
        return {}
    scheme, host, path, *_ = urlsplit(url)
    secure = "NO" if scheme == "http" else "YES"
    return {"AWS_S3_ENDPOINT": f"{host}{path}".rstrip("/"), "AWS_HTTPS": secure, "AWS_VIRTUAL_HOSTING": "FALSE"}


def _place(window: Window) -> DatasetWindow:
    return DatasetWindow(window.col, window.row, window.cols, window.rows)


def probe_windows(grid: GeoGrid, *, count: int = 12, size_px: int = 128) -> Iterator[Window]:
    """A fixed lattice of count x count windows of size_px; of a smaller raster, all pixels, each once."""
    for row, rows in _spread(grid.rows, count, size_px):
        for col, cols in _spread(grid.cols, count, size_px):
            yield Window(row, col, rows, cols)


def _spread(size: int, count: int, width: int) -> list[tuple[int, int]]:
    if size > count * width:
        return [(int(start), width) for start in np.linspace(0, size - width, count).astype(int)]
    edges = np.unique(np.linspace(0, size, count + 1).astype(int))
    return [(int(start), int(stop - start)) for start, stop in pairwise(edges)]


def find_inside(window: Window, grid: GeoGrid) -> Window:
    """The pixels of the raster that reading a window needs, which may reach beyond it and is mirrored there."""
    rows, cols = _reflect(window.row, window.rows, grid.rows), _reflect(window.col, window.cols, grid.cols)
    return Window(int(rows.min()), int(cols.min()), int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1)


def _reflect(start: int, count: int, size: int) -> NDArray[np.intp]:
    """Indices 0 to size - 1 of `count` positions from `start`, mirrored at both edges (numpy.pad's "symmetric")."""
    index = np.arange(start, start + count) % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


def _open_in_thread(source: RasterSource) -> rasterio.DatasetReader:
    # GDAL datasets are not thread-safe, and a forked child would share its parent's file position.
    owner = (os.getpid(), source.path, source.fingerprint)
    kept: dict[tuple[int, str, str], rasterio.DatasetReader] = _THREAD.__dict__.setdefault("datasets", {})
    dataset = kept.pop(owner, None) or open_dataset(source.path)
    while len(kept) >= THREAD_DATASETS:
        kept.pop(next(iter(kept))).close()
    kept[owner] = dataset  # the last one: the one used longest ago goes first
    return dataset


def close_thread_dataset() -> None:
    """Close the datasets that this thread keeps open between reads."""
    for dataset in _THREAD.__dict__.pop("datasets", {}).values():
        dataset.close()
