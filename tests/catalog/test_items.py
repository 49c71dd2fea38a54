"""The outputs are a STAC catalogue that other programs read, and geoseg itself."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geoseg.catalog.area import find_bbox, trace_outline
from geoseg.catalog.find import find_scenes
from geoseg.catalog.items import SceneItem, write_items
from geoseg.errors import OutputError
from geoseg.grid import GeoGrid
from geoseg.legend import LAND_COVER
from geoseg.raster.classes import open_class_raster
from tests.catalog.servers import WebServer

pystac = pytest.importorskip("pystac", reason="pystac is not installed")
validation = pytest.importorskip("pystac.validation.stac_validator", reason="jsonschema is not installed")
projection = pytest.importorskip("pystac.extensions.projection")
classification = pytest.importorskip("pystac.extensions.classification")

Write = Callable[..., Path]


def check(path: Path) -> dict[str, Any]:
    """A document that keeps the rules of STAC."""
    document = json.loads(path.read_text())
    kind = pystac.STACObjectType.COLLECTION if document["type"] == "Collection" else pystac.STACObjectType.ITEM
    validation.JsonSchemaSTACValidator().validate_core(document, kind, document["stac_version"])
    return document


@pytest.fixture
def scenes(tmp_path: Path, class_raster: Callable[..., Path]) -> list[SceneItem]:
    made = []
    values = np.random.default_rng(1).integers(0, 4, (40, 50)).astype(np.uint8)
    for name, moment in (("b", "2024-05-03T10:20:30Z"), ("a", "2024-05-01"), ("c", None)):
        folder = tmp_path / "out" / "scenes" / name
        folder.mkdir(parents=True)
        classes = folder / "classes.tif"
        shutil.move(class_raster(values), classes)
        shutil.copy(classes, folder / "confidence.tif")
        origin = f"https://me:Secret9@h.org/items/{name}?token=Secret9" if name == "b" else None
        made.append(
            SceneItem(
                name,
                open_class_raster(classes).grid,
                {"classes": classes, "confidence": folder / "confidence.tif"},
                moment,
                origin,
                {"geoseg:model": "landcover-rgb", "geoseg:source": "https://h.org/a.tif?sig=Secret9"},
            )
        )
    return made


@pytest.fixture
def write(tmp_path: Path, scenes: list[SceneItem]) -> Write:
    def run(**options: Any) -> Path:
        layer = tmp_path / "out" / "layer.gpkg"
        layer.write_bytes(b"")
        region = SceneItem("region", scenes[0].grid, {"layer": layer, "classes": tmp_path / "out" / "classes.tif"})
        return write_items(tmp_path / "out", scenes, region=region, legend=LAND_COVER, **options)

    return run


def test_stac_accepts_all_of_it(write: Write, tmp_path: Path) -> None:
    collection = check(write())
    assert collection["extent"]["temporal"]["interval"] == [["2024-05-01T00:00:00Z", "2024-05-03T10:20:30Z"]]
    items = {
        item.id: item for item in pystac.Collection.from_file(str(tmp_path / "out" / "collection.json")).get_items()
    }
    assert list(items) == ["b", "a", "c", "region"]
    for name, item in items.items():
        document = check(tmp_path / "out" / "items" / f"{name}.json")
        assert "Secret9" not in json.dumps(document)
        assert item.get_root().id == item.get_collection().id == "geoseg"
        assert item.assets["classes"].media_type == pystac.MediaType.COG
        found = projection.ProjectionExtension.ext(item)
        assert (found.code, found.shape) == ("EPSG:32737", [40, 50])
        assert tuple(found.transform) == (0.5, 0, 530_000, 0, -0.5, 9_330_000)
        listed = classification.ClassificationExtension.ext(item.assets["classes"]).classes
        assert [one.value for one in listed] == [one.id for one in LAND_COVER.classes]
    assert Path(items["a"].assets["classes"].get_absolute_href()) == tmp_path / "out" / "scenes" / "a" / "classes.tif"
    assert items["region"].assets["layer"].media_type == "application/geopackage+sqlite3"
    assert items["region"].properties["start_datetime"] == "2024-05-01T00:00:00Z"
    assert items["region"].properties["end_datetime"] == "2024-05-03T10:20:30Z"
    origins = {name: [link.href for link in item.get_links("derived_from")] for name, item in items.items()}
    assert origins["b"] == ["https://h.org/items/b"]
    assert origins["a"] == []
    assert {Path(href).name for href in origins["region"]} == {"a.json", "b.json", "c.json"}


def test_geoseg_finds_what_it_wrote(write: Write, tmp_path: Path, web: WebServer) -> None:
    found = find_scenes([write()], aoi="38,-8,40,-5")
    out = tmp_path / "out"
    paths = [out / "scenes" / name / "classes.tif" for name in "bac"]
    assert [(one.id, one.path) for one in found[:3]] == [(n, str(p)) for n, p in zip("bac", paths, strict=True)]
    first = "2024-05-01T00:00:00Z"
    assert [one.datetime for one in found] == ["2024-05-03T10:20:30Z", first, None, first]
    # The same where it is served, or was moved.
    for path in out.rglob("*"):
        if path.is_file():
            web.files[f"/x/{path.relative_to(out).as_posix()}"] = path.read_bytes()
    served = find_scenes([f"{web.url}/x/collection.json"])
    assert [one.path for one in served[:3]] == [f"{web.url}/x/scenes/{name}/classes.tif" for name in "bac"]
    out.rename(tmp_path / "moved")
    assert find_scenes([tmp_path / "moved" / "collection.json"])[0].path == str(tmp_path / "moved/scenes/b/classes.tif")


def test_the_same_outputs_give_the_same_bytes_and_nothing_is_written_twice(write: Write, tmp_path: Path) -> None:
    def read() -> dict[str, tuple[bytes, int]]:
        found = [tmp_path / "out" / "collection.json", *(tmp_path / "out" / "items").iterdir()]
        return {path.name: (path.read_bytes(), path.stat().st_ino) for path in found}

    write()
    first = read()
    write()
    assert read() == first
    write(title="Another")
    assert {name for name, state in read().items() if state != first[name]} == {"collection.json"}


def test_no_outputs_are_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="without items"):
        write_items(tmp_path, [])


@pytest.mark.parametrize(
    ("crs", "transform", "bbox"),
    [
        ("EPSG:4326", Affine(0.01, 0, 179.5, 0, -0.01, 1), (179.5, 0, -179.5, 1)),
        ("EPSG:32601", Affine(1000, 0, 200_000, 0, -1000, 100_000), None),
        ("EPSG:3857", Affine(1000, 0, 0, 0, -1000, 100_000), None),
        ("EPSG:3413", Affine(20_000, 0, -1e6, 0, -20_000, 1e6), None),
        ("EPSG:32737", Affine(0.3, 0.2, 530_000, 0.2, -0.3, 9_330_000), None),
        ("+proj=laea +lat_0=10 +lon_0=20", Affine(1000, 0, 0, 0, -1000, 0), None),
    ],
)
def test_outlines_of_any_crs(tmp_path: Path, crs: str, transform: Affine, bbox: Any) -> None:
    grid = GeoGrid(CRS.from_user_input(crs).to_wkt(), transform, 100, 100)
    (tmp_path / "c.tif").write_bytes(b"")
    write_items(tmp_path, [SceneItem("a", grid, {"classes": tmp_path / "c.tif"})])
    check(tmp_path / "collection.json")
    item = check(tmp_path / "items" / "a.json")
    outline = shapely.geometry.shape(item["geometry"])
    assert outline.is_valid
    assert outline.bounds[0] >= -180
    assert outline.bounds[2] <= 180
    if bbox:
        assert item["bbox"] == pytest.approx(bbox)
    # Every corner of the raster lies in it, and nothing else than the raster: by the points of a lattice.
    rows, cols = np.meshgrid(np.linspace(1, 99, 9), np.linspace(1, 99, 9))
    lon, lat = grid.to_lonlat.transform(*grid.to_world(rows.ravel(), cols.ravel()))
    lon = (lon + 180) % 360 - 180
    assert shapely.intersects_xy(outline, lon, lat).all()
    beyond = grid.to_lonlat.transform(*grid.to_world(np.array([-9.0, 50, 109, 50]), np.array([50.0, -9, 50, 109])))
    assert not shapely.intersects_xy(outline, (beyond[0] + 180) % 360 - 180, beyond[1]).any()
    assert ("proj:wkt2" in item["properties"]) == (item["properties"]["proj:code"] is None)


def test_a_raster_that_is_nowhere_has_no_geometry(tmp_path: Path) -> None:
    grid = GeoGrid(
        CRS.from_user_input("+proj=ortho +lat_0=0 +lon_0=0").to_wkt(), Affine(1e5, 0, -1e7, 0, -1e5, 1e7), 200, 200
    )
    assert trace_outline(grid) is None
    (tmp_path / "c.tif").write_bytes(b"")
    write_items(tmp_path, [SceneItem("a", grid, {"classes": tmp_path / "c.tif"})])
    check(tmp_path / "collection.json")
    item = check(tmp_path / "items" / "a.json")
    assert item["geometry"] is None
    assert "bbox" not in item


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-180, 179), st.integers(1, 60)), min_size=1, max_size=5))
def test_a_bounding_box_is_the_shortest_that_holds_all(spans: list[tuple[int, int]]) -> None:
    parts = [shapely.box(west, 0, min(west + width, 180), 1) for west, width in spans]
    west, south, east, north = find_bbox(shapely.union_all(parts))
    assert (south, north) == (0, 1)
    covered = np.zeros(360, bool)
    for part in parts:
        covered[int(part.bounds[0]) + 180 : int(part.bounds[2]) + 180] = True
    width = (east - west) % 360 or 360
    inside = (np.arange(-180, 180) + 0.5 - west) % 360 < width
    assert inside[covered].all()
    # The longest run of empty degrees, round the Earth, stays outside.
    runs = "".join("x" if one else " " for one in np.concatenate([covered, covered])).split("x")
    assert width == 360 - min(max(map(len, runs)), 360) or width == 360


def test_an_item_of_this_computer_is_linked_relatively(tmp_path: Path, scenes: list[SceneItem]) -> None:
    write_items(tmp_path / "out", [replace(scenes[0], item=os.fspath(tmp_path / "in" / "item.json"))])
    text = (tmp_path / "out" / "items" / "b.json").read_text()
    assert '"../../in/item.json"' in text
    assert str(tmp_path) not in text
