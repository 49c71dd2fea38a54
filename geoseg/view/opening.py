"""Which layers a view of a path shows, and on which plane."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyogrio
from pyproj import Transformer

from geoseg.errors import InputError
from geoseg.files import check_whole, gdal_name
from geoseg.layers.read import ROADS, SUFFIXES, is_layer_path, list_files
from geoseg.layers.stream import translate_faults
from geoseg.view.parquet import ParquetLayer
from geoseg.view.projection import LONLAT, Box, PageProjection, unite_boxes
from geoseg.view.source import OgrLayer, ViewLayer

PMTILES = ".pmtiles"  # hold features cut into pieces


@dataclass(frozen=True, slots=True)
class ViewedFile:
    """The layers of a view, lowest first, the plane that suits them all, and what they cover of it in page metres."""

    path: Path
    layers: tuple[ViewLayer, ...]
    projection: PageProjection
    extent: Box | None

    @property
    def features(self) -> int:
        """Features of all layers."""
        return sum(layer.features for layer in self.layers)


def open_view(path: Path | str) -> ViewedFile:
    """Find the layers of a file: all of a GeoPackage; of other formats its one, and the roads written beside it.

    Args:
        path: the layer; `map_roads.geojson` is taken along with `map.geojson`, and so for every suffix.

    Raises:
        InputError: there is no such file, it is no vector layer, cut off, or one of its layers has no CRS.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not there", expected="a vector layer", remedy="check the path")
    if not is_layer_path(path) or path.suffix.lower() == PMTILES:
        known = ", ".join(suffix for suffix in SUFFIXES if suffix != PMTILES)
        raise InputError(
            f"{path.name} cannot be viewed: its suffix is not that of a layer of whole features",
            expected=f"one of {known}",
            remedy="view the layer that it was made from, or convert it; a raster goes beneath a layer with --image",
        )
    return place_layers(path, [layer for file in list_files(path) for layer in _open_layers(file)])


def place_layers(path: Path, layers: Sequence[ViewLayer]) -> ViewedFile:
    """Choose the plane for layers: about 180 degrees where one of them lies on both sides of the antimeridian."""
    projection = PageProjection(180.0 if any(_crosses_antimeridian(layer) for layer in layers) else 0.0)
    extents = [extent for layer in layers if (extent := _find_extent(layer, projection))]
    return ViewedFile(path, tuple(layers), projection, unite_boxes(extents))


@contextmanager
def index_layers(view: ViewedFile) -> Iterator[ViewedFile]:
    """The same view with layers that can be read in part; those that cannot are copied for the time being.

    Raises:
        InputError: a layer cannot be read, or cannot be copied.
    """
    with tempfile.TemporaryDirectory(prefix="geoseg-view-") as folder:
        layers: list[ViewLayer] = []
        for number, layer in enumerate(view.layers):
            if isinstance(layer, OgrLayer) and not layer.is_indexed:
                layers.append(layer.copy_indexed(Path(folder) / f"{number}.fgb"))
            elif layer.is_indexed:
                layers.append(layer)
            else:
                raise InputError(
                    f"{layer.path} has no bounding box column",
                    expected="GeoParquet 1.1 with a bbox covering",
                    remedy="write it again: geopandas to_parquet(write_covering_bbox=True), or as GeoPackage",
                )
        yield ViewedFile(view.path, tuple(layers), view.projection, view.extent)


def _open_layers(path: Path) -> list[ViewLayer]:
    if path.suffix.lower() == ".parquet":
        return [ParquetLayer(path, path.stem)]
    with translate_faults(path):
        check_whole(path)
        names = [str(name) for name, kind in pyogrio.list_layers(gdal_name(path)) if kind and "Point" not in kind]
    if not names:
        raise InputError(f"{path} has no layer of areas or lines", expected="a vector layer")
    # Lines lie above areas.
    return [OgrLayer(path, name) for name in sorted(names, key=lambda name: name == ROADS)]


def _crosses_antimeridian(layer: ViewLayer) -> bool:
    bounds = layer.bounds
    if bounds is None:
        return False
    to_lonlat = Transformer.from_crs(layer.crs, LONLAT, always_xy=True)
    west, south, east, north = bounds if layer.crs.is_geographic else to_lonlat.transform_bounds(*bounds)
    if west > east or west < -180 or east > 180:
        return True
    if not east - west > 180:
        return False
    # Features on both sides and none between.
    middle = to_lonlat.transform_bounds(-90.0, south, 90.0, north, direction="INVERSE")
    return bool(np.isfinite(middle).all()) and layer.find_bounds(middle) is None


def _find_extent(layer: ViewLayer, projection: PageProjection) -> Box | None:
    bounds = layer.bounds
    if bounds is None:
        return None
    if projection.lon_0 and layer.crs.is_geographic and bounds[2] - bounds[0] > 180:
        halves = (-180.0, bounds[1], 0.0, bounds[3]), (0.0, bounds[1], 180.0, bounds[3])
        found = [box for half in halves if (box := layer.find_bounds(half))]
        return unite_boxes([projection.project_box(box, layer.crs) for box in found])
    return projection.project_box(bounds, layer.crs)
