"""Made-up polygons for the tests of layers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import shapely
from pyproj import CRS

from geoseg.layers.write import LayerColumns

UTM = CRS.from_epsg(32633).to_wkt()
SUFFIXES = (".gpkg", ".geojson", ".fgb", ".parquet")


def make_columns(n: int, *, seed: int = 0, center: tuple[float, float] = (390_000, 5_820_000), size: float = 20.0):
    """n star-shaped polygons in random directions, every second one with a hole."""
    rng = np.random.default_rng(seed)
    polygons = []
    for i in range(n):
        middle = np.array(center) + rng.uniform(-100, 100, 2) * size
        angle = np.linspace(0, 2 * np.pi, int(rng.integers(4, 12)), endpoint=False)[:: rng.choice([-1, 1])]
        star = np.stack([np.cos(angle), np.sin(angle)], axis=1) * rng.uniform(0.5, 1, (len(angle), 1)) * size
        hole = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 0.2 * size
        polygons.append(shapely.Polygon(middle + star, [middle + hole[:: rng.choice([-1, 1])]] if i % 2 else []))
    return LayerColumns(
        np.array(polygons, dtype=object),
        np.array(["building", 'straße "§"', "vegetation"], dtype=object)[rng.integers(0, 3, n)],
        rng.integers(1, 4, n),
        rng.random(n),
        rng.random(n) * 1e5,
        rng.random(n) * 1e3,
    )


def cut(columns: LayerColumns, *at: int) -> list[LayerColumns]:
    """The same features in batches that begin at the given rows."""
    edges = [0, *at, len(columns)]
    return [LayerColumns(*(getattr(columns, name)[a:b] for name in LayerColumns.__slots__)) for a, b in pairwise(edges)]
