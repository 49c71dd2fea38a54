"""Every kind of source, to the rasters it stands for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from geoseg.catalog.area import SearchArea, read_search_area
from geoseg.catalog.files import LISTS, expand_pattern, is_dataset_name, list_folder, read_list
from geoseg.catalog.hrefs import STORES, is_document, is_web, to_gdal_name
from geoseg.catalog.scene import Candidate, SceneRef, name_scenes
from geoseg.catalog.search import StacSearch, search_items
from geoseg.catalog.stac import find_self, select_image, walk_items
from geoseg.catalog.stores import is_store_folder, list_store
from geoseg.errors import GeosegError, InputError
from geoseg.raster.source import locate_raster
from geoseg.redact import clean_url, identify_url

DOCUMENTS = frozenset((".json", ".geojson"))
MAX_NAMED = 5


def find_scenes(
    sources: Sequence[str | Path] = (),
    *,
    stac: StacSearch | None = None,
    aoi: str | Path | None = None,
    asset: str | None = None,
    skip: Path | None = None,
) -> list[SceneRef]:
    """Find the rasters that sources stand for, each once, in the order given, those of a search last.

    Args:
        sources: files, patterns (`*`, `?`, `**`), folders (with those below), lists (.txt, a source a line), VRTs, GDAL
            dataset names, URLs (http, https, s3, gs, az; of a store also patterns, and folders with a slash at the
            end), STAC items, item collections, collections and catalogues (.json, .geojson, or an address that answers
            with JSON).
        stac: a search of a STAC API.
        aoi: "W,S,E,N" in degrees or a vector file in any CRS; scenes that lie outside are left out. One whose header
            cannot be read stays: the run says what is wrong with it.
        asset: key of the image in items of STAC; "visual" or the only image with the role "data" if it is None.
        skip: a folder below the sources that is left out, such as that of the output.

    Returns:
        The scenes; of a STAC item that leads to no raster, where others do, its fault.

    Raises:
        InputError: a source is missing or leads to no scene, or none lies in the area.
        OptionError: the search cannot be made.
    """
    area = read_search_area(aoi) if aoi is not None else None
    finder = _Finder(area, asset, skip)
    found = finder.expand([str(source) for source in sources])
    if stac is not None:
        found += finder.search(stac)
    unique: dict[str, Candidate] = {}
    for one in found:
        unique.setdefault(_identify(one.path), one)
    chosen = list(unique.values())
    faults = [one.fault for one in chosen if one.fault is not None]
    if faults and len(faults) == len(chosen):
        raise faults[0]
    if area is not None:
        # STAC has told where its own lie.
        names = [one.path for one in chosen if one.item is None]
        outside = {name for name, inside in zip(names, area.select_files(names), strict=True) if not inside}
        chosen = [one for one in chosen if one.path not in outside]
    if not chosen:
        told = ", ".join(map(str, sources[:MAX_NAMED])) or (stac.url if stac else "no source")
        raise InputError(
            f"no scene {f'in the area {aoi} ' if aoi is not None else ''}among {told}",
            expected="at least one raster",
            remedy="check sources and area; `geoseg info FILE` tells where a raster lies",
        )
    return name_scenes(chosen)


def renew_scene(ref: SceneRef, asset: str | None) -> SceneRef:
    """The same scene under the address that its STAC item has now: one that was signed runs out after a time.

    Args:
        ref: the scene; what comes of no item of the web stays as it is.
        asset: as of `find_scenes`.
    """
    if ref.item is None or not is_web(ref.item):
        return ref
    try:
        images = (select_image(item, base, asset, None) for item, base in walk_items(ref.item))
        same = (one.path for one in images if one is not None and identify_url(one.path) == identify_url(ref.path))
        return replace(ref, path=next(same, ref.path))
    except InputError:
        return ref


class _Finder:
    def __init__(self, area: SearchArea | None, asset: str | None, skip: Path | None) -> None:
        self._area, self._asset, self._skip = area, asset, skip

    def expand(self, sources: Sequence[str], lists: tuple[str, ...] = ()) -> list[Candidate]:
        """What the sources stand for; of a list's missing ones all are named."""
        found: list[Candidate] = []
        faults: list[GeosegError] = []
        for source in sources:
            try:
                found += self._expand_one(source, lists)
            except GeosegError as error:
                faults.append(error)
        if len(faults) == 1:
            raise faults[0]
        if faults:
            told = "".join(f"\n  {error.found}" for error in faults[:MAX_NAMED])
            more = f"\n  and {len(faults) - MAX_NAMED} more" if len(faults) > MAX_NAMED else ""
            raise InputError(
                f"{len(faults)} of {len(sources)} sources cannot be used:{told}{more}",
                expected=faults[0].expected,
                remedy=faults[0].remedy,
            )
        return found

    def search(self, search: StacSearch) -> list[Candidate]:
        """What a STAC API finds."""
        bbox = search.bbox or (self._area.bbox if self._area else None)
        asset = search.asset or self._asset
        chosen = (self._select(item, base, asset) for item, base in search_items(search, bbox))
        return list(islice((one for one in chosen if one is not None), search.limit))

    def _expand_one(self, source: str, lists: tuple[str, ...]) -> Iterator[Candidate]:
        path = Path(source)
        suffix = PurePosixPath(urlsplit(source).path if "://" in source else source).suffix.lower()
        if is_web(source):
            if suffix in DOCUMENTS or (not suffix and is_document(source)):
                yield from self._read_stac(source)
            else:
                yield _take(source)
        elif source.partition("://")[0] in STORES or source.startswith("/vsi"):
            name = to_gdal_name(source)
            yield from list_store(name) if is_store_folder(name) else [_take(name)]
        elif _is_folder(path):
            rasters = list(list_folder(path, self._skip))
            if not rasters:
                raise InputError(
                    f"{source}: a folder without rasters",
                    expected="GeoTIFF, JPEG 2000, VRT or other rasters in it or below it",
                    remedy="check the folder; files with unusual endings are taken by a pattern: 'FOLDER/*.ending'",
                )
            yield from rasters
        elif suffix in LISTS and path.is_file():
            yield from self._read_list(path, lists)
        elif suffix in DOCUMENTS and path.is_file():
            yield from self._read_stac(os.path.abspath(source))
        elif glob.has_magic(source) and not is_dataset_name(source) and not os.path.exists(source):
            yield from expand_pattern(source)
        else:
            name = locate_raster(source)
            yield Candidate(name, Path(name).as_posix())

    def _read_list(self, path: Path, lists: tuple[str, ...]) -> list[Candidate]:
        name = os.path.realpath(path)
        if name in lists:
            raise InputError(f"{path}: a list that leads back to itself", expected="lists of rasters")
        return self.expand(read_list(path), (*lists, name))

    def _read_stac(self, location: str) -> Iterator[Candidate]:
        some = False
        for item, base in walk_items(location):
            some = True
            image = self._select(item, base, self._asset)
            if image is not None:
                yield image
        if not some:
            raise InputError(
                f"{location}: STAC without items",
                expected="an item, or links to items",
                remedy="check that it is complete; a STAC API is searched with --stac",
            )

    def _select(self, item: Mapping[str, Any], base: str, asset: str | None) -> Candidate | None:
        """The image of an item, or what is wrong with it; None if it lies outside the area."""
        try:
            return select_image(item, base, asset, self._area)
        except InputError as error:
            name, origin = str(item.get("id", "")), clean_url(find_self(item, base))
            return Candidate(f"{origin}#{name}", f"{origin}#{name}", name or None, item=origin, fault=error)


def _take(name: str) -> Candidate:
    return Candidate(name, identify_url(name))


def _identify(name: str) -> str:
    return os.path.realpath(name) if os.path.exists(name) else identify_url(name)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
