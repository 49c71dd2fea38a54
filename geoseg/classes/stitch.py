"""The tiles' cores, laid side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.classes.tile import read_class_tile
from geoseg.grid import Window


def stitch_tiles(
    windows: Iterable[tuple[Window, Path]], *, band: Literal["class", "confidence"]
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """One band of every tile that holds something, uint8 (rows, cols) with its window, in the order given."""
    pick: Callable[[tuple[NDArray[np.uint8], NDArray[np.uint8]]], NDArray[np.uint8]]
    pick = (lambda pair: pair[0]) if band == "class" else (lambda pair: pair[1])
    for window, path in windows:
        pair = read_class_tile(path)
        if pair is not None:
            yield window, pick(pair)
