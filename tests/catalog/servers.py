"""Servers of one test, on this computer alone."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = Callable[[str, dict[str, str]], Any]


@dataclass
class WebServer:
    """Files by path (bytes), JSON (dict), or functions of (method, parameters) that give JSON; counts what it sends."""

    url: str
    files: dict[str, bytes | dict[str, Any] | Answer] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    failures: dict[str, list[int]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    stalled: set[str] = field(default_factory=set)
    sent: int = 0


@contextmanager
def serve() -> Iterator[WebServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer("HEAD")

        def do_GET(self) -> None:
            self.answer("GET")

        def do_POST(self) -> None:
            self.answer("POST")

        def answer(self, method: str) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.requests.append((method, self.path, dict(self.headers)))
            while parts.path in state.stalled:
                time.sleep(0.05)
            if state.failures.get(parts.path):
                return self.send(state.failures[parts.path].pop(0), b"no", "text/plain")
            content = state.files.get(parts.path)
            if content is None:
                return self.send(404, b"not here", "text/plain")
            if callable(content):
                given = json.loads(body) if body else {k: v[0] for k, v in parse_qs(parts.query).items()}
                content = content(method, given)
            if isinstance(content, dict):
                return self.send(200, json.dumps(content).encode(), "application/geo+json")
            return self.send_range(content, state.lengths.get(parts.path, len(content)), method)

        def send_range(self, content: bytes, length: int, method: str) -> None:
            """A part of the content, which is followed by zeros up to its length."""
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            start, stop = (int(asked[1]), int(asked[2] or length - 1) + 1) if asked else (0, length)
            stop = min(stop, length)
            self.send_response(206 if asked else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Type", "image/tiff")
            self.send_header("Content-Length", str(stop - start))
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{length}")
            self.end_headers()
            if method != "HEAD":
                part = content[start:stop]
                try:
                    self.wfile.write(part + bytes(stop - start - len(part)))
                    state.sent += stop - start
                except OSError:
                    self.close_connection = True

        def send(self, code: int, data: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = WebServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.stalled.clear()
        server.shutdown()
        server.server_close()
        thread.join()
