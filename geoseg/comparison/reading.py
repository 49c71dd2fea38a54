"""Features of a layer file of any size, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import InputError
from geoseg.files import check_whole, gdal_name
from geoseg.layers.read import is_layer_path, list_files
from geoseg.legend import LAND_COVER

BATCH_ROWS = 4096
MAP_LAYERS = ("polygons", "roads")
_COLUMNS = ("id", "class", "class_id")


@dataclass(frozen=True, slots=True)
class Features:
    """A batch of n features of one layer: geometries (n,) in the CRS `crs`, their ids and class names (n,)."""

    crs: str
    geometries: NDArray[np.object_]
    ids: list[str]
    classes: list[str]


def read_features(path: Path, *, only_class: str | None) -> Iterator[Features]:
    """Polygons and lines of a file, multi-part ones as one object a part, in the order of the file.

    Of a GeoPackage that geoseg wrote the layers `polygons` and `roads` are read, else the first one; of a file of
    another format also the roads written beside it. A feature without an id has its number.

    Args:
        path: the file.
        only_class: what features are where the file does not say their classes.

    Raises:
        InputError: it is no layer, cannot be read, has no CRS, does not say its classes, or has no polygons or lines
            among its features.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there", expected="a vector layer", remedy="check the path")
    if not is_layer_path(path):
        raise InputError(
            f"{path.name} is not known as a vector layer",
            expected="two layers of polygons or lines",
            remedy=f"make a layer of a class raster first: geoseg polygonize {path.name} -o {path.stem}.gpkg",
        )
    if path.suffix.lower() == ".pmtiles":
        raise InputError(
            f"{path.name} holds objects in pieces, rounded to a grid",
            expected="whole objects",
            remedy="compare the layer that the tiles were made from",
        )
    number = objects = 0
    try:
        for crs, rows in (batch for file in list_files(path) for batch in _open(file)):
            wkb = rows.pop("geometry")
            named = _name(path, rows, len(wkb), only_class)
            ids = [str(number + i) if v is None else str(v) for i, v in enumerate(rows.get("id", [None] * len(wkb)))]
            number += len(wkb)
            features = _select(crs, shapely.from_wkb(np.array(wkb, object)), ids, named)
            objects += len(features.ids)
            yield features
    except InputError:
        raise
    except Exception as error:  # each driver has exceptions of its own
        raise InputError(f"{path} cannot be read as a vector layer: {error}", expected="a complete file") from error
    if number and not objects:
        raise InputError(
            f"{path} has no polygons or lines", expected="objects with an extent, not points", remedy="check the layer"
        )


def _open(path: Path) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """CRS as WKT and columns of each batch."""
    if path.suffix.lower() == ".parquet":
        yield from _open_parquet(path)
        return
    check_whole(path)
    source = gdal_name(path)
    found = [str(name) for name in pyogrio.list_layers(source)[:, 0]]
    for layer in [name for name in MAP_LAYERS if name in found] or found[:1]:
        names = [str(name) for name in pyogrio.read_info(source, layer=layer)["fields"]]
        columns = [name for name in _COLUMNS if name in names]
        with pyogrio.open_arrow(source, layer=layer, columns=columns, batch_size=BATCH_ROWS, use_pyarrow=True) as (
            meta,
            reader,
        ):
            crs = _require_crs(path, meta["crs"])
            geometry = meta["geometry_name"] or "wkb_geometry"
            for batch in reader:
                rows = {name: batch.column(name).to_pylist() for name in columns}
                yield crs, rows | {"geometry": batch.column(geometry).to_pylist()}


def _open_parquet(path: Path) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    with pq.ParquetFile(path) as file:
        metadata = (file.schema_arrow.metadata or {}).get(b"geo")
        if metadata is None:
            raise InputError(f"{path} has no geometries", expected="GeoParquet")
        geo = json.loads(metadata)
        primary = geo["primary_column"]
        described = geo["columns"][primary]
        if described["encoding"] != "WKB":
            raise InputError(f"{path} has geometries as {described['encoding']}", expected="WKB")
        # The specification: what is not said is longitude and latitude, null is unknown.
        crs = _require_crs(path, described.get("crs", "OGC:CRS84"))
        columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(BATCH_ROWS, columns=[*columns, primary]):
            rows = {name: batch.column(name).to_pylist() for name in columns}
            yield crs, rows | {"geometry": batch.column(primary).to_pylist()}


def _require_crs(path: Path, crs: Any) -> str:
    if crs is None:
        raise InputError(f"{path} has no CRS", expected="a georeferenced layer", remedy="assign the CRS it was made in")
    wkt: str = CRS.from_user_input(crs).to_wkt()
    return wkt


def _name(path: Path, rows: dict[str, list[Any]], count: int, only_class: str | None) -> list[str]:
    if "class" in rows:
        return [str(name) for name in rows["class"]]
    if "class_id" in rows:
        return [LAND_COVER.names.get(number, str(number)) for number in rows["class_id"]]
    if only_class is None:
        raise InputError(
            f"{path} has neither a column class nor a column class_id",
            expected="objects that say what they are",
            remedy="name the one class that they all are: --only-class building",
        )
    return [only_class] * count


def _select(crs: str, geometries: NDArray[np.object_], ids: list[str], classes: list[str]) -> Features:
    """Polygons and LineStrings that are not empty, parts of what has several."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    parts, inner = shapely.get_parts(parts, return_index=True)  # a collection may hold multipolygons
    kinds = shapely.get_type_id(parts)
    kept = np.isin(kinds, (shapely.GeometryType.POLYGON, shapely.GeometryType.LINESTRING)) & ~shapely.is_empty(parts)
    owner = owner[inner][kept]
    return Features(crs, parts[kept], [ids[i] for i in owner], [classes[i] for i in owner])
