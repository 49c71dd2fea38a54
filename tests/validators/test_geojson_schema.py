"""GeoJSON by the letter of RFC 7946, in the hands of validators and of ogrinfo."""

from __future__ import annotations

import gzip
import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio
from affine import Affine

from geoseg.grid import GeoGrid
from geoseg.layers.write import WrittenLayer
from tests.validators.conftest import UTM, count_features, make_map, ogrinfo, write_map

MapFile = Callable[[str], list[WrittenLayer]]
GRIDS = {
    "utm": UTM,
    "mercator": GeoGrid(rasterio.CRS.from_epsg(3857).to_wkt(), Affine(0.6, 0, -8e6, 0, -0.6, 5e6), 200, 260),
    "across 180 degrees": GeoGrid(rasterio.CRS.from_epsg(3832).to_wkt(), Affine(9, 0, 3_338_000, 0, -9, 9e5), 200, 260),
    "lonlat beyond 180 degrees": GeoGrid(
        rasterio.CRS.from_epsg(4326).to_wkt(), Affine(1e-4, 0, 179.99, 0, -1e-4, 52.0), 200, 260
    ),
    "rotated": GeoGrid(UTM.crs, Affine(0.4, -0.3, 530_000, 0.3, 0.4, 9_330_000), 200, 260),
    "north polar": GeoGrid(rasterio.CRS.from_epsg(3413).to_wkt(), Affine(10, 0, -1300, 0, -10, 1000), 200, 260),
}


@pytest.fixture(params=GRIDS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> list[WrittenLayer]:
    return write_map(tmp_path / "map.geojson", make_map(GRIDS[request.param]))


def rings(geometry: dict[str, Any]) -> Iterator[tuple[list[list[float]], bool]]:
    """The rings of a (Multi)Polygon and whether each is an outer one."""
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    for polygon in polygons:
        yield from ((ring, i == 0) for i, ring in enumerate(polygon))


def double_area(ring: list[list[float]]) -> int:
    """Twice the signed area in units of the last decimal, exactly."""
    fixed = [(round(x * 10**7), round(y * 10**7)) for x, y in ring]
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in itertools.pairwise(fixed))


def check_position(position: list[float]) -> None:
    assert len(position) == 2
    assert all(math.isfinite(value) and value == round(value, 7) for value in position)
    assert abs(position[0]) <= 180
    assert abs(position[1]) <= 90


def check_feature(feature: dict[str, Any]) -> None:
    """Sections 3.1.6, 3.1.9, 3.2 and 4."""
    assert set(feature) <= {"type", "id", "bbox", "geometry", "properties"}
    assert feature["type"] == "Feature"
    assert isinstance(feature["properties"], dict)
    geometry = feature["geometry"]
    assert set(geometry) == {"type", "coordinates"}
    if geometry["type"] in ("LineString", "MultiLineString"):
        lines = geometry["coordinates"] if geometry["type"] == "MultiLineString" else [geometry["coordinates"]]
        for line in lines:
            assert len(line) >= 2
            for position in line:
                check_position(position)
        return
    assert geometry["type"] in ("Polygon", "MultiPolygon")
    for ring, is_outer in rings(geometry):
        assert len(ring) >= 4
        assert ring[0] == ring[-1]
        for position in ring:
            check_position(position)
        assert double_area(ring) >= 0 if is_outer else double_area(ring) <= 0
        longitudes = [x for x, _ in ring]
        assert max(longitudes) - min(longitudes) <= 180 or max(abs(y) for _, y in ring) == 90


def test_every_rule_of_rfc_7946(written: list[WrittenLayer]) -> None:
    for layer in written:
        data = json.loads(layer.path.read_bytes().decode("utf-8"))
        assert data["type"] == "FeatureCollection"
        assert "crs" not in data
        assert not {"coordinates", "geometries", "geometry", "properties"} & set(data)
        assert len(data["features"]) == layer.features
        for feature in data["features"]:
            check_feature(feature)


def test_validators_are_content(written: list[WrittenLayer]) -> None:
    validator = pytest.importorskip("geojson_validator", reason="geojson-validator is not installed")
    models = pytest.importorskip("geojson_pydantic", reason="geojson-pydantic is not installed")
    for layer in written:
        data = json.loads(layer.path.read_bytes())
        assert validator.validate_structure(data) == {}
        found = validator.validate_geometries(data)
        assert found["invalid"] == {}
        # Holes and decimals beyond the sixth are meant; a longitude of 180 on the cut counts as a crossing there.
        meant = {"holes", "excessive_coordinate_precision", "excessive_vertices", "crosses_antimeridian"}
        assert set(found["problematic"]) <= meant
        assert len(models.FeatureCollection(**data).features) == layer.features


def test_ogrinfo_reads_all_features(written: list[WrittenLayer]) -> None:
    for layer in written:
        text = ogrinfo(layer.path)
        assert count_features(text) == [layer.features]
        assert 'ID["EPSG",4326]' in text


@pytest.mark.parametrize("suffix", [".geojson.gz", ".geojsonl", ".geojsonseq", ".geojsons"])
def test_other_spellings_hold_the_same_features(map_file: MapFile, suffix: str) -> None:
    for plain, other in zip(map_file(".geojson"), map_file(suffix), strict=True):
        expected = json.loads(plain.path.read_bytes())["features"]
        raw = other.path.read_bytes()
        if suffix == ".geojson.gz":
            found = json.loads(gzip.decompress(raw))["features"]
        else:
            found = [json.loads(line.removeprefix(b"\x1e")) for line in raw.splitlines()]
            assert all(line.startswith(b"\x1e") == (suffix != ".geojsonl") for line in raw.splitlines())
            found[0].pop("geoseg")  # the first feature carries the provenance of all
        assert found == expected
        source = f"/vsigzip/{other.path}" if suffix == ".geojson.gz" else other.path
        assert count_features(ogrinfo(source)) == [len(expected)]
