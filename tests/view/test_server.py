"""The server: by bounding box, by cap, and nothing else."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely

import geoseg.view.server as server_module
from geoseg.errors import InputError, OptionError
from geoseg.view.server import ViewServer, open_server
from tests.conftest import MakeRaster
from tests.view.conftest import decode_group, make_frame, make_roads, read_page, write_frame


@contextmanager
def serving(layer: Path, image: Path | None = None) -> Iterator[ViewServer]:
    with open_server(layer, image=image) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: ViewServer, route: str, *, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
    address, port = server.server_address[:2]
    connection = http.client.HTTPConnection(str(address), port, timeout=30)
    connection.request(method, route, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body


def ask_features(server: ViewServer, box: Any, pixel: float = 0.01) -> dict[str, Any]:
    status, body = ask(server, f"/features?box={','.join(map(str, box))}&pixel={pixel}")
    assert status == 200, body
    return dict(json.loads(body))


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet"])
@pytest.mark.parametrize("crs", ["EPSG:32737", "EPSG:4326"])
def test_a_box_gives_the_features_that_meet_it(tmp_path: Path, suffix: str, crs: str) -> None:
    frame = make_frame(crs=crs)
    on_page = frame.to_crs(3857)
    rng = np.random.default_rng(3)
    west, south, east, north = on_page.total_bounds
    with serving(write_frame(frame, tmp_path / f"map{suffix}")) as server:
        for _ in range(6):
            x, y = np.sort(rng.uniform(west - 20, east + 20, 2)), np.sort(rng.uniform(south - 20, north + 20, 2))
            data = ask_features(server, (x[0], y[0], x[1], y[1]))
            found = {v for group in data["groups"] for v in group["columns"]["id"]}
            wanted = set(on_page["id"][on_page.intersects(shapely.box(x[0], y[0], x[1], y[1]))])
            near = set(on_page["id"][on_page.distance(shapely.box(x[0], y[0], x[1], y[1])) < 3])
            assert wanted <= found <= near
            assert data["counts"] == [{"shown": len(found), "total": len(found)}]
        nowhere = ask_features(server, (east + 1e5, north + 1e5, east + 2e5, north + 2e5))
        assert nowhere == {"groups": [], "counts": [{"shown": 0, "total": 0}]}


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_beyond_the_cap_the_largest_are_shown(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "VIEW_FEATURES", 7)
    frame = make_frame()
    with serving(write_frame(frame, tmp_path / f"map{suffix}")) as server:
        data = ask_features(server, server.content.extent)
        (group,) = data["groups"]
        assert data["counts"] == [{"shown": 7, "total": 40}]
        assert sorted(group["columns"]["id"]) == sorted(frame["id"][-7:])
        true = frame.to_crs(3857).set_index("id").geometry
        for name, shape in zip(group["columns"]["id"], decode_group(group), strict=True):
            assert shapely.hausdorff_distance(shape, true[name]) < 0.03


def test_the_page_knows_the_whole_layer(layer_path: Path) -> None:
    with serving(layer_path) as server:
        status, page = ask(server, "/")
        assert status == 200
        data = read_page(page)
        assert b"connect-src &#x27;self&#x27;" in page
        assert data["served"]
        assert "groups" not in data
        frame, roads = make_frame(), make_roads()
        totals = {(t["layer"], data["classes"][t["class"]]["name"]): t for t in data["totals"]}
        for name, rows in frame.groupby("class"):
            assert totals[0, name]["count"] == len(rows)
            assert totals[0, name]["measure"] == pytest.approx(rows["area_m2"].sum())
        assert totals[1, "road"]["measure"] == pytest.approx(roads["length_m"].sum())
        assert [len(g["classes"]) for g in ask_features(server, server.content.extent)["groups"]] == [40, 2]


def test_it_answers_its_own_routes_to_its_own_page_on_this_machine_only(
    layer_path: Path, make_raster: MakeRaster, rgb_values: np.ndarray
) -> None:
    with serving(layer_path, make_raster(rgb_values)) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert server.url.startswith("http://127.0.0.1:")
        image = server.content.image
        assert image is not None
        z, col, row = image.list_tiles(image.finest, image.box)[0]
        status, tile = ask(server, f"/tiles/{z}/{col}/{row}.webp")
        assert (status, tile[:4], tile[8:12]) == (200, b"RIFF", b"WEBP")
        for route in ("/map.gpkg", "/../map.gpkg", "/%2e%2e/map.gpkg", "/etc/passwd", "/tiles/1/2.webp", "/index.html"):
            assert ask(server, route)[0] == 404, route
        for route in (f"/tiles/{z + 1}/0/0.webp", "/tiles/1/2/0.webp", "/tiles/99/0/0.webp"):
            assert ask(server, route)[0] == 404, route
        boxes = ("", "1,2,3", "1,2,3,x", "nan,0,1,1", "0,0,inf,1", "5,0,1,1")
        queries = [f"box={box}" for box in boxes] + [
            f"box=0,0,1,1&pixel={p}" for p in ("x", "-1", "nan", "inf", "1e99")
        ]
        for query in queries:
            assert ask(server, f"/features?{query}")[0] == 400, query
        for host in ("evil.example", "127.0.0.1", f"evil.example:{server.server_address[1]}", ""):
            assert ask(server, "/", host=host or " ")[0] == 403, host
        assert ask(server, "/", host=f"localhost:{server.server_address[1]}")[0] == 200
        assert ask(server, "/", method="POST")[0] == 501


def test_a_layer_that_breaks_under_way_is_said_so(tmp_path: Path) -> None:
    layer = write_frame(make_frame(), tmp_path / "map.fgb")
    with serving(layer) as server:
        box = ",".join(map(str, server.content.extent))
        layer.write_bytes(b"gone")
        status, body = ask(server, f"/features?box={box}&pixel=1")
        assert status == 500
        assert b"cannot be read" in body
        assert ask(server, "/")[0] == 200


def test_a_layer_across_the_antimeridian(tmp_path: Path) -> None:
    shapes = [shapely.box(179.98, -17, 179.99, -16.99), shapely.box(-179.99, -17, -179.98, -16.99)]
    frame = geopandas.GeoDataFrame({"class": ["a", "b"]}, geometry=shapes, crs="EPSG:4326")
    for suffix in (".gpkg", ".geojson", ".parquet"):
        with serving(write_frame(frame, tmp_path / f"map{suffix}")) as server:
            west, south, east, north = server.content.extent
            assert len(ask_features(server, (west, south, east, north))["groups"][0]["classes"]) == 2
            assert ask_features(server, (west, south, -1, north))["groups"][0]["columns"]["class"] == ["a"]
            assert ask_features(server, (1, south, east, north))["groups"][0]["columns"]["class"] == ["b"]


def test_what_cannot_be_served(tmp_path: Path) -> None:
    make_frame().to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(InputError, match="bounding box"), open_server(tmp_path / "plain.parquet"):
        pass
    layer = write_frame(make_frame(), tmp_path / "map.gpkg")
    with open_server(layer) as server, pytest.raises(OptionError, match="port"):  # noqa: SIM117
        with open_server(layer, port=server.server_address[1]):
            pass


def test_an_empty_layer(tmp_path: Path) -> None:
    with serving(write_frame(make_frame().iloc[:0], tmp_path / "map.gpkg")) as server:
        assert ask_features(server, (0, 0, 1, 1)) == {"groups": [], "counts": [{"shown": 0, "total": 0}]}
