"""A layer of any size, served to this machine's browser by bounding box."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from geoseg.errors import GeosegError, OptionError
from geoseg.view.content import ViewContent, gather_content
from geoseg.view.encode import FINE_M
from geoseg.view.html import build_html, compress_json
from geoseg.view.image import encode_tile
from geoseg.view.opening import index_layers, open_view
from geoseg.view.projection import WORLD_M, Box, boxes_meet, intersect_boxes

HOST = "127.0.0.1"
VIEW_FEATURES = 20_000
"""Features of a layer that one answer holds; where more meet the view, the largest of them."""

CACHED_TILES = 256
TILE_ROUTE = re.compile(r"/tiles/(\d{1,2})/(\d{1,8})/(\d{1,8})\.webp")
HTML, JSON, WEBP, TEXT = "text/html; charset=utf-8", "application/json", "image/webp", "text/plain; charset=utf-8"


class ViewServer(ThreadingHTTPServer):
    """Serves one view on 127.0.0.1, and its own routes only: `/`, `/features` and `/tiles`."""

    daemon_threads = True

    def __init__(self, content: ViewContent, port: int = 0) -> None:
        self.content = content
        described = content.describe() | {"served": True}
        if content.image:
            described["image"] = content.image.describe(range(content.image.finest + 1))
        self.page = build_html(described, {}, is_served=True)
        self.read_tile = lru_cache(CACHED_TILES)(self._render_tile)
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def read_features(self, box: Box, pixel_m: float) -> bytes:
        """The features of every layer that meet a box in page metres, as compressed JSON.

        Args:
            box: in page metres.
            pixel_m: page metres of a pixel on the screen; finer detail is left out.

        Raises:
            InputError: a layer cannot be read.
        """
        groups, counts = [], []
        for number, layer in enumerate(self.content.view.layers):
            boxes = self._find_boxes(box, number)
            frame, total = layer.read_boxes(boxes, cap=VIEW_FEATURES)
            groups += self.content.encode(number, frame, step_m=max(FINE_M, pixel_m / 4))
            counts.append({"shown": min(total, VIEW_FEATURES), "total": total})
        return compress_json({"groups": groups, "counts": counts})

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let go of browsers that did not wait for an answer; every other fault is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def _find_boxes(self, box: Box, number: int) -> list[Box]:
        layer, view = self.content.view.layers[number], self.content.view
        if layer.bounds is None or view.extent is None or not boxes_meet(box, view.extent):
            return []
        return view.projection.unproject_box(intersect_boxes(box, view.extent), layer.crs, layer.bounds)

    def _render_tile(self, level: int, col: int, row: int) -> bytes | None:
        image = self.content.image
        if image is None or level > image.finest or max(col, row) >= 2**level:
            return None
        return encode_tile(image.render((level, col, row)))


@contextmanager
def open_server(layer: Path | str, *, image: Path | str | None = None, port: int = 0) -> Iterator[ViewServer]:
    """Prepare a view of a layer of any size; `serve_forever` on what is given answers until `shutdown`.

    Layers without an index (GeoJSON) are copied into a temporary FlatGeobuf first.

    Args:
        layer: as for `write_map_page`.
        image: raster to lay beneath, in any CRS, shown at full resolution.
        port: of 127.0.0.1; 0 takes a free one.

    Raises:
        InputError: the layer or the image cannot be read, or they lie in different places.
        OptionError: the port is taken.
    """
    with index_layers(open_view(layer)) as view:
        content = gather_content(view, image)
        try:
            server = ViewServer(content, port)
        except OSError as error:
            raise OptionError(
                f"port {port} cannot be used: {error.strerror or error}",
                expected="a free port",
                remedy="leave out --port",
            ) from error
        with server:
            yield server


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "geoseg", ""

    def do_GET(self) -> None:
        """Answer one request."""
        # Another site's page could reach this port under a name of its own; it does not know the data are here.
        own = {f"{name}:{self.server.server_address[1]}" for name in (HOST, "localhost")}
        if self.headers.get("Host") not in own:
            return self._answer(HTTPStatus.FORBIDDEN, TEXT, b"this server answers to its own address only")
        try:
            self._route(urlsplit(self.path))
        except (ValueError, OverflowError):
            self._answer(HTTPStatus.BAD_REQUEST, TEXT, b"expected: box=west,south,east,north&pixel=metres")
        except GeosegError as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, TEXT, str(error).encode())

    def _route(self, url: Any) -> None:
        if url.path == "/":
            self._answer(HTTPStatus.OK, HTML, self.server.page)
        elif url.path == "/features":
            query = parse_qs(url.query)
            box, pixel_m = _parse_box(query.get("box", [""])[0]), float(query.get("pixel", ["0"])[0])
            if not 0 <= pixel_m < WORLD_M:
                raise ValueError(pixel_m)
            self._answer(HTTPStatus.OK, JSON, self.server.read_features(box, pixel_m), encoding="gzip")
        elif match := TILE_ROUTE.fullmatch(url.path):
            tile = self.server.read_tile(*map(int, match.groups()))
            if tile is None:
                self._answer(HTTPStatus.NOT_FOUND, TEXT, b"no such tile")
            else:
                self._answer(HTTPStatus.OK, WEBP, tile)
        else:
            self._answer(HTTPStatus.NOT_FOUND, TEXT, b"not here")

    def _answer(self, status: HTTPStatus, kind: str, body: bytes, *, encoding: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the command line shows the address and nothing else."""


def _parse_box(text: str) -> Box:
    west, south, east, north = map(float, text.split(","))
    if not all(map(math.isfinite, (west, south, east, north))) or west > east or south > north:
        raise ValueError(text)
    return west, south, east, north
