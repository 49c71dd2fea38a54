"""COCO, VOC and Cityscapes files: written by other hands, read as labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from rasterio.features import rasterize

from geoseg.errors import InputError
from geoseg.legend import LAND_COVER
from geoseg.training.coco import decode_runs
from geoseg.training.losses import FULL, IGNORE
from geoseg.training.scenes import SceneReader, find_scenes
from geoseg.training.source import Source
from tests.training.scenery import make_job, make_source, write_raster

ROWS, COLS = 40, 60
VALUES = {"building": ("house", "shed"), "road": ("street",), "ignore": ("cloud",)}
CATEGORIES = [{"id": i, "name": name} for i, name in enumerate(("house", "shed", "street", "cloud"), 11)]


def encode_runs(mask: NDArray[np.uint8]) -> list[int]:
    """Run lengths down the columns, the first run of zeros."""
    flat = np.concatenate([[0], mask.T.ravel(), [2]])
    ends = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate([[0], ends])).tolist()


def to_text(runs: list[int]) -> str:
    text = ""
    for i, run in enumerate(runs):
        value = run - (runs[i - 2] if i > 2 else 0)
        while True:
            group, value = value & 31, value >> 5
            is_last = value == (-1 if group & 16 else 0)
            text += chr(48 + group + (0 if is_last else 32))
            if is_last:
                break
    return text


@settings(deadline=None)
@given(rows=st.integers(1, 40), cols=st.integers(1, 40), seed=st.integers(0, 999), share=st.floats(0, 1))
def test_runs_are_decoded_in_both_spellings(rows: int, cols: int, seed: int, share: float) -> None:
    mask = (np.random.default_rng(seed).random((rows, cols)) < share).astype(np.uint8)
    runs = encode_runs(mask)
    assert np.array_equal(decode_runs(runs, (rows, cols)), mask)
    assert np.array_equal(decode_runs(to_text(runs), (rows, cols)), mask)


def test_runs_as_text_by_hand() -> None:
    """[6, 1, 40, 4, 5, 4, 5, 4, 21] is the example of the format's reference implementation's documentation."""
    assert to_text([6, 1, 40, 4, 5, 4, 5, 4, 21]) == "61X13mN000`0"
    assert decode_runs("61X13mN000`0", (9, 10)).sum() == 1 + 4 + 4 + 4


def write_coco(folder: Path, annotations: list[dict[str, Any]], *, names: tuple[str, ...] = ("a.png",)) -> None:
    images = [{"id": i, "file_name": name, "height": ROWS, "width": COLS} for i, name in enumerate(names)]
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "labels.json").write_text(json.dumps(content))


def make_coco_source(**changes: Any) -> Source:
    fields = {"kind": "coco", "labels": "labels.json", "images": ("*.png",), "values": VALUES}
    return make_source(**(fields | {"ground_resolution_m": 0.4} | changes))


def read_labels(folder: Path, source: Source) -> list[NDArray[np.uint8]]:
    scenes, skipped = find_scenes(make_job(folder, source), LAND_COVER, use="train")
    assert skipped == []
    reader = SceneReader(LAND_COVER, bands=3, cache_mb=1)
    return [reader.read(s, s.window)[1] for s in scenes]


def write_image(path: Path) -> None:
    write_raster(path, np.zeros((3, ROWS, COLS), np.uint8), gsd=None)


def test_polygons_and_runs_of_an_image(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    street = np.zeros((ROWS, COLS), np.uint8)
    street[18:22], street[:, 30:33] = 1, 1
    cloud = np.zeros((ROWS, COLS), np.uint8)
    cloud[35:] = 1
    rings = [[2, 3, 20.5, 3, 20.5, 30, 2, 30], [40, 2, 55, 9, 41, 17]]
    size = [ROWS, COLS]
    write_coco(
        tmp_path,
        [
            {"image_id": 0, "category_id": 13, "segmentation": {"counts": encode_runs(street), "size": size}},
            {"image_id": 0, "category_id": 14, "segmentation": {"counts": to_text(encode_runs(cloud)), "size": size}},
            {"image_id": 0, "category_id": 11, "segmentation": rings},
            {"image_id": 1, "category_id": 12, "segmentation": rings[:1]},
        ],
        names=("a.png", "b.png"),
    )
    houses = [shapely.Polygon(np.reshape(r, (-1, 2))) for r in rings]
    expected = rasterize([(h, 1) for h in houses], (ROWS, COLS), dtype="uint8")
    second = rasterize([(houses[0], 1)], (ROWS, COLS), dtype="uint8")
    expected[street == 1], expected[cloud == 1] = 2, IGNORE
    found = read_labels(tmp_path, make_coco_source())
    assert np.array_equal(found[0], expected)
    assert np.array_equal(found[1], second)
    partial = read_labels(tmp_path, make_coco_source(only="road"))
    assert np.array_equal(partial[0], np.where(expected == IGNORE, IGNORE, expected == 2))


def test_images_that_are_missing_or_not_listed_are_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "x.png")
    write_raster(tmp_path / "small.png", np.zeros((3, 8, 8), np.uint8), gsd=None)
    write_coco(tmp_path, [], names=("a.png", "gone.png", "small.png"))
    scenes, skipped = find_scenes(make_job(tmp_path, make_coco_source()), LAND_COVER, use="train")
    assert [s.image.name for s in scenes] == ["a.png"]
    assert len(skipped) == 3
    assert "small.png is 40 x 60" in skipped[0]
    assert "x.png 0 times" in skipped[1]
    assert "its image gone.png is not there" in skipped[2]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({"category_id": 99, "segmentation": []}, "malformed"),
        ({"category_id": 11}, "malformed"),
        ({"category_id": 11, "segmentation": [[1, 2, 3]]}, "malformed"),
        ({"category_id": 11, "segmentation": [[1, 2, 3, 4]]}, "malformed"),
        ({"category_id": 11, "segmentation": {"counts": [7]}}, "runs fill 7 pixels"),
        ({"category_id": 12, "segmentation": []}, "no class covers 'shed'"),
    ],
)
def test_faults_of_an_annotation_are_named(tmp_path: Path, annotation: dict[str, Any], said: str) -> None:
    write_image(tmp_path / "a.png")
    write_coco(tmp_path, [{"image_id": 0} | annotation])
    source = make_coco_source(values={"building": ("house",)})
    with pytest.raises(InputError, match=said):
        find_scenes(make_job(tmp_path, source), LAND_COVER, use="train")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": [{}], "annotations": [], "categories": []}'])
def test_what_is_no_coco_file_is_named(tmp_path: Path, content: str) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(InputError, match="cannot be read as COCO"):
        find_scenes(make_job(tmp_path, make_coco_source()), LAND_COVER, use="train")


def voc_palette(size: int = 256) -> list[int]:
    """Source: Everingham et al. 2010, PASCAL VOC: three bits of the index after another to red, green, blue."""
    colors = np.zeros((size, 3), int)
    for i in range(size):
        for bit in range(8):
            for band in range(3):
                colors[i, band] |= ((i >> (3 * bit + band)) & 1) << (7 - bit)
    return colors.ravel().tolist()


def test_an_indexed_mask_is_read_as_ids_or_as_colors(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    index = np.random.default_rng(0).choice([0, 3, 7, 15, 255], (ROWS, COLS)).astype(np.uint8)
    mask = Image.fromarray(index)
    mask.putpalette(voc_palette())
    mask.save(tmp_path / "a_mask.png")
    assert Image.open(tmp_path / "a_mask.png").mode == "P"
    ids = {"background": (0, 3), "building": (7,), "vegetation": (15,)}
    table = {0: 0, 3: 0, 7: 1, 15: 3, 255: IGNORE}
    expected = np.vectorize(table.get)(index)
    shared: dict[str, Any] = {"images": ("a.png",), "labels": "{stem}_mask.png", "ground_resolution_m": 0.4}
    assert np.array_equal(read_labels(tmp_path, make_source(ids=ids, **shared))[0], expected)
    palette = np.reshape(voc_palette(), (-1, 3)).tolist()
    colors = {name: tuple(tuple(palette[i]) for i in listed) for name, listed in ids.items()}
    assert np.array_equal(read_labels(tmp_path, make_source(kind="colors", colors=colors, **shared))[0], expected)


def test_cityscapes_ids_in_its_own_folders(tmp_path: Path) -> None:
    image = tmp_path / "leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png"
    write_raster(image, np.zeros((3, ROWS, COLS), np.uint8), gsd=None)
    ids = np.random.default_rng(0).integers(0, 34, (1, ROWS, COLS), np.uint8)
    write_raster(tmp_path / "gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png", ids, gsd=None)
    source = make_source(
        images=("leftImg8bit/train/*/*.png",),
        labels="../../../gtFine/train/{folder}/{stem}_labelIds.png",
        rename=("leftImg8bit", "gtFine"),
        ids={"road": (7, 8), "building": (11,), "vegetation": (21,), "background": (23,)},
        ground_resolution_m=0.1,
    )
    table = {7: 2, 8: 2, 11: 1, 21: 3, 23: 0}
    expected = np.vectorize(lambda i: table.get(i, IGNORE))(ids[0])
    assert np.array_equal(read_labels(tmp_path, source)[0], expected)


def test_grey_masks_are_no_colors(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_raster(tmp_path / "a_mask.png", np.zeros((1, ROWS, COLS), np.uint8), gsd=None)
    source = make_source(
        kind="colors",
        colors={"road": ((1, 2, 3),)},
        images=("a.png",),
        labels="{stem}_mask.png",
        ground_resolution_m=0.4,
    )
    with pytest.raises(InputError, match=r"1 band\(s\)"):
        find_scenes(make_job(tmp_path, source), LAND_COVER, use="train")


def test_one_coco_class_is_a_partial_label(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_coco(tmp_path, [])
    (scene,), _ = find_scenes(make_job(tmp_path, make_coco_source(only="building")), LAND_COVER, use="train")
    assert scene.only == 1
    (scene,), _ = find_scenes(make_job(tmp_path, make_coco_source()), LAND_COVER, use="train")
    assert scene.only == FULL
