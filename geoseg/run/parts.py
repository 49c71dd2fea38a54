"""Buildings that touch become polygons of their own: their pixels get class ids that are no others'.

A tile asks what becomes of every component that reaches into it. Each is looked at whole, in a window around the tile,
so all its tiles give the same answer; one that is longer than the window may hold is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.classes.stitch import ReadTile, stitch_window
from geoseg.grid import Window
from geoseg.polygons.splitting import color_parts, split_component
from geoseg.run.job import Job
from geoseg.tiles.plan import Tile

Uint8 = NDArray[np.uint8]

LONGEST_M, LONGEST_PX = 200.0, 1024
"""Side of the largest square into which a component that is split may fit."""

BLOCK_PX = 1024
"""Side of the blocks of a tile whose components are labelled together: labels are the largest array of all."""

BYTES_PER_PX, BYTES_PER_BLOCK_PX = 4, 10
"""Of the window around a tile: classes and confidence, and those of the tile that is read. Of that around a block: its
mask, its components and what labelling takes."""


def longest_px(pixel_m: tuple[float, float]) -> int:
    """The side of that square in pixels of a size (height, width) in metres."""
    return min(LONGEST_PX, math.ceil(LONGEST_M / min(pixel_m)))


def part_bytes(job: Job) -> int:
    """The most that one tile's parts hold at once, in bytes."""
    if not job.options.separate:
        return 0
    longest = longest_px(job.plan.grid.ground_resolution_m())
    shape = job.plan.tile(0, 0).core.shape
    block = math.prod(min(side, BLOCK_PX) + 2 * longest for side in shape)
    return BYTES_PER_PX * math.prod(side + 2 * longest for side in shape) + BYTES_PER_BLOCK_PX * block


def number_parts(job: Job, tile: Tile, read: ReadTile) -> Uint8 | None:
    """The classes (rows, cols) of a tile in which parts that touch have ids of their own; None where none do.

    Args:
        job: of the run.
        tile: whose core is numbered.
        read: gives classes and confidence of any tile.
    """
    pixel_m = job.plan.grid.ground_resolution_m()
    longest = longest_px(pixel_m)
    window = tile.core.pad(longest, longest).intersect(job.plan.grid.window)
    classes, confidence = stitch_window(window, job.tiles(window), read, elsewhere=job.legend.nodata)
    if confidence is None:
        return None
    numbered, split = classes[tile.core.within(window)].copy(), False
    for class_id, ids in job.part_ids.items():
        colored_ids = np.array(ids, np.uint8)
        for box, mine in _components(classes == class_id, window, tile.core, longest):
            parts = split_component(mine, confidence[box.within(window)], pixel_m, at=(box.row, box.col))
            if parts is not None:
                here = box.intersect(tile.core)
                colors = color_parts(parts, len(ids))[here.within(box)]
                numbered[here.within(tile.core)][colors > 0] = colored_ids[colors[colors > 0]]
                split = split or bool((colors > 0).any())
    return numbered if split else None


def _components(
    mask: NDArray[np.bool_], window: Window, core: Window, longest: int
) -> Iterator[tuple[Window, NDArray[np.bool_]]]:
    """Every component that reaches into the core, by its box: where that is in the raster, and its pixels, bool.

    A component is looked for around the block in which the core's part of its box begins.
    """
    for row in range(core.row, core.row_stop, BLOCK_PX):
        for col in range(core.col, core.col_stop, BLOCK_PX):
            block = Window(row, col, BLOCK_PX, BLOCK_PX).intersect(core)
            around = block.pad(longest, longest).intersect(window)
            component = ndimage.label(mask[around.within(window)])[0]
            for number, (rows, cols) in enumerate(ndimage.find_objects(component), start=1):
                box = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
                box = box.shift(around.row, around.col)
                here = box.intersect(core)
                begins = Window(here.row, here.col, 1, 1).intersect(block)
                if max(box.shape) <= longest and not (here.is_empty or begins.is_empty):
                    yield box, component[rows, cols] == number
