"""What a page says about a layer: classes, colours, totals, and the features themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np

from geoseg.errors import InputError
from geoseg.view.colors import choose_colors, read_style
from geoseg.view.encode import FINE_M, Group, encode_features
from geoseg.view.image import ImageTiles, open_image
from geoseg.view.opening import ViewedFile
from geoseg.view.projection import WORLD_M, Box, boxes_meet
from geoseg.view.source import ViewLayer, count_by_class, name_classes

CLASS_COLUMNS = ("class", "class_name")
CONFIDENCE = "confidence"
MEASURES = {"area_m2": "polygon", "length_m": "line"}
MARGIN = 0.25


@dataclass(frozen=True, slots=True)
class ViewContent:
    """A view with its classes counted.

    Attributes:
        view: its layers.
        class_names: all classes of all layers.
        totals: per layer and class: layer number, class number, count, kind and measure (m2 or m; None if unknown).
        image: imagery beneath, or None.
    """

    view: ViewedFile
    class_names: tuple[str, ...]
    totals: tuple[dict[str, Any], ...]
    image: ImageTiles | None

    @property
    def extent(self) -> Box:
        """What the page shows at first, in page metres: the layers, else the image, else the world."""
        half = WORLD_M / 2
        return self.view.extent or (self.image.box if self.image else (-half, -half, half, half))

    @property
    def image_box(self) -> Box:
        """Where the page needs imagery: the extent and a margin around it."""
        west, south, east, north = self.extent
        pad = max(east - west, north - south, 1.0) * MARGIN
        return west - pad, south - pad, east + pad, north + pad

    def describe(self) -> dict[str, Any]:
        """What the page's script starts from."""
        styles = [style for layer in self.view.layers if (style := read_style(layer))]
        colors = choose_colors(self.class_names, styles)
        columns = {column for layer in self.view.layers for column in layer.columns}
        return {
            "title": self.view.path.name,
            "lon0": self.view.projection.lon_0,
            "extent": self.extent,
            "layers": [layer.name for layer in self.view.layers],
            "classes": [{"name": name, "color": colors[name]} for name in self.class_names],
            "totals": self.totals,
            "hasConfidence": CONFIDENCE in columns,
            "image": None,
        }

    def encode(self, number: int, frame: geopandas.GeoDataFrame, *, step_m: float = FINE_M) -> list[Group]:
        """The features of a table of layer `number` as groups; see `encode_features`."""
        if frame.empty:
            return []
        layer = self.view.layers[number]
        column = find_class_column(layer)
        if column is None:
            index = np.full(len(frame), self.class_names.index(layer.name), np.int64)
        else:
            numbers = {name: i for i, name in enumerate(self.class_names)}
            index = name_classes(frame[column]).map(numbers).to_numpy(np.int64)
        groups = encode_features(frame, index, self.view.projection, step_m=step_m)
        return [{"layer": number, **group} for group in groups]


def gather_content(view: ViewedFile, image: str | Path | None = None) -> ViewContent:
    """Count the classes of a view and check its image.

    Raises:
        InputError: a layer or the image cannot be read, or they lie in different places.
    """
    tiles = open_image(image, view.projection) if image is not None else None
    if tiles and view.extent and not boxes_meet(tiles.box, view.extent):
        raise InputError(
            f"{image} and {view.path} do not overlap",
            expected="the image that the layer was made from, or one of the same place",
            remedy="check both with `geoseg info` and ogrinfo",
        )
    names: dict[str, None] = {}
    totals = []
    for number, layer in enumerate(view.layers):
        measures = [name for name in MEASURES if name in layer.columns][:1]
        counts, sums = count_by_class(layer, find_class_column(layer), measures)
        names |= dict.fromkeys(sorted(counts))
        for name, count in sorted(counts.items()):
            total: dict[str, Any] = {"layer": number, "class": list(names).index(name), "count": count}
            for measure in measures:
                total |= {"kind": MEASURES[measure], "measure": sums[measure].get(name)}
            totals.append(total)
    return ViewContent(view, tuple(names), tuple(totals), tiles)


def find_class_column(layer: ViewLayer) -> str | None:
    """The column that a layer is coloured by: its style's, else that of its classes, where it has one."""
    style = read_style(layer)
    names = ([style.column] if style else []) + list(CLASS_COLUMNS)
    return next((name for name in names if name in layer.columns), None)


def encode_layers(content: ViewContent) -> list[Group]:
    """All features of all layers."""
    return [group for n, layer in enumerate(content.view.layers) for group in content.encode(n, layer.read())]
