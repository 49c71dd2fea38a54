"""Items of STAC: where they are found, which of their files is the image, and of when."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from geoseg.catalog.area import SearchArea
from geoseg.catalog.files import PICTURES, RASTERS
from geoseg.catalog.hrefs import is_web, join_href, read_document, to_gdal_name
from geoseg.catalog.scene import Candidate
from geoseg.errors import InputError
from geoseg.redact import clean_url, identify_url

MAX_DOCUMENTS = 20_000
VISUAL = "visual"
NO_IMAGE = frozenset(("thumbnail", "overview", "metadata", "data-mask"))
"""Roles of assets that are not what the item is about."""

UNKNOWN_TIME = ("1900-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
"""How geoseg writes that a time is not known, as STAC asks for one: none, within the widest range."""

STAC = "a STAC item, item collection, collection or catalogue"

Item = tuple[dict[str, Any], str]
"""The item as JSON, and the URL or path to which its links are relative."""


def walk_items(location: str) -> Iterator[Item]:
    """All items in a document and in those that it links to: children, items, further pages.

    Args:
        location: file or URL of an item, an item collection, a collection or a catalogue.

    Raises:
        InputError: a document cannot be read or is no STAC, or there are more than 20,000 of them.
    """
    todo, seen = [location], set[str]()
    while todo:
        place = todo.pop()
        if identify_url(place) in seen:
            continue
        seen.add(identify_url(place))
        if len(seen) > MAX_DOCUMENTS:
            raise InputError(
                f"{location}: leads to more than {MAX_DOCUMENTS:,} documents",
                expected="a catalogue of a region",
                remedy="search a STAC API within a bounding box and a time instead",
            )
        document = read_document(place)
        kind, links = document.get("type"), _read_links(document, place)
        if kind == "Feature":
            yield _check_item(document, place), place
        elif kind == "FeatureCollection":
            for feature in _read_list(document, "features", place):
                yield _check_item(feature, place), find_self(feature, place)
            todo += [href for rel, href in links if rel == "next"]
        elif kind in ("Catalog", "Collection") or "stac_version" in document:
            below = [href for rel, href in links if rel in ("item", "child")]
            # In the order of the document; an API lists its items at an address of their own.
            todo += reversed(below or [href for rel, href in links if rel == "items"])
        else:
            raise _refuse(place, f"JSON of type {kind}")


def find_self(item: Mapping[str, Any], base: str) -> str:
    """The URL of an item within a collection, to which its links are relative; that of the collection if unknown."""
    links = item.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "self" and is_web(str(link.get("href"))):
            return str(link["href"])
    return base


def select_image(item: Mapping[str, Any], base: str, asset: str | None, area: SearchArea | None) -> Candidate | None:
    """The image of an item; None if it lies outside the area.

    Args:
        item: the item as JSON.
        base: URL or path to which its links are relative.
        asset: key of the asset that is the image; "visual" or the only image with the role "data" if it is None.
        area: where scenes are wanted.

    Raises:
        InputError: the item has no such asset, several images of which one must be chosen, or is malformed.
    """
    name = str(item.get("id", ""))
    try:
        if area is not None and not area.may_hold(item.get("geometry"), item.get("bbox")):
            return None
        moment = _read_moment(item.get("properties") or {})
    except Exception as error:  # of shapely or of a table without what belongs into it
        raise _refuse(base, f"item {name}: its geometry or time is malformed ({error})") from None
    key = _choose_asset(item["assets"], asset, f"{base}: item {name}")
    href = item["assets"][key].get("href")
    if not isinstance(href, str) or not href:
        raise _refuse(base, f"item {name}: its asset {key} leads nowhere")
    path = to_gdal_name(join_href(href, base))
    collection = item.get("collection")
    place = f"{collection or ''}/{name}/{key}"
    origin = clean_url(find_self(item, base))
    return Candidate(path, place, name or None, moment, origin)


def parse_moment(text: str) -> str:
    """A date or a time, UTC where it names no zone, as 2024-05-01T10:20:30Z.

    Raises:
        ValueError: it is none.
    """
    moment = datetime.datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment.astimezone(datetime.UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _read_moment(properties: Mapping[str, Any]) -> str | None:
    moment = properties.get("datetime") or properties.get("start_datetime")
    return parse_moment(moment) if moment and moment != UNKNOWN_TIME[0] else None


def _choose_asset(assets: Mapping[str, Any], wanted: str | None, found: str) -> str:
    usable = {key: asset for key, asset in assets.items() if isinstance(asset, dict)}
    if wanted is not None:
        if wanted in usable:
            return wanted
        fault = f"no asset {wanted!r}"
    elif VISUAL in usable:
        return VISUAL
    else:
        images = [key for key, asset in usable.items() if _is_image(asset)]
        data = [key for key in images if "data" in (usable[key].get("roles") or ())]
        if len(data or images) == 1:
            return (data or images)[0]
        fault = f"{len(data or images)} images of which one must be chosen" if images else "no image"
    listed = ", ".join(f"{key} ({asset.get('type', 'unknown type')})" for key, asset in usable.items())
    raise InputError(
        f"{found} has {fault}",
        expected=f"one of its assets: {listed or 'there are none'}",
        remedy="name the asset that is the image: --asset NAME",
    )


def _is_image(asset: Mapping[str, Any]) -> bool:
    if NO_IMAGE & set(asset.get("roles") or ()):
        return False
    media = str(asset.get("type") or "")
    suffix = PurePosixPath(urlsplit(str(asset.get("href"))).path).suffix.lower()
    return media.startswith("image/") or (not media and suffix in RASTERS | PICTURES)


def _check_item(item: Any, place: str) -> dict[str, Any]:
    if not isinstance(item, dict) or item.get("type") != "Feature" or not isinstance(item.get("assets"), dict):
        raise _refuse(place, "GeoJSON without assets")
    return item


def _read_links(document: Mapping[str, Any], place: str) -> list[tuple[str, str]]:
    return [
        (str(link.get("rel")), join_href(link["href"], place))
        for link in _read_list(document, "links", place)
        if isinstance(link, dict) and link.get("rel") in ("item", "child", "items", "next") and _is_get(link)
    ]


def _is_get(link: Mapping[str, Any]) -> bool:
    return isinstance(link.get("href"), str) and str(link.get("method", "GET")).upper() == "GET"


def _read_list(document: Mapping[str, Any], key: str, place: str) -> list[Any]:
    found = document.get(key) or []
    if not isinstance(found, list):
        raise _refuse(place, f"its {key} are no list")
    return found


def _refuse(place: str, found: str) -> InputError:
    return InputError(
        f"{place}: {found}",
        expected=STAC,
        remedy="give the address of STAC JSON; polygons of an area go into --aoi, "
        f"an image itself is named as a file ({Path(place).name} is not one)",
    )
