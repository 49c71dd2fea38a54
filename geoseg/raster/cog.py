"""Class and confidence rasters as cloud-optimised GeoTIFF, written window by window."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window as DatasetWindow

from geoseg import __version__
from geoseg.errors import OutputError
from geoseg.files import replace_file
from geoseg.grid import GeoGrid, Window
from geoseg.legend import ClassLegend, GeometryKind, LegendClass
from geoseg.raster.categories import is_own_style, make_raster_qml, write_categories
from geoseg.raster.checksum import PixelChecksum

BLOCK_PX = 512
TAG = "CLASS_"
CACHE_BYTES = 64 * 1024 * 1024

COG_OPTIONS = {
    "compress": "DEFLATE",
    "blocksize": BLOCK_PX,
    "bigtiff": "IF_SAFER",
}

Blocks = Iterable[tuple[Window, NDArray[np.uint8]]]
Provenance = Mapping[str, object]
UNKNOWN: Provenance = MappingProxyType({})


def write_class_raster(
    path: Path,
    grid: GeoGrid,
    blocks: Blocks,
    *,
    legend: ClassLegend,
    provenance: Provenance = UNKNOWN,
    overwrite: bool = False,
) -> None:
    """Write a class raster as one compressed COG with colours and class names; pixels of no block are nodata.

    The file's bytes depend on the arguments alone, not on how the pixels were cut into blocks or in which order these
    came. A pixel of an overview has the class of most pixels beneath it. Class names go into the band's metadata; as
    GIS programs do not look for them there, also, with colours, into `PATH.aux.xml` and into a `.qml` style for QGIS,
    unless somebody else's is there.

    Args:
        path: the `.tif` to write.
        grid: where its pixels are.
        blocks: windows inside the grid that do not overlap, with uint8 (h, w) class ids.
        legend: names, colours and the nodata id.
        provenance: how it came about; each goes into the metadata as `GEOSEG_` and its key in capitals.
        overwrite: whether an existing file is replaced.

    Raises:
        OutputError: the file exists already or cannot be written.
    """
    colors = {c.id: (*c.color, 255) for c in legend.classes} | {legend.nodata: (0, 0, 0, 0)}
    tags = {f"{TAG}{c.id}": f"{c.kind}: {c.name}" for c in legend.classes}

    def label(raster: rasterio.io.DatasetWriter) -> None:
        raster.write_colormap(1, colors)
        raster.set_band_description(1, "class")
        raster.update_tags(1, **tags)

    style = path.with_suffix(".qml")
    with ExitStack() as stack:
        if is_own_style(style) or not os.path.lexists(style):
            # Entered first and so replaced last.
            stack.enter_context(replace_file(style)).write_text(make_raster_qml(legend), encoding="utf-8")
        part = stack.enter_context(_replace_raster(path, overwrite=overwrite))
        _write_cog(part, grid, blocks, nodata=legend.nodata, label=label, resampling="MODE", provenance=provenance)
        write_categories(part.with_name(part.name + ".aux.xml"), legend)


def read_legend(dataset: rasterio.DatasetReader) -> ClassLegend | None:
    """The legend that `write_class_raster` left in a file; None in a file of other origin."""
    colors = dataset.colormap(1) if dataset.colorinterp[0] is ColorInterp.palette else {}
    classes = []
    for key, text in dataset.tags(1).items():
        kind, _, name = text.partition(": ")
        if key.startswith(TAG) and key.removeprefix(TAG).isdecimal() and kind in get_args(GeometryKind):
            number = int(key.removeprefix(TAG))
            classes.append(LegendClass(number, name, colors.get(number, (0, 0, 0, 0))[:3], kind))
    if not classes:
        return None
    nodata = ClassLegend.unnamed().nodata if dataset.nodata is None else int(dataset.nodata)
    return ClassLegend(tuple(sorted(classes, key=lambda c: c.id)), nodata)


def write_confidence_raster(
    path: Path, grid: GeoGrid, blocks: Blocks, *, provenance: Provenance = UNKNOWN, overwrite: bool = False
) -> None:
    """Write a confidence raster as one compressed COG: uint8 with scale 1/255 to a probability, 0 for nodata.

    A pixel of an overview has the mean of the known pixels beneath it.

    Args:
        path: the `.tif` to write.
        grid: where its pixels are.
        blocks: windows inside the grid that do not overlap, with uint8 (h, w) values 0 to 255.
        provenance: how it came about; each goes into the metadata as `GEOSEG_` and its key in capitals.
        overwrite: whether an existing file is replaced.

    Raises:
        OutputError: the file exists already or cannot be written.
    """

    def label(raster: rasterio.io.DatasetWriter) -> None:
        raster.colorinterp = [ColorInterp.gray]
        raster.scales = [1 / 255]
        raster.set_band_description(1, "confidence")

    with _replace_raster(path, overwrite=overwrite) as part:
        _write_cog(part, grid, blocks, nodata=0, label=label, resampling="AVERAGE", provenance=provenance)
        if is_own_style(path.with_suffix(".qml")):
            path.with_suffix(".qml").unlink()


@contextmanager
def _replace_raster(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary name for the raster and, with `.aux.xml` behind it, for what GDAL cannot keep inside."""
    with replace_file(path, sides=(".aux.xml",)) as part:
        if path.exists() and not overwrite:
            raise OutputError(
                f"{path} exists already", expected="a new file", remedy="choose another name, or overwrite it"
            )
        try:
            yield part
        except (RasterioError, CPLE_BaseError) as error:
            raise OutputError(
                f"{path} cannot be written: {error}",
                expected="a folder that can be written, with room for the raster",
                remedy="choose another folder or free some space",
            ) from error


def _write_cog(
    part: Path,
    grid: GeoGrid,
    blocks: Blocks,
    *,
    nodata: int,
    label: Callable[[rasterio.io.DatasetWriter], None],
    resampling: str,
    provenance: Provenance,
) -> None:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": grid.cols,
        "height": grid.rows,
        "count": 1,
        "dtype": "uint8",
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "compress": "lzw",
        "sparse_ok": True,
        "bigtiff": "if_safer",
    }
    given = PixelChecksum(grid, nodata)
    # Blocks land in this file in the order they come; copying it lays them out anew, in the one order of a COG.
    scattered = part.with_name(part.name + ".blocks")
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        with rasterio.open(scattered, "w", **profile) as raster:
            label(raster)
            raster.update_tags(
                TIFFTAG_SOFTWARE=f"geoseg {__version__}",
                **{f"GEOSEG_{key.upper()}": str(value) for key, value in sorted(provenance.items())},
            )
            for window, values in blocks:
                raster.write(values, 1, window=DatasetWindow(window.col, window.row, window.cols, window.rows))
                given.add(window, values)
        rasterio.shutil.copy(scattered, part, driver="COG", overview_resampling=resampling, **COG_OPTIONS)
        scattered.unlink()
        # GDAL tells nobody when the disk fills up while it closes a file.
        if _sum_pixels(part, grid, nodata) != given.value:
            raise RasterioError("it reads back with other pixels")


def _sum_pixels(path: Path, grid: GeoGrid, nodata: int) -> int:
    found = PixelChecksum(grid, nodata)
    with rasterio.open(path) as raster:
        for _, box in raster.block_windows(1):
            window = Window(box.row_off, box.col_off, box.height, box.width)
            found.add(window, raster.read(1, window=box))
    return found.value
