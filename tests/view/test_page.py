"""Pages: what is in them, and what is refused."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

import geoseg.view.page as page_module
from geoseg.errors import InputError, OptionError, OutputError
from geoseg.layers.style import make_qml
from geoseg.legend import ClassLegend, LegendClass
from geoseg.view.encode import FINE_M
from geoseg.view.page import write_map_page
from tests.conftest import MakeRaster
from tests.layers import polygons as layers
from tests.view.conftest import decode_group, make_frame, make_roads, read_page, write_frame


class Addresses(HTMLParser):
    """All that a page would fetch, and the elements that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""


def test_a_page_needs_no_network(layer_path: Path, make_raster: MakeRaster, rgb_values: np.ndarray) -> None:
    image = make_raster(rgb_values)
    page = write_map_page(layer_path, layer_path.with_suffix(".html"), image=image)
    text = page.path.read_text()
    seen = Addresses(text)
    assert seen.found == ["data:,"]
    assert not re.search(r"https?://", text)
    assert not re.search(r"@import|url\(", text)
    assert "default-src 'none'" in seen.policy
    assert "connect-src 'none'" in seen.policy
    assert "unsafe" not in seen.policy
    assert page.size_bytes == len(text.encode())


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet", ".geojsonl"])
@pytest.mark.parametrize("crs", ["EPSG:32737", "EPSG:4326", "EPSG:3857"])
def test_every_format_gives_the_layer_back(tmp_path: Path, suffix: str, crs: str) -> None:
    frame = make_frame(crs=crs)
    layer = write_frame(frame, tmp_path / f"map{suffix}")
    data = read_page(write_map_page(layer, tmp_path / "map.html").path)
    (group,) = data["groups"]
    # Some formats have an order of their own.
    rows = {name: i for i, name in enumerate(group["columns"]["id"])}
    order = [rows[name] for name in frame["id"]]
    shapes = decode_group(group)
    for i, true in zip(order, frame.to_crs(3857).geometry, strict=True):
        assert shapely.hausdorff_distance(shapes[i], true) <= 2 * FINE_M
    for column in ("class", "class_id", "confidence", "area_m2"):
        assert [group["columns"][column][i] for i in order] == frame[column].tolist()
    names = [data["classes"][k]["name"] for k in group["classes"]]
    assert [names[i] for i in order] == frame["class"].tolist()
    assert data["hasConfidence"]
    assert sum(total["count"] for total in data["totals"]) == len(frame)


def test_the_same_layer_gives_the_same_bytes(layer_path: Path) -> None:
    pages = [write_map_page(layer_path, layer_path.with_name(f"{n}.html")).path.read_bytes() for n in (1, 2)]
    assert pages[0] == pages[1]


@pytest.mark.parametrize("suffix", [".geojson", ".fgb"])
def test_roads_beside_the_layer_are_taken_along(tmp_path: Path, suffix: str) -> None:
    layer = write_frame(make_frame(), tmp_path / f"map{suffix}")
    write_frame(make_roads(), tmp_path / f"map_roads{suffix}")
    write_frame(make_roads(), tmp_path / f"other_roads{suffix}")
    data = read_page(write_map_page(layer, tmp_path / "map.html").path)
    assert [(g["kind"], g["layer"], g["count"]) for g in data["groups"]] == [("polygon", 0, 40), ("line", 1, 2)]
    assert len(data["layers"]) == 2


def test_text_of_a_layer_never_becomes_html(tmp_path: Path) -> None:
    frame = make_frame(4)
    evil = "</script><script>document.title='hacked'</script><img src=x onerror=alert(1)>"
    frame["class"] = evil
    frame["note"] = evil
    frame[evil[:20]] = evil
    layer = write_frame(frame, tmp_path / "a<b>&c.geojson")
    clean = write_frame(make_frame(4), tmp_path / "clean.geojson")
    text, other = (write_map_page(path, tmp_path / f"{path.stem}.html").path.read_text() for path in (layer, clean))
    assert "hacked" not in text
    assert "a&lt;b&gt;&amp;c.geojson" in text
    assert Addresses(text).tags == Addresses(other).tags
    assert read_page(tmp_path / "a<b>&c.html")["classes"][0]["name"] == evil


def test_a_layer_without_confidence_or_class(tmp_path: Path) -> None:
    layer = write_frame(make_frame()[["id", "geometry"]], tmp_path / "plain.gpkg")
    data = read_page(write_map_page(layer, tmp_path / "map.html").path)
    assert not data["hasConfidence"]
    assert [c["name"] for c in data["classes"]] == ["polygons"]
    np.testing.assert_allclose(data["groups"][0]["measure"], make_frame()["area_m2"], rtol=2e-3)  # UTM is no ground


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet"])
def test_an_empty_layer_is_a_page_too(
    tmp_path: Path, suffix: str, make_raster: MakeRaster, rgb_values: np.ndarray
) -> None:
    layer = write_frame(make_frame().iloc[:0], tmp_path / f"map{suffix}")
    assert write_map_page(layer, tmp_path / "map.html").features == 0
    image = make_raster(rgb_values)
    data = read_page(write_map_page(layer, tmp_path / "with.html", image=image).path)
    assert data["groups"] == []
    assert data["extent"] == data["image"]["box"]


def test_points_are_no_map(tmp_path: Path) -> None:
    frame = make_frame()
    layer = write_frame(frame.set_geometry(frame.centroid), tmp_path / "points.gpkg")
    with pytest.raises(InputError, match="no layer of areas or lines"):
        write_map_page(layer, tmp_path / "map.html")


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet"])
@pytest.mark.parametrize("kind", ["cut", "beyond", "utm"])
def test_a_layer_across_the_antimeridian_is_in_one_place(tmp_path: Path, suffix: str, kind: str) -> None:
    sides = [(179.98, 179.99), (-179.99, -179.98)] if kind == "cut" else [(179.98, 179.99), (180.01, 180.02)]
    frame = geopandas.GeoDataFrame(
        {"class": ["building"] * 2}, geometry=[shapely.box(w, -17.0, e, -16.99) for w, e in sides], crs="EPSG:4326"
    )
    if kind == "utm":
        frame = frame.to_crs("EPSG:32701")
    if kind == "beyond" and suffix == ".geojson":
        pytest.skip("GeoJSON ends at 180 degrees")
    data = read_page(write_map_page(write_frame(frame, tmp_path / f"map{suffix}"), tmp_path / "map.html").path)
    assert data["lon0"] == 180
    west, _, east, _ = data["extent"]
    assert east - west == pytest.approx(np.radians(0.04) * 6378137, rel=2e-2)
    bounds = np.array([shape.bounds for shape in decode_group(data["groups"][0])])
    assert bounds[:, 0].min() == pytest.approx(west, abs=30)
    assert bounds[:, 2].max() == pytest.approx(east, abs=30)


def test_a_layer_of_the_whole_world_keeps_its_plane(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(
        {"class": ["x"] * 12}, geometry=[shapely.box(w, 10, w + 5, 15) for w in range(-180, 180, 30)], crs="EPSG:4326"
    )
    data = read_page(write_map_page(write_frame(frame, tmp_path / "map.gpkg"), tmp_path / "map.html").path)
    assert data["lon0"] == 0


def test_colours_come_from_the_style_then_the_legend_then_the_palette(tmp_path: Path) -> None:
    frame = make_frame(4)
    frame["class"] = ["building", "road", "water", "rock"]
    layer = write_frame(frame, tmp_path / "map.geojson")
    legend = ClassLegend(
        (LegendClass(1, "building", (1, 2, 3), "building"), LegendClass(3, "water", (9, 8, 7), "area"))
    )

    def colors() -> dict[str, str]:
        data = read_page(write_map_page(layer, tmp_path / "map.html", overwrite=True).path)
        return {c["name"]: c["color"] for c in data["classes"]}

    plain = colors()
    assert plain["building"] == "#d64541"
    assert plain["rock"] != plain["water"]
    for kind in ("Polygon", "LineString"):
        (tmp_path / "map.qml").write_text(make_qml(legend, kind))
        assert colors() == {"building": "#010203", "road": plain["road"], "water": "#090807", "rock": "#e69f00"}
    (tmp_path / "map.qml").write_text("<qgis><broken")
    assert colors() == plain


def test_a_layer_as_geoseg_writes_it(tmp_path: Path) -> None:
    """Classes, roads with node ids, styles: from a GeoPackage and from files beside each other."""
    polygons, roads = layers.make_batch(30), layers.make_roads(6)
    pages = []
    for suffix in (".gpkg", ".geojson", ".geojson.gz", ".geojsonl", ".fgb", ".parquet"):
        path = tmp_path / suffix[1:] / f"map{suffix}"
        layers.write(path, layers.to_layer(polygons), layers.to_roads(roads))
        data = read_page(write_map_page(path, tmp_path / f"{suffix}.html").path)
        assert [(g["kind"], g["count"]) for g in data["groups"]] == [("polygon", 30), ("line", 6)]
        nodes = [str(v) for v in data["groups"][1]["columns"]["node_from"]]
        assert sorted(nodes) == sorted(str(v) for v in roads.columns["node_from"])
        pages.append({c["name"]: c["color"] for c in data["classes"]})
    assert all(page == pages[0] for page in pages)


def test_a_style_says_which_column_colours(tmp_path: Path) -> None:
    frame = make_frame(4).assign(change=["new", "gone", "new", "same"])
    layer = write_frame(frame, tmp_path / "map.fgb")
    legend = ClassLegend((LegendClass(1, "new", (1, 2, 3), "area"), LegendClass(2, "gone", (9, 8, 7), "area")))
    (tmp_path / "map.qml").write_text(make_qml(legend, "Polygon").replace('attr="class"', 'attr="change"'))
    data = read_page(write_map_page(layer, tmp_path / "map.html").path)
    assert {c["name"]: c["color"] for c in data["classes"]} == {"new": "#010203", "gone": "#090807", "same": "#e69f00"}


def test_what_cannot_be_shown_is_refused_and_leaves_no_file(
    tmp_path: Path, layer_path: Path, make_raster: MakeRaster, rgb_values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "map.html"
    (tmp_path / "broken.gpkg").write_bytes(b"no data base")
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    (tmp_path / "map.shp").touch()
    for name, words in [
        ("missing.gpkg", "is not there"),
        ("broken.gpkg", "cannot be read"),
        ("broken.parquet", "cannot be read"),
        ("map.shp", "suffix"),
    ]:
        with pytest.raises(InputError, match=words):
            write_map_page(tmp_path / name, output)
    whole = write_frame(make_frame(400), tmp_path / "whole.fgb").read_bytes()
    for share in (0.1, 0.5):
        (tmp_path / "cut.fgb").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match="cut off"):
            write_map_page(tmp_path / "cut.fgb", output)
    with pytest.warns(UserWarning, match="crs"):
        make_frame(3).set_crs(None, allow_override=True).to_file(tmp_path / "lost.fgb")
    with pytest.raises(InputError, match="no CRS"):
        write_map_page(tmp_path / "lost.fgb", output)
    far = make_raster(rgb_values, "far.tif", crs="EPSG:32633")
    with pytest.raises(InputError, match="do not overlap"):
        write_map_page(layer_path, output, image=far)
    with pytest.raises(OptionError, match="html"):
        write_map_page(layer_path, tmp_path / "map.pdf")
    monkeypatch.setattr(page_module, "PAGE_FEATURES", 41)
    with pytest.raises(OptionError, match=r"42 features(.|\n)*leave out -o"):
        write_map_page(layer_path, output)
    monkeypatch.setattr(page_module, "PAGE_FEATURES", 42)
    monkeypatch.setattr(page_module, "PAGE_BYTES", 10_000)
    with pytest.raises(OptionError, match=r"bytes(.|\n)*leave out -o"):
        write_map_page(layer_path, output)
    assert not output.exists()
    monkeypatch.undo()
    write_map_page(layer_path, output)
    with pytest.raises(OutputError, match="exists"):
        write_map_page(layer_path, output)
    write_map_page(layer_path, output, overwrite=True)
