"""Class arrays to polygons without files, for what fits in memory."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import dask.array as da
import geopandas
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geoseg.errors import InputError, OptionError
from geoseg.grid import Window
from geoseg.polygons.join import join_tiles
from geoseg.polygons.trace import TileTrace, trace_tile
from geoseg.run.array_image import ArrayImage
from geoseg.run.machine import default_workers
from geoseg.tiles.plan import TilePlan

if TYPE_CHECKING:
    import xarray

TILE_PX = 1024

Item = TypeVar("Item")
Result = TypeVar("Result")


def polygonize_array(
    classes: xarray.DataArray | da.Array | NDArray[Any],
    *,
    crs: Any = None,
    transform: Affine | None = None,
    nodata: int | None = None,
    skip: Collection[int] = (),
    threads: int | None = None,
) -> geopandas.GeoDataFrame:
    """Polygonize class ids that are in memory.

    The polygons are exactly the 4-connected components of equal values, as `rasterio.features.shapes` draws them, each
    valid. Minimum mapping units, generalisation and attributes are for files: see `polygonize`.

    Args:
        classes: (y, x) of integers from 0 to 255 or of truth values; what is lazy is computed whole.
        crs: anything rasterio takes as a CRS; default: what rioxarray finds in a DataArray.
        transform: from (col, row) to (x, y) of pixel corners; default: likewise.
        nodata: value that gives no polygons; default: likewise.
        skip: further values that give none.
        threads: how many work; default: the processors that this process may use.

    Returns:
        A row a polygon, for any threads the same: `class_id` (uint8), `pixels` (int64) and the geometry.

    Raises:
        InputError: the array is not georeferenced, or holds no class ids.
        OptionError: an option cannot work, or xarray and rioxarray are not installed.
    """
    if threads is not None and threads < 1:
        raise OptionError(f"{threads} threads", expected="1 or more")
    if classes.ndim != 2:
        raise InputError(f"an array of shape {classes.shape}", expected="class ids (y, x)", remedy="choose one band")
    integers = classes.astype(np.uint8) if classes.dtype == bool else classes
    lone = integers.expand_dims("band") if hasattr(integers, "expand_dims") else integers[np.newaxis]
    image = ArrayImage.of(lone, crs=crs, transform=transform, nodata=nodata)
    ids = _read_ids(np.asarray(image.values[0]))
    left_out = [int(value) for value in (*skip, image.nodata) if value is not None and value in range(256)]
    grid = image.grid

    def trace(window: Window) -> TileTrace:
        return trace_tile(ids[window.within(grid.window)], window=window, grid_shape=ids.shape, skip=left_out)

    windows = [tile.core for tile in TilePlan(grid, (TILE_PX, TILE_PX)).tiles()]
    found: list[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.object_]]] = []
    with _pause_collection():
        for batch in join_tiles(_share_work(trace, windows, threads or default_workers())):
            found.append((batch.class_id, batch.pixels, batch.geometries(grid.transform)))
        none = np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, object)
        class_id, pixels, shapes = (np.concatenate(parts) for parts in zip(none, *found, strict=True))
        return geopandas.GeoDataFrame({"class_id": class_id, "pixels": pixels}, geometry=shapes, crs=grid.crs)


def _read_ids(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "ui" or values.min() < 0 or values.max() > 255:
        raise InputError(
            f"an array of {values.dtype} from {values.min()} to {values.max()}",
            expected="class ids, integers from 0 to 255",
            remedy="classes.astype('uint8'), with an id of its own for what is unknown",
        )
    return values.astype(np.uint8)


def _share_work(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> Iterator[Result]:
    """Results in order; while the next is not ready, whoever asks for it works on items that nobody has begun."""
    tasks: deque[Future[Result]] = deque(Future() for _ in items)
    waiting = deque(zip(tasks, items, strict=True))

    def work() -> bool:
        try:
            task, item = waiting.popleft()
        except IndexError:
            return False
        try:
            task.set_result(function(item))
        except BaseException as error:
            waiting.clear()  # all before this one have been begun: the caller will come to it
            task.set_exception(error)
        return True

    def work_on() -> None:
        while work():
            pass

    with ThreadPoolExecutor(threads) as pool:
        try:
            for _ in range(min(threads, len(items)) - 1):
                pool.submit(work_on)
            while tasks:
                task = tasks.popleft()
                while not task.done() and work():
                    pass
                yield task.result()
        finally:
            waiting.clear()


# Polygons refer to nothing that could refer back; yet each is one more thing for the collector to look through, again
# and again while more are made, which takes as long as all else.
@contextmanager
def _pause_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
