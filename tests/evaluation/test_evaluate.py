"""Rasters and layers on either side give the scores of the pixels they stand for."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from distributed import Client
from rasterio.features import rasterize

from geoseg.errors import InputError, OptionError
from geoseg.evaluation import comparison, sides
from geoseg.evaluation.confusion import ConfusionMatrix
from geoseg.evaluation.evaluate import evaluate
from geoseg.evaluation.objects import ObjectScore
from geoseg.grid import GeoGrid, Window

UTM = "EPSG:32633"
GRID = Affine(0.5, 0, 390_000, 0, -0.5, 5_820_000)


def write_raster(path, classes, *, transform=GRID, crs=UTM, dtype="uint8"):
    profile = {"driver": "GTiff", "count": 1, "height": classes.shape[0], "width": classes.shape[1]}
    with rasterio.open(path, "w", dtype=dtype, crs=crs, transform=transform, **profile) as dataset:
        dataset.write(classes.astype(dtype), 1)
    return path


def write_polygons(path, polygons, class_id=None, crs=UTM):
    columns = {} if class_id is None else {"class_id": class_id}
    geopandas.GeoDataFrame(columns, geometry=polygons, crs=crs).to_file(path)
    return path


def make_classes(seed, shape=(90, 130)):
    """Blocks of classes 0 to 3 with some no-data."""
    rng = np.random.default_rng(seed)
    small = rng.choice([0, 1, 2, 3, 255], p=[0.4, 0.2, 0.15, 0.2, 0.05], size=(shape[0] // 5, shape[1] // 5))
    return np.kron(small, np.ones((5, 5))).astype(np.uint8)[: shape[0], : shape[1]]


@pytest.fixture(params=[2048, 61])
def window_px(request, monkeypatch):
    """One window, and many that do not divide the raster."""
    monkeypatch.setattr(comparison, "WINDOW_PX", request.param)


def expected_counts(truth, predicted):
    index = np.full(256, -1)
    index[:4] = range(4)
    return ConfusionMatrix.count(index[truth], index[predicted], 4).counts


@pytest.mark.usefixtures("window_px")
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("crs", [UTM, None])
def test_two_rasters_of_one_grid(tmp_path, crs):
    truth, predicted = make_classes(0), make_classes(1)
    transform = GRID if crs else Affine.identity()
    files = [
        write_raster(tmp_path / f"{name}.tif", classes, crs=crs, transform=transform)
        for name, classes in (("predicted", predicted), ("truth", truth))
    ]
    result = evaluate(*files)
    np.testing.assert_array_equal(result.pixels.counts, expected_counts(truth, predicted))
    assert result.classes == ("background", "building", "road", "vegetation")
    assert result.left_out_px == ((truth == 255) | (predicted == 255)).sum()
    assert result.buildings.ranked is None


@pytest.mark.usefixtures("window_px")
def test_rasters_of_different_grids(tmp_path):
    truth, predicted = make_classes(0), make_classes(1)
    # Half the resolution, and beginning 20 rows and 10 columns of the truth further on: known only there.
    moved = GRID @ Affine.translation(10, 20) @ Affine.scale(2)
    write_raster(tmp_path / "predicted.tif", predicted[:30, :40], transform=moved)
    write_raster(tmp_path / "truth.tif", truth)
    result = evaluate(tmp_path / "predicted.tif", tmp_path / "truth.tif")
    on_truth = np.full_like(truth, 255)
    on_truth[20:80, 10:90] = np.kron(predicted[:30, :40], np.ones((2, 2)))
    np.testing.assert_array_equal(result.pixels.counts, expected_counts(truth, on_truth))


@pytest.fixture
def polygons():
    rng = np.random.default_rng(5)
    x, y = 390_000 + rng.uniform(0, 65, 30), 5_820_000 - rng.uniform(0, 45, 30)
    shapes = shapely.buffer(shapely.points(x, y), rng.uniform(1, 6, 30), quad_segs=2)
    return shapes, rng.integers(1, 4, 30)


def burn(polygons, shape=(90, 130)):
    return rasterize(zip(*polygons, strict=True), out_shape=shape, transform=GRID, dtype=np.uint8)


@pytest.mark.usefixtures("window_px")
@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
def test_a_layer_and_a_raster(tmp_path, polygons, suffix):
    raster = make_classes(2)
    layer = write_polygons(tmp_path / f"a{suffix}", *polygons)
    stored = geopandas.read_file(layer)  # FlatGeobuf has an order of its own, and polygons overlap
    burnt = burn((stored.geometry, stored["class_id"]))
    file = write_raster(tmp_path / "a.tif", raster)
    np.testing.assert_array_equal(evaluate(layer, file).pixels.counts, expected_counts(raster, burnt))
    np.testing.assert_array_equal(evaluate(file, layer).pixels.counts, expected_counts(burnt, raster))


def test_two_layers(tmp_path):
    few = shapely.box(390_000 + np.arange(5) * 20, 5_819_900, 390_010 + np.arange(5) * 20, 5_819_910)
    predicted = write_polygons(tmp_path / "a.gpkg", few[:4], np.array([1, 1, 1, 2]))
    truth = write_polygons(tmp_path / "b.gpkg", few, np.array([1, 1, 1, 2, 1]))
    result = evaluate(predicted, truth)
    assert result.buildings.matched == ObjectScore(3, 0, 1)
    assert result.pixels.recall[1] == 0.75
    assert result.pixels.precision[1] == result.pixels.iou[2] == 1.0
    assert result.pixels.counts[1].sum() == 4 * 20 * 20
    same = evaluate(truth, truth)
    assert same.pixels.mean_iou == 1.0
    assert same.buildings.matched == ObjectScore(4, 0, 0)
    text = result.format()
    assert "building" in text
    assert "3 found, 0 made up, 1 missed" in text


def test_one_class_against_everything_else(tmp_path):
    truth, predicted = make_classes(0), make_classes(1)
    write_raster(tmp_path / "p.tif", predicted)
    write_raster(tmp_path / "t.tif", truth)
    result = evaluate(tmp_path / "p.tif", tmp_path / "t.tif", only_class="road")
    known = (truth != 255) & (predicted != 255)
    np.testing.assert_array_equal(
        result.pixels.counts, ConfusionMatrix.count((truth == 2)[known], (predicted == 2)[known], 2).counts
    )
    assert result.classes == ("everything else", "road")


def test_what_a_raster_calls_nodata_changes_nothing(tmp_path):
    """Class 0 tagged as nodata, as many tools write it, is background on any grid."""
    truth, predicted = make_classes(0), make_classes(1)
    transform = GRID @ Affine.translation(0.2, 0.2)
    same, moved = (
        write_raster(tmp_path / f"{n}.tif", predicted, transform=t) for n, t in (("a", GRID), ("b", transform))
    )
    file = write_raster(tmp_path / "truth.tif", truth)
    wanted = [evaluate(side, file).pixels.counts for side in (same, moved)]
    for side in (same, moved):
        with rasterio.open(side, "r+") as dataset:
            dataset.nodata = 0
    for side, counts in zip((same, moved), wanted, strict=True):
        np.testing.assert_array_equal(evaluate(side, file).pixels.counts, counts)
    np.testing.assert_array_equal(*wanted)


@pytest.mark.parametrize("only_class", ["building", "vegetation"])
def test_lines_are_compared_as_roads_only(tmp_path, only_class):
    line = write_polygons(tmp_path / "a.gpkg", [shapely.LineString([(390_010, 5_819_990), (390_050, 5_819_960)])])
    with pytest.raises(OptionError, match="roads only"):
        evaluate(line, line, only_class=only_class)


def test_lines_and_polygons_in_one_layer_are_refused(tmp_path):
    mixed = [
        shapely.LineString([(390_010, 5_819_990), (390_050, 5_819_960)]),
        shapely.box(390_000, 5_819_960, 390_010, 5_819_970),
    ]
    geopandas.GeoDataFrame({"class_id": [2, 2]}, geometry=mixed, crs=UTM).to_file(tmp_path / "mixed.geojson")
    raster = write_raster(tmp_path / "a.tif", make_classes(0))
    assert_refused("lines, and 1 features", tmp_path / "mixed.geojson", raster)
    assert_refused("lines, and 1 features", raster, tmp_path / "mixed.geojson")


def test_polygons_without_classes_need_one(tmp_path, polygons):
    layer = write_polygons(tmp_path / "a.gpkg", polygons[0])
    file = write_raster(tmp_path / "a.tif", make_classes(2))
    with pytest.raises(InputError, match="neither"):
        evaluate(file, layer)
    burnt = burn((polygons[0], [1] * 30))
    result = evaluate(file, layer, only_class="building")
    assert result.pixels.counts[1].sum() == ((burnt == 1) & (make_classes(2) != 255)).sum()


def test_classes_by_name(tmp_path):
    square = {"type": "Polygon", "coordinates": [[[13, 52], [13.001, 52], [13.001, 52.001], [13, 52.001], [13, 52]]]}
    feature = {"type": "Feature", "properties": {"class": "vegetation"}, "geometry": square}
    text = json.dumps({"type": "FeatureCollection", "features": [feature]})
    (tmp_path / "a.geojson").write_text(text)
    result = evaluate(tmp_path / "a.geojson", tmp_path / "a.geojson")
    assert result.pixels.iou[3] == 1.0
    (tmp_path / "b.geojson").write_text(text.replace("vegetation", "glacier"))
    with pytest.raises(InputError, match="glacier"):
        evaluate(tmp_path / "b.geojson", tmp_path / "a.geojson")


@pytest.mark.usefixtures("window_px")
@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857"])
def test_areas_are_honoured(tmp_path, crs):
    truth, predicted = make_classes(0), make_classes(1)
    sides = [write_raster(tmp_path / f"{n}.tif", c) for n, c in (("predicted", predicted), ("truth", truth))]
    wanted = shapely.Polygon([(390_005.1, 5_819_990.2), (390_060.3, 5_819_993.4), (390_030.7, 5_819_958.6)])
    unwanted = shapely.box(390_020.2, 5_819_970.3, 390_031.2, 5_819_981.4)
    files = []
    for name, polygon in (("aoi", wanted), ("ignore", unwanted)):
        frame = geopandas.GeoDataFrame(geometry=[polygon], crs=UTM).to_crs(crs)
        frame.to_file(tmp_path / f"{name}.gpkg")
        files.append(tmp_path / f"{name}.gpkg")
    result = evaluate(*sides, aoi=files[0], ignore=files[1])
    masks = [rasterize([polygon], out_shape=truth.shape, transform=GRID) > 0 for polygon in (wanted, unwanted)]
    truth[~masks[0] | masks[1]] = 255
    np.testing.assert_array_equal(result.pixels.counts, expected_counts(truth, predicted))
    assert result.left_out_px + result.pixels.pixels == masks[0].sum()


def test_an_area_in_degrees(tmp_path):
    truth = write_raster(tmp_path / "truth.tif", make_classes(0))
    west, south, east, north = 390_010, 5_819_970, 390_040, 5_819_990
    degrees = geopandas.GeoSeries([shapely.box(west, south, east, north)], crs=UTM).to_crs("EPSG:4326").total_bounds
    judged = evaluate(truth, truth, aoi=",".join(map(str, degrees)))
    assert judged.pixels.pixels + judged.left_out_px == pytest.approx(60 * 40, rel=0.1)
    with pytest.raises(InputError, match="no pixel of the raster"):
        evaluate(truth, truth, aoi="0,0,1,1")
    with pytest.raises(InputError, match="no pixel of the raster"):
        evaluate(truth, truth, ignore="0,0,1,1")
    with pytest.raises(InputError, match="no pixel that both know"):
        evaluate(truth, truth, ignore="13,52,14,53")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_an_area_needs_a_crs(tmp_path):
    bare = write_raster(tmp_path / "bare.tif", make_classes(0), crs=None, transform=Affine.identity())
    with pytest.raises(InputError, match="no CRS"):
        evaluate(bare, bare, aoi="13,52,14,53")


@pytest.mark.parametrize(("row", "col"), [(0, 0), (3, 11)])
def test_windows_change_no_pixel_of_another_crs(tmp_path, row, col):
    rng = np.random.default_rng(0)
    degrees = Affine(4e-6, 0, 13.38, 0, -4e-6, 52.5205)
    noise = write_raster(tmp_path / "a.tif", rng.integers(0, 4, (700, 900)), crs="EPSG:4326", transform=degrees)
    source = sides.RasterClasses.open(noise)
    grid = GeoGrid(rasterio.CRS.from_string(UTM).to_wkt(), Affine(0.4, 0, 390_100, 0, -0.4, 5_820_000), 600, 700)
    source = sides.RasterClasses(source.path, source.grid, grid)
    whole = source.read(grid.window)
    assert (whole != 255).mean() > 0.1
    for part in (Window(row, col, 590, 300), Window(row + 100, col, 200, 689)):
        np.testing.assert_array_equal(source.read(part), whole[part.within(grid.window)])


@pytest.mark.parametrize("slack_px", [0, 2])
def test_everything_is_told_as_json(tmp_path, slack_px):
    sides = [write_raster(tmp_path / f"{i}.tif", make_classes(i)) for i in range(2)]
    result = evaluate(*sides, slack_px=slack_px)
    table = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert table["classes"]["road"]["iou"] == result.pixels.iou[2]
    assert table["classes"]["road"]["boundary_iou"] == result.counts.boundary.iou[2]
    assert table["mean"]["iou"] == pytest.approx(result.pixels.mean_iou)
    assert table["confusion"]["counts"] == result.pixels.counts.tolist()
    assert table["buildings"]["found"] == result.buildings.matched.found
    assert table["buildings"]["polis_m"] == pytest.approx(result.buildings.polis)
    assert table["buildings"]["average_precision"] is None
    assert table["roads"]["quality"] == pytest.approx(result.roads.roads.quality)
    assert (table["slack"] is None) == (slack_px == 0)
    if slack_px:
        assert table["slack"]["road"]["iou"] == result.counts.slack.iou[2]
        assert table["slack"]["road"]["iou"] > table["classes"]["road"]["iou"]
    assert ("with 2 px slack" in result.format()) == bool(slack_px)
    assert "completeness" in result.format()


@pytest.mark.cluster
def test_the_workers_of_a_cluster_may_do_it(tmp_path, polygons, monkeypatch):
    monkeypatch.setattr(comparison, "WINDOW_PX", 61)
    layer, raster = write_polygons(tmp_path / "a.gpkg", *polygons), write_raster(tmp_path / "a.tif", make_classes(2))
    here = evaluate(layer, raster)
    with Client(n_workers=1, threads_per_worker=2, dashboard_address=None, host="127.0.0.1"):
        there = evaluate(layer, raster, workers=2)
    assert there.to_dict() == here.to_dict()


@pytest.mark.parametrize(
    "option", [{"resolution_m": 0}, {"boundary_px": 0}, {"boundary_px": 65}, {"slack_px": -1}, {"workers": 0}]
)
def test_numbers_out_of_range(tmp_path, option):
    with pytest.raises(OptionError):
        evaluate(tmp_path / "a.tif", tmp_path / "b.tif", **option)


def test_faults_are_named(tmp_path):
    good = write_raster(tmp_path / "good.tif", make_classes(0))
    with pytest.raises(InputError, match="cannot be opened"):
        evaluate(tmp_path / "absent.tif", good)
    with pytest.raises(InputError, match="not there"):
        evaluate(good, tmp_path / "absent.gpkg")
    with pytest.raises(InputError, match="float32"):
        evaluate(write_raster(tmp_path / "float.tif", make_classes(0), dtype="float32"), good)
    with pytest.raises(InputError, match="no CRS"):
        evaluate(write_raster(tmp_path / "bare.tif", make_classes(0), crs=None), good)
    with pytest.raises(InputError, match="unknown classes: 77"):
        evaluate(write_raster(tmp_path / "odd.tif", np.full((90, 130), 77)), good)
    with pytest.raises(OptionError, match="glacier"):
        evaluate(good, good, only_class="glacier")


def assert_refused(words, *sides):
    with pytest.raises(InputError, match=words) as caught:
        evaluate(*sides)
    assert caught.value.expected
    assert caught.value.remedy


def test_sides_that_share_no_pixel_are_refused(tmp_path, polygons):
    here = write_raster(tmp_path / "here.tif", make_classes(0))
    there = write_raster(tmp_path / "there.tif", make_classes(0), transform=GRID @ Affine.translation(5000, 0))
    unknown = write_raster(tmp_path / "unknown.tif", np.full((90, 130), 255))
    layer_here = write_polygons(tmp_path / "here.gpkg", *polygons)
    moved = shapely.transform(polygons[0], lambda points: points + np.array([2500, 0]))
    layer_there = write_polygons(tmp_path / "there.gpkg", moved, polygons[1])
    assert_refused("no pixel", here, there)
    assert_refused("no pixel", here, unknown)
    for pair in ((here, layer_there), (there, layer_here), (layer_here, layer_there)):
        assert_refused("overlap", *pair)
        assert_refused("overlap", *reversed(pair))


def test_an_empty_layer_is_background(tmp_path):
    raster = write_raster(tmp_path / "a.tif", make_classes(0))
    empty = write_polygons(tmp_path / "empty.gpkg", [], np.array([], np.int64))
    np.testing.assert_array_equal(
        evaluate(empty, raster).pixels.counts, expected_counts(make_classes(0), np.zeros((90, 130), np.uint8))
    )


def test_a_raster_of_several_bands_is_refused(tmp_path):
    one = write_raster(tmp_path / "one.tif", make_classes(0))
    profile = {"count": 3, "height": 90, "width": 130, "dtype": "uint8", "crs": UTM, "transform": GRID}
    with rasterio.open(tmp_path / "three.tif", "w", driver="GTiff", **profile) as dataset:
        dataset.write(np.stack([make_classes(0)] * 3))
    assert_refused("3 band", tmp_path / "three.tif", one)
    assert_refused("3 band", one, tmp_path / "three.tif")
