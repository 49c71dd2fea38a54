"""Areas of interest that no one should have sent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

from geoseg.errors import InputError
from geoseg.grid import GeoGrid
from geoseg.raster.aoi import parse_aoi
from tests.test_bad_input import Run

Grids = Callable[..., GeoGrid]


@pytest.fixture
def grid(make_grid: Grids) -> GeoGrid:
    return make_grid(96, 96)


@pytest.fixture
def square(grid: GeoGrid) -> list[list[float]]:
    """A ring around the middle of the grid, in degrees."""
    pixels = np.array([20.0, 20, 70, 70, 20]), np.array([20.0, 70, 70, 20, 20])
    return np.column_stack(grid.to_lonlat.transform(*grid.to_world(*pixels))).tolist()


def collect(geometry: object) -> str:
    """A GeoJSON with one feature."""
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})


def polygon(*rings: object) -> dict[str, object]:
    return {"type": "Polygon", "coordinates": rings}


def nest(depth: int, inner: object) -> str:
    return '{"type":"GeometryCollection","geometries":[' * depth + json.dumps(inner) + "]}" * depth


def scribble(count: int, ring: list[list[float]]) -> str:
    corner, side = np.array(ring[0]), np.ptp(np.array(ring), axis=0)
    points = (corner + side * np.random.default_rng(1).uniform(-1, 1, (count, 2))).tolist()
    return collect(polygon([*points, points[0]]))


HOSTILE: dict[str, tuple[Callable[[list[list[float]]], str | bytes], str]] = {
    "empty file": (lambda ring: "", "not readable"),
    "bytes": (lambda ring: b"\xff\xfe\0\1" * 100, "not readable"),
    "a number": (lambda ring: "7", "not readable"),
    "a list": (lambda ring: "[1, 2, 3]", "not readable"),
    "cut off": (lambda ring: collect(polygon(ring))[:120], "not readable"),
    "no features": (lambda ring: '{"type":"FeatureCollection","features":[]}', "0 feature"),
    "no geometry": (lambda ring: collect(None), "no polygon"),
    "unknown geometry": (lambda ring: collect({"type": "Polygone", "coordinates": [ring]}), "no polygon"),
    "points": (lambda ring: collect({"type": "Point", "coordinates": ring[0]}), "no polygon"),
    "texts for numbers": (lambda ring: collect(polygon([["a", "b"]] * 4)), "no polygon"),
    "null for a number": (lambda ring: collect(polygon([[None, 1], *ring])), "no polygon"),
    "NaN": (lambda ring: collect(polygon([ring[0], [float("nan"), ring[1][1]], *ring[2:]])), "no number"),
    "infinity": (lambda ring: collect(polygon(ring)).replace(str(ring[1][0]), "1e999"), "not readable"),
    "1e300 degrees": (lambda ring: collect(polygon(ring)).replace(str(ring[1][0]), "1e300"), "raster's CRS"),
    "no rings": (lambda ring: collect(polygon()), "no polygon"),
    "empty ring": (lambda ring: collect(polygon([])), "no polygon"),
    "ring of two corners": (lambda ring: collect(polygon(ring[:2])), "not readable"),
    "ring that is not closed": (lambda ring: collect(polygon(ring[:-1])), "not readable"),
    "collections in collections": (lambda ring: nest(100_000, polygon(ring)), "too deep"),
    "a million brackets": (lambda ring: '{"type":"Polygon","coordinates":' + "[" * 10**6, "too deep"),
    "deep properties": (
        lambda ring: '{"type":"Feature","geometry":null,"properties":' + '{"a":' * 50_000 + "1" + "}" * 50_001,
        "too deep",
    ),
    "a line that crosses itself a million times": (lambda ring: scribble(3000, ring), "cross themselves"),
    "ten thousand polygons over each other": (
        lambda ring: collect({"type": "MultiPolygon", "coordinates": [[ring]] * 10_000}),
        "cross themselves",
    ),
    "OGR VRT": (
        lambda ring: '<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>/etc/passwd</SrcDataSource>',
        "further files",
    ),
    "GDAL pipeline": (
        lambda ring: '{"type":"gdal_streamed_alg","command_line":"gdal vector pipeline ! read x"}',
        "further files",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_refused(tmp_path: Path, grid: GeoGrid, square: list[list[float]], kind: str) -> None:
    make, expect = HOSTILE[kind]
    content = make(square)
    path = tmp_path / "area.geojson"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=expect):
        parse_aoi(path, grid)


@pytest.mark.parametrize("kind", ["NaN", "1e300 degrees", "a million brackets", "empty file"])
def test_refused_on_the_command_line(
    refuse: Run, tmp_path: Path, image: Path, square: list[list[float]], kind: str
) -> None:
    make, expect = HOSTILE[kind]
    path = tmp_path / "area.geojson"
    path.write_bytes(str(make(square)).encode())
    refuse("segment", image, "-o", tmp_path / "map.gpkg", "--aoi", path, expect=expect)


def test_files_of_gigabytes_are_not_read(tmp_path: Path, grid: GeoGrid) -> None:
    path = tmp_path / "area.geojson"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(InputError, match="5120 MiB"):
        parse_aoi(path, grid)


def test_pipes_and_folders_are_no_areas(tmp_path: Path, grid: GeoGrid) -> None:
    os.mkfifo(tmp_path / "pipe.geojson")
    for path in (tmp_path / "pipe.geojson", tmp_path, Path("/dev/zero"), os.fsdecode(b"\xff.geojson")):
        with pytest.raises(InputError, match="neither W,S,E,N nor an existing file"):
            parse_aoi(path, grid)


def test_a_name_that_is_no_utf8(tmp_path: Path, grid: GeoGrid, square: list[list[float]]) -> None:
    path = tmp_path / os.fsdecode(b"\xff.geojson")
    path.write_text(collect(polygon(square)))
    with pytest.raises(InputError, match="not readable"):
        parse_aoi(path, grid)


def test_more_corners_than_are_believed(
    tmp_path: Path, grid: GeoGrid, square: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "area.geojson"
    path.write_text(collect(polygon(square)))
    parse_aoi(path, grid)
    monkeypatch.setattr("geoseg.raster.aoi.MAX_CORNERS", 4)
    with pytest.raises(InputError, match="5 corners"):
        parse_aoi(path, grid)


def test_small_crossings_are_mended(tmp_path: Path, grid: GeoGrid, square: list[list[float]]) -> None:
    a, b, c, d, _ = square
    path = tmp_path / "area.geojson"
    path.write_text(collect({"type": "GeometryCollection", "geometries": [polygon([a, c, b, d, a])]}))
    area = parse_aoi(path, grid)
    expected = shapely.unary_union(
        [shapely.Polygon([(20, 20), (45, 45), (70, 20)]), shapely.Polygon([(20, 70), (45, 45), (70, 70)])]
    )
    rotated = shapely.affinity.rotate(expected, 90, origin=(45, 45))
    assert min(area.polygons.symmetric_difference(shape).area for shape in (expected, rotated)) < 2
