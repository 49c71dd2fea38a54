"""Layers with known content."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely

from tests.view.browser import CHROMIUM, Browser

UTM = "EPSG:32737"
MakeLayer = Callable[..., Path]


def make_frame(count: int = 40, *, crs: str = UTM) -> geopandas.GeoDataFrame:
    """Squares of 10 m with growing size, three classes in turn, one with a hole."""
    west = 530_000 + 25.0 * (np.arange(count) % 8)
    south = 9_330_000 + 25.0 * (np.arange(count) // 8)
    side = 10 + np.arange(count) / count
    squares = shapely.box(west, south, west + side, south + side)
    squares[0] = shapely.difference(squares[0], shapely.box(west[0] + 2, south[0] + 2, west[0] + 5, south[0] + 5))
    number = np.arange(count) % 3
    frame = geopandas.GeoDataFrame(
        {
            "id": [f"{i:016x}" for i in range(count)],
            "class": np.array(["building", "road", "vegetation"])[number],
            "class_id": number + 1,
            "confidence": np.round(0.2 + 0.8 * np.arange(count) / count, 4),
            "area_m2": np.round(shapely.area(squares), 3),
        },
        geometry=squares,
        crs=UTM,
    )
    return frame.to_crs(crs)


def make_roads() -> geopandas.GeoDataFrame:
    """Two lines across the squares."""
    lines = [
        shapely.LineString([(530_000, 9_329_990), (530_200, 9_329_990)]),
        shapely.LineString([(529_990, 9_330_000), (529_990, 9_330_060), (529_980, 9_330_100)]),
    ]
    table = {"class": ["road", "road"], "class_id": [2, 2], "confidence": [0.9, 0.4], "length_m": [200.0, 101.2]}
    return geopandas.GeoDataFrame(table, geometry=lines, crs=UTM)


def write_frame(frame: geopandas.GeoDataFrame, path: Path, layer: str = "polygons") -> Path:
    """Write a table in the format of the suffix, added to a GeoPackage that is there."""
    if path.suffix == ".parquet":
        frame.to_parquet(path, write_covering_bbox=True)
    elif path.suffix == ".gpkg":
        frame.to_file(path, layer=layer, driver="GPKG", mode="a" if path.exists() else "w")
    else:
        frame.to_crs("EPSG:4326" if "json" in path.suffix else frame.crs).to_file(path)
    return path


def read_page(page: Path | bytes) -> dict[str, Any]:
    """What a page's script starts from."""
    text = (page if isinstance(page, bytes) else page.read_bytes()).decode()
    found = re.search(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]*)</script>', text)
    assert found
    return dict(json.loads(gzip.decompress(base64.b64decode(found[1]))))


def decode_group(group: dict[str, Any]) -> list[shapely.Geometry]:
    """The geometries of a group in page metres, decoded independently of the page's script."""
    xy = np.cumsum(np.array(group["xy"]).reshape(-1, 2), axis=0) * group["step"] + group["origin"]
    rings = np.split(xy, np.cumsum(group["sizes"])[:-1])
    features = []
    position = 0
    for count in group["rings"]:
        own = rings[position : position + count]
        position += count
        if group["kind"] == "line":
            features.append(shapely.MultiLineString([shapely.LineString(ring) for ring in own]))
        else:
            areas = [shapely.Polygon(ring) for ring in own]
            whole = shapely.MultiPolygon()
            for area, ring in zip(areas, own, strict=True):
                is_outer = shapely.LinearRing(ring).is_ccw
                whole = whole.union(area) if is_outer else whole.difference(area)
            features.append(whole)
    return features


@pytest.fixture
def layer_path(tmp_path: Path) -> Path:
    """A GeoPackage of 40 polygons and 2 roads."""
    path = write_frame(make_frame(), tmp_path / "map.gpkg")
    return write_frame(make_roads(), path, "roads")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with Browser() as opened:
        yield opened
