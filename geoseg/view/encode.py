"""Features as compact numbers for the page: positions as whole steps from the one before."""

from __future__ import annotations

import math
from typing import Any

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.grid import GEOD
from geoseg.view.projection import LONLAT, PageProjection

FINE_M = 0.01
"""Step of positions in page metres where nothing coarser is asked for."""

LARGEST_INT = 2**53
"""Beyond it a page's numbers skip some."""

POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
LINES = (
    shapely.GeometryType.LINESTRING,
    shapely.GeometryType.LINEARRING,
    shapely.GeometryType.MULTILINESTRING,
)
Group = dict[str, Any]


def encode_features(
    frame: geopandas.GeoDataFrame, class_index: NDArray[np.int64], projection: PageProjection, *, step_m: float = FINE_M
) -> list[Group]:
    """The polygons and the lines of a table, each as one group; other geometries are left out.

    A group has `kind`, `count`, `step` and `origin` in page metres, `classes` (class number per feature), `measure`
    (ground area in m2 or length in m per feature), `rings` (how many per feature; lines have parts instead), `sizes`
    (vertices per ring, the closing one left out), `xy` (x and y in turn, in steps from the vertex before, the first
    from the origin) and `columns` (name to values). Vertices that fall together on a step are one. Outer rings run
    counter-clockwise, holes clockwise.

    Args:
        frame: n features with CRS.
        class_index: int64 (n,).
        projection: of the page.
        step_m: positions are rounded to it, in page metres.
    """
    geometries = np.asarray(frame.geometry.to_numpy(), object)
    geometries, lost = _project(geometries, frame.crs, projection)
    kinds = shapely.get_type_id(geometries)
    groups = []
    for kind, types in (("polygon", POLYGONS), ("line", LINES)):
        mine = np.isin(kinds, types) & ~lost & ~shapely.is_empty(geometries)
        if not mine.any():
            continue
        rows = frame.loc[mine].drop(columns=frame.geometry.name)
        shapes = geometries[mine]
        measure = _measure(rows, shapes, kind, projection)
        groups.append(
            {
                "kind": kind,
                "count": len(rows),
                "classes": class_index[mine].tolist(),
                "measure": [_to_json(value) for value in measure.tolist()],
                **_encode_shapes(shapes, kind, step_m),
                "columns": {str(name): _list_values(rows[name]) for name in rows.columns},
            }
        )
    return groups


def _project(
    geometries: NDArray[np.object_], crs: CRS, projection: PageProjection
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """The geometries in page metres, and which of them have no place on the page."""
    present = np.where(shapely.is_missing(geometries), shapely.GeometryCollection(), geometries)
    flat = shapely.force_2d(present)
    xy, index = shapely.get_coordinates(flat, return_index=True)
    projected = np.stack(projection.transformer_from(crs).transform(xy[:, 0], xy[:, 1]), axis=1)
    finite = np.isfinite(projected).all(axis=1)
    lost = np.zeros(len(flat), bool)
    lost[index[~finite]] = True
    projected[~finite] = 0.0
    return np.asarray(shapely.set_coordinates(flat, projected), object), lost


def _encode_shapes(shapes: NDArray[np.object_], kind: str, step_m: float) -> Group:
    parts, feature_of_part = shapely.get_parts(shapes, return_index=True)
    if kind == "polygon":
        rings, part_of_ring = shapely.get_rings(shapely.orient_polygons(parts), return_index=True)
        feature_of_ring = feature_of_part[part_of_ring]
    else:
        rings, feature_of_ring = parts, feature_of_part
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    origin = np.floor(xy.min(axis=0))
    steps = np.rint((xy - origin) / step_m).astype(np.int64)
    if kind == "polygon":
        inner = np.append(ring[1:] == ring[:-1], False)
        steps, ring = steps[inner], ring[inner]
    moves = np.diff(steps, axis=0, prepend=np.zeros((1, 2), np.int64))
    keep = moves.any(axis=1) | (np.diff(ring, prepend=-1) != 0)
    return {
        "step": step_m,
        "origin": origin.tolist(),
        "rings": np.bincount(feature_of_ring, minlength=len(shapes)).tolist(),
        "sizes": np.bincount(ring[keep], minlength=len(rings)).tolist(),
        "xy": np.diff(steps[keep], axis=0, prepend=np.zeros((1, 2), np.int64)).ravel().tolist(),
    }


def _measure(rows: Any, shapes: NDArray[np.object_], kind: str, projection: PageProjection) -> NDArray[np.float64]:
    """Ground area in m2 of polygons, ground length in m of lines; the layer's own column where it has one."""
    column = "area_m2" if kind == "polygon" else "length_m"
    if column in rows and rows[column].dtype.kind in "iuf":
        return np.asarray(rows[column].to_numpy(np.float64))
    if kind == "polygon":
        equal_area = CRS.from_proj4(f"+proj=cea +lon_0={projection.lon_0:g} +datum=WGS84 +units=m")
        flat = geopandas.GeoSeries(shapes, crs=projection.crs).to_crs(equal_area)
        return np.asarray(flat.area.to_numpy(), np.float64)
    parts, feature = shapely.get_parts(shapes, return_index=True)
    xy, part = shapely.get_coordinates(parts, return_index=True)
    lon, lat = projection.transformer_from(LONLAT).transform(xy[:, 0], xy[:, 1], direction="INVERSE")
    _, _, steps = GEOD.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
    steps[part[1:] != part[:-1]] = 0.0
    return np.asarray(np.bincount(feature[part[1:]], weights=steps, minlength=len(shapes)), np.float64)


def _list_values(values: Any) -> list[Any]:
    """The values of a column as JSON has them."""
    present = values.astype(object).where(values.notna(), None)
    return [_to_json(value) for value in present.tolist()]


def _to_json(value: object) -> str | int | float | bool | None:
    """Numbers that are finite, text, truth; everything else as text, nothing as null."""
    match value:
        case str() | bool() | None:
            return value
        case int():
            return value if abs(value) <= LARGEST_INT else str(value)
        case float():
            return round(value, 6) if math.isfinite(value) else None
        case _:
            return str(value)
