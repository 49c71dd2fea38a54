"""Links: where they lead, and what lies there."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from geoseg.errors import InputError

TIMEOUT_S = 30
PAUSES_S = (0.5, 1.0, 2.0)
KEPT = "/%:@!$&'()*+,;=~?[]"
BUSY = frozenset((429, 500, 502, 503, 504))
MAX_BYTES = 128 * 1024**2

STORES = {
    "s3": "/vsis3/",
    "gs": "/vsigs/",
    "az": "/vsiaz/",
    "abfs": "/vsiadls/",
    "abfss": "/vsiadls/",
    "oss": "/vsioss/",
}
"""Schemes of object stores and where GDAL has them."""

ACCEPT = "application/geo+json, application/json;q=0.9, */*;q=0.1"


def is_web(name: str) -> bool:
    """Whether it is a URL of HTTP."""
    return name.startswith(("http://", "https://"))


def to_gdal_name(url: str) -> str:
    """The name under which GDAL opens a URL; others stay as they are."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    if scheme == "file":
        return unquote(urlsplit(url).path)
    return STORES[scheme] + rest if scheme in STORES else url


def join_href(href: str, base: str) -> str:
    """The URL or path that a link of a document means.

    Args:
        href: as the document has it, absolute or relative.
        base: URL or path of the document.

    Raises:
        InputError: a document of the network leads to what is no URL: a file of this computer, a GDAL dataset name.
    """
    if is_web(base):
        try:
            joined = urljoin(base, href)
            if is_web(joined) or urlsplit(joined).scheme in STORES:
                return joined
        except ValueError:  # brackets that hold no address
            pass
        raise InputError(
            f"{base}: a link to {href}",
            expected="links to URLs (http, https, s3, gs, az)",
            remedy="give what it leads to as a source of its own if you trust it",
        )
    if "://" in href or href.startswith("/vsi"):
        return href
    folder = os.path.dirname(os.path.abspath(base))
    names = [os.path.normpath(os.path.join(folder, name)) for name in (href, unquote(href))]
    return next((name for name in names if os.path.exists(name)), names[0])


def read_document(location: str) -> dict[str, Any]:
    """The JSON object in a file or at a URL.

    Raises:
        InputError: it cannot be reached, or is no JSON object.
    """
    try:
        if is_web(location):
            with open_url(location) as answer:
                data = answer.read(MAX_BYTES + 1)
        elif "://" in location:
            raise InputError(
                f"{location}: JSON in an object store",
                expected="a file, or a URL of http or https",
                remedy="copy the JSON to a file; rasters that it links to may stay in the store",
            )
        else:
            with Path(location).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except (OSError, HTTPException) as error:
        raise InputError(
            f"{location}: {describe_fault(error)}",
            expected="a STAC item, item collection, collection or catalogue",
            remedy="check the address, the connection and, where they are needed, the credentials",
        ) from None
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
        document = json.loads(data)
        if not isinstance(document, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{location}: not readable as JSON ({error})",
            expected="a STAC item, item collection, collection or catalogue",
            remedy="open the address in a browser and see what it is",
        ) from None
    return document


def is_document(url: str) -> bool:
    """Whether a URL without a telling name is one of JSON, as the server says; not where it says nothing."""
    try:
        with open_url(url, tries=1) as answer:
            return "json" in answer.headers.get("Content-Type", "").lower()
    except OSError:
        return False


def open_url(url: str, *, tries: int = len(PAUSES_S)) -> Any:
    """Open a URL; what may pass is tried again.

    User and password in it go into a header, for its own host alone.

    Raises:
        OSError: it cannot be reached, or answers with an error.
    """
    scheme, netloc, path, query, _ = urlsplit(url)
    user, mark, host = netloc.rpartition("@")
    plain = urlunsplit((scheme, host, quote(path, safe=KEPT), quote(query, safe=KEPT), ""))
    request = urllib.request.Request(plain, headers={"Accept": ACCEPT})
    if mark:
        token = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    for pause in (*PAUSES_S[: tries - 1], None):
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except (ValueError, HTTPException) as error:
            raise OSError(f"no address ({type(error).__name__})") from None
        except OSError as error:
            if pause is None or (isinstance(error, urllib.error.HTTPError) and error.code not in BUSY):
                raise
        time.sleep(pause)


def describe_fault(error: Exception) -> str:
    """In a few words why a file or a URL could not be read."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = getattr(error, "reason", None)
    return str(reason or getattr(error, "strerror", None) or error or type(error).__name__)
