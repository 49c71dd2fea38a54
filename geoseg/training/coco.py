"""COCO annotations: polygons and run lengths in one JSON file.

Source: Lin et al. 2014, Microsoft COCO; the format of its object detection annotations.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes as trace

from geoseg.errors import InputError
from geoseg.legend import ClassLegend
from geoseg.training.labels import label_elsewhere, label_values
from geoseg.training.shapes import LabelShapes, split_polygons
from geoseg.training.source import Source


@dataclass(frozen=True)
class CocoFile:
    """One JSON file: image entries by bare file name, annotations by image id, category names by id."""

    path: Path
    images: dict[str, list[dict[str, Any]]]
    annotations: dict[int, list[dict[str, Any]]]
    categories: dict[int, str]

    def list_missing(self, folders: Iterable[Path]) -> list[str]:
        """Images that lie neither in one of the folders nor beside the JSON file."""
        places = list(folders)
        return [
            entry["file_name"]
            for name, entries in self.images.items()
            for entry in entries
            if not (self.path.parent / entry["file_name"]).exists() and not any((p / name).exists() for p in places)
        ]


@functools.lru_cache(maxsize=2)
def read_coco(path: Path) -> CocoFile:
    """Read a JSON file; the last ones are remembered, as one serves many images.

    Raises:
        InputError: it cannot be read, or is no COCO file.
    """
    try:
        content = json.loads(path.read_bytes())
        images: dict[str, list[dict[str, Any]]] = {}
        for image in content["images"]:
            images.setdefault(PurePosixPath(image["file_name"]).name, []).append(image)
        annotations: dict[int, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            annotations.setdefault(annotation["image_id"], []).append(annotation)
        return CocoFile(path, images, annotations, {c["id"]: c["name"] for c in content["categories"]})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as COCO annotations: {error!r}",
            expected="JSON with images, annotations and categories",
        ) from error


def coco_shapes(source: Source, legend: ClassLegend, image: Path, size: tuple[int, int], labels: Path) -> LabelShapes:
    """The labels of an image of (rows, cols) pixels.

    Raises:
        InputError: the file cannot be used, does not list the image, or a category belongs to no class.
    """
    file = read_coco(labels)
    entry = _find_entry(file, image)
    at = f"{labels}, image {entry['file_name']}"
    if (entry.get("height"), entry.get("width")) != size:
        raise InputError(
            f"{at} is {entry.get('height')} x {entry.get('width')} pixels", expected=f"{size[0]} x {size[1]}"
        )
    annotations = file.annotations.get(entry["id"], [])
    parts, owners = [np.empty(0, object)], [np.empty(0, np.int64)]
    try:
        names = [file.categories[a["category_id"]] for a in annotations]
        for number, annotation in enumerate(annotations):
            polygons = _to_polygons(annotation["segmentation"], size)
            parts.append(polygons)
            owners.append(np.full(len(polygons), number))
    except (KeyError, TypeError, ValueError, IndexError, shapely.GEOSException) as error:
        raise InputError(f"{at}: an annotation is malformed ({error!r})", expected="polygons or run lengths") from error
    ids, places = label_values(names, source, legend, origin=at)
    index = np.concatenate(owners)
    elsewhere = label_elsewhere(source, legend)
    return LabelShapes(np.concatenate(parts), ids[index], places[index], elsewhere=elsewhere)


def _find_entry(file: CocoFile, image: Path) -> dict[str, Any]:
    entries = file.images.get(image.name, [])
    if len(entries) > 1:
        entries = [e for e in entries if PurePosixPath(image.as_posix()).match(e["file_name"])]
    if len(entries) != 1:
        raise InputError(f"{file.path} lists {image} {len(entries)} times", expected="its file name, once")
    return entries[0]


def _to_polygons(segmentation: Any, size: tuple[int, int]) -> NDArray[np.object_]:
    """Polygons in pixels, x = column and y = row: of rings [x, y, x, y, ...] or of run lengths."""
    if isinstance(segmentation, dict):
        mask = decode_runs(segmentation["counts"], size)
        found = trace(mask, mask=mask.astype(bool), transform=Affine.identity())
        return np.array([shapely.geometry.shape(outline) for outline, _ in found], object)
    rings = [shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in segmentation]
    polygons, _ = split_polygons(shapely.make_valid(np.array(rings, object)))
    return polygons


def decode_runs(counts: str | Sequence[int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Mask uint8 (rows, cols), 1 inside, from run lengths down the columns, the first run outside.

    As text, every run is the difference to the one before the last (from the fourth on), in groups of five bits, low
    ones first, each plus 48 as a character; bit six says that more follow, bit five of the last group is the sign.

    Raises:
        ValueError: the runs do not fill the mask.
    """
    runs = _parse_runs(counts) if isinstance(counts, str) else list(counts)
    if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        raise ValueError(f"runs fill {sum(runs)} pixels, not {size[0]} x {size[1]}")
    inside = np.arange(len(runs), dtype=np.uint8) % 2
    return np.ascontiguousarray(np.repeat(inside, runs).reshape(size[1], size[0]).T)


def _parse_runs(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for code in text.encode("ascii"):
        group = code - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
