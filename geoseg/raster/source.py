"""Every check that a raster passes before a pixel of it is used."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning

from geoseg.errors import InputError, OptionError
from geoseg.grid import Window
from geoseg.raster.georeference import read_grid
from geoseg.raster.opening import explain_fault, is_remote, measure_block, open_dataset
from geoseg.raster.reader import (
    GDAL_FAULTS,
    RasterSource,
    close_thread_dataset,
    gdal_environment,
    probe_windows,
)
from geoseg.raster.scale import ByteScale, fit_scale
from geoseg.redact import identify_url

SCAN_PX = 1024
MAX_SCANS = 4096
"""Windows of SCAN_PX that are searched for a valid pixel: 4.3 Gpx."""

__all__ = ["RasterSource", "open_raster"]

SIDE_FILES = (".ovr", ".aux.xml")


def open_raster(
    path: str | Path,
    *,
    bands: int | tuple[int, ...] = 3,
    value_range: tuple[float, float] | None = None,
) -> RasterSource:
    """Check a georeferenced raster once and describe how its windows are read as uint8.

    Values become uint8 by one rule for the whole raster: uint8 stays as it is, a colour table is expanded to RGB, every
    other data type is rescaled per band from its 2nd to its 98th percentile, taken from valid pixels of a fixed lattice
    of 144 windows. NaN, infinity, the nodata value (in all bands), alpha 0 and masked pixels are nodata.

    Args:
        path: file, VRT, GDAL dataset name or URL (http, https, s3, gs, az).
        bands: how many bands (red, green, blue first where the file says so, else in file order; never alpha), or their
            1-based indices.
        value_range: (low, high) stored values that become 0 and 255 in every band, instead of the percentiles.

    Raises:
        InputError: the raster is missing, broken, not georeferenced, has too few bands or no valid pixel.
    """
    name = locate_raster(path)
    try:
        with warnings.catch_warnings(), gdal_environment(name):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with open_dataset(name) as dataset:
                source = describe_dataset(name, dataset, bands)
                files = list(dataset.files) or [name]
    except GDAL_FAULTS as error:
        raise _unreadable(name, error) from error
    try:
        return _finish(source, files, value_range)
    finally:
        # The probes ran before the fingerprint was known: nothing may find this dataset under another identity.
        close_thread_dataset()


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name}: not readable as a raster ({explain_fault(error)})",
        expected="a complete raster that GDAL opens (GeoTIFF, COG, VRT, JPEG 2000, ...)",
        remedy="check the file with `gdalinfo FILE`; copy or download it again if it is incomplete",
    )


def locate_raster(path: str | Path) -> str:
    """The name under which GDAL opens a path: absolute for files, unchanged for URLs and dataset names.

    Raises:
        InputError: there is no such file, its folder cannot be read, or it is a directory, a pipe or a device.
    """
    name, local = str(path), Path(path)
    if not name:
        raise InputError("no raster is named", expected="an existing raster file or a URL", remedy="give its path")
    fault = "no such file"
    try:
        name.encode()
        exists = local.exists()
    except UnicodeEncodeError:
        exists, fault = False, "a name that is not UTF-8, which GDAL cannot open"
        name = name.encode(errors="replace").decode()
    except OSError as error:
        exists, fault = False, error.strerror or str(error)
    if not exists:
        # Names such as NETCDF:file.nc:red are for GDAL to judge.
        if is_remote(name) or ":" in name:
            return name
        raise InputError(f"{name}: {fault}", expected="an existing raster file or a URL", remedy="check the path")
    if local.is_dir():
        raise InputError(
            f"{name}: a directory",
            expected="one raster",
            remedy="scenes become one map with `geoseg batch DIRECTORY -o region`, parts of a scene one raster with "
            "`gdalbuildvrt scene.vrt DIRECTORY/*.tif`",
        )
    if not local.is_file():
        raise InputError(f"{name}: a pipe or a device", expected="a raster file", remedy="save it as a file first")
    if not local.stat().st_size:
        raise InputError(f"{name}: an empty file", expected="a raster file", remedy="copy or download it again")
    return str(local.absolute())


def describe_dataset(name: str, dataset: rasterio.DatasetReader, bands: int | tuple[int, ...]) -> RasterSource:
    """What an open dataset says about itself, checked, still without value scale and fingerprint.

    Raises:
        InputError: it is not georeferenced or lacks the bands.
    """
    grid = read_grid(name, dataset)
    # GDAL leaves a mask that it cannot read aside without a word.
    if os.path.exists(f"{name}.msk") and f"{name}.msk" not in dataset.files:
        raise InputError(f"{name}.msk: not readable as the mask of {Path(name).name}", expected="a whole mask file")
    alpha = next(
        (i for i, kind in zip(dataset.indexes, dataset.colorinterp, strict=True) if kind is ColorInterp.alpha), None
    )
    palette = _read_palette(dataset) if bands == 3 else None
    chosen = (1,) if palette else _choose_bands(name, dataset, bands)
    dtypes = {dataset.dtypes[i - 1] for i in chosen}
    if len(dtypes) > 1 or any("complex" in dtype for dtype in dtypes):
        raise InputError(
            f"{name}: bands of type {', '.join(sorted(dtypes))}",
            expected="real values, all bands of one data type",
            remedy="convert it: gdal_translate -ot Float32 FILE converted.tif",
        )
    flags = set(dataset.mask_flag_enums[chosen[0] - 1])
    has_mask = MaskFlags.alpha not in flags and not flags & {MaskFlags.all_valid, MaskFlags.nodata}
    nodata = [dataset.nodatavals[i - 1] for i in chosen]
    return RasterSource(
        path=name,
        grid=grid,
        bands=chosen,
        dtype=dtypes.pop(),
        scale=ByteScale(),
        nodata=tuple(map(float, nodata)) if None not in nodata else None,
        alpha_band=alpha,
        has_mask=has_mask,
        palette=palette,
        block_bytes=measure_block(name, dataset),
    )


def _read_palette(dataset: rasterio.DatasetReader) -> bytes | None:
    if dataset.colorinterp[0] is not ColorInterp.palette or np.dtype(dataset.dtypes[0]).kind != "u":
        return None
    table = dataset.colormap(1)
    colors = np.zeros((max(table) + 1, 4), np.uint8)
    for value, color in table.items():
        colors[value] = color
    return colors.tobytes()


def _choose_bands(name: str, dataset: rasterio.DatasetReader, bands: int | tuple[int, ...]) -> tuple[int, ...]:
    roles = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    if isinstance(bands, tuple):
        missing = sorted(set(bands) - set(roles))
        if missing or not bands:
            raise InputError(
                f"{name}: no band {missing}", expected=f"bands 1 to {dataset.count}", remedy="name existing bands"
            )
        return bands
    colors = [i for role in (ColorInterp.red, ColorInterp.green, ColorInterp.blue) for i in roles if roles[i] is role]
    if len(colors) != 3:
        colors = []
    ordered = colors + [i for i in roles if i not in colors and roles[i] is not ColorInterp.alpha]
    if len(ordered) < bands:
        raise InputError(
            f"{name}: {len(ordered)} band(s) besides alpha",
            expected=f"{bands} bands (red, green, blue)",
            remedy="use a colour raster; a grey one can stand in, less accurately, once written as three bands: "
            "gdal_translate -b 1 -b 1 -b 1 FILE rgb.tif",
        )
    return tuple(ordered[:bands])


def _finish(source: RasterSource, files: list[str], value_range: tuple[float, float] | None) -> RasterSource:
    # A file that was cut off misses its last pixels: find out now, not after hours.
    source.read_values(Window(source.grid.rows - 1, source.grid.cols - 1, 1, 1))
    if value_range is not None:
        low, high = value_range
        if not (np.isfinite(value_range).all() and low < high):
            raise OptionError(f"value range {low:g}..{high:g}", expected="two numbers, the lower one first")
        source = replace(source, scale=ByteScale((value_range,) * len(source.bands)))
        _find_valid(source)
    elif source.dtype != "uint8" and source.palette is None:
        reads = map(source.read_values, probe_windows(source.grid))
        samples = np.concatenate([values[:, valid] for values, valid in reads], axis=1)
        source = replace(source, scale=fit_scale(samples if samples.size else _find_valid(source)))
    elif source.may_hold_nodata:
        _find_valid(source)
    return replace(source, fingerprint=fingerprint_source(source, files))


def _find_valid(source: RasterSource) -> NDArray[Any]:
    """Stored valid values (B, n) of the first window that has any: the lattice, then the whole raster."""
    grid = source.grid
    across = -(-grid.cols // SCAN_PX)
    count = -(-grid.rows // SCAN_PX) * across
    # Of a larger raster, windows at even distances.
    places = (divmod(number, across) for number in range(0, count, -(-count // MAX_SCANS)))
    scan = (Window(row * SCAN_PX, col * SCAN_PX, SCAN_PX, SCAN_PX).intersect(grid.window) for row, col in places)
    for window in chain(probe_windows(grid), scan):
        values, valid = source.read_values(window)
        if valid.any():
            return values[:, valid]
    raise InputError(
        f"{source.path}: every pixel is nodata" + " that was looked at" * (count > MAX_SCANS),
        expected="a raster with valid pixels",
        remedy="check nodata value, alpha and mask with gdalinfo; gdal_edit.py -unsetnodata removes a wrong value",
    )


def fingerprint_source(source: RasterSource, files: list[str]) -> str:
    """Hexadecimal digest of the files (name, size and time, or probes of their content) and the source.

    A URL that was signed anew is the same file.
    """
    digest = hashlib.sha256(os.fsencode(identify_url(source.path)))
    for file in sorted(_list_members(files), key=identify_url):
        # Viewers add overviews and statistics later; neither changes a pixel that is read here.
        if file.endswith(SIDE_FILES):
            continue
        digest.update(os.fsencode(identify_url(file)))
        if Path(file).exists():
            state = Path(file).stat()
            digest.update(f"{state.st_size} {state.st_mtime_ns}".encode())
        else:
            for window in probe_windows(source.grid, count=3, size_px=64):
                digest.update(source.read_values(window)[0].tobytes())
    digest.update(repr(source).encode())
    return digest.hexdigest()


def is_unchanged(source: RasterSource) -> bool:
    """Whether the files, or what a server sends, are still those that were opened.

    Raises:
        InputError: they cannot be read any more.
    """
    try:
        with gdal_environment(source.path), open_dataset(source.path) as dataset:
            files = list(dataset.files) or [source.path]
        return fingerprint_source(replace(source, fingerprint=""), files) == source.fingerprint
    except GDAL_FAULTS as error:
        raise _unreadable(source.path, error) from error
    finally:
        close_thread_dataset()


def _list_members(files: list[str]) -> set[str]:
    """The files, and those that a VRT among them is made of: GDAL names only one level of them."""
    found: set[str] = set()
    todo = list(files)
    while todo:
        file = todo.pop()
        if file not in found and file.endswith(".vrt"):
            try:
                with open_dataset(file) as nested:
                    todo += nested.files
            except GDAL_FAULTS as error:
                raise _unreadable(file, error) from error
        found.add(file)
    return found
