"""The page around the data: one file, its own scripts and styles, and nothing that it may fetch elsewhere."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

SCRIPTS = ("features.js", "painter.js", "map.js", "panel.js")
STYLE = "map.css"
TEMPLATE = "map.html"


def build_html(data: Mapping[str, Any], tiles: Mapping[str, str], *, is_served: bool) -> bytes:
    """A page as UTF-8.

    Everything that comes from a layer travels compressed in base64 and is shown by the script as text: nothing of it
    can be read as HTML. The page's policy allows its own script and style by their digests, and of addresses none, or
    the server's own where it is served.

    Args:
        data: what the script starts from.
        tiles: imagery as data URLs, by "level/column/row".
        is_served: whether features and imagery come from the server that gave the page.
    """
    script = "\n".join(_read(name) for name in SCRIPTS)
    style = _read(STYLE)
    policy = {
        "default-src": "'none'",
        "script-src": _digest(script),
        "style-src": _digest(style),
        "img-src": "data: 'self'" if is_served else "data:",
        "connect-src": "'self'" if is_served else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    page = Template(_read(TEMPLATE)).substitute(
        policy=escape("; ".join(f"{name} {value}" for name, value in policy.items())),
        title=escape(str(data["title"])),
        style=style,
        script=script,
        data=b64encode(compress_json(data)).decode("ascii"),
        tiles=json.dumps(tiles),
    )
    return page.encode()


def compress_json(data: object) -> bytes:
    """JSON, compressed with gzip; the same data give the same bytes."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
