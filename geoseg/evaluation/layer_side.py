"""A polygon layer as a side of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize

from geoseg.errors import InputError
from geoseg.evaluation.turns import bring_onto
from geoseg.grid import GeoGrid, Window
from geoseg.layers.read import open_layer
from geoseg.legend import ClassLegend


@dataclass(frozen=True)
class ClassLayer:
    """Polygons, or the centrelines of roads, that say what they are.

    Args:
        path: where they are from.
        frame: the layer; geometries in its CRS, `confidence` if it has one.
        class_id: (n,) uint8 class of every polygon.
    """

    path: Path
    frame: geopandas.GeoDataFrame
    class_id: NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path, *, legend: ClassLegend, only_class: int | None) -> ClassLayer:
        """Take the classes from `class_id`, else from the names in `class`, else `only_class` for all.

        Lines that do not say what they are, are roads.

        Raises:
            InputError: the layer cannot be read, mixes lines with others, does not say its classes, or has one that the
                legend does not know.
        """
        frame = open_layer(path)
        others = len(frame) - int(_find_lines(frame).sum())
        if 0 < others < len(frame):
            raise InputError(
                f"{path} holds lines, and {others} features that are none",
                expected="polygons alone, or lines of roads alone",
                remedy="write lines and polygons to files of their own",
            )
        ids = {c.name: c.id for c in legend.classes}
        networks = [c.id for c in legend.classes if c.kind == "network"]
        if "class_id" in frame:
            values = frame["class_id"].tolist()
        elif "class" in frame:
            values = [ids.get(name, name) for name in frame["class"].tolist()]
        elif only_class is not None:
            values = [only_class] * len(frame)
        elif _are_lines(frame) and len(networks) == 1:
            values = networks * len(frame)
        else:
            raise InputError(
                f"{path} has neither a column class_id nor a column class",
                expected="polygons that say what they are",
                remedy="name the one class that they all are",
            )
        unknown = sorted({str(v) for v in values if v not in legend.names})
        if unknown:
            raise InputError(
                f"{path} has unknown classes: {', '.join(unknown[:5])}",
                expected=", ".join(f"{i} {name}" for i, name in legend.names.items()),
            )
        return cls(path, frame, np.array(values, np.uint8))

    @property
    def holds_lines(self) -> bool:
        """Whether its features are lines, which have no pixels."""
        return _are_lines(self.frame)

    @property
    def confidence(self) -> NDArray[np.float64] | None:
        """(n,) confidence of every polygon, not a number where it has none; None if the layer has no such column."""
        return self.frame["confidence"].to_numpy(np.float64) if "confidence" in self.frame else None


class LayerClasses:
    """Polygons burnt into a grid: a pixel is of the last polygon that covers its centre, else background.

    Attributes:
        name: of the file.
        layer: the polygons.
        geometries: (n,) the same in the grid's CRS.
    """

    def __init__(self, layer: ClassLayer, grid: GeoGrid) -> None:
        self.name, self.layer, self._grid = str(layer.path), layer, grid
        self.geometries = bring_onto(layer.frame.geometry, grid)
        self._tree = shapely.STRtree(self.geometries)

    def find_near(self, window: Window) -> NDArray[np.int64]:
        """Indices of the polygons that touch a window, ascending."""
        near: NDArray[np.int64] = np.sort(self._tree.query(outline_window(window, self._grid), predicate="intersects"))
        return near

    def mend(self, indices: NDArray[np.int64]) -> NDArray[np.object_]:
        """(m,) valid areas in the grid's CRS of the polygons `indices`, empty where there is none.

        They are mended as they were drawn, too: in another CRS the two sides of a hair no longer lie on one line.
        """
        drawn = geopandas.GeoSeries(
            _make_valid(self.layer.frame.geometry.to_numpy()[indices]), crs=self.layer.frame.crs
        )
        return _make_valid(bring_onto(drawn, self._grid))

    def read(self, window: Window) -> NDArray[np.uint8]:
        """(rows, cols) uint8 class ids."""
        near = self.find_near(window)
        if near.size == 0:
            return np.zeros(window.shape, np.uint8)
        burnt = rasterize(
            zip(self.geometries[near], self.layer.class_id[near].tolist(), strict=True),
            out_shape=window.shape,
            transform=self._grid.transform @ Affine.translation(window.col, window.row),
            dtype=np.uint8,
        )
        return np.asarray(burnt, np.uint8)


def _make_valid(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    return np.asarray(shapely.make_valid(geometries, method="structure", keep_collapsed=False), object)


def _are_lines(frame: geopandas.GeoDataFrame) -> bool:
    return bool(len(frame) and _find_lines(frame).all())


def _find_lines(frame: geopandas.GeoDataFrame) -> NDArray[np.bool_]:
    return np.asarray(frame.geom_type.isin(["LineString", "MultiLineString"]), bool)


def outline_window(window: Window, grid: GeoGrid) -> shapely.Polygon:
    """The window in the grid's CRS."""
    rows = np.array([window.row, window.row, window.row_stop, window.row_stop], np.float64)
    cols = np.array([window.col, window.col_stop, window.col_stop, window.col], np.float64)
    return shapely.Polygon(np.stack(grid.to_world(rows, cols), axis=1))
