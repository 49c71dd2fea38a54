"""Layers brought onto grids, also those that go on beyond 180 degrees of longitude."""

from __future__ import annotations

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.grid import GeoGrid


def bring_onto(geometries: geopandas.GeoSeries, grid: GeoGrid) -> NDArray[np.object_]:
    """(n,) geometries in the grid's CRS.

    Where a grid in degrees reaches beyond 180 degrees, parts are moved by whole turns to where they are nearest to its
    middle, and features that were cut at the antimeridian are made whole.
    """
    placed: NDArray[np.object_] = geometries.to_crs(grid.crs).to_numpy()
    if not CRS.from_wkt(grid.crs).is_geographic:
        return placed
    x, _ = grid.to_world(np.array([0.0, 0.0, grid.rows, grid.rows]), np.array([0.0, grid.cols, 0.0, grid.cols]))
    if x.min() >= -180.0 and x.max() <= 180.0:
        return placed
    return _turn(placed, (x.min() + x.max()) / 2)


def _turn(geometries: NDArray[np.object_], middle: float) -> NDArray[np.object_]:
    parts, owner = shapely.get_parts(geometries, return_index=True)
    west, _, east, _ = shapely.bounds(parts).T
    turns = np.round((middle - (west + east) / 2) / 360.0)
    xy, index = shapely.get_coordinates(parts, return_index=True)
    xy[:, 0] += 360.0 * turns[index]
    parts = shapely.set_coordinates(shapely.force_2d(parts), xy)
    counts = np.bincount(owner, minlength=len(geometries))
    stops = np.cumsum(counts)
    turned = geometries.copy()
    turned[counts == 1] = parts[counts[owner] == 1]
    for k in np.flatnonzero(counts > 1):
        turned[k] = shapely.union_all(shapely.make_valid(parts[stops[k] - counts[k] : stops[k]]))
    return turned
