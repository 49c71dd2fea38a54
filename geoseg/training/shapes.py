"""Labels that are shapes on an image's pixels."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize

from geoseg.grid import Window

SUBPIXELS = 256
"""Corners are rounded to 1 / 256 pixel: a power of two, so that shifting them by whole pixels is exact in floats."""


class LabelShapes:
    """Polygons that are burnt window by window: a pixel is of the last polygon that covers its centre.

    Args:
        polygons: shapely polygons, x = column and y = row in pixels of the image, (0, 0) its upper left corner.
        labels: uint8 (N,), of the polygons.
        places: int64 (N,), in the order of drawing; what is drawn later lies on top.
        elsewhere: label where no polygon is.
    """

    def __init__(
        self, polygons: NDArray[np.object_], labels: NDArray[np.uint8], places: NDArray[np.int64], *, elsewhere: int
    ) -> None:
        order = np.argsort(places, kind="stable")
        rounded = shapely.transform(polygons[order], lambda points: np.round(points * SUBPIXELS) / SUBPIXELS)
        self._polygons, self._labels, self._elsewhere = rounded, labels[order], elsewhere
        self._tree = shapely.STRtree(rounded)

    def burn(self, window: Window) -> NDArray[np.uint8]:
        """Labels uint8 (rows, cols) of a window; the same for a pixel whatever the window."""
        box = shapely.box(window.col, window.row, window.col_stop, window.row_stop)
        near = np.sort(self._tree.query(box))
        labels = np.full(window.shape, self._elsewhere, np.uint8)
        if near.size:
            pairs = zip(self._polygons[near], self._labels[near].tolist(), strict=True)
            rasterize(pairs, out=labels, transform=Affine.translation(window.col, window.row))
        return labels


def split_polygons(shapes: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The polygons (M,) with an area that valid shapes (N,) consist of, and the index of the shape each is from."""
    index = np.arange(len(shapes))
    for _ in range(2):  # making a shape valid leaves multipolygons in collections
        shapes, part = shapely.get_parts(shapes, return_index=True)
        index = index[part]
    keep = shapely.area(shapes) > 0
    return shapes[keep], index[keep]
