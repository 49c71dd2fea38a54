"""STAC: items, collections, catalogues and the search of an API."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.catalog import hrefs, search, stac
from geoseg.catalog.find import find_scenes, renew_scene
from geoseg.catalog.hrefs import join_href, to_gdal_name
from geoseg.catalog.search import StacSearch
from geoseg.catalog.stac import select_image, walk_items
from geoseg.errors import GeosegError, InputError, OptionError
from tests.catalog.conftest import MakeItem
from tests.catalog.servers import WebServer

SECRET = "Secret9"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of tests are short."""
    monkeypatch.setattr(hrefs, "PAUSES_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(search, "PAUSE_S", 0.01)


def write(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def test_an_item_tells_image_time_and_itself(tmp_path: Path, make_item: MakeItem) -> None:
    path = write(
        tmp_path / "in" / "item.json", make_item("S2A_1", "./img/scene 1.tif", when="2024-05-01T12:20:30+02:00")
    )
    (scene,) = find_scenes([path])
    assert (scene.id, scene.datetime) == ("S2A_1", "2024-05-01T10:20:30Z")
    assert scene.path == str(tmp_path / "in" / "img" / "scene 1.tif")
    assert scene.item == str(path)


def test_a_collection_of_items_and_its_pages(web: WebServer, make_item: MakeItem) -> None:
    def page(number: int) -> dict[str, Any]:
        names = [f"i{number}{k}" for k in range(2)]
        own = [[{"rel": "self", "href": f"{web.url}/items/{name}"}] for name in names]
        more = [{"rel": "next", "href": f"/page{number + 1}.json"}] if number < 3 else []
        features = [make_item(name, "a.tif", links=links) for name, links in zip(names, own, strict=True)]
        return {"type": "FeatureCollection", "features": features, "links": more}

    web.files |= {f"/page{n}.json": page(n) for n in range(1, 4)}
    web.failures["/page2.json"] = [503]
    found = find_scenes([f"{web.url}/page1.json"])
    assert [one.id for one in found] == ["i10"]  # all are the same image
    items = list(walk_items(f"{web.url}/page1.json"))
    assert [item["id"] for item, _ in items] == ["i10", "i11", "i20", "i21", "i30", "i31"]
    assert found[0].path == f"{web.url}/items/a.tif"
    assert found[0].item == f"{web.url}/items/i10"


def test_a_catalogue_is_walked_in_its_order_and_loops_end(tmp_path: Path, make_item: MakeItem) -> None:
    def links(*pairs: tuple[str, str]) -> list[dict[str, str]]:
        return [{"rel": rel, "href": href} for rel, href in pairs]

    write(
        tmp_path / "catalog.json",
        {"type": "Catalog", "links": links(("child", "b/c.json"), ("item", "./z.json"), ("child", "a/c.json"))},
    )
    write(
        tmp_path / "b" / "c.json",
        {
            "type": "Collection",
            "links": links(("parent", "../catalog.json"), ("child", "../catalog.json"), ("item", "x.json")),
        },
    )
    write(tmp_path / "a" / "c.json", {"type": "Collection", "links": links(("item", "x.json"), ("item", "../z.json"))})
    for place in ("z.json", "a/x.json", "b/x.json"):
        write(tmp_path / place, make_item(place[-6], f"./{place[-6]}.tif"))
    found = find_scenes([tmp_path / "catalog.json"])
    assert [Path(one.path).relative_to(tmp_path).as_posix() for one in found] == ["b/x.tif", "z.tif", "a/x.tif"]
    ids = [one.id for one in found]
    assert ids[1] == "z"
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("assets", "wanted", "expected"),
    [
        ({"B04": COG, "visual": COG, "thumbnail": "image/png"}, None, "visual"),
        ({"B04": COG, "visual": COG}, "B04", "B04"),
        ({"image": (COG, ["data"]), "thumb": ("image/png", ["thumbnail"]), "meta": "application/xml"}, None, "image"),
        ({"image": COG, "preview": ("image/jpeg", ["overview"])}, None, "image"),
        ({"image": (COG, ["data"]), "mask": COG}, None, "image"),
        ({"image": None}, None, "image"),
        ({"B03": (COG, ["data"]), "B04": (COG, ["data"])}, None, "2 images.*B03 .*B04"),
        ({"visual": COG}, "B04", "no asset 'B04'.*visual"),
        ({"report": "application/pdf"}, None, "no image.*report"),
    ],
)
def test_which_asset_is_the_image(
    make_item: MakeItem, assets: dict[str, Any], wanted: str | None, expected: str
) -> None:
    def make(key: str, kind: Any) -> dict[str, Any]:
        media, roles = kind if isinstance(kind, tuple) else (kind, None)
        return {"href": f"{key}.tif", **({"type": media} if media else {}), **({"roles": roles} if roles else {})}

    item = make_item("a", assets={key: make(key, kind) for key, kind in assets.items()})
    if " " in expected or ".*" in expected:
        with pytest.raises(InputError, match=expected.replace(".*", r"(.|\n)*")) as caught:
            select_image(item, "https://h.org/a.json", wanted, None)
        assert "--asset" in caught.value.remedy
    else:
        found = select_image(item, "https://h.org/a.json", wanted, None)
        assert found is not None
        assert found.path == f"https://h.org/{expected}.tif"


@pytest.mark.parametrize(
    ("href", "base", "expected"),
    [
        ("./a.tif", "https://h.org/x/item.json", "https://h.org/x/a.tif"),
        ("/a.tif", "https://h.org/x/item.json", "https://h.org/a.tif"),
        ("https://o.org/a.tif?sig=1%2F2", "https://h.org/item.json", "https://o.org/a.tif?sig=1%2F2"),
        ("s3://bucket/a b.tif", "https://h.org/item.json", "/vsis3/bucket/a b.tif"),
        ("gs://bucket/a.tif", "https://h.org/item.json", "/vsigs/bucket/a.tif"),
        ("file:///etc/passwd", "https://h.org/item.json", None),
        ("NETCDF:/etc/a.nc:b", "https://h.org/item.json", None),
        ("/vsis3/bucket/a.tif", "/data/item.json", "/vsis3/bucket/a.tif"),
        ("../a.tif", "/data/x/item.json", "/data/a.tif"),
        ("file:///data/a%20b.tif", "/data/item.json", "/data/a b.tif"),
    ],
)
def test_where_links_lead(href: str, base: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(InputError, match="a link to"):
            join_href(href, base)
    else:
        assert to_gdal_name(join_href(href, base)) == expected


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_a_document_of_the_network_never_leads_to_this_computer(href: str) -> None:
    for start in ("", "/", "file:", "file://", "/vsi", "<VRT", "\\\\", "//"):
        try:
            name = to_gdal_name(join_href(start + href, "https://h.org/x/item.json"))
        except GeosegError:
            continue
        assert name.startswith(("http://", "https://", "/vsis3/", "/vsigs/", "/vsiaz/", "/vsiadls/", "/vsioss/"))


class Api:
    """A STAC API with items side by side along 10 degrees of longitude, 3 a page."""

    def __init__(self, web: WebServer, make_item: MakeItem, *, post: bool, count: int = 10) -> None:
        self.web, self.post, self.asked = web, post, list[dict[str, Any]]()
        self.items = [
            make_item(
                f"i{k}",
                f"./i{k}.tif?sig={SECRET}{k}",
                bbox=(k, 0, k + 0.9, 1),
                when=f"2024-05-{k + 1:02d}T00:00:00Z",
                links=[{"rel": "self", "href": f"{web.url}/collections/ortho/items/i{k}"}],
            )
            for k in range(count)
        ]
        doors = [{"rel": "search", "href": f"{web.url}/search", "method": "GET", "type": "application/geo+json"}]
        if post:
            doors.append({**doors[0], "method": "POST"})
        conforms = ["core", "item-search"]
        web.files |= {
            "/": {
                "type": "Catalog",
                "id": "api",
                "stac_version": "1.0.0",
                "description": "-",
                "conformsTo": [f"https://api.stacspec.org/v1.0.0/{one}" for one in conforms],
                "links": [{"rel": "self", "href": f"{web.url}/"}, {"rel": "root", "href": f"{web.url}/"}, *doors],
            },
            "/search": self.search,
        }

    def search(self, method: str, given: dict[str, Any]) -> dict[str, Any]:
        self.asked.append({"method": method, **given})
        bbox = given.get("bbox") or [-180, -90, 180, 90]
        west, _, east, _ = bbox if isinstance(bbox, list) else map(float, bbox.split(","))
        first, _, last = (given.get("datetime") or "0/9").partition("/")
        names = given.get("collections") or ["ortho"]
        if "ortho" not in names:
            return {"type": "FeatureCollection", "features": [], "links": []}
        hits = [
            i
            for i in self.items
            if i["bbox"][0] < east and i["bbox"][2] > west and first <= i["properties"]["datetime"] <= last
        ]
        start = int(given.get("token", 0))
        links = []
        if start + 3 < len(hits):
            more = {"rel": "next", "href": f"{self.web.url}/search", "method": method}
            if method == "POST":
                more |= {"body": {**given, "token": start + 3}}
            else:
                query = "&".join(f"{k}={v}" for k, v in {**given, "token": start + 3}.items())
                more["href"] += f"?{query}"
            links.append(more)
        return {"type": "FeatureCollection", "features": hits[start : start + 3], "links": links}


@pytest.mark.parametrize("post", [True, False])
def test_a_search_follows_all_pages(web: WebServer, make_item: MakeItem, post: bool) -> None:
    api = Api(web, make_item, post=post)
    web.failures |= {"/": [503], "/search": [429, 502]}
    found = find_scenes([], stac=StacSearch(web.url, ("ortho",), (1.5, 0, 8.5, 1), "2024-05-01/2024-05-08"))
    assert [one.id for one in found] == [f"i{k}" for k in range(1, 8)]
    assert len(api.asked) == 3
    assert {one["method"] for one in api.asked} == {"POST" if post else "GET"}
    first = api.asked[0]
    assert first["collections"] in (["ortho"], "ortho")
    assert first["datetime"] == "2024-05-01T00:00:00Z/2024-05-08T23:59:59Z"
    assert found[0].path == f"{web.url}/collections/ortho/items/i1.tif?sig={SECRET}1"
    assert found[0].item == f"{web.url}/collections/ortho/items/i1"
    assert found[0].datetime == "2024-05-02T00:00:00Z"
    assert SECRET not in repr(found)


def test_a_search_within_a_polygon_of_any_crs_and_a_limit(web: WebServer, make_item: MakeItem, tmp_path: Path) -> None:
    api = Api(web, make_item, post=True)
    # Its bounds hold items 0 to 9, the area itself two of them.
    legs = shapely.MultiPolygon([shapely.box(0.2, 0.2, 0.5, 0.5), shapely.box(9.2, 0.2, 9.5, 0.5)])
    geopandas.GeoSeries([legs], crs=4326).to_crs(3857).to_file(tmp_path / "aoi.gpkg")
    found = find_scenes([], stac=StacSearch(web.url), aoi=tmp_path / "aoi.gpkg")
    assert [one.id for one in found] == ["i0", "i9"]
    assert api.asked[0]["bbox"] == pytest.approx([0.2, 0.2, 9.5, 0.5])
    api.asked.clear()
    found = find_scenes([], stac=StacSearch(web.url, limit=4), aoi="0,0,180,1")
    assert [one.id for one in found] == ["i0", "i1", "i2", "i3"]
    assert len(api.asked) == 2


def test_an_address_that_ran_out_is_asked_for_anew(web: WebServer, make_item: MakeItem) -> None:
    count = iter(range(9))
    own = [{"rel": "self", "href": f"{web.url}/item.json"}]
    web.files["/item.json"] = lambda *_: make_item("a", f"a.tif?sig={next(count)}", links=own)
    (scene,) = find_scenes([f"{web.url}/item.json"])
    assert scene.path.endswith("a.tif?sig=0")
    assert renew_scene(scene, None) == replace(scene, path=f"{web.url}/a.tif?sig=1")
    # Another image, or none that can be told, is not the scene.
    assert renew_scene(replace(scene, path=f"{web.url}/b.tif?sig=0"), None).path.endswith("b.tif?sig=0")
    assert renew_scene(scene, "infrared") == scene
    web.files.clear()
    assert renew_scene(scene, None) == scene
    assert renew_scene(replace(scene, item=None), None) == replace(scene, item=None)


def test_items_without_an_image_come_with_their_fault(web: WebServer, make_item: MakeItem) -> None:
    api = Api(web, make_item, post=True)
    for number in (1, 2):
        api.items[number]["assets"] = {"notes": {"href": f"notes.txt?sig={SECRET}"}}
    found = find_scenes([], stac=StacSearch(f"{web.url}?token={SECRET}", limit=5))
    assert [one.id for one in found] == [f"i{k}" for k in range(5)]
    assert ["no image" in str(one.fault) for one in found] == [False, True, True, False, False]
    assert SECRET not in repr(found)


def test_an_area_across_the_antimeridian(web: WebServer, make_item: MakeItem) -> None:
    api = Api(web, make_item, post=True, count=0)
    with pytest.raises(InputError, match="no scene"):
        find_scenes([], stac=StacSearch(web.url), aoi="179,-1,-178,1")
    assert api.asked[0]["bbox"] == [179, -1, -178, 1]


@pytest.mark.parametrize("bbox", [(39.0, -6.2, 39.1, -6.1), (179.5, -1.0, -179.5, 1.0)])
def test_static_items_outside_the_area_are_left_out(tmp_path: Path, make_item: MakeItem, bbox: Any) -> None:
    items = [
        make_item("near", "a.tif", bbox=bbox),
        make_item("far", "b.tif", bbox=(1, 1, 2, 2)),
        make_item("nowhere", "c.tif"),
    ]
    items[0]["geometry"] = None
    items[2] |= {"geometry": None, "bbox": None}
    path = write(tmp_path / "all.json", {"type": "FeatureCollection", "features": items})
    aoi = "{},{},{},{}".format(*bbox)
    assert [one.id for one in find_scenes([path], aoi=aoi)] == ["near", "nowhere"]


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (None, "404"),
        (b"<html>", "not readable as JSON"),
        (b"[1, 2]", "no object"),
        (b"[" * 100_000, "not readable as JSON"),
        ({"type": "Topology"}, "JSON of type Topology"),
        ({}, "JSON of type None"),
        ({"type": "Feature", "geometry": None, "properties": {}}, "without assets"),
        ({"type": "FeatureCollection", "features": []}, "without items"),
        ({"type": "FeatureCollection", "features": {}}, "without items"),
        ({"type": "FeatureCollection", "features": [1]}, "without assets"),
        ({"type": "Catalog", "links": "none"}, "its links are no list"),
        ({"type": "Catalog", "links": [{"rel": "item", "href": "file:///etc/a.json"}]}, "a link to file"),
        ({"type": "Feature", "id": "a", "assets": {"a": {"type": "image/tiff"}}}, "leads nowhere"),
        ({"type": "Feature", "id": "a", "assets": {}, "properties": {"datetime": "soon"}}, "malformed"),
        ({"type": "Feature", "id": "a", "assets": {}, "properties": []}, "no image"),
    ],
)
def test_what_is_no_stac_is_refused(web: WebServer, document: Any, fault: str) -> None:
    if document is not None:
        web.files["/a.json"] = document
    address = web.url.replace("http://", f"http://me:{SECRET}@")
    with pytest.raises(InputError, match=fault) as caught:
        find_scenes([f"{address}/a.json?token={SECRET}"])
    assert caught.value.expected
    assert caught.value.remedy
    assert SECRET not in str(caught.value)


def test_a_document_without_an_end_is_refused(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stac, "MAX_DOCUMENTS", 50)
    web.files["/a.json"] = lambda _, given: {
        "type": "FeatureCollection",
        "features": [],
        "links": [{"rel": "next", "href": f"a.json?n={int(given.get('n', 0)) + 1}"}],
    }
    with pytest.raises(InputError, match="more than 50 documents"):
        find_scenes([f"{web.url}/a.json"])


def test_credentials_of_an_address_go_to_its_host(web: WebServer, make_item: MakeItem) -> None:
    web.files["/a.json"] = make_item("a")
    find_scenes([web.url.replace("http://", "http://me:pa%2Fss@") + "/a.json"])
    assert web.requests[0][2]["Authorization"] == "Basic bWU6cGEvc3M="


@pytest.mark.parametrize(
    "case", ["closed", "gone", "no api", "no json", "bad bbox", "bad time", "bad page", "no assets", "missing"]
)
def test_a_search_that_fails_says_why(
    web: WebServer, make_item: MakeItem, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    Api(web, make_item, post=True)
    asked: dict[str, Any] = {"url": f"{web.url}/?token={SECRET}"}
    kind: type[GeosegError] = InputError
    if case == "closed":
        asked["url"] = f"http://me:{SECRET}@127.0.0.1:1/"
    elif case == "gone":
        asked["url"] = f"{web.url}/none?token={SECRET}"
    elif case == "no api":
        web.files["/"] = {"type": "Feature"}
    elif case == "no json":
        web.files["/"] = b"<html>"
    elif case == "bad bbox":
        asked["bbox"], kind = (0, 0, 1), OptionError
    elif case == "bad time":
        asked["datetime"], kind = "soon", OptionError
    elif case == "bad page":
        web.files["/search"] = lambda *_: {"type": "FeatureCollection", "features": [1]}
    elif case == "no assets":
        web.files["/search"] = lambda *_: {"type": "FeatureCollection", "features": [{"type": "Feature", "id": "a"}]}
    else:
        monkeypatch.setitem(sys.modules, "pystac_client", None)
        kind = OptionError
    with pytest.raises(kind) as caught:
        find_scenes([], stac=StacSearch(**asked))
    assert caught.value.remedy
    assert SECRET not in str(caught.value)
    if case == "missing":
        assert "geoseg[stac]" in str(caught.value)
