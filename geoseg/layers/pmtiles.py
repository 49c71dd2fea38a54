"""Layers as vector tiles for web maps, in a PMTiles archive."""

from __future__ import annotations

import gzip
import json
import math
import struct
import warnings
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pyogrio
from pyproj import CRS

from geoseg.errors import OptionError
from geoseg.layers.columns import Layer, LayerBatch, rebatch
from geoseg.layers.lonlat import LonLat
from geoseg.layers.ogr import write_ogr
from geoseg.layers.provenance import Provenance, encode_provenance

EQUATOR_M = 40_075_016.686
EXTENT = 4_096
"""Units across a tile."""

ZOOM_LEVELS = 6
MAX_ZOOM = 18


def check_pmtiles() -> None:
    """Raise OptionError unless GDAL writes PMTiles."""
    if "w" not in pyogrio.list_drivers().get("PMTiles", ""):
        raise OptionError(
            "this GDAL cannot write PMTiles",
            expected="GDAL 3.8 or newer with GEOS and SQLite, as in the wheels of pyogrio",
            remedy="install pyogrio from its wheel, or choose another format",
        )


def choose_zooms(pixel_m: float) -> tuple[int, int]:
    """The lowest and the highest zoom level: in the highest one, a unit of the tiles is no larger than a pixel.

    Args:
        pixel_m: ground resolution of the raster in metres; tiles are measured at the equator, where they are largest.
    """
    zoom = math.ceil(math.log2(EQUATOR_M / EXTENT / pixel_m))
    highest = min(max(zoom, 0), MAX_ZOOM)
    return max(0, highest - ZOOM_LEVELS + 1), highest


def write_pmtiles(path: Path, layer: Layer, *, crs_wkt: str, provenance: Provenance, pixel_m: float) -> int:
    """Write a layer as vector tiles in Web Mercator and give the number of features.

    Tiles hold what fits into 500 kB; lower zoom levels show less of a dense layer. A layer without features becomes an
    archive of one empty tile.

    Args:
        path: the file.
        layer: what to write.
        crs_wkt: CRS of the geometries.
        provenance: the description of the tile set, as JSON.
        pixel_m: ground resolution of the raster in metres.

    Raises:
        OSError: it cannot be written.
        OutputError: a vertex has no longitude and latitude.

    Source: PMTiles specification 3.1; Mapbox Vector Tile specification 2.1.
    """
    batches = rebatch(layer)
    first = next(batches, None)
    if first is None:
        path.write_bytes(_encode_empty(layer, provenance))
        return 0
    low, high = choose_zooms(pixel_m)
    options = {
        "NAME": layer.name,
        "DESCRIPTION": encode_provenance(provenance),
        "TYPE": "overlay",
        "MINZOOM": str(low),
        "MAXZOOM": str(high),
        "EXTENT": str(EXTENT),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that tiles were thinned out to fit
        return write_ogr(
            path,
            layer,
            _cut_batches(chain([first], batches), LonLat(layer.name, layer.geometry_type, crs_wkt)),
            crs_wkt=CRS.from_epsg(4326).to_wkt(),
            driver="PMTiles",
            geometry_type=f"Multi{layer.geometry_type}",
            dataset_options=options,
        )


def _cut_batches(batches: Iterable[LayerBatch], to_lonlat: LonLat) -> Iterator[LayerBatch]:
    """Tiles end at the antimeridian: what crosses it would be drawn the long way round the Earth."""
    for batch in batches:
        yield LayerBatch(to_lonlat.convert(batch.geometries), batch.columns)


def _encode_empty(layer: Layer, provenance: Provenance) -> bytes:
    """An archive with one tile of the whole world and nothing in it: there is none without a tile."""
    fields = {column.name: "String" for column in layer.columns}
    metadata = {
        "name": layer.name,
        "description": encode_provenance(provenance),
        "type": "overlay",
        "vector_layers": [{"id": layer.name, "fields": fields, "minzoom": 0, "maxzoom": 0}],
    }
    tile = gzip.compress(b"", mtime=0)
    # One entry: tile 0, once, so many bytes, at the start (which is written as 1).
    directory = gzip.compress(bytes([1, 0, 1, len(tile), 1]), mtime=0)
    described = gzip.compress(json.dumps(metadata).encode(), mtime=0)
    header_bytes = 127
    starts = (header_bytes, header_bytes + len(directory), header_bytes + len(directory) + len(described))
    sections = (starts[0], len(directory), starts[1], len(described), starts[2], 0, starts[2], len(tile))
    counts, clustered, compressions, kind, zooms = (1, 1, 1), 1, (2, 2), 1, (0, 0)
    world = (-1_800_000_000, -850_511_287, 1_800_000_000, 850_511_287)
    header = struct.pack(
        "<7sB11Q6B4iB2i", b"PMTiles", 3, *sections, *counts, clustered, *compressions, kind, *zooms, *world, 0, 0, 0
    )
    return header + directory + described + tile
