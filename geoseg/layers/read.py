"""Polygon layers as tables."""

from __future__ import annotations

from pathlib import Path

import geopandas

from geoseg.errors import InputError

SUFFIXES = (".gpkg", ".geojson", ".fgb", ".parquet")


def open_layer(path: Path | str) -> geopandas.GeoDataFrame:
    """Read a whole vector layer, one row a feature, with its CRS.

    Args:
        path: a GeoPackage, GeoJSON, FlatGeobuf or GeoParquet file.

    Raises:
        InputError: there is no such file, it is no vector layer, or it has no CRS.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not there", expected="a vector layer", remedy="check the path")
    if not is_layer_path(path):
        raise InputError(
            f"{path.name} is not known as a vector layer", expected=f"one of {', '.join(SUFFIXES)}", remedy="convert it"
        )
    try:
        frame = geopandas.read_parquet(path) if path.suffix.lower() == ".parquet" else geopandas.read_file(path)
    except Exception as error:  # each driver has exceptions of its own
        raise InputError(f"{path} cannot be read as a vector layer: {error}", expected="a complete file") from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise InputError(f"{path} has no geometries", expected="a vector layer")
    if frame.crs is None:
        raise InputError(f"{path} has no CRS", expected="a georeferenced layer", remedy="assign the CRS it was made in")
    return frame


def is_layer_path(path: Path | str) -> bool:
    """Whether the suffix is that of a vector layer."""
    return Path(path).suffix.lower() in SUFFIXES
