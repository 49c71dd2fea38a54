"""Rasters of an object store: folders and patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pyogrio

from geoseg.catalog.files import RASTERS
from geoseg.catalog.hrefs import STORES
from geoseg.catalog.scene import Candidate
from geoseg.errors import InputError
from geoseg.raster.reader import find_endpoint


def is_store_folder(name: str) -> bool:
    """Whether a GDAL name means several objects of a store: it ends with a slash, or holds an asterisk."""
    return name.startswith(tuple(STORES.values())) and (name.endswith("/") or "*" in name)


def list_store(name: str) -> Iterator[Candidate]:
    """The rasters in a folder of a store and below it, or all objects that match a pattern (`*`, `?`, `**`), by name.

    Raises:
        InputError: the store cannot be listed, or there is none.
    """
    root = name[: name.index("*")].rpartition("/")[0] + "/" if "*" in name else name
    # The library that lists is another GDAL than the one that reads.
    pyogrio.set_gdal_config_options(find_endpoint())
    try:
        objects = pyogrio.vsi_listtree(root)
    except Exception as error:  # of the file system and of GDAL
        raise InputError(
            f"{name}: cannot be listed ({error})",
            expected="a bucket and a folder that one may list",
            remedy="check the name, AWS_ENDPOINT_URL and the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE, "
            "AWS_NO_SIGN_REQUEST=YES for a public one), or list the scenes in a text file",
        ) from None
    pattern = _compile(name) if "*" in name else None
    found = sorted(one for one in objects if (pattern.fullmatch(one) if pattern else _is_raster(one)))
    if not found:
        raise InputError(
            f"{name}: no raster among {len(objects)} object(s)",
            expected="rasters in a folder (which ends with a slash), or objects that match the pattern",
            remedy="check the name",
        )
    for one in found:
        yield Candidate(one, one.removeprefix(root))


def _is_raster(name: str) -> bool:
    # A VRT of a store is not opened.
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in RASTERS and suffix != ".vrt"


def _compile(pattern: str) -> re.Pattern[str]:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts))
