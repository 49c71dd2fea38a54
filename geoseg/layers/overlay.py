"""The picture a user looks at: the image with the classes laid over it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT

from geoseg.errors import InputError
from geoseg.files import replace_file
from geoseg.grid import GeoGrid
from geoseg.layers.read import is_layer_path, open_layer
from geoseg.legend import ClassLegend
from geoseg.raster.opening import open_dataset
from geoseg.raster.reader import gdal_environment

FILL_OPACITY = 0.38
CACHE_BYTES = 64 * 1024 * 1024
GDAL_FAULTS = (RasterioError, CPLE_BaseError)


def render_overlay(
    image: str | Path, classes: str | Path, output: str | Path, *, legend: ClassLegend, max_px: int = 1600
) -> Path:
    """Draw a raster with its classes as tinted areas with crisp outlines, a legend and a scale bar, as PNG.

    Args:
        image: raster of one or at least three bands; read decimated, whatever its size.
        classes: polygon layer with a column `class_id`, or a class raster; any CRS.
        output: the PNG to write.
        legend: colours and names; background and nodata stay untinted.
        max_px: longer side of the picture in pixels.

    Returns:
        The path of the PNG.

    Raises:
        InputError: an input cannot be read.
        OutputError: the picture cannot be written.
    """
    colors, grid = _read_image(str(image), max_px)
    read = _burn_layer if is_layer_path(classes) else _read_classes
    ids, objects = read(Path(classes), grid, legend)
    picture = draw_overlay(colors, ids, legend, pixel_m=grid.ground_resolution_m()[1], objects=objects)
    with replace_file(Path(output)) as part:
        Image.fromarray(picture).save(part, format="PNG", optimize=True)
    return Path(output)


def draw_overlay(
    image: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    legend: ClassLegend,
    *,
    pixel_m: float,
    objects: NDArray[np.int32] | None = None,
) -> NDArray[np.uint8]:
    """Tint an image by class.

    Args:
        image: uint8 (h, w, 3), 0 to 255.
        classes: uint8 (h, w) class ids.
        legend: colours and names.
        pixel_m: width of a pixel on the ground in metres, for the scale bar; not a number leaves the bar out.
        objects: int32 (h, w), different numbers in neighbouring objects; without it, areas of one class are one object.

    Returns:
        uint8 (h, w, 3), 0 to 255.
    """
    shown = [c for c in legend.classes if c.kind != "background" and c.id != legend.nodata]
    picture = image.astype(np.float32)
    # The outline lies within the object, so that neighbours both keep theirs.
    outline = _find_borders(classes.astype(np.int32) if objects is None else objects)
    for entry in shown:
        inside = classes == entry.id
        color = np.array(entry.color, np.float32)
        picture[inside] += (color - picture[inside]) * FILL_OPACITY
        picture[inside & outline] = color
    canvas = Image.fromarray(np.round(picture).astype(np.uint8)).convert("RGBA")
    _draw_legend(canvas, [(c.name, c.color) for c in shown])
    if math.isfinite(pixel_m):
        _draw_scale_bar(canvas, pixel_m)
    return np.asarray(canvas.convert("RGB"))


def _find_borders(objects: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels (h, w) of which one of the four neighbours belongs to another object."""
    border = np.zeros(objects.shape, bool)
    down, right = objects[1:] != objects[:-1], objects[:, 1:] != objects[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border


def _read_image(path: str, max_px: int) -> tuple[NDArray[np.uint8], GeoGrid]:
    try:
        with gdal_environment(path), rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), open_dataset(path) as raster:
            shrink = max(1.0, max(raster.shape) / max_px)
            rows, cols = (max(1, round(side / shrink)) for side in raster.shape)
            bands = (1, 2, 3) if raster.count >= 3 else (1, 1, 1)
            values = raster.read(bands, out_shape=(3, rows, cols), resampling=Resampling.average, masked=True)
            scale = Affine.scale(raster.width / cols, raster.height / rows)
            grid = GeoGrid(raster.crs.to_wkt(), raster.transform * scale, rows, cols)
    except (*GDAL_FAULTS, AttributeError) as error:  # a raster without a CRS has None there
        raise _unreadable(path, error) from error
    return np.ascontiguousarray(np.moveaxis(_stretch(values), 0, -1)), grid


def _stretch(values: np.ma.MaskedArray[Any, Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.asarray(values.filled(0), np.uint8)
    known = np.ma.masked_invalid(values.astype(np.float32))
    if known.count() == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(known.compressed(), (2, 98))
    return np.asarray((np.clip((known - low) / max(high - low, 1e-9), 0, 1) * 255).filled(0), np.uint8)


def _read_classes(path: Path, grid: GeoGrid, legend: ClassLegend) -> tuple[NDArray[np.uint8], None]:
    target = {"crs": grid.crs, "transform": grid.transform, "height": grid.rows, "width": grid.cols}
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES),
            open_dataset(path) as raster,
            WarpedVRT(raster, **target, resampling=Resampling.nearest, nodata=legend.nodata) as aligned,
        ):
            return aligned.read(1).astype(np.uint8), None
    except GDAL_FAULTS as error:
        raise _unreadable(str(path), error) from error


def _burn_layer(path: Path, grid: GeoGrid, legend: ClassLegend) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    frame = open_layer(path)
    if "class_id" not in frame:
        raise InputError(f"{path} has no column class_id", expected="a layer of geoseg", remedy="check the path")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].to_crs(grid.crs)
    objects = np.zeros((grid.rows, grid.cols), np.int32)
    if len(frame):
        rasterize(zip(frame.geometry, range(1, len(frame) + 1), strict=True), out=objects, transform=grid.transform)
    ids = np.concatenate([[legend.nodata], frame["class_id"].to_numpy()]).astype(np.uint8)
    return ids[objects], objects


def _unreadable(path: str, error: Exception) -> InputError:
    return InputError(
        f"{path}: not readable as a georeferenced raster ({error})",
        expected="a raster that GDAL opens, with a CRS",
        remedy="check the file with gdalinfo",
    )


def _draw_legend(canvas: Image.Image, entries: list[tuple[str, tuple[int, int, int]]]) -> None:
    if not entries:
        return
    unit = _text_px(canvas)
    font = ImageFont.load_default(unit)
    width = int(max(font.getlength(name) for name, _ in entries)) + 3 * unit
    height = int(len(entries) * 1.6 * unit + 0.6 * unit)
    box = Image.new("RGBA", (width, height), (255, 255, 255, 215))
    draw = ImageDraw.Draw(box)
    for index, (name, color) in enumerate(entries):
        top = int((0.5 + 1.6 * index) * unit)
        draw.rectangle((unit // 2, top, unit // 2 + unit, top + unit), fill=(*color, 255), outline=(60, 60, 60, 255))
        draw.text((2 * unit, top + unit / 2), name, fill=(25, 25, 25, 255), font=font, anchor="lm")
    if _fits(canvas, box, unit):
        canvas.alpha_composite(box, (unit // 2, unit // 2))


def _draw_scale_bar(canvas: Image.Image, pixel_m: float) -> None:
    unit = _text_px(canvas)
    length_m = _round_length(canvas.width * pixel_m / 5)
    bar = round(length_m / pixel_m)
    label = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    font = ImageFont.load_default(unit)
    box = Image.new("RGBA", (max(bar, int(font.getlength(label))) + unit, int(2.4 * unit)), (255, 255, 255, 215))
    draw = ImageDraw.Draw(box)
    draw.text((box.width / 2, 0.9 * unit), label, fill=(25, 25, 25, 255), font=font, anchor="mm")
    left = (box.width - bar) // 2
    draw.rectangle((left, int(1.65 * unit), left + bar, int(1.95 * unit)), fill=(25, 25, 25, 255))
    if _fits(canvas, box, unit):
        canvas.alpha_composite(box, (unit // 2, canvas.height - box.height - unit // 2))


def _text_px(canvas: Image.Image) -> int:
    return max(9, round(min(canvas.size) / 50))


def _fits(canvas: Image.Image, box: Image.Image, unit: int) -> bool:
    return box.width + unit <= canvas.width and box.height + unit <= canvas.height


def _round_length(length: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that does not exceed a length."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length)
