"""A scene to be processed, and a name for it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from geoseg.errors import InputError
from geoseg.raster.scene import name_scene
from geoseg.redact import identify_url

STEM_CHARACTERS = 80
_RESERVED = re.compile(r"(region|unknown|con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_ROADS = re.compile(r"_(?=roads$)", re.IGNORECASE)
"""Roads of a part of a map lie beside it in a file whose name ends so."""


@dataclass(frozen=True)
class SceneRef:
    """A raster that was found.

    Attributes:
        id: unique among those found together; letters, digits and `._-` only, a safe name of a file on every system.
        path: what GDAL opens; may carry credentials.
        datetime: of the acquisition, ISO 8601 in UTC (2024-05-01T10:20:30Z), where a STAC item says so.
        item: URL or file of that STAC item, without credentials.
        fault: why that item leads to no raster; None where it does.
    """

    id: str
    path: str = field(repr=False)
    datetime: str | None = None
    item: str | None = None
    fault: InputError | None = None


@dataclass(frozen=True)
class Candidate:
    """A raster before it has an id.

    Attributes:
        path: as in `SceneRef`.
        place: where it lies within what was asked for, the same on every machine; tells equal names apart.
        name: of which the id is made; the file's name where it is None.
        datetime: as in `SceneRef`.
        item: as in `SceneRef`.
        fault: as in `SceneRef`.
    """

    path: str = field(repr=False)
    place: str = field(repr=False)
    name: str | None = None
    datetime: str | None = None
    item: str | None = None
    fault: InputError | None = None


def name_scenes(candidates: Sequence[Candidate]) -> list[SceneRef]:
    """Give each of the candidates, all with different paths, its id.

    That is the name, and a hash of the place where two have the same one (also if upper and lower case are one).
    """
    stems = [_make_stem(one) for one in candidates]
    ids = list(stems)
    for digits in (8, 16, 64):
        counts = Counter(name.lower() for name in ids)
        if len(counts) == len(ids):
            break
        for i, one in enumerate(candidates):
            if counts[ids[i].lower()] > 1:
                # Two sources may hold the same places.
                place = one.place if digits == 8 else f"{one.place}\n{identify_url(one.path)}"
                ids[i] = f"{stems[i]}-{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:digits]}"
    return [
        SceneRef(name, one.path, one.datetime, one.item, one.fault) for name, one in zip(ids, candidates, strict=True)
    ]


def make_safe(name: str) -> str:
    """A name of ASCII letters, digits and `._-` that no system refuses; never empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-")[:STEM_CHARACTERS].rstrip("._-")
    if not safe:
        return "scene"
    return f"scene_{safe}" if _RESERVED.fullmatch(safe) else _ROADS.sub("-", safe)


def _make_stem(one: Candidate) -> str:
    if one.name is not None:
        return make_safe(one.name)
    name = name_scene(one.path) or ""
    return make_safe(re.sub(r"\.[A-Za-z0-9]{1,5}$", "", name.removesuffix(".gz")))
