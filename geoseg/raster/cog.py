"""Class and confidence rasters as cloud-optimised GeoTIFF, written window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args
from xml.sax.saxutils import escape

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window as DatasetWindow

from geoseg.errors import OutputError
from geoseg.files import replace_file
from geoseg.grid import GeoGrid, Window
from geoseg.legend import ClassLegend, GeometryKind, LegendClass
from geoseg.raster.checksum import PixelChecksum

BLOCK_PX = 512
TAG = "CLASS_"
CACHE_BYTES = 64 * 1024 * 1024

COG_OPTIONS = {
    "compress": "DEFLATE",
    "blocksize": BLOCK_PX,
    "overview_resampling": "NEAREST",
    "bigtiff": "IF_SAFER",
}

Blocks = Iterable[tuple[Window, NDArray[np.uint8]]]


def write_class_raster(
    path: Path, grid: GeoGrid, blocks: Blocks, *, legend: ClassLegend, overwrite: bool = False
) -> None:
    """Write a class raster as one compressed COG with colours and class names; pixels of no block are nodata.

    The file's bytes depend on the pixels alone, not on how they were cut into blocks or in which order these came.
    Class names go into the band's metadata and, for GIS legends, into `PATH.aux.xml`.

    Args:
        path: the `.tif` to write.
        grid: where its pixels are.
        blocks: windows inside the grid that do not overlap, with uint8 (h, w) class ids.
        legend: names, colours and the nodata id.
        overwrite: whether an existing file is replaced.

    Raises:
        OutputError: the file exists already or cannot be written.
    """
    colors = {c.id: (*c.color, 255) for c in legend.classes} | {legend.nodata: (0, 0, 0, 0)}
    tags = {f"{TAG}{c.id}": f"{c.kind}: {c.name}" for c in legend.classes}
    names = [legend.names.get(i, "") for i in range(max(legend.names, default=-1) + 1)]

    def label(raster: rasterio.io.DatasetWriter) -> None:
        raster.write_colormap(1, colors)
        raster.set_band_description(1, "class")
        raster.update_tags(1, **tags)

    side_text = _list_categories(names)
    _write_cog(path, grid, blocks, nodata=legend.nodata, label=label, side_text=side_text, overwrite=overwrite)


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


def write_confidence_raster(path: Path, grid: GeoGrid, blocks: Blocks, *, overwrite: bool = False) -> None:
    """Write a confidence raster as one compressed COG: uint8 with scale 1/255 to a probability, 0 for nodata.

    Args:
        path: the `.tif` to write.
        grid: where its pixels are.
        blocks: windows inside the grid that do not overlap, with uint8 (h, w) values 0 to 255.
        overwrite: whether an existing file is replaced.

    Raises:
        OutputError: the file exists already or cannot be written.
    """

    def label(raster: rasterio.io.DatasetWriter) -> None:
        raster.colorinterp = [ColorInterp.gray]
        raster.scales = [1 / 255]
        raster.set_band_description(1, "confidence")

    _write_cog(path, grid, blocks, nodata=0, label=label, side_text=None, overwrite=overwrite)


def _write_cog(
    path: Path,
    grid: GeoGrid,
    blocks: Blocks,
    *,
    nodata: int,
    label: Callable[[rasterio.io.DatasetWriter], None],
    side_text: str | None,
    overwrite: bool,
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
    with replace_file(path) as part:
        if path.exists() and not overwrite:
            raise OutputError(
                f"{path} exists already", expected="a new file", remedy="choose another name, or overwrite it"
            )
        # Blocks land in this file in the order they come; copying it lays them out anew, in the one order of a COG.
        scattered = part.with_name(part.name + ".blocks")
        try:
            with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
                with rasterio.open(scattered, "w", **profile) as raster:
                    label(raster)
                    for window, values in blocks:
                        raster.write(values, 1, window=DatasetWindow(window.col, window.row, window.cols, window.rows))
                        given.add(window, values)
                rasterio.shutil.copy(scattered, part, driver="COG", **COG_OPTIONS)
                scattered.unlink()
                # GDAL tells nobody when the disk fills up while it closes a file.
                if _sum_pixels(part, grid, nodata) != given.value:
                    raise _unwritable(path, "it reads back with other pixels")
        except (RasterioError, CPLE_BaseError) as error:
            raise _unwritable(path, str(error)) from error
        finally:
            scattered.unlink(missing_ok=True)
        _replace_side_file(path.with_name(path.name + ".aux.xml"), side_text)


def _sum_pixels(path: Path, grid: GeoGrid, nodata: int) -> int:
    found = PixelChecksum(grid, nodata)
    with rasterio.open(path) as raster:
        for _, box in raster.block_windows(1):
            window = Window(box.row_off, box.col_off, box.height, box.width)
            found.add(window, raster.read(1, window=box))
    return found.value


def _replace_side_file(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
        return
    with replace_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _unwritable(path: Path, reason: str) -> OutputError:
    return OutputError(
        f"{path} cannot be written: {reason}",
        expected="a folder that can be written, with room for the raster",
        remedy="choose another folder or free some space",
    )


def _list_categories(names: list[str]) -> str:
    lines = "\n".join(f"      <Category>{escape(name)}</Category>" for name in names)
    return (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n'
        f"{lines}\n    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
    )
