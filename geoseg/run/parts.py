"""Buildings that touch become polygons of their own: their pixels get class ids that are no others'.

A tile asks what becomes of every component that reaches into it. Each is looked at whole, in a window around the tile,
so all its tiles give the same answer; one that is longer than the window may hold is left as it is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.classes.stitch import ReadTile, stitch_window
from geoseg.polygons.splitting import color_parts, split_component
from geoseg.run.job import Job
from geoseg.tiles.plan import Tile

Uint8 = NDArray[np.uint8]

LONGEST_M, LONGEST_PX = 200.0, 1024
"""Side of the largest square into which a component that is split may fit."""

BYTES_PER_PX = 12
"""Of the window around a tile: classes, confidence and components."""


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
    core = tile.core.within(window)
    numbered = classes.copy()
    for class_id, ids in job.part_ids.items():
        component = ndimage.label(classes == class_id)[0]
        for number, box in enumerate(ndimage.find_objects(component), start=1):
            mine = component[box] == number
            if max(mine.shape) > longest or not _reaches(box, core):
                continue
            at = tuple(start + side.start for start, side in zip((window.row, window.col), box, strict=True))
            parts = split_component(mine, confidence[box], pixel_m, at=at)
            if parts is not None:
                colors = color_parts(parts, len(ids))
                numbered[box][colors > 0] = np.array(ids, np.uint8)[colors[colors > 0]]
    return numbered[core] if (numbered[core] != classes[core]).any() else None


def _reaches(box: tuple[slice, slice], core: tuple[slice, slice]) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(box, core, strict=True))
