"""Servers and items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.catalog.servers import WebServer, serve

MakeItem = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def no_foreign_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the computer's own do not reach the tests."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A server."""
    with serve() as server:
        yield server


@pytest.fixture
def make_item() -> MakeItem:
    """Factory of STAC items: (id, href=..., bbox=..., assets=..., when=...)."""

    def make(
        name: str,
        href: str = "./scene.tif",
        *,
        bbox: tuple[float, float, float, float] = (39.0, -6.2, 39.1, -6.1),
        assets: dict[str, Any] | None = None,
        when: str = "2024-05-01T10:20:30Z",
        links: list[dict[str, str]] | None = None,
    ) -> dict[str, Any]:
        west, south, east, north = bbox
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "collection": "ortho",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": list(bbox),
            "properties": {"datetime": when},
            "links": links or [],
            "assets": assets or {"visual": {"href": href, "type": "image/tiff; application=geotiff"}},
        }

    return make
