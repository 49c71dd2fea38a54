"""Buildings that touch become polygons of their own: their pixels get class ids that are no others'.

A tile asks what becomes of every component that reaches into it. Each is looked at whole, in a window around the tile,
so all its tiles give the same answer; one that is longer than the window may hold is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from geoseg.classes.stitch import ReadTile, stitch_window
from geoseg.grid import Window
from geoseg.polygons.runs import count_runs, encode_runs, label_runs
from geoseg.polygons.splitting import color_parts, split_component
from geoseg.polygons.touching import bound_components, paint_component
from geoseg.run.job import Job
from geoseg.tiles.plan import Tile

Uint8 = NDArray[np.uint8]

LONGEST_M, LONGEST_PX = 200.0, 1024
"""Side of the largest square into which a component that is split may fit."""

BYTES_PER_PX = 6
"""Of the window around a tile: classes, confidence, and those of a tile that is read or else the window's runs."""


def longest_px(pixel_m: tuple[float, float]) -> int:
    """The side of that square in pixels of a size (height, width) in metres."""
    return min(LONGEST_PX, math.ceil(LONGEST_M / min(pixel_m)))


def part_bytes(job: Job) -> int:
    """The most that one tile's parts hold at once, in bytes."""
    if not job.options.separate:
        return 0
    longest = longest_px(job.plan.grid.ground_resolution_m())
    return BYTES_PER_PX * math.prod(side + 2 * longest for side in job.plan.tile(0, 0).core.shape)


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
        for box, mine in _components(classes == class_id, window, tile.core, longest):
            parts = split_component(mine, confidence[box.within(window)], pixel_m, at=(box.row, box.col))
            if parts is not None:
                here = box.intersect(tile.core)
                colors = color_parts(parts, len(ids))[here.within(box)]
                numbered[here.within(tile.core)][colors > 0] = np.array(ids, np.uint8)[colors[colors > 0]]
                split = split or bool((colors > 0).any())
    return numbered if split else None


def _components(
    mask: NDArray[np.bool_], window: Window, core: Window, longest: int
) -> Iterator[tuple[Window, NDArray[np.bool_]]]:
    """Every component of a mask that reaches into the core: its box in the raster, and which pixels of it it has."""
    flags = mask.view(np.uint8)
    runs = encode_runs(flags, np.empty((0, 0), np.uint8), count_runs(flags))
    del mask, flags
    component, components = label_runs(runs, np.eye(1, 256, dtype=np.uint8)[0])
    boxes = bound_components(runs, component, components)
    for number, (top, left, bottom, right) in enumerate(boxes.tolist()):
        box = Window(top, left, bottom - top, right - left).shift(window.row, window.col)
        if max(box.shape) <= longest and not box.intersect(core).is_empty:
            yield box, paint_component(runs, component, number, boxes[number])
