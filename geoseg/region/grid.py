"""The pixel grid of a region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError

from geoseg.errors import OptionError
from geoseg.grid import GEOD, GeoGrid, Window
from geoseg.raster.positions import (
    bound_grid,
    find_bounds,
    find_offset,
    is_same_crs,
    make_transformer,
)

LONLAT = CRS.from_epsg(4326).to_wkt()
NEAR = 0.02
"""A unit of a CRS is its length on the map where it is that on Earth but for this share: UTM's is a metre."""

DIGITS = 3
"""Of a resolution that no scene and nobody has in the units of the region's CRS."""

SNAP = 1e-6
BAND_STEPS = 8192
"""A power of two to the degree: borders of zones are exact in floats."""

UTM_SOUTH, UTM_NORTH = -80, 84

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class UtmZone:
    """A zone: its name, as 37S; its CRS as WKT; its longitudes and latitudes as a grid of small steps.

    Beyond 84 degrees north and 80 degrees south these are the two of Universal Polar Stereographic. Norway's and
    Svalbard's exceptions are not made.
    """

    name: str
    crs: str
    band: GeoGrid


def choose_grid(scenes: Sequence[GeoGrid], *, crs: str | None = None, resolution_m: float | None = None) -> GeoGrid:
    """The grid that holds all scenes.

    Where all have one CRS, pixel size and alignment, and nothing else is asked for, it is theirs. Else its corners are
    whole multiples of its pixel.

    Args:
        scenes: their grids.
        crs: anything pyproj takes; default: the scenes' common one, else the UTM zone of the region's centre, which is
            taken also where the common one is torn apart between the scenes, at 180 degrees.
        resolution_m: pixel side in metres; default: that of the finest scene.

    Raises:
        OptionError: the CRS or the resolution is none.
        InputError: a scene has no place in the CRS.
    """
    wkt = _choose_crs(scenes) if crs is None else parse_crs(crs)
    if resolution_m is None:
        common = _join_grids(scenes) if is_same_crs(wkt, scenes[0].crs) else None
        if common is not None:
            return common
    elif not (math.isfinite(resolution_m) and resolution_m > 0):
        raise OptionError(f"--resolution {resolution_m:g}", expected="metres above 0")
    bounds = _unite([bound_grid(scene, wkt) for scene in scenes])
    unit_m = _measure_unit(wkt, bounds)
    if resolution_m is not None:
        step = _round(resolution_m / unit_m)
    else:
        step = min(_find_side(scene, wkt, unit_m) for scene in scenes)
    left, top = math.floor(bounds[0] / step + SNAP), math.ceil(bounds[3] / step - SNAP)
    right, bottom = math.ceil(bounds[2] / step - SNAP), math.floor(bounds[1] / step + SNAP)
    transform = Affine(step, 0, left * step, 0, -step, top * step)
    return GeoGrid(wkt, transform, max(1, top - bottom), max(1, right - left))


def parse_crs(text: str) -> str:
    """A CRS that a user names, as WKT.

    Raises:
        OptionError: it is none that maps have.
    """
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise OptionError(f"--crs {text}", expected="a CRS, as EPSG:32737", remedy="see https://epsg.org") from error
    if not (crs.is_projected or crs.is_geographic):
        raise OptionError(f"--crs {text}, which is neither projected nor geographic", expected="one that maps have")
    return crs.to_wkt()


def cut_grid(grid: GeoGrid, window: Window) -> GeoGrid:
    """The part of a grid under a window."""
    part = window.intersect(grid.window)
    return replace(
        grid, transform=grid.transform @ Affine.translation(part.col, part.row), rows=part.rows, cols=part.cols
    )


def find_farthest(scenes: Sequence[GeoGrid], region: GeoGrid) -> tuple[int, int, float]:
    """The scene that is farthest from the middle of all, the one that is farthest from that, and metres between."""
    bounds = np.array([bound_grid(scene, region.crs) for scene in scenes])
    centres = (bounds[:, :2] + bounds[:, 2:]) / 2
    one = int(np.hypot(*(centres - np.median(centres, axis=0)).T).argmax())
    two = int(np.hypot(*(centres - centres[one]).T).argmax())
    lon, lat = region.to_lonlat.transform(*centres[[one, two]].T)
    return one, two, float(GEOD.inv(lon[0], lat[0], lon[1], lat[1])[2])


def find_zones(scenes: Sequence[GeoGrid]) -> list[tuple[UtmZone, list[int]]]:
    """The zones that scenes touch, by name, and the numbers of those scenes."""
    found: dict[UtmZone, list[int]] = {}
    for number, scene in enumerate(scenes):
        west, south, east, north = bound_grid(scene, LONLAT, across=True)
        for zone in _list_zones():
            t, band = zone.band.transform, zone.band
            touches = max(south, t.f - band.rows / BAND_STEPS) < min(north, t.f)
            if touches and _overlap_around(west, east, t.c, t.c + band.cols / BAND_STEPS):
                found.setdefault(zone, []).append(number)
    return sorted(found.items(), key=lambda item: item[0].name)


def find_zone_window(grid: GeoGrid, zone: UtmZone) -> Window:
    """The part of a grid in a zone's CRS beyond which there is nothing of the zone."""
    _, south, _, north = bound_grid(grid, LONLAT, across=True)
    top = zone.band.transform.f
    first, last = (math.floor((top - lat) * BAND_STEPS) for lat in (north, south))
    part = Window(first - 1, 0, last - first + 3, zone.band.cols).intersect(zone.band.window)
    return Window(0, 0, 0, 0) if part.is_empty else find_bounds(grid, cut_grid(zone.band, part))


def _choose_crs(scenes: Sequence[GeoGrid]) -> str:
    first = scenes[0].crs
    lon, lat, crosses = _find_centre(scenes)
    if all(is_same_crs(first, scene.crs) for scene in scenes) and not (crosses and _is_torn(first, lat)):
        return first
    if not UTM_SOUTH <= lat <= UTM_NORTH:
        return CRS.from_epsg(32661 if lat > 0 else 32761).to_wkt()
    return CRS.from_epsg((32600 if lat >= 0 else 32700) + _number_zone(lon)).to_wkt()


def _number_zone(lon: float) -> int:
    return int((lon + 180) // 6) % 60 + 1


def _find_centre(scenes: Sequence[GeoGrid]) -> tuple[float, float, bool]:
    """Longitude, latitude of the region's centre, and whether it lies around the antimeridian."""
    boxes = [bound_grid(scene, LONLAT, across=True) for scene in scenes]
    spans = sorted((west % 360, min(east - west, 360.0)) for west, _, east, _ in boxes)
    # The region is all but the widest gap between its scenes, all the way round.
    gap, start, reached = spans[0][0] + 360 - max(w + width for w, width in spans), spans[0][0], spans[0][0]
    for west, width in spans:
        if west - reached > gap:
            gap, start = west - reached, west
        reached = max(reached, west + width)
    width = 360 - max(gap, 0.0)
    west = (start + 180) % 360 - 180
    lon = (west + width / 2 + 180) % 360 - 180
    lat = (min(box[1] for box in boxes) + max(box[3] for box in boxes)) / 2
    return lon, lat, west + width > 180


def _is_torn(crs: str, lat: float) -> bool:
    """Whether what lies next to each other on both sides of 180 degrees does not do so in a CRS."""
    x, y = make_transformer(LONLAT, crs).transform([180 - 1e-6, -180 + 1e-6], [lat, lat])
    # Two millionths of a degree are less than a metre; the tear is as wide as the CRS.
    return not math.hypot(x[1] - x[0], y[1] - y[0]) < 1


def _join_grids(scenes: Sequence[GeoGrid]) -> GeoGrid | None:
    """The common grid of scenes that are parts of one; None where they are not, or it is turned."""
    first = scenes[0]
    t = first.transform
    offsets = [find_offset(first, scene) for scene in scenes]
    known = [offset for offset in offsets if offset is not None]
    if len(known) < len(scenes) or t.b or t.d or t.a < 0 or t.e > 0:
        return None
    top, left = (min(-offset[axis] for offset in known) for axis in (0, 1))
    bottom = max(scene.rows - offset[0] for scene, offset in zip(scenes, known, strict=True))
    right = max(scene.cols - offset[1] for scene, offset in zip(scenes, known, strict=True))
    return GeoGrid(first.crs, t @ Affine.translation(left, top), bottom - top, right - left)


def _unite(bounds: Sequence[Bounds]) -> Bounds:
    west, south, east, north = np.array(bounds).T
    return float(west.min()), float(south.min()), float(east.max()), float(north.max())


def _measure_unit(crs: str, bounds: Bounds) -> float:
    """Metres of a unit of the CRS in the middle of the bounds."""
    x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    tiny = 1.0 if math.isfinite(_read_unit(crs)) else 1e-5
    height, _ = GeoGrid(crs, Affine(tiny, 0, x - tiny / 2, 0, -tiny, y + tiny / 2), 1, 1).ground_resolution_m()
    return _tidy_unit(crs, height / tiny)


def _tidy_unit(crs: str, measured: float) -> float:
    nominal = _read_unit(crs)
    return nominal if abs(measured / nominal - 1) < NEAR else measured


@lru_cache(64)
def _read_unit(crs: str) -> float:
    """Metres of the unit that a CRS names; infinite where that is an angle."""
    found = CRS.from_wkt(crs)
    return float(found.axis_info[0].unit_conversion_factor) if found.is_projected else math.inf


def _find_side(scene: GeoGrid, crs: str, unit_m: float) -> float:
    """The shorter side of a scene's pixels in units of the CRS."""
    t = scene.transform
    sides = math.hypot(t.b, t.e), math.hypot(t.a, t.d)
    if is_same_crs(scene.crs, crs):
        return min(sides)
    measured = (ground / side for ground, side in zip(scene.ground_resolution_m(), sides, strict=True))
    return _round(min(side * _tidy_unit(scene.crs, m) for side, m in zip(sides, measured, strict=True)) / unit_m)


def _round(step: float) -> float:
    return round(step, DIGITS - 1 - math.floor(math.log10(step)))


def _overlap_around(west: float, east: float, left: float, right: float) -> bool:
    """Whether two ranges of longitudes overlap somewhere around the globe."""
    return any(max(west + turn, left) < min(east + turn, right) for turn in (-360, 0, 360))


@lru_cache(1)
def _list_zones() -> list[UtmZone]:
    polar = [
        UtmZone("UPS-N", CRS.from_epsg(32661).to_wkt(), _make_band(-180, 180, UTM_NORTH, 90)),
        UtmZone("UPS-S", CRS.from_epsg(32761).to_wkt(), _make_band(-180, 180, -90, UTM_SOUTH)),
    ]
    for number in range(1, 61):
        west = 6 * number - 186
        north, south = (CRS.from_epsg(base + number).to_wkt() for base in (32600, 32700))
        polar.append(UtmZone(f"{number:02d}N", north, _make_band(west, west + 6, 0, UTM_NORTH)))
        polar.append(UtmZone(f"{number:02d}S", south, _make_band(west, west + 6, UTM_SOUTH, 0)))
    return polar


def _make_band(west: int, east: int, south: int, north: int) -> GeoGrid:
    step = 1 / BAND_STEPS
    transform = Affine(step, 0, west, 0, -step, north)
    return GeoGrid(LONLAT, transform, (north - south) * BAND_STEPS, (east - west) * BAND_STEPS)
