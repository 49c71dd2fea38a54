"""The outputs as a static STAC collection: what was made, where, of when, from what."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely
from pyproj import CRS

from geoseg import __version__
from geoseg.catalog.area import find_bbox, trace_outline
from geoseg.catalog.stac import UNKNOWN_TIME, parse_moment
from geoseg.errors import OutputError
from geoseg.files import replace_file
from geoseg.grid import GeoGrid
from geoseg.legend import ClassLegend
from geoseg.models.mlm import STAC_VERSION, make_classes
from geoseg.redact import clean_url, redact

COLLECTION = "collection.json"
ITEMS = "items"
EXTENSIONS = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
}

MEDIA_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".gpkg": "application/geopackage+sqlite3",
    ".geojson": "application/geo+json",
    ".parquet": "application/vnd.apache.parquet",
    ".fgb": "application/vnd.flatgeobuf",
    ".pmtiles": "application/vnd.pmtiles",
    ".html": "text/html",
    ".json": "application/json",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".qml": "application/xml",
}
TITLES = {
    "classes": ("Class of each pixel", ["data"]),
    "confidence": ("Confidence of the class of each pixel", ["metadata"]),
    "layer": ("Map layer", ["data"]),
    "report": ("Report", ["metadata"]),
    "thumbnail": ("Picture", ["thumbnail"]),
}
"""Titles and roles of assets by their keys; others are data. The class raster alone is an image with the role data."""

DECIMALS = 7


@dataclass(frozen=True)
class SceneItem:
    """What is told of a scene, or of a region, that was made.

    Attributes:
        id: as in `SceneRef`; "region" or another safe name for a region.
        grid: of its class raster.
        assets: files by key: classes, confidence, layer, report, thumbnail or names of one's own.
        datetime: date or time of the acquisition, ISO 8601; None where it is not known.
        item: URL or file of the STAC item of the image it was made from.
        properties: further ones, such as the model; their names should begin with "geoseg:".
    """

    id: str
    grid: GeoGrid
    assets: Mapping[str, Path]
    datetime: str | None = None
    item: str | None = None
    properties: Mapping[str, str | int | float] = field(default_factory=dict)


def write_items(
    directory: Path,
    items: Sequence[SceneItem],
    *,
    region: SceneItem | None = None,
    legend: ClassLegend | None = None,
    title: str = "Map layers",
) -> Path:
    """Write `collection.json` and an item for each scene and for the region; returns the path of the collection.

    Links are relative: the folder may be moved or served. The same items give the same bytes; files that have them
    already are not touched.

    Args:
        directory: where the catalogue is written, usually above the files it names.
        items: the scenes.
        region: what was made of all of them; its time is that of the scenes.
        legend: of the class rasters.
        title: of the collection.

    Raises:
        OutputError: a file cannot be written, or there is nothing to tell of.
    """
    every = [*items, *([region] if region is not None else [])]
    if not every:
        raise OutputError("a catalogue without items", expected="at least one scene that was made")
    moments = sorted(parse_moment(one.datetime) for one in items if one.datetime)
    span = (moments[0], moments[-1]) if moments else None
    outlines = {one.id: trace_outline(one.grid) for one in every}
    for one in every:
        parts = [f"./{scene.id}.json" for scene in items] if one is region else []
        item = _make_item(one, directory, outlines[one.id], legend)
        item["links"] += [_link("derived_from", part, "application/geo+json") for part in parts]
        if one is region and span is not None:
            item["properties"] |= _write_span(span)
        # With a tag the folder is not searched for leftovers, which of thousands of items each would do.
        _write_json(directory / ITEMS / f"{one.id}.json", item, tag="item")
    whole = shapely.union_all([outline for outline in outlines.values() if outline is not None])
    collection = {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": "geoseg",
        "title": title,
        "description": "Class rasters and map layers that geoseg made of satellite or aerial images.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90] if whole.is_empty else _round_all(find_bbox(whole))]},
            "temporal": {"interval": [list(span) if span else [None, None]]},
        },
        "links": [
            _link("root", f"./{COLLECTION}", "application/json"),
            *(_link("item", f"./{ITEMS}/{one.id}.json", "application/geo+json") for one in every),
        ],
    }
    _write_json(directory / COLLECTION, collection)
    return directory / COLLECTION


def _make_item(
    one: SceneItem, directory: Path, outline: shapely.MultiPolygon | None, legend: ClassLegend | None
) -> dict[str, Any]:
    """A STAC item.

    Source: STAC 1.1, item specification; Projection 2.0, Processing 1.2 and Classification 2.0 extensions.
    """
    here = directory / ITEMS
    crs, t = CRS.from_wkt(one.grid.crs), one.grid.transform
    epsg = crs.to_epsg()
    moment = parse_moment(one.datetime) if one.datetime else None
    properties: dict[str, Any] = {
        **({"datetime": moment} if moment else _write_span(UNKNOWN_TIME)),
        "proj:code": f"EPSG:{epsg}" if epsg else None,
        **({} if epsg else {"proj:wkt2": crs.to_wkt()}),
        "proj:shape": [one.grid.rows, one.grid.cols],
        "proj:transform": [t.a, t.b, t.c, t.d, t.e, t.f],
        "processing:software": {"geoseg": __version__},
        **{key: redact(value) if isinstance(value, str) else value for key, value in sorted(one.properties.items())},
    }
    assets = {key: _make_asset(key, path, here) for key, path in one.assets.items()}
    extensions = [EXTENSIONS["proj"], EXTENSIONS["processing"]]
    if legend is not None and "classes" in assets:
        assets["classes"]["classification:classes"] = make_classes(legend)
        extensions.append(EXTENSIONS["classification"])
    links = [_link(rel, f"../{COLLECTION}", "application/json") for rel in ("root", "parent", "collection")]
    if one.item is not None:
        href = clean_url(one.item) if "://" in one.item else _relate(Path(one.item), here)
        links.append(_link("derived_from", href, "application/geo+json"))
    bounds = {} if outline is None else {"bbox": _round_all(find_bbox(outline))}
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": extensions,
        "id": one.id,
        "geometry": None if outline is None else _to_geojson(outline),
        **bounds,
        "properties": properties,
        "links": links,
        "assets": assets,
        "collection": "geoseg",
    }


def _make_asset(key: str, path: Path, here: Path) -> dict[str, Any]:
    title, roles = TITLES.get(key, (key, ["data"]))
    media = MEDIA_TYPES.get(path.suffix.lower())
    return {"href": _relate(path, here), "title": title, **({"type": media} if media else {}), "roles": roles}


def _write_span(span: tuple[str, str]) -> dict[str, Any]:
    return {"datetime": None, "start_datetime": span[0], "end_datetime": span[1]}


def _to_geojson(outline: shapely.MultiPolygon) -> dict[str, Any]:
    rings = [
        [[_round_all(point) for point in ring.coords] for ring in (part.exterior, *part.interiors)]
        for part in outline.geoms
    ]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _round_all(numbers: Sequence[float]) -> list[float]:
    return [round(float(number), DECIMALS) + 0.0 for number in numbers]


def _link(rel: str, href: str, media: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": media}


def _relate(path: Path, here: Path) -> str:
    try:
        return Path(os.path.relpath(path.absolute(), here.absolute())).as_posix()
    except ValueError:  # on another drive of Windows
        return path.absolute().as_uri()


def _write_json(path: Path, document: dict[str, Any], *, tag: str = "") -> None:
    data = (json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    if path.is_file() and path.read_bytes() == data:
        return
    with replace_file(path, tag=tag) as temporary:
        temporary.write_bytes(data)
