"""A plane on which a metre is a metre on the ground, wherever a layer lies."""

from __future__ import annotations

import math

import geopandas
import numpy as np
import shapely
from pyproj import CRS

from geoseg.errors import InputError

POLAR_DEG = 89.0


def lay_plane(geometries: geopandas.GeoSeries) -> CRS:
    """The plane that touches the ellipsoid in the midst of a layer: x east and y north in metres, conformal.

    Lengths are right to 1e-4 within 120 km of that point and to 1e-3 within 400 km, at the antimeridian and the poles
    as elsewhere.

    Args:
        geometries: not empty, with a CRS.

    Raises:
        InputError: none of their vertices is on Earth.

    Source: oblique stereographic projection, Snyder, Map Projections: A Working Manual (1987), section 21.
    """
    lon, lat = np.radians(shapely.get_coordinates(geometries.to_crs(4326).to_numpy())).T
    known = np.isfinite(lon) & np.isfinite(lat)
    if not known.any():
        raise InputError("a layer that lies nowhere on Earth", expected="coordinates within the area of its CRS")
    lon, lat = lon[known], lat[known]
    x, y, z = (np.cos(lat) * np.cos(lon)).mean(), (np.cos(lat) * np.sin(lon)).mean(), np.sin(lat).mean()
    lon_0, lat_0 = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
    # Oblique formulas lose a decimetre in the last metres before a pole; polar ones do not.
    lat_0 = math.copysign(90.0, lat_0) if abs(lat_0) > POLAR_DEG else round(lat_0, 6)
    return CRS.from_dict({"proj": "stere", "lat_0": lat_0, "lon_0": round(lon_0, 6), "datum": "WGS84"})
