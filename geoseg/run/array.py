"""Arrays to classes without files, for pipelines of xarray: lazy, and equal to what a run on a file gives."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dask.array as da
import numpy as np
from affine import Affine
from dask.base import tokenize
from dask.delayed import delayed
from numpy.typing import NDArray

from geoseg.errors import InputError, OptionError
from geoseg.grid import Window
from geoseg.legend import ClassLegend
from geoseg.models.package import load_package
from geoseg.probabilities.predict import predict_block
from geoseg.raster.reader import RasterSource, find_inside, probe_windows
from geoseg.raster.scale import ByteScale, fit_scale
from geoseg.run.array_image import ArrayImage
from geoseg.run.graph import engine_for
from geoseg.run.job import Prediction
from geoseg.run.segment import DEFAULT_MODEL, TILE_PX, check_tile_px, choose_device, lay_patches
from geoseg.tiles.plan import TilePlan

if TYPE_CHECKING:
    import xarray


def segment_array(
    array: xarray.DataArray | da.Array | NDArray[Any],
    *,
    output: Literal["classes", "confidence"] = "classes",
    model: str | Path = DEFAULT_MODEL,
    crs: Any = None,
    transform: Affine | None = None,
    nodata: float | None = None,
    value_range: tuple[float, float] | None = None,
    refine: bool = True,
    device: str = "auto",
    tile_px: int = TILE_PX,
    patch_px: int | None = None,
) -> xarray.DataArray:
    """Segment an image that is an array; nothing is read or predicted before the result is computed.

    Classes and confidence are exactly those that `segment` writes for a file of the same pixels with `min_unit_m2=0`,
    for any chunks: the same patches on the lattice anchored at the first pixel, the same rescale of values that are not
    uint8 (from the 2nd to the 98th percentile of 144 windows of the whole array, one more task of the graph). Nothing
    is merged by a minimum mapping unit, since that takes the whole map.

    The result's chunks are tiles; a task holds one tile of the input with its halo. The two outputs computed together,
    as in `dask.compute(classes, confidence)`, are predicted once.

    Args:
        array: (bands, y, x) of real numbers; a DataArray in any order of dimensions, backed by dask, numpy or a file.
            The model takes the first bands, red, green and blue in this order.
        output: "classes", uint8 ids with the legend's nodata, or "confidence", uint8 with 255 = 1.0.
        model: name of a shipped model, or the directory of a model package.
        crs: anything rasterio takes as a CRS; default: what rioxarray finds in a DataArray.
        transform: from (col, row) to (x, y) of pixel corners; default: likewise.
        nodata: stored value that means nothing where all bands have it; default: likewise.
        value_range: (low, high) values that become 0 and 255 in every band, instead of the percentiles.
        refine: whether the model's refiner is used, where it has one.
        device: "auto", "cpu" or "cuda".
        tile_px: wanted tile side in pixels; the nearest multiple of the patch core is taken.
        patch_px: side of the patches in model pixels; default: what predicts the fewest pixels for an array of this
            size.

    Returns:
        uint8 (y, x) on the grid of the input, with its coordinates and CRS; flag_values and flag_meanings as in the
        CF conventions name the classes.

    Raises:
        InputError: the array is not georeferenced, is no image, or has too few bands. While it is computed: all of the
            windows are nodata.
        OptionError: an option cannot work, or xarray and rioxarray are not installed.
    """
    if output not in ("classes", "confidence"):
        raise OptionError(f"output {output!r}", expected="classes or confidence")
    image = ArrayImage.of(array, crs=crs, transform=transform, nodata=nodata)
    package = load_package(model, refine=refine)
    source = image.describe(bands=len(package.bands))
    lattice = lay_patches(image.grid, package, patch_px)
    how = Prediction(
        source=source,
        model=str(package.path.absolute()),
        model_fingerprint=package.fingerprint,
        refine=refine,
        device=choose_device(device),
        lattice=lattice,
        aoi=None,
    )
    plan = TilePlan(image.grid, lattice.tile_px(check_tile_px(tile_px)), lattice.halo_source_px)
    values = da.asanyarray(image.values[: len(package.bands)])
    pairs = _predict_tiles(values, how, plan, package.legend.nodata, value_range)
    if output == "confidence":
        return image.georeference(pairs[1], "confidence", {})
    return image.georeference(pairs[0], "classes", _name_classes(package.legend), nodata=package.legend.nodata)


def _name_classes(legend: ClassLegend) -> dict[str, Any]:
    return {
        "flag_values": [c.id for c in legend.classes],
        "flag_meanings": " ".join(c.name.replace(" ", "_") for c in legend.classes),
    }


def _predict_tiles(
    image: da.Array, how: Prediction, plan: TilePlan, nodata: int, value_range: tuple[float, float] | None
) -> da.Array:
    """Classes and confidence, uint8 (2, rows, cols), a task a tile.

    Each task is given the window of the input that its tile's patches read. `dask.array.map_overlap` has no such
    windows: at the raster's end a patch mirrors more than a halo of pixels.
    """
    # The same input and model give the same names: both outputs share their tasks.
    token = tokenize(image.name, how.fingerprint, how.source.nodata, plan.core_px, nodata, value_range)
    scale = _scale_lazily(image, how.source, value_range, token)
    shared = delayed(how, name=f"geoseg-prediction-{token}", traverse=False)
    predict = delayed(_predict_tile, pure=False)
    tiles: list[list[da.Array]] = [[] for _ in range(plan.shape[0])]
    for tile in plan.tiles():
        cores = list(how.lattice.cores(tile.core))
        first, last = cores[0], cores[-1]
        whole = Window(first.row, first.col, last.row_stop - first.row, last.col_stop - first.col)
        held = find_inside(whole.pad(*how.lattice.halo_source_px), plan.grid)
        name = f"geoseg-{token}-{tile.name}"
        pair = predict(
            image[:, held.row : held.row_stop, held.col : held.col_stop],
            held,
            shared,
            scale,
            tile.core,
            nodata=nodata,
            dask_key_name=f"{name}-pair",
        )
        tiles[tile.id[0]].append(da.from_delayed(pair, (2, *tile.core.shape), np.uint8, name=name))
    pairs: da.Array = da.block(tiles)
    return pairs


def _scale_lazily(image: da.Array, source: RasterSource, value_range: tuple[float, float] | None, token: str) -> Any:
    """The rescale to uint8, or a task that finds it."""
    if value_range is not None:
        low, high = value_range
        if not (np.isfinite(value_range).all() and low < high):
            raise OptionError(f"value range {low:g}..{high:g}", expected="two numbers, the lower one first")
        return ByteScale((value_range,) * len(source.bands))
    if source.dtype == "uint8":
        return ByteScale()
    windows = [image[:, w.row : w.row_stop, w.col : w.col_stop] for w in probe_windows(source.grid)]
    return delayed(_fit_scale, pure=False)(windows, source, dask_key_name=f"geoseg-scale-{token}")


def _fit_scale(windows: list[NDArray[Any]], source: RasterSource) -> ByteScale:
    samples = np.concatenate([values[:, source.find_valid(values)] for values in windows], axis=1)
    if not samples.size:
        raise InputError(
            f"an array without a valid pixel in {len(windows)} windows spread over it",
            expected="valid pixels to take percentiles of",
            remedy="give the values that become 0 and 255: value_range=(low, high)",
        )
    return fit_scale(samples)


@dataclass(frozen=True, kw_only=True)
class _HeldRaster(RasterSource):
    """A raster of which the pixels of one window are in memory: values (bands, rows, cols) of `held`."""

    values: NDArray[Any]
    held: Window

    def read_values(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        # The reader paints nodata into what it is given; the input belongs to somebody else.
        values = self.values[(slice(None), *window.within(self.held))].copy()
        return values, self.find_valid(values)

    def is_blank(self, window: Window) -> bool:
        return not self.find_valid(self.values[(slice(None), *window.within(self.held))]).any()


def _predict_tile(
    values: NDArray[Any], held: Window, how: Prediction, scale: ByteScale, core: Window, *, nodata: int
) -> NDArray[np.uint8]:
    known = {f.name: getattr(how.source, f.name) for f in fields(RasterSource)} | {"scale": scale}
    source = _HeldRaster(**known, values=values, held=held)
    pair = predict_block(source, engine_for(how), how.lattice, core, nodata=nodata)
    if pair is None:
        pair = np.full(core.shape, nodata, np.uint8), np.zeros(core.shape, np.uint8)
    return np.stack(pair)
