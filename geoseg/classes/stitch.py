"""The tiles' cores, laid side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.tiles.plan import Tile

Uint8 = NDArray[np.uint8]
ReadTile = Callable[[Tile], tuple[Uint8, Uint8 | None] | None]
"""Gives classes and confidence, both (rows, cols) of a tile's core, or None where no pixel is known."""


def stitch_tiles(
    tiles: Iterable[Tile], read: ReadTile, *, band: Literal["class", "confidence"]
) -> Iterator[tuple[Window, Uint8]]:
    """One band of every tile that holds it, uint8 (rows, cols) with its window, in the order given."""
    for tile in tiles:
        pair = read(tile)
        values = None if pair is None else pair[0] if band == "class" else pair[1]
        if values is not None:
            yield tile.core, values


def stitch_window(
    window: Window, tiles: Iterable[Tile], read: ReadTile, *, elsewhere: int
) -> tuple[Uint8, Uint8 | None]:
    """Classes and confidence, uint8 (rows, cols), of a window; `elsewhere` and 0 where no tile says anything.

    The confidence is None where no tile has one.
    """
    classes = np.full(window.shape, elsewhere, np.uint8)
    confidence: Uint8 | None = None
    for tile in tiles:
        pair = read(tile)
        if pair is None:
            continue
        common = tile.core.intersect(window)
        classes[common.within(window)] = pair[0][common.within(tile.core)]
        if pair[1] is not None:
            confidence = np.zeros(window.shape, np.uint8) if confidence is None else confidence
            confidence[common.within(window)] = pair[1][common.within(tile.core)]
        del pair  # the next tile is read without this one in memory
    return classes, confidence
