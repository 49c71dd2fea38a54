"""Made-up layers for the tests of formats."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS

from geoseg.layers.columns import POLYGON_COLUMNS, ROAD_COLUMNS, Layer, LayerBatch
from geoseg.layers.write import WrittenLayer, write_layers
from geoseg.legend import ClassLegend, LegendClass

UTM = CRS.from_epsg(32633).to_wkt()
LONLAT_SUFFIXES = (".geojson", ".geojson.gz", ".geojsonl", ".geojsonseq")
EXACT_SUFFIXES = (*LONLAT_SUFFIXES, ".gpkg", ".fgb", ".parquet")
NAMES = ("building", 'straße "§"', "植生 & <b>\n")
LEGEND = ClassLegend(
    (
        LegendClass(0, "background", (0, 0, 0), "background"),
        LegendClass(1, NAMES[0], (214, 69, 65), "building"),
        LegendClass(2, NAMES[1], (245, 215, 110), "network"),
        LegendClass(3, NAMES[2], (63, 153, 84), "area"),
    )
)
PROVENANCE: dict[str, str | int | float] = {
    "version": "1.2.3",
    "model": "landcover-rgb",
    "sha256": "0123abcd",
    "simplify_m": 0.5,
    "source": 'scene "ü".tif',
}


def make_batch(
    n: int, *, seed: int = 0, center: tuple[float, float] = (390_000, 5_820_000), size: float = 20.0
) -> LayerBatch:
    """n star-shaped polygons in random directions, every second one with a hole; some values are null."""
    rng = np.random.default_rng(seed)
    polygons = []
    for i in range(n):
        middle = np.array(center) + rng.uniform(-100, 100, 2) * size
        angle = np.linspace(0, 2 * np.pi, int(rng.integers(4, 12)), endpoint=False)[:: rng.choice([-1, 1])]
        star = np.stack([np.cos(angle), np.sin(angle)], axis=1) * rng.uniform(0.5, 1, (len(angle), 1)) * size
        hole = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 0.2 * size
        polygons.append(shapely.Polygon(middle + star, [middle + hole[:: rng.choice([-1, 1])]] if i % 2 else []))
    class_id = rng.integers(1, 4, n)
    return LayerBatch(
        np.array(polygons, dtype=object), {**describe(n, class_id, rng), **measure_polygons(class_id, rng)}
    )


def describe(n: int, class_id: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "id": np.array([f"{value:016x}" for value in rng.integers(0, 2**62, n)], object),
        "class": np.array(["background", *NAMES], object)[class_id],
        "class_id": class_id,
        "confidence": rng.random(n),
        "source": np.where(rng.random(n) < 0.5, "scene.tif", None),
        "date": np.full(n, None),
    }


def measure_polygons(class_id: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    n, of_buildings = len(class_id), np.where(class_id == 1, 1.0, np.nan)
    return {
        "confidence_min": rng.random(n),
        "area_m2": rng.random(n) * 1e5,
        "perimeter_m": rng.random(n) * 1e3,
        "orientation_deg": rng.random(n) * 180 * of_buildings,
        "length_m": rng.random(n) * 30 * of_buildings,
        "width_m": rng.random(n) * 20 * of_buildings,
    }


def make_roads(n: int, *, seed: int = 0, center: tuple[float, float] = (390_000, 5_820_000)) -> LayerBatch:
    """n random polylines."""
    rng = np.random.default_rng(seed)
    lines = [
        shapely.LineString(np.array(center) + rng.uniform(-2000, 2000, 2) + rng.normal(0, 30, (k, 2)).cumsum(axis=0))
        for k in rng.integers(2, 9, n)
    ]
    columns = {
        **describe(n, np.full(n, 2), rng),
        "length_m": rng.random(n) * 500,
        "width_m": rng.random(n) * 10,
        "width_std_m": rng.random(n),
        "node_from": rng.integers(0, 2**62, n),
        "node_to": rng.integers(0, 2**62, n),
        "bridged": rng.random(n) < 0.2,
    }
    return LayerBatch(np.array(lines, dtype=object), columns)


def to_layer(*batches: LayerBatch) -> Layer:
    return Layer("polygons", "Polygon", POLYGON_COLUMNS, batches)


def to_roads(*batches: LayerBatch) -> Layer:
    return Layer("roads", "LineString", ROAD_COLUMNS, batches)


def write(
    path: Path, *layers: Layer, crs_wkt: str = UTM, pixel_m: float = 0.5, overwrite: bool = False
) -> list[WrittenLayer]:
    return write_layers(
        path, layers, crs_wkt=crs_wkt, legend=LEGEND, provenance=PROVENANCE, pixel_m=pixel_m, overwrite=overwrite
    )


def cut(batch: LayerBatch, *at: int) -> list[LayerBatch]:
    """The same features in batches that begin at the given rows."""
    return [
        LayerBatch(batch.geometries[a:b], {name: values[a:b] for name, values in batch.columns.items()})
        for a, b in pairwise([0, *at, len(batch)])
    ]
