from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from PIL import Image

from geoseg.errors import InputError
from geoseg.layers.overlay import draw_overlay, render_overlay
from geoseg.legend import LAND_COVER, ClassLegend

Make = Callable[..., Path]
GREY = np.full((3, 400, 500), 128, np.uint8)


def make_classes() -> np.ndarray:
    classes = np.zeros((400, 500), np.uint8)
    classes[200:300, 250:400] = 1
    return classes


def test_raster_and_layer_give_one_picture(
    make_raster: Make, class_raster: Callable[..., Path], tmp_path: Path
) -> None:
    image, classes = make_raster(GREY), class_raster(make_classes())
    x, y = 530_000 + 250 * 0.5, 9_330_000 - 200 * 0.5
    frame = geopandas.GeoDataFrame({"class_id": [1]}, geometry=[shapely.box(x, y - 50, x + 75, y)], crs="EPSG:32737")
    frame.to_file(tmp_path / "layer.gpkg")
    frame.to_crs("EPSG:4326").to_file(tmp_path / "layer.geojson")
    pictures = [
        np.asarray(Image.open(render_overlay(image, source, tmp_path / "out.png", legend=LAND_COVER)))
        for source in (classes, tmp_path / "layer.gpkg", tmp_path / "layer.geojson")
    ]
    assert pictures[0].shape == (400, 500, 3)
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any(-1).mean() < 0.01


def test_tint_outline_and_background() -> None:
    drawn = draw_overlay(np.moveaxis(GREY, 0, -1), make_classes(), ClassLegend(LAND_COVER.classes), pixel_m=0.5)
    red = np.array(LAND_COVER.classes[1].color)
    assert (drawn[200, 250:400] == red).all()
    assert (drawn[201:299, 250] == red).all()
    assert (np.sign(drawn[250, 300].astype(int) - 128) == np.sign(red - 128)).all()
    assert (drawn[250, 450] == 128).all()


def test_touching_objects_keep_their_outlines() -> None:
    objects = np.repeat(np.array([1, 2], np.int32), 250)[None].repeat(400, 0)
    drawn = draw_overlay(
        np.moveaxis(GREY, 0, -1), np.ones((400, 500), np.uint8), LAND_COVER, pixel_m=float("nan"), objects=objects
    )
    assert (drawn[:, 249:251] == LAND_COVER.classes[1].color).all()
    assert (drawn[100:, 251] != LAND_COVER.classes[1].color).any(-1).all()


def test_size_is_bounded_and_small_pictures_go_without_boxes(
    make_raster: Make, class_raster: Callable[..., Path], tmp_path: Path
) -> None:
    out = render_overlay(
        make_raster(GREY), class_raster(make_classes()), tmp_path / "a.png", legend=LAND_COVER, max_px=50
    )
    assert Image.open(out).size == (50, 40)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_data_types(make_raster: Make, class_raster: Callable[..., Path], tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).uniform(0, 3000, (1, 400, 500)).astype(dtype)
    out = render_overlay(make_raster(values), class_raster(make_classes()), tmp_path / "a.png", legend=LAND_COVER)
    assert np.ptp(np.asarray(Image.open(out))) > 200


def test_refusals(make_raster: Make, tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("hello")
    with pytest.raises(InputError, match="not readable"):
        render_overlay(tmp_path / "text.tif", tmp_path / "text.tif", tmp_path / "a.png", legend=LAND_COVER)
    with pytest.raises(InputError, match="not readable"):
        render_overlay(make_raster(GREY), tmp_path / "text.tif", tmp_path / "a.png", legend=LAND_COVER)
    geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32737").to_file(tmp_path / "bare.gpkg")
    with pytest.raises(InputError, match="class_id"):
        render_overlay(make_raster(GREY), tmp_path / "bare.gpkg", tmp_path / "a.png", legend=LAND_COVER)
    assert not (tmp_path / "a.png").exists()
