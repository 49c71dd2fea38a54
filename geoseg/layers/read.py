"""Map layers as tables."""

from __future__ import annotations

from pathlib import Path

import geopandas
import pyogrio

from geoseg.errors import InputError
from geoseg.files import check_whole, gdal_name

SUFFIXES = (
    ".gpkg",
    ".geojson",
    ".geojson.gz",
    ".geojsonl",
    ".geojsonseq",
    ".geojsons",
    ".fgb",
    ".parquet",
    ".pmtiles",
)
"""Of the formats: `.geojsonl` is newline-delimited, `.geojsonseq` and GDAL's `.geojsons` follow RFC 8142."""

ROADS = "roads"
"""Name of the layer of centrelines."""


def check_layer_file(path: Path) -> None:
    """Refuse what is no file, or has no suffix of a vector layer.

    Raises:
        InputError: it says which.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there", expected="a vector layer", remedy="check the path")
    if not is_layer_path(path):
        raise InputError(
            f"{path.name} is not known as a vector layer", expected=f"one of {', '.join(SUFFIXES)}", remedy="convert it"
        )


def open_layer(path: Path | str, layer: str | None = None) -> geopandas.GeoDataFrame:
    """Read a whole vector layer, one row a feature, with its CRS.

    PMTiles hold features cut along the tiles of the highest zoom level and rounded to it: they come in pieces, which
    share their `id`.

    Args:
        path: a file in one of the formats of `write_layers`.
        layer: which one of a file with several; the first one by default.

    Raises:
        InputError: there is no such file or layer, it is no vector layer, cut off, or has no CRS.
    """
    path = Path(path)
    check_layer_file(path)
    try:
        frame = geopandas.read_parquet(path) if path.suffix.lower() == ".parquet" else _read_ogr(path, layer)
    except InputError:
        raise
    except Exception as error:  # each driver has exceptions of its own
        raise InputError(f"{path} cannot be read as a vector layer: {error}", expected="a complete file") from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise InputError(f"{path} has no geometries", expected="a vector layer")
    if frame.crs is None:
        raise InputError(f"{path} has no CRS", expected="a georeferenced layer", remedy="assign the CRS it was made in")
    return frame.drop(columns=["bbox", "mvt_id"], errors="ignore")


def is_layer_path(path: Path | str) -> bool:
    """Whether the suffix is that of a vector layer."""
    return Path(path).name.lower().endswith(SUFFIXES)


def split_name(path: Path) -> tuple[str, str]:
    """Stem and suffix of a layer's file name; `.geojson.gz` is one suffix."""
    suffix = max((s for s in SUFFIXES if path.name.lower().endswith(s)), key=len, default=path.suffix)
    return path.name[: len(path.name) - len(suffix)], path.name[len(path.name) - len(suffix) :]


def list_files(path: Path) -> list[Path]:
    """A layer's file and, where its format holds one layer only, that of the roads written beside it, if there is."""
    stem, suffix = split_name(path)
    roads = path.with_name(f"{stem}_{ROADS}{suffix}")
    return [path, roads] if suffix.lower() != ".gpkg" and roads.is_file() else [path]


def _read_ogr(path: Path, layer: str | None) -> geopandas.GeoDataFrame:
    check_whole(path)
    source = gdal_name(path)
    names = pyogrio.list_layers(source)[:, 0].tolist()
    if layer is not None and layer not in names:
        raise InputError(f"{path} has no layer {layer}", expected=f"one of {', '.join(names)}", remedy="check the name")
    # Texts that look like dates stay texts, as in the other formats.
    options = {"DATE_AS_STRING": "YES"} if ".geojson" in path.name.lower() else {}
    return geopandas.read_file(source, layer=layer or names[0], **options)
