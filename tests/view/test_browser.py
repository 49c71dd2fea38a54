"""Pages as Chromium shows them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from PIL import Image
from pyproj import Geod

import geoseg.view.server as server_module
from geoseg.view.page import write_map_page
from geoseg.view.server import open_server
from tests.conftest import MakeRaster
from tests.view.browser import Browser
from tests.view.conftest import make_frame, make_roads, write_frame

pytestmark = pytest.mark.browser

STATUS = "document.getElementById('status').textContent"
TIP = "document.getElementById('tip')"


@pytest.fixture
def page(layer_path: Path) -> Path:
    return write_map_page(layer_path, layer_path.with_suffix(".html")).path


def show(browser: Browser, page: Path) -> None:
    browser.faults.clear()
    browser.requests.clear()
    browser.open(page.as_uri())


def count_in_view(browser: Browser) -> int:
    browser.settle()
    return int(browser.run(STATUS).split()[0].replace(",", ""))


def click(browser: Browser, selector: str) -> None:
    browser.run(f"document.querySelector({selector!r}).click()")


def switch(browser: Browser, title: str) -> None:
    browser.run(
        f"[...document.querySelectorAll('.switches label')].find(l => l.textContent.startsWith({title!r})).click()"
    )


def slide(browser: Browser, name: str, value: float) -> None:
    script = f"const s = document.getElementById('{name}'); s.value = {value}; s.dispatchEvent(new Event('input'))"
    browser.run(f"(() => {{ {script} }})()")


def screen_place(browser: Browser, geometry: shapely.Geometry) -> tuple[float, float]:
    """Where a point in UTM is on the screen when everything is shown, computed here from the extent of the layer."""
    everything = geopandas.GeoSeries([*make_frame().geometry, *make_roads().geometry], crs="EPSG:32737").to_crs(3857)
    west, south, east, north = everything.total_bounds
    width, height = browser.run(
        "[document.getElementById('map').clientWidth, document.getElementById('map').clientHeight]"
    )
    scale = 1.06 * max((east - west) / width, (north - south) / height)
    point = geopandas.GeoSeries([geometry], crs="EPSG:32737").to_crs(3857).iloc[0]
    return width / 2 + (point.x - (west + east) / 2) / scale, height / 2 - (point.y - (south + north) / 2) / scale


def pixels(browser: Browser, tmp_path: Path) -> np.ndarray:
    browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    browser.screenshot(tmp_path / "seen.png")
    return np.asarray(Image.open(tmp_path / "seen.png").convert("RGB")).astype(int)


def test_the_page_opens_from_a_file_without_faults_or_requests(browser: Browser, page: Path) -> None:
    show(browser, page)
    assert count_in_view(browser) == 42
    assert browser.run(STATUS) == "42 of 42 features in view"
    assert browser.faults == []
    assert browser.requests == [page.as_uri()]
    assert "vegetation" in browser.run("document.getElementById('chart').textContent")


def test_a_policy_stops_other_scripts_and_addresses(browser: Browser, tmp_path: Path) -> None:
    frame = make_frame(4)
    frame["class"] = frame["note"] = (
        "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"
    )
    layer = write_frame(frame, tmp_path / "evil<script>document.title='hacked'<.geojson".replace("/", ""))
    show(browser, write_map_page(layer, tmp_path / "evil.html").path)
    place = (500, 400)
    browser.point(*place)
    click(browser, "#zoom-all")
    browser.settle()
    assert browser.run("document.title") != "hacked"
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert "<script>" in browser.run("document.getElementById('classes').textContent")
    assert browser.faults == []
    # The policy itself: neither an injected script nor a fetch gets through.
    assert browser.run("fetch('https://192.0.2.1/').then(() => 'came', () => 'blocked')") == "blocked"
    injected = (
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s)"
    )
    browser.run(f"(() => {{ {injected} }})()")
    assert browser.run("window.hacked ?? 'no'") == "no"


def test_switches_and_the_filter_hide_features(browser: Browser, page: Path) -> None:
    frame, roads = make_frame(), make_roads()
    show(browser, page)
    switch(browser, "building")
    assert count_in_view(browser) == 42 - (frame["class"] == "building").sum()
    switch(browser, "building")
    switch(browser, "roads")
    assert count_in_view(browser) == 40
    switch(browser, "roads")
    slide(browser, "confidence", 0.6)
    passing = (frame["confidence"] >= 0.6).sum() + (roads["confidence"] >= 0.6).sum()
    assert count_in_view(browser) == passing
    area = frame.loc[(frame["class"] == "vegetation") & (frame["confidence"] >= 0.6), "area_m2"].sum()
    assert f"{area:,.0f}"[:3] in browser.run("document.getElementById('chart').textContent")


def test_pointing_shows_attributes_and_a_click_keeps_them(browser: Browser, page: Path) -> None:
    frame = make_frame()
    show(browser, page)
    assert browser.run(f"{TIP}.hidden")
    x, y = screen_place(browser, frame.geometry[13].centroid)
    browser.point(x, y)
    assert not browser.run(f"{TIP}.hidden")
    tip = browser.run(f"{TIP}.textContent")
    assert frame["class"][13] in tip
    assert frame["id"][13] in tip
    for kind in ("mousePressed", "mouseReleased"):
        browser.point(x, y, kind, button="left", clickCount=1)
    assert frame["id"][13] in browser.run("document.getElementById('feature').textContent")
    # In the hole of the first square there is nothing; beside a road there is the road.
    browser.point(*screen_place(browser, shapely.Point(530_003.5, 9_330_003.5)))
    assert browser.run(f"{TIP}.hidden")
    browser.point(*screen_place(browser, shapely.Point(530_100, 9_329_990)))
    assert "length200 m" in browser.run(f"{TIP}.textContent")
    browser.point(3, 400)
    assert browser.run(f"{TIP}.hidden")


def test_everything_is_reached_by_keys(browser: Browser, page: Path, tmp_path: Path) -> None:
    show(browser, page)
    reached: list[str] = []
    for _ in range(11):
        browser.press("Tab")
        name = "document.activeElement.id || document.activeElement.parentElement.textContent"
        reached.append(browser.run(name))
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
        labels = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.labels?.[0]?.textContent"
        assert browser.run(labels).strip()
    wanted = ["map", "zoom-in", "zoom-out", "zoom-all", "building", "road", "vegetation", "polygons", "roads"]
    assert [name.rstrip("0123456789") for name in reached[:9]] == wanted
    assert reached[9:11] == ["opacity", "confidence"]

    browser.run("document.getElementById('map').focus()")
    before = pixels(browser, tmp_path)
    browser.press("ArrowRight")
    browser.settle()
    moved = pixels(browser, tmp_path)
    # 80 pixels on; the cross at the centre stays.
    assert (moved[200:600, 200:700] != before[200:600, 280:780]).mean() < 0.01
    assert (moved[200:600, 200:700] != before[200:600, 200:700]).mean() > 0.1
    for _ in range(4):
        browser.press("+", "Equal", "+")
    browser.settle()
    assert count_in_view(browser) < 20
    browser.press("0", "Digit0", "0")
    assert count_in_view(browser) == 42
    browser.press("-", "Minus", "-")
    assert count_in_view(browser) == 42
    browser.press("Enter")
    assert browser.run("document.getElementById('feature').textContent")


@pytest.mark.parametrize("lat", [0.0, 45.0, 70.0])
def test_the_scale_bar_is_ground_metres(browser: Browser, tmp_path: Path, lat: float) -> None:
    frame = geopandas.GeoDataFrame(
        {"class": ["x"]}, geometry=[shapely.box(10, lat, 10.01, lat + 0.001)], crs="EPSG:4326"
    )
    show(browser, write_map_page(write_frame(frame, tmp_path / "map.gpkg"), tmp_path / "map.html").path)
    bar = "document.getElementById('scale').firstElementChild"
    text, width = browser.run(f"[{bar}.textContent, {bar}.getBoundingClientRect().width]")
    number, unit = text.split()
    length_m = float(number) * {"m": 1, "km": 1000}[unit]
    seen = pixels(browser, tmp_path)[:, :890]
    cols = np.flatnonzero((np.ptp(seen, axis=2) > 30).any(axis=0))
    _, _, true_m = Geod(ellps="WGS84").inv(10, lat + 0.0005, 10.01, lat + 0.0005)
    assert length_m / width == pytest.approx(true_m / (cols.max() - cols.min() + 1), rel=0.01)


def test_polygons_lie_on_the_image(browser: Browser, tmp_path: Path, make_raster: MakeRaster) -> None:
    """A white square in the image, and the polygon that outlines it."""
    values = np.full((3, 240, 320), 60, np.uint8)
    values[:, 80:140, 100:180] = 255
    square = shapely.box(530_050, 9_329_930, 530_090, 9_329_960)
    frame = geopandas.GeoDataFrame({"class": ["building"]}, geometry=[square], crs="EPSG:32737")
    layer = write_frame(frame, tmp_path / "map.gpkg")
    show(browser, write_map_page(layer, tmp_path / "map.html", image=make_raster(values)).path)
    slide(browser, "opacity", 0)
    browser.wait("performance.now() > 500")
    image = pixels(browser, tmp_path)[60:-60, 60:820]
    slide(browser, "opacity", 100)
    polygon = pixels(browser, tmp_path)[60:-60, 60:820]
    white = image.min(axis=2) > 200
    red = (polygon[..., 0] - polygon[..., 1]) > 60
    assert white.sum() > 50_000
    assert (white & red).sum() / (white | red).sum() > 0.98


def test_it_is_readable_in_light_and_dark(browser: Browser, page: Path, tmp_path: Path) -> None:
    def luminance(color: str) -> float:
        channels = np.array([int(v) for v in color.removeprefix("rgb(").removesuffix(")").split(",")[:3]]) / 255
        return float(
            np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
            @ [0.2126, 0.7152, 0.0722]
        )

    grounds = []
    for scheme in ("light", "dark"):
        browser.emulate_scheme(scheme)
        show(browser, page)
        ground = luminance(browser.run("getComputedStyle(document.body).backgroundColor"))
        grounds.append(ground)
        for selector in ("h1", "h2", ".note", ".count", "#status", "#scale", ".switches label"):
            ink = luminance(browser.run(f"getComputedStyle(document.querySelector('{selector}')).color"))
            contrast = (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05)
            assert contrast >= 4.5, (scheme, selector, contrast)
        assert pixels(browser, tmp_path)[5, 600].mean() / 255 == pytest.approx(ground, abs=0.2)
    browser.emulate_scheme("light")
    assert grounds[0] > 0.9 > 0.1 > grounds[1]


def test_a_served_layer_follows_the_view(browser: Browser, layer_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "VIEW_FEATURES", 25)
    with open_server(layer_path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            browser.faults.clear()
            browser.requests.clear()
            browser.open(server.url)
            browser.wait(f"{STATUS}.startsWith('27 of 42')")
            assert "only the largest" in browser.run(STATUS)
            for _ in range(2):
                click(browser, "#zoom-in")
            browser.wait(f"!{STATUS}.includes('largest') && document.getElementById('map').dataset.state === 'ready'")
            assert 0 < count_in_view(browser) < 25
            assert browser.faults == []
            assert all(url.startswith(server.url) for url in browser.requests)
        finally:
            server.shutdown()
            thread.join()


def test_the_filter_is_there_only_where_confidence_is(browser: Browser, tmp_path: Path) -> None:
    for name, values, hidden in [("some", [0.5, np.nan], False), ("none", [np.nan, np.nan], True)]:
        layer = write_frame(make_frame(2).assign(confidence=values), tmp_path / f"{name}.gpkg")
        show(browser, write_map_page(layer, tmp_path / f"{name}.html").path)
        assert browser.run("document.getElementById('confidence-row').hidden") is hidden
    show(browser, tmp_path / "some.html")
    slide(browser, "confidence", 0.9)
    assert count_in_view(browser) == 1  # what has none stays


def test_an_empty_layer_opens(browser: Browser, tmp_path: Path) -> None:
    layer = write_frame(make_frame().iloc[:0], tmp_path / "map.gpkg")
    show(browser, write_map_page(layer, tmp_path / "map.html").path)
    assert browser.run(STATUS) == "0 of 0 features in view"
    assert browser.faults == []


def test_fifty_thousand_polygons(browser: Browser, tmp_path: Path) -> None:
    count = 50_000
    west, south = 530_000 + 12.0 * (np.arange(count) % 250), 9_330_000 + 12.0 * (np.arange(count) // 250)
    shapes = shapely.buffer(shapely.points(west, south), 5.0, quad_segs=4)
    names: Any = np.array(["building", "road", "vegetation"])[np.arange(count) % 3]
    frame = geopandas.GeoDataFrame({"class": names, "confidence": 0.5}, geometry=shapes, crs="EPSG:32737")
    page = write_map_page(write_frame(frame, tmp_path / "map.fgb"), tmp_path / "map.html")
    assert page.features == count
    assert page.size_bytes < 120 * count
    show(browser, page.path)
    assert count_in_view(browser) == count
    assert browser.faults == []
