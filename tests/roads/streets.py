"""Road rasters with known truth, and the network of a raster in one call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import GeoGrid, Window
from geoseg.roads.join import join_roads
from geoseg.roads.network import RoadSegments, number_nodes
from geoseg.roads.scale import RoadScale
from geoseg.roads.trace import RoadTile, trace_road_tile

UTM = rasterio.CRS.from_epsg(32737).to_wkt()
ROAD = 2


@dataclass(frozen=True, eq=False)
class RoadNetwork(RoadSegments):
    """All parts of a network, with its nodes (n, 2) in pixels and their numbers (m, 2) at the ends of the segments."""

    node_px: NDArray[np.float64]
    ends: NDArray[np.int64]

    def node_ids(self, grid: GeoGrid) -> NDArray[np.int64]:
        return number_nodes(self.node_px, grid)


def collect(parts: Iterable[RoadSegments]) -> RoadNetwork:
    nothing = RoadSegments(np.zeros(1, int), np.zeros((0, 2)), *[np.zeros(0)] * 3, np.zeros(0, bool), ROAD)
    kept = [nothing, *parts]
    offsets = np.concatenate([[0], *(np.diff(part.offsets) for part in kept)]).cumsum()
    names = [field.name for field in fields(RoadSegments)[1:-1]]
    coords, *columns = (np.concatenate([getattr(part, name) for part in kept]) for name in names)
    tips = coords[np.stack([offsets[:-1], offsets[1:] - 1], axis=1)].reshape(-1, 2)
    node_px, ends = np.unique(tips, axis=0, return_inverse=True)
    return RoadNetwork(offsets, coords, *columns, kept[-1].class_id, node_px, ends.reshape(-1, 2))


def join(tiles: Iterable[RoadTile], scale: RoadScale, **options) -> RoadNetwork:
    with TemporaryDirectory() as folder:
        return collect(join_roads(tiles, scale, class_id=ROAD, folder=Path(folder), **options))


def make_grid(rows: int, cols: int, pixel_m: float = 0.5) -> GeoGrid:
    # On the central meridian of the zone, where a metre of UTM is 0.9996 m; scaled so that pixels are true.
    side = pixel_m * 0.9996
    return GeoGrid(UTM, Affine(side, 0, 500_000, 0, -side, 9_330_000), rows, cols)


def burn(lines: list[tuple[Any, float]], grid: GeoGrid, *, cap: str = "flat") -> NDArray[np.uint8]:
    """Class raster of (line in metres x right, y down from the corner; width in metres)."""
    pixel_m = grid.ground_resolution_m()[0]
    shapes = [shapely.LineString(line).buffer(width / 2, cap_style=cap, quad_segs=16) for line, width in lines]
    return rasterio.features.rasterize(
        [(s, ROAD) for s in shapes], (grid.rows, grid.cols), transform=Affine.scale(pixel_m), dtype="uint8"
    )


def cut(classes: NDArray[np.uint8], scale: RoadScale, tile_px: tuple[int, int], confidence=None) -> list[RoadTile]:
    """All tiles, each traced from its own window."""
    raster = Window(0, 0, *scale.grid_shape)
    tiles = []
    for row in range(0, raster.rows, tile_px[0]):
        for col in range(0, raster.cols, tile_px[1]):
            core = Window(row, col, *tile_px).intersect(raster)
            window = core.pad(*scale.halo_px()).intersect(raster)
            part = window.within(raster)
            sure = None if confidence is None else confidence[part].copy()
            tiles.append(
                trace_road_tile(classes[part].copy(), sure, class_id=ROAD, window=window, core=core, scale=scale)
            )
    return tiles


def trace(
    classes: NDArray[np.uint8], grid: GeoGrid, *, scale=None, tile_px=None, confidence=None, **options
) -> RoadNetwork:
    scale = scale or RoadScale.of(grid)
    tiles = cut(classes, scale, tile_px or classes.shape, confidence)
    return join(tiles, scale, **options)
