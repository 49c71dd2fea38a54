"""The plane on which a page draws: spherical Mercator, turned so that no layer is torn at the antimeridian."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pyproj import CRS, Transformer

Box = tuple[float, float, float, float]
"""West, south, east, north."""

RADIUS_M = 6_378_137.0
WORLD_M = 2 * math.pi * RADIUS_M
"""Side of the square world in page metres."""

LONLAT = CRS.from_epsg(4326)
DENSIFY_POINTS = 21


@dataclass(frozen=True, slots=True)
class PageProjection:
    """Spherical ("web") Mercator with its central meridian at `lon_0` degrees: 0, or 180 for layers across 180 degrees.

    Source: EPSG Guidance Note 7-2, method 1024 (Popular Visualisation Pseudo-Mercator).
    """

    lon_0: float = 0.0

    @property
    def crs(self) -> CRS:
        """The projection as a CRS."""
        return CRS.from_proj4(f"+proj=webmerc +datum=WGS84 +lon_0={self.lon_0:g} +units=m +no_defs +type=crs")

    def transformer_from(self, crs: CRS) -> Transformer:
        """From a CRS, x before y, to page metres."""
        return Transformer.from_crs(crs, self.crs, always_xy=True)

    def project_box(self, box: Box, crs: CRS) -> Box:
        """The page metres that a box in another CRS covers, inside the square world."""
        half = WORLD_M / 2
        sides = np.array(self.transformer_from(crs).transform_bounds(*box, densify_pts=DENSIFY_POINTS))
        sides = np.where(np.isfinite(sides), sides, (-half, -half, half, half))
        west, south, east, north = np.clip(sides, -half, half).tolist()
        return west, south, east, north

    def unproject_box(self, box: Box, crs: CRS, extent: Box) -> list[Box]:
        """Boxes in another CRS that together cover a box in page metres.

        Args:
            box: in page metres.
            crs: of the boxes wanted.
            extent: of the layer, in `crs`; geographic layers may run on beyond 180 degrees.
        """
        west, east = (self.lon_0 + math.degrees(x / RADIUS_M) for x in (box[0], box[2]))
        south, north = (math.degrees(math.atan(math.sinh(y / RADIUS_M))) for y in (box[1], box[3]))
        boxes = []
        for turn in range(math.floor((west + 180) / 360), math.floor((east + 180) / 360) + 1):
            piece = max(west - 360 * turn, -180.0), south, min(east - 360 * turn, 180.0), north
            boxes += _turn_box(piece, extent) if crs.is_geographic else [_project_piece(piece, crs, extent)]
        return boxes


def ground_scale(y: float) -> float:
    """Ground metres that a page metre spans from west to east at the page's y in metres.

    Source: Snyder, Map Projections - A Working Manual (1987), equation 4-21: radius of the parallel on WGS 84.
    """
    lat = math.atan(math.sinh(y / RADIUS_M))
    return math.cos(lat) / math.sqrt(1 - 0.0066943799901413165 * math.sin(lat) ** 2)


def unite_boxes(boxes: list[Box]) -> Box | None:
    """The smallest box around all; None around none."""
    if not boxes:
        return None
    sides = np.array(boxes)
    return (*sides[:, :2].min(axis=0).tolist(), *sides[:, 2:].max(axis=0).tolist())


def boxes_meet(a: Box, b: Box) -> bool:
    """Whether two boxes have a point in common."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def intersect_boxes(a: Box, b: Box) -> Box:
    """What two boxes that meet have in common."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _turn_box(piece: Box, extent: Box) -> list[Box]:
    turned = [(piece[0] + turn, piece[1], piece[2] + turn, piece[3]) for turn in (-360.0, 0.0, 360.0)]
    return [box for box in turned if boxes_meet(box, extent)]


def _project_piece(piece: Box, crs: CRS, extent: Box) -> Box:
    to_layer = Transformer.from_crs(LONLAT, crs, always_xy=True)
    west, south, east, north = to_layer.transform_bounds(*piece, densify_pts=DENSIFY_POINTS)
    return (west, south, east, north) if np.isfinite((west, south, east, north)).all() else extent
