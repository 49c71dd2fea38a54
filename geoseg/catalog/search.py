"""The search of a STAC API."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from geoseg.catalog.area import BBox
from geoseg.catalog.hrefs import BUSY
from geoseg.catalog.stac import Item, find_self
from geoseg.errors import InputError, OptionError
from geoseg.redact import hide_credentials

PAGE = 100
TIME = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2}))?)?)?")
TIMEOUT_S = 30
PAUSE_S = 0.5

hide_credentials("urllib3.connectionpool", "urllib3.util.retry", "pystac_client.stac_api_io", "pystac_client.client")


@dataclass(frozen=True)
class StacSearch:
    """What is asked of a STAC API.

    Attributes:
        url: of the API's landing page.
        collections: ids of collections; all if empty.
        bbox: west, south, east, north in degrees, west > east across the antimeridian; that of the area if None.
        datetime: a time, or a range such as 2024-05-01/2024-06-30 or 2024-05-01/..
        asset: key of the asset that is the image; "visual" or the only image with the role "data" if it is None.
        limit: at most so many scenes.
    """

    url: str
    collections: tuple[str, ...] = ()
    bbox: BBox | None = None
    datetime: str | None = None
    asset: str | None = None
    limit: int | None = None


def search_items(search: StacSearch, bbox: BBox | None) -> Iterator[Item]:
    """The items that the API finds, page by page, in its order, without an end if it has none.

    Args:
        search: what is asked; its limit is for the caller to keep.
        bbox: where, in place of the search's own.

    Raises:
        OptionError: pystac-client is not installed, or bounds or time are malformed.
        InputError: the API cannot be reached or refuses.
    """
    try:
        from pystac_client import Client  # noqa: PLC0415
        from pystac_client.stac_api_io import StacApiIO  # noqa: PLC0415
        from urllib3 import Retry  # noqa: PLC0415
    except ModuleNotFoundError:
        raise OptionError(
            "a search of a STAC API needs pystac-client, which is not installed",
            expected="geoseg with its extra `stac`",
            remedy="pip install 'geoseg[stac]'",
        ) from None
    _check(search)
    try:
        # They are warnings to those who write against the API.
        with warnings.catch_warnings(action="ignore"):
            patience = Retry(3, status_forcelist=BUSY, allowed_methods=None, backoff_factor=PAUSE_S)
            client = Client.open(search.url, stac_io=StacApiIO(timeout=TIMEOUT_S, max_retries=patience))
            methods = {link.extra_fields.get("method") for link in client.links if link.rel == "search"}
            found = client.search(
                method="POST" if "POST" in methods else "GET",
                collections=list(search.collections) or None,
                bbox=bbox,
                datetime=search.datetime,
                limit=min(PAGE, search.limit or PAGE),
            ).items_as_dicts()
        while True:
            with warnings.catch_warnings(action="ignore"):
                item = next(found, None)
            if item is None:
                return
            if not isinstance(item["assets"], dict):
                raise TypeError("an item without assets")
            yield item, find_self(item, search.url)
    except Exception as error:  # of pystac, pystac-client, requests and json, or of what is no item
        raise InputError(
            f"search of {search.url}: {error or type(error).__name__}",
            expected="the landing page of a STAC API with item search",
            remedy="check the address, the connection, the time and the names of the collections",
        ) from None


def _check(search: StacSearch) -> None:
    bbox = search.bbox or (-180.0, -90.0, 180.0, 90.0)
    if len(bbox) != 4 or not (-90 <= bbox[1] <= bbox[3] <= 90 and all(-180 <= lon <= 180 for lon in bbox[::2])):
        raise OptionError(
            f"bounding box {','.join(f'{value:g}' for value in bbox)}",
            expected="W,S,E,N in degrees, S below N",
            remedy="put longitude before latitude (W > E only across the antimeridian)",
        )
    if search.limit is not None and search.limit < 1:
        raise OptionError(f"limit {search.limit}", expected="at least 1 scene")
    parts = (search.datetime or "..").split("/")
    if len(parts) > 2 or not all(part in ("", "..") or TIME.fullmatch(part) for part in parts):
        raise OptionError(
            f"time {search.datetime}",
            expected="a date or time, or a range of two, such as 2024-05-01/2024-06-30, 2024-05/.. or 2024",
            remedy="write it as year-month-day",
        )
