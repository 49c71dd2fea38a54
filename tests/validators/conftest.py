"""A small map in every format, for programs that others wrote."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.features
import scipy.ndimage
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import GeoGrid
from geoseg.layers.columns import POLYGON_COLUMNS, ROAD_COLUMNS, Column, Layer, LayerBatch
from geoseg.layers.write import WrittenLayer, write_layers
from geoseg.legend import LAND_COVER

UTM = GeoGrid(rasterio.CRS.from_epsg(32737).to_wkt(), Affine(0.5, 0, 530_000, 0, -0.5, 9_330_000), 300, 400)
PROVENANCE = {"model": "landcover-rgb", "source": 'a "scene" ä.tif', "version": "1", "simplify": 0.5}
SYSTEM_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Map:
    """What went into the files."""

    grid: GeoGrid
    classes: NDArray[np.uint8]
    polygons: list[shapely.Polygon]
    roads: list[shapely.LineString]


def make_classes(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Smooth patches of the four classes, and a corner about which nothing is known."""
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(4, *shape)), (0, 6, 6))
    classes = noise.argmax(0).astype(np.uint8)
    classes[-40:, -60:] = LAND_COVER.nodata
    return classes


def make_map(grid: GeoGrid) -> Map:
    classes = make_classes((grid.rows, grid.cols))
    known = (classes > 0) & (classes < 255)
    polygons = [
        shapely.geometry.shape(s) for s, _ in rasterio.features.shapes(classes, known, transform=grid.transform)
    ]
    rows = np.linspace(10, grid.rows - 10, 12)
    cols = np.arange(0.5, grid.cols)
    roads = [shapely.LineString(np.stack(grid.to_world(r + 8 * np.sin(cols / 20 + r), cols), axis=1)) for r in rows]
    return Map(grid, classes, polygons, roads)


def fill(columns: Sequence[Column], rows: int, **given: Any) -> dict[str, NDArray[Any]]:
    """Values for every column: those given, else random ones of the column's type with some unknown."""
    rng, filled = np.random.default_rng(6), {}
    for column in columns:
        kind = str(column.type)
        values: NDArray[Any]
        if column.name in given:
            values = np.asarray(given[column.name])
        elif kind == "string":
            values = np.array([f"{i:016x}" if i % 7 else None for i in range(rows)], object)
        elif kind == "bool":
            values = rng.random(rows) < 0.5
        elif kind.startswith("int"):
            values = rng.integers(0, 2**40 if kind == "int64" else 2**20, rows)
        else:
            values = np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows) * 90)
        filled[column.name] = values
    return filled


def write_map(path: Path, content: Map) -> list[WrittenLayer]:
    inside = shapely.get_coordinates(shapely.point_on_surface(content.polygons))
    t = ~content.grid.transform
    cols, rows = t.a * inside[:, 0] + t.b * inside[:, 1] + t.c, t.d * inside[:, 0] + t.e * inside[:, 1] + t.f
    ids = content.classes[rows.astype(int), cols.astype(int)]
    names = LAND_COVER.names
    unique = [f"{i:016x}" for i in range(len(ids))]
    polygons = fill(
        POLYGON_COLUMNS, len(ids), **{"id": unique, "class": np.array([names[i] for i in ids], object), "class_id": ids}
    )
    count = len(content.roads)
    roads = fill(
        ROAD_COLUMNS, count, **{"id": unique[:count], "class": np.full(count, "road", object), "class_id": [2] * count}
    )
    layers = [
        Layer("polygons", "Polygon", POLYGON_COLUMNS, [LayerBatch(np.array(content.polygons, object), polygons)]),
        Layer("roads", "LineString", ROAD_COLUMNS, [LayerBatch(np.array(content.roads, object), roads)]),
    ]
    return write_layers(path, layers, crs_wkt=content.grid.crs, legend=LAND_COVER, provenance=PROVENANCE, pixel_m=0.5)


@pytest.fixture(scope="session")
def small_map() -> Map:
    return make_map(UTM)


@pytest.fixture(scope="session")
def map_file(small_map: Map, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[WrittenLayer]]:
    """The small map's layers in the format of a suffix, written once."""
    folder, written = tmp_path_factory.mktemp("map"), {}

    def write(suffix: str) -> list[WrittenLayer]:
        if suffix not in written:
            written[suffix] = write_map(folder / f"map{suffix}", small_map)
        return written[suffix]

    return write


def run_tool(command: Sequence[str | Path], *, needs: str = "") -> str:
    """What a program of others prints; a failure of the program is one of the test.

    Args:
        command: the program and its arguments.
        needs: a module that the system's Python must have; the test is skipped where it has not.
    """
    program = str(command[0])
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    if needs and subprocess.run([program, "-c", f"import {needs}"], capture_output=True, check=False).returncode:
        pytest.skip(f"{program} has no {needs}")
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def ogrinfo(source: Path | str, *options: str) -> str:
    """GDAL's summary of all layers; warnings are failures.

    Args:
        source: the file, maybe behind a prefix of GDAL's virtual file systems.
        options: of `ogrinfo`.
    """
    text = run_tool(["ogrinfo", "-ro", "-al", "-so", *options, source])
    assert "Warning" not in text, text
    assert "ERROR" not in text, text
    return text


def count_features(text: str) -> list[int]:
    """How many features `ogrinfo` found in each layer."""
    return [int(count) for count in re.findall(r"Feature Count: (\d+)", text)]
