"""Vector files of a training job, read near an image."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class VectorLayer:
    """Features: their CRS, two-dimensional shapely geometries (N,), attribute columns (N,) by name."""

    crs: CRS
    shapes: NDArray[np.object_]
    columns: dict[str, NDArray[Any]]

    @cached_property
    def tree(self) -> shapely.STRtree:
        """Spatial index of the shapes."""
        return shapely.STRtree(self.shapes)

    def near(self, bounds: Bounds) -> VectorLayer:
        """The features whose bounds meet (left, bottom, right, top)."""
        keep = np.sort(self.tree.query(shapely.box(*bounds)))
        return VectorLayer(self.crs, self.shapes[keep], {name: values[keep] for name, values in self.columns.items()})


def read_near(path: Path, grid: GeoGrid, reach_m: float, *, layer: str, columns: tuple[str, ...]) -> VectorLayer:
    """The features of a vector file within `reach_m` of an image; a spatial index of the file is used if it has one.

    Args:
        path: anything that GDAL reads.
        grid: of the image.
        reach_m: distance on the ground, metres.
        layer: of a file with several; "" where it has one.
        columns: attributes to read.

    Raises:
        InputError: the file cannot be read, has no CRS, or lies where the image's place cannot be told.
        OptionError: it has no such layer or attribute.
    """
    name, crs, is_indexed = _describe(path, layer, columns)
    bounds = bounds_near(grid, reach_m, crs)
    if not is_indexed:
        return read_whole(path, name, columns).near(bounds)
    return _read(path, name, columns, bbox=bounds).near(bounds)


@functools.lru_cache(maxsize=2)
def read_whole(path: Path, layer: str, columns: tuple[str, ...]) -> VectorLayer:
    """All features of a layer; the last ones are remembered, as one file without index may serve many images."""
    return _read(path, layer, columns)


def bounds_near(grid: GeoGrid, reach_m: float, crs: CRS) -> Bounds:
    """(left, bottom, right, top) in a CRS of an image and what is within `reach_m` of it.

    Raises:
        InputError: the image has no place in that CRS.
    """
    height, width = grid.ground_resolution_m()
    rows, cols = reach_m / height, reach_m / width
    x, y = grid.to_world(
        np.array([-rows, -rows, grid.rows + rows, grid.rows + rows]),
        np.array([-cols, grid.cols + cols, grid.cols + cols, -cols]),
    )
    to_layer = Transformer.from_crs(CRS.from_wkt(grid.crs), crs, always_xy=True)
    left, bottom, right, top = to_layer.transform_bounds(min(x), min(y), max(x), max(y))
    if not np.isfinite([left, bottom, right, top]).all():
        raise InputError(f"the image has no place in {crs.name}", expected="labels in a CRS that covers the image")
    if left > right:  # across the antimeridian
        left, right = -180.0, 180.0
    return left, bottom, right, top


def _describe(path: Path, layer: str, columns: tuple[str, ...]) -> tuple[str, CRS, bool]:
    """Name and CRS of the layer, and whether the file has a spatial index."""
    if not path.is_file():
        raise InputError(f"labels {path} are not there", expected="a vector file", remedy="check labels and extent")
    try:
        layers = [str(name) for name, geometry in pyogrio.list_layers(path) if geometry is not None]
        if layer not in layers and (layer or len(layers) != 1):
            raise OptionError(
                f"{path} has {f'no layer {layer!r}' if layer else f'{len(layers)} layers with shapes'}",
                expected=f"layer = one of {', '.join(map(repr, layers))}",
            )
        name = layer or layers[0]
        info = pyogrio.read_info(path, layer=name)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise _unreadable(path, error) from error
    missing = [c for c in columns if c not in info["fields"]]
    # A GeoJSON file without features has no attributes either.
    if missing and info["features"] != 0:
        raise OptionError(
            f"{path} has no attribute {missing[0]!r}", expected=f"one of {', '.join(map(repr, info['fields']))}"
        )
    if not info["crs"]:
        raise InputError(
            f"{path} has no coordinate reference system",
            expected="georeferenced shapes",
            remedy="assign it: ogr2ogr -a_srs EPSG:CODE with_crs.gpkg FILE",
        )
    return name, CRS.from_user_input(info["crs"]), bool(info["capabilities"]["fast_spatial_filter"])


def _read(path: Path, layer: str, columns: tuple[str, ...], *, bbox: Bounds | None = None) -> VectorLayer:
    try:
        meta, _, wkb, values = pyogrio.raw.read(path, layer=layer, columns=list(columns), bbox=bbox)
        shapes = shapely.force_2d(shapely.from_wkb(wkb))
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, shapely.GEOSException) as error:
        raise _unreadable(path, error) from error
    has_shape = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    found = {str(name): column[has_shape] for name, column in zip(meta["fields"], values, strict=True)}
    empty = np.empty(0, object)
    return VectorLayer(CRS.from_user_input(meta["crs"]), shapes[has_shape], {c: found.get(c, empty) for c in columns})


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"labels {path} cannot be read: {error}",
        expected="GeoJSON, GeoPackage, FlatGeobuf, Shapefile, ...",
        remedy="check the file with ogrinfo",
    )
