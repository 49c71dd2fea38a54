"""The roads of the two sides of a comparison as lines."""

from __future__ import annotations

import geopandas
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.evaluation.comparison import Comparison
from geoseg.evaluation.layer_side import LayerClasses, outline_window
from geoseg.evaluation.road_layers import RoadComparison, score_road_layers
from geoseg.evaluation.sides import ClassSource
from geoseg.evaluation.skeleton import skeletonize_roads
from geoseg.grid import GeoGrid
from geoseg.raster.aoi import AreaOfInterest

MARGIN_PX = 128
"""So far around a window its roads are thinned, so that the lines of neighbours meet."""


def score_road_sides(comparison: Comparison, ids: list[int], *, buffer_m: float) -> RoadComparison | None:
    """Compare the roads of the classes `ids`: lines of a layer, centrelines of polygons and rasters.

    Centrelines are traced window by window; lines are held whole. What is unknown on a side is no road of polygons and
    rasters; lines of a layer are judged in the whole area.

    Returns:
        The scores; None if neither side has a road.
    """
    sides = (comparison.predicted, comparison.truth)
    lines = [collect_lines(side, comparison, ids, is_truth=side is comparison.truth) for side in sides]
    if not any(map(len, lines)):
        return None
    frames = [geopandas.GeoDataFrame(geometry=side, crs=comparison.grid.crs) for side in lines]
    area = geopandas.GeoDataFrame(geometry=[_outline(comparison)], crs=comparison.grid.crs)
    return score_road_layers(*frames, buffer_m=buffer_m, area=area)


def collect_lines(side: ClassSource, comparison: Comparison, ids: list[int], *, is_truth: bool) -> NDArray[np.object_]:
    """(n,) LineStrings or MultiLineStrings in the grid's CRS of one side's classes `ids`."""
    if isinstance(side, LayerClasses) and side.layer.holds_lines:
        near = side.find_near(comparison.block)
        return side.geometries[near[np.isin(side.layer.class_id[near], ids)]]
    places = np.unique(comparison.index[ids])
    traced = [np.empty(0, object)]
    for window in comparison.cut_windows():
        padded = window.pad(MARGIN_PX, MARGIN_PX).intersect(comparison.grid.window)
        truth, predicted = comparison.read(padded)
        mask = np.isin(truth if is_truth else predicted, places)
        if mask.any():
            shifted = comparison.grid.transform @ Affine.translation(padded.col, padded.row)
            lines = skeletonize_roads(mask, GeoGrid(comparison.grid.crs, shifted, padded.rows, padded.cols))
            inside = shapely.get_parts(shapely.intersection(lines, outline_window(window, comparison.grid)))
            traced.append(inside[shapely.length(inside) > 0])
    return np.concatenate(traced)


def _outline(comparison: Comparison) -> shapely.Geometry:
    """What is judged, in the grid's CRS, with vertices enough to be reprojected."""
    grid = comparison.grid

    def to_world(area: AreaOfInterest) -> shapely.Geometry:
        return shapely.transform(area.polygons, lambda px: np.stack(grid.to_world(px[:, 1], px[:, 0]), axis=1))

    outline = outline_window(comparison.block, grid)
    if comparison.area is not None:
        outline = shapely.intersection(outline, to_world(comparison.area))
    if comparison.ignored is not None:
        outline = shapely.difference(outline, to_world(comparison.ignored))
    return shapely.segmentize(outline, max(outline.length / 64, 1e-9))
