"""What became of polygons is found as it was made, whichever way, place or block it is looked at."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.comparison.compare import compare
from geoseg.comparison.events import CHANGES
from geoseg.comparison.result import PolygonChanges
from geoseg.errors import GeosegError, InputError, OptionError, OutputError
from geoseg.polygons.attributes import measure_polygons
from tests.comparison.scenes import EAST, NORTH, UTM, make_layer, make_town, save, save_both


def compare_buildings(a: Path, b: Path, **options: float) -> PolygonChanges:
    return compare(a, b, **options).polygons["building"]


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet"])
def test_fates_are_found_in_every_format(tmp_path: Path, suffix: str) -> None:
    a, b, truth = make_town()
    assert min(truth.values()) > 5
    found = compare_buildings(*save_both(tmp_path, a, b, suffix))
    assert found.objects == truth | {"noise": 0}
    assert (found.before, found.after) == (len(a), len(b))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000), block_bytes=st.sampled_from([1, 700, 5000, 10**6]), tolerance=st.sampled_from([0, 2.5])
)
def test_blocks_change_nothing(tmp_path: Path, seed: int, block_bytes: int, tolerance: float) -> None:
    a, b, _ = make_town(seed, side=7, spacing_m=15)
    paths = save_both(tmp_path, a, b, ".parquet")
    written = [tmp_path / f"{name}.geojson" for name in ("whole", "blocks")]
    whole = compare(*paths, written[0], tolerance_m=tolerance, overwrite=True)
    blocks = compare(*paths, written[1], tolerance_m=tolerance, overwrite=True, block_bytes=block_bytes)
    assert whole.to_dict() | {"output": ""} == blocks.to_dict() | {"output": ""}
    assert written[0].read_bytes() == written[1].read_bytes()


@pytest.mark.parametrize("tolerance_m", [0, 3])
def test_swapping_the_sides_swaps_the_changes(tmp_path: Path, tolerance_m: float) -> None:
    a, b, _ = make_town(3, spacing_m=17)
    paths = save_both(tmp_path, a, b)
    there, back = (compare_buildings(*order, tolerance_m=tolerance_m) for order in (paths, paths[::-1]))
    swap = {"appeared": "vanished", "split": "merged", "grown": "shrunk"}
    swap |= {new: old for old, new in swap.items()}
    assert back.objects == {change: there.objects[swap.get(change, change)] for change in back.objects}
    assert back.gained_m2 == pytest.approx(there.lost_m2)
    assert back.appeared_m2 == pytest.approx(there.vanished_m2)
    assert (back.area_a_m2, back.before) == (there.area_b_m2, there.after)


def test_the_same_layer_is_unchanged(tmp_path: Path) -> None:
    a, _, _ = make_town()
    paths = save_both(tmp_path, a, a.iloc[::-1])
    found = compare_buildings(*paths)
    assert found.objects["unchanged"] == len(a)
    assert found.new_m2 + found.gone_m2 == pytest.approx(0, abs=1e-3)
    assert sum(found.objects.values()) == len(a)
    assert found.gained_m2 + found.lost_m2 == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32736", "EPSG:2263"])
def test_coordinate_systems_change_nothing(tmp_path: Path, crs: str) -> None:
    a, b, _ = make_town()
    if crs == "EPSG:2263":  # feet, in New York
        a, b = (side.set_crs("EPSG:32618", allow_override=True).translate(50_000, -4_818_000) for side in (a, b))
        a, b = (make_layer(list(side), "building", "EPSG:32618") for side in (a, b))
    one = compare_buildings(*save_both(tmp_path, a, b))
    other = compare_buildings(tmp_path / "a.fgb", save(b.to_crs(crs), tmp_path / "moved.fgb"))
    assert other.objects == one.objects
    for name in ("area_b_m2", "gained_m2", "lost_m2", "appeared_m2"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-4), name


def test_the_antimeridian_is_no_border(tmp_path: Path) -> None:
    a, b, truth = make_town()
    # Longitude 180 at 60 degrees north lies there.
    a, b = (
        make_layer(list(side.translate(332_400 - EAST, 6_655_000 - NORTH)), "building", "EPSG:32601") for side in (a, b)
    )
    lon = a.to_crs(4326).get_coordinates().x
    assert lon.min() < -179.99
    assert lon.max() > 179.99
    found = compare_buildings(*save_both(tmp_path, a, b.to_crs("EPSG:32660")))
    assert found.objects == truth | {"noise": 0}


@pytest.mark.parametrize(
    ("crs", "east", "north"), [(UTM, EAST, NORTH), ("EPSG:3857", 1e6, 1.1e7), ("EPSG:32601", 2e5, 7e6)]
)
def test_areas_are_geodesic_and_add_up(tmp_path: Path, make_grid, crs: str, east: float, north: float) -> None:
    a, b, _ = make_town()
    a, b = (make_layer(list(side.translate(east - EAST, north - NORTH)), "building", crs) for side in (a, b))
    found = compare_buildings(*save_both(tmp_path, a, b))
    truth = measure_polygons(b.geometry.to_numpy(), make_grid(1, 1, crs=crs))[0].sum()
    assert found.area_b_m2 == pytest.approx(truth, rel=1e-5)
    change = found.appeared_m2 - found.vanished_m2 + found.gained_m2 - found.lost_m2
    assert found.area_b_m2 - found.area_a_m2 == pytest.approx(change, abs=1e-3)


def test_gained_and_lost_areas_are_those_that_were_made(tmp_path: Path) -> None:
    frame = make_layer([shapely.box(0, 0, 20, 10), shapely.box(50, 0, 60, 10)], "building").translate(EAST, NORTH)
    after = make_layer([shapely.box(0, 0, 30, 9), shapely.box(50, 0, 60, 10)], "building").translate(EAST, NORTH)
    paths = save_both(tmp_path, make_layer(list(frame), "building"), make_layer(list(after), "building"))
    scale = 1 / 0.9996**2  # of UTM near its central meridian
    found = compare_buildings(*paths)
    assert (found.gained_m2, found.lost_m2) == pytest.approx((90 * scale, 20 * scale), rel=1e-3)
    # The strip that was lost is narrower than the tolerance, the wing that was gained is not.
    found = compare_buildings(*paths, tolerance_m=2)
    assert (found.gained_m2, found.lost_m2) == pytest.approx((90 * scale, 0), rel=1e-3)


def test_a_shift_below_the_tolerance_is_noise(tmp_path: Path) -> None:
    a, _, _ = make_town()
    b = make_layer(list(a.translate(0.9, -0.9)), "building")
    paths = save_both(tmp_path, a, b)
    assert compare_buildings(*paths).objects["unchanged"] < len(a)
    found = compare_buildings(*paths, tolerance_m=1.5)
    assert found.objects["unchanged"] == len(a)
    assert found.gained_m2 == found.lost_m2 == 0


def test_slivers_below_the_tolerance_are_noise(tmp_path: Path) -> None:
    shapes = [shapely.box(0, 0, 20, 10), shapely.box(50, 0, 60, 0.8), shapely.box(70, 0, 80, 5)]
    shapes = list(make_layer(shapes, "building").translate(EAST, NORTH))
    paths = save_both(tmp_path, make_layer(shapes[:1], "building"), make_layer(shapes, "building"))
    assert compare_buildings(*paths).objects["appeared"] == 2
    for order in (paths, paths[::-1]):
        result = compare(*order, tmp_path / "changes.gpkg", tolerance_m=1, overwrite=True)
        counts = result.polygons["building"].objects
        assert (counts["noise"], counts["unchanged"], counts["appeared"] + counts["vanished"]) == (1, 1, 1)
        layer = geopandas.read_file(tmp_path / "changes.gpkg")
        noise = layer[layer.change == "noise"]
        assert len(noise) == 1
        assert noise[["gained_m2", "lost_m2"]].sum(axis=None) == 0


def test_new_ground_does_not_depend_on_what_belongs_together(tmp_path: Path) -> None:
    whole = [shapely.box(0, 0, 100, 10)]
    pieces = [shapely.box(x, 0, x + 4.5, 11) for x in range(0, 100, 5)]
    paths = save_both(tmp_path, *(make_layer(side, "vegetation", "EPSG:6933") for side in (whole, pieces)))
    found = compare(*paths).polygons["vegetation"]
    assert (found.objects["vanished"], found.objects["appeared"]) == (1, 20)
    assert (found.new_m2, found.gone_m2) == pytest.approx((90, 100), rel=1e-4)


def test_classes_are_compared_with_their_own_kind(tmp_path: Path) -> None:
    a, _, _ = make_town()
    b = a.assign(**{"class": "vegetation"})
    result = compare(*save_both(tmp_path, a, b))
    assert result.polygons["building"].objects["vanished"] == len(a)
    assert result.polygons["vegetation"].objects["appeared"] == len(a)
    footprints = save(a[["geometry"]], tmp_path / "footprints.fgb")
    result = compare(footprints, tmp_path / "a.fgb", only_class="building")
    assert result.polygons["building"].objects["unchanged"] == len(a)
    numbered = save(a[["geometry"]].assign(class_id=1), tmp_path / "numbered.fgb")
    assert compare(numbered, tmp_path / "a.fgb").polygons["building"].objects["unchanged"] == len(a)


def test_parts_are_objects_and_broken_polygons_are_mended(tmp_path: Path) -> None:
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    parts = shapely.MultiPolygon([shapely.box(20, 0, 30, 10), shapely.box(40, 0, 50, 10)])
    shapes = list(make_layer([bow, parts, None, shapely.Polygon()], "building").translate(EAST, NORTH))
    frame = make_layer(shapes, "building")
    found = compare_buildings(*save_both(tmp_path, frame, frame, ".gpkg"))
    assert found.objects["unchanged"] == 3


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet"])
def test_the_changes_are_written(tmp_path: Path, suffix: str) -> None:
    a, b, truth = make_town()
    paths = save_both(tmp_path, a.to_crs("EPSG:3857"), b)
    result = compare(*paths, tmp_path / f"changes{suffix}")
    written = tmp_path / f"changes{suffix}"
    layer = geopandas.read_parquet(written) if suffix == ".parquet" else geopandas.read_file(written)
    assert len(layer) == len(b) + truth["vanished"]
    assert suffix == ".geojson" or layer.crs == b.crs
    found = layer["change"].value_counts().to_dict()
    assert found == truth | {"split": 2 * truth["split"]}
    sums = layer[["area_a_m2", "area_b_m2", "gained_m2", "lost_m2"]].sum()
    total = result.polygons["building"]
    assert sums["area_a_m2"] == pytest.approx(total.area_a_m2, abs=0.1)
    assert sums["area_b_m2"] == pytest.approx(total.area_b_m2, abs=0.1)
    assert sums["gained_m2"] == pytest.approx(total.gained_m2 + total.appeared_m2, abs=0.1)
    assert sums["lost_m2"] == pytest.approx(total.lost_m2 + total.vanished_m2, abs=0.1)
    ids = dict(zip(b.id, b.geometry, strict=True)) if suffix != ".geojson" else {}
    kept = layer[layer.id_b.isin(ids)]
    assert all(kept.geometry.to_numpy() == np.array([ids[i] for i in kept.id_b], object))
    merged = layer[layer.change == "merged"].id_a.str.split(",")
    assert set(merged.str.len()) == {2}
    assert layer[layer.change == "vanished"].id_b.isna().all()
    with pytest.raises(OutputError, match="exists"):
        compare(*paths, written)


def test_the_style_colors_the_changes(tmp_path: Path) -> None:
    a, b, _ = make_town()
    paths = save_both(tmp_path, a, b)
    compare(*paths, tmp_path / "changes.gpkg")
    with closing(sqlite3.connect(tmp_path / "changes.gpkg")) as connection:
        style = connection.execute("SELECT styleQML FROM layer_styles WHERE f_table_name = 'changes'").fetchone()[0]
    root = ElementTree.fromstring(style)
    renderer = root.find("renderer-v2")
    assert renderer is not None
    assert renderer.get("attr") == "change"
    drawn = {category.get("value") for category in root.iter("category")}
    assert set(CHANGES) < drawn


def test_empty_layers(tmp_path: Path) -> None:
    a, _, _ = make_town()
    paths = save_both(tmp_path, a, a.iloc[:0], ".gpkg")
    assert compare_buildings(*paths).objects["vanished"] == len(a)
    assert compare_buildings(*paths[::-1]).objects["appeared"] == len(a)
    nothing = compare(paths[1], paths[1], tmp_path / "nothing.gpkg")
    assert "neither" in nothing.format()
    assert len(geopandas.read_file(tmp_path / "nothing.gpkg")) == 0


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    a, _, _ = make_town()
    good = save(a, tmp_path / "good.fgb")
    raster = tmp_path / "classes.tif"
    raster.write_bytes(b"II*")
    with pytest.raises(InputError, match="geoseg polygonize"):
        compare(raster, good)
    with pytest.raises(InputError, match="not there"):
        compare(good, tmp_path / "none.gpkg")
    with pytest.raises(InputError, match="--only-class"):
        compare(good, save(a[["geometry"]], tmp_path / "footprints.fgb"))
    with pytest.raises(InputError, match="no CRS"):
        compare(good, save(a.set_crs(None, allow_override=True), tmp_path / "nowhere.fgb"))
    (tmp_path / "map.pmtiles").touch()
    with pytest.raises(InputError, match="pieces"):
        compare(good, tmp_path / "map.pmtiles")
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        compare(good, torn)
    cut = tmp_path / "cut.fgb"
    cut.write_bytes(good.read_bytes()[:2000])
    with pytest.raises(InputError, match="cut off"):
        compare(good, cut)
    with pytest.raises(InputError, match="lines on the other"):
        compare(good, save(make_layer(list(a.exterior), "building"), tmp_path / "lines.fgb"))
    with pytest.raises(OptionError, match="tolerance"):
        compare(good, good, tolerance_m=-1)
    with pytest.raises(OptionError, match="buffer"):
        compare(good, good, buffer_m=0)
    with pytest.raises(GeosegError):
        compare(good, good, good, overwrite=True)
