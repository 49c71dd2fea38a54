"""Buildings that touch become polygons of their own: their pixels get class ids that are no others'.

A tile asks what becomes of every component that reaches into it. Each is looked at whole, in a window around the tile,
so all its tiles give the same answer; one that is longer than the windows may be is left as it is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.classes.stitch import ReadTile, stitch_window
from geoseg.grid import Window
from geoseg.polygons.splitting import color_parts, reach_px, sample_px, split_components
from geoseg.run.job import Job
from geoseg.tiles.plan import Tile

Uint8 = NDArray[np.uint8]

LONGEST_M, LONGEST_PX = 200.0, 1024
"""Side of the largest square into which a component that is split may fit."""

BYTES_PER_PX = 32
"""Of the window around a tile: classes, confidence, components and parts."""


def longest_px(pixel_m: tuple[float, float]) -> int:
    """The side of that square in pixels of a size (height, width) in metres."""
    return min(LONGEST_PX, math.ceil(LONGEST_M / min(pixel_m)))


def part_bytes(job: Job) -> int:
    """The most that one tile's parts hold at once, in bytes."""
    if not job.options.separate:
        return 0
    pixel_m = job.plan.grid.ground_resolution_m()
    around = 2 * (longest_px(pixel_m) + reach_px(pixel_m))
    return BYTES_PER_PX * math.prod(side + around for side in job.plan.tile(0, 0).core.shape)


def number_parts(job: Job, tile: Tile, read: ReadTile) -> Uint8 | None:
    """The classes (rows, cols) of a tile in which parts that touch have ids of their own; None where none do.

    Args:
        job: of the run.
        tile: whose core is numbered.
        read: gives classes and confidence of any tile.
    """
    pixel_m = job.plan.grid.ground_resolution_m()
    numbered: Uint8 | None = None
    for class_id, ids in job.part_ids.items():
        for longest in (longest_px(pixel_m) // 4, longest_px(pixel_m)):
            around = longest + reach_px(pixel_m)
            window = _align(tile.core.pad(around, around), sample_px(pixel_m))
            inside = window.intersect(job.plan.grid.window)
            pair = stitch_window(inside, job.tiles(inside), read, elsewhere=job.legend.nodata)
            classes = _extend(pair[0], inside, window, beyond=job.legend.nodata)
            component, count = ndimage.label(classes == class_id)
            core = tile.core.within(window)
            wanted, is_settled = _choose(component, count, core, window, pixel_m)
            if is_settled:
                break
        if not wanted.any():
            continue
        confidence = np.zeros(window.shape, np.uint8) if pair[1] is None else _extend(pair[1], inside, window, beyond=0)
        colors = color_parts(split_components(component, wanted, confidence, pixel_m), len(ids))[core]
        if colors.any():
            numbered = classes[core].copy() if numbered is None else numbered
            numbered[colors > 0] = np.array(ids, np.uint8)[colors[colors > 0]]
    return numbered


def _choose(
    component: NDArray[np.int32], count: int, core: tuple[slice, slice], window: Window, pixel_m: tuple[float, float]
) -> tuple[NDArray[np.bool_], bool]:
    """Which components (count + 1,) that reach into the core to split, and whether the window was large enough."""
    longest, reach = longest_px(pixel_m), reach_px(pixel_m)
    wanted = np.zeros(count + 1, np.bool_)
    boxes = ndimage.find_objects(component)
    is_settled = True
    for number in np.unique(component[core]):
        if number == 0:
            continue
        rows, cols = boxes[number - 1]
        if max(rows.stop - rows.start, cols.stop - cols.start) > longest:
            continue
        room = min(rows.start, cols.start, window.rows - rows.stop, window.cols - cols.stop)
        wanted[number] = room >= reach
        is_settled &= bool(wanted[number])
    return wanted, is_settled


def _align(window: Window, step: int) -> Window:
    """The smallest window around another whose sides are multiples of `step` in the raster."""
    row, col = window.row // step * step, window.col // step * step
    return Window(row, col, -((row - window.row_stop) // step) * step, -((col - window.col_stop) // step) * step)


def _extend(values: Uint8, inside: Window, window: Window, *, beyond: int) -> Uint8:
    """The values of a window that reaches over the raster's edge."""
    extended = np.full(window.shape, beyond, np.uint8)
    extended[inside.within(window)] = values
    return extended
