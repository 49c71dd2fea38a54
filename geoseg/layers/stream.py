"""The layers of a file of any size, batch by batch, in the columns of `columns`."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from pyproj import CRS

from geoseg.errors import GeosegError, InputError
from geoseg.files import check_whole, gdal_name
from geoseg.layers.arrow import GEOMETRY, make_schema
from geoseg.layers.columns import BATCH_ROWS, POLYGON_COLUMNS, ROAD_COLUMNS, Column, GeometryType, Layer
from geoseg.layers.provenance import KEY
from geoseg.layers.read import check_layer_file, list_files

MAP_LAYERS: dict[str, tuple[tuple[Column, ...], GeometryType]] = {
    "polygons": (POLYGON_COLUMNS, "Polygon"),
    "roads": (ROAD_COLUMNS, "LineString"),
}
"""Columns and type of geometry of the layers of a map, which not all formats record."""

_NAMELESS = (".parquet", ".geojsonl", ".geojsonseq", ".geojsons")
_HEAD_BYTES = 1 << 16
_TYPES = (pa.string(), pa.bool_(), pa.int32(), pa.int64(), pa.float64())
_WIDER = {
    **dict.fromkeys((pa.int8(), pa.int16(), pa.uint8(), pa.uint16()), pa.int32()),
    **dict.fromkeys((pa.float16(), pa.float32()), pa.float64()),
    **dict.fromkeys((pa.large_string(), pa.date32()), pa.string()),
    pa.uint32(): pa.int64(),
}


def describe_map(*, roads: bool) -> list[Layer]:
    """The layers of a map before there is a feature of them."""
    names = ["polygons", "roads"] if roads else ["polygons"]
    return [Layer(name, kind, columns, ()) for name in names for columns, kind in [MAP_LAYERS[name]]]


@dataclass(frozen=True, slots=True)
class LayerStream:
    """One layer of a file.

    Args:
        path: the file.
        name: of the layer; in a format that keeps none, "polygons" or "roads" by its columns, else the file's stem.
        columns: its attributes, in order; `id` among them, made of all a feature holds where the file has none.
        geometry_type: as OGR calls it; "Geometry" where features differ, or the file does not say.
        crs: of its geometries.
        provenance: what made it, as the file says; empty where it says nothing.
        own_name: what the file itself calls the layer.
        fields: columns as the file has them, the geometries last.
    """

    path: Path
    name: str
    columns: tuple[Column, ...]
    geometry_type: str
    crs: CRS
    provenance: dict[str, Any]
    own_name: str
    fields: tuple[str, ...]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The features in the order of the file: the columns in their types, then `geometry` as WKB.

        Raises:
            InputError: the file cannot be read to its end.
        """
        schema = make_schema(self.columns)
        with translate_faults(self.path):
            for batch in self._draw():
                values = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
                values[GEOMETRY] = values.pop(self.fields[-1])
                if "id" not in values:
                    values["id"] = _identify(batch)
                arrays = [values[name].cast(kind) for name, kind in zip(schema.names, schema.types, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _draw(self) -> Iterator[pa.RecordBatch]:
        if self.path.suffix.lower() == ".parquet":
            with pq.ParquetFile(self.path) as file:
                yield from file.iter_batches(BATCH_ROWS, columns=list(self.fields))
            return
        options = {"layer": self.own_name, "columns": list(self.fields[:-1]), "batch_size": BATCH_ROWS}
        with pyogrio.open_arrow(gdal_name(self.path), **options, **_reading(self.path)) as (_, reader):
            yield from (batch for batch in reader if batch.num_rows)


def open_streams(path: Path | str) -> list[LayerStream]:
    """The layers of a file: all of a GeoPackage; of other formats also the roads written beside it.

    Raises:
        InputError: there is no such file, it is no vector layer, is cut off, has no CRS, or holds features in pieces.
    """
    path = Path(path)
    check_layer_file(path)
    if path.suffix.lower() == ".pmtiles":
        raise InputError(
            f"{path.name} holds features in pieces, rounded to a grid",
            expected="whole features",
            remedy="take the layer that the tiles were made from",
        )
    streams = []
    for file in list_files(path):
        with translate_faults(file):
            streams += [_open_parquet(file)] if file.suffix.lower() == ".parquet" else _open_ogr(file)
    return streams


@contextmanager
def translate_faults(path: Path) -> Iterator[None]:
    """Turn what drivers raise into an InputError that names the file."""
    try:
        yield
    except GeosegError:
        raise
    except Exception as error:  # each driver has exceptions of its own
        raise InputError(
            f"{path} cannot be read as a vector layer: {error}",
            expected="a complete file",
            remedy="check it with ogrinfo; make or download it again",
        ) from error


def _open_ogr(path: Path) -> list[LayerStream]:
    check_whole(path)
    source = gdal_name(path)
    streams = []
    for layer, geometry_type in pyogrio.list_layers(source).tolist():
        if geometry_type is None:  # the table of styles
            continue
        with pyogrio.open_arrow(source, layer=layer, **_reading(path)) as (meta, reader):
            schema = reader.schema
        metadata = pyogrio.read_info(source, layer=layer).get("layer_metadata") or {}
        kept = [text for key, text in metadata.items() if key == KEY or key.startswith("GPKG_METADATA_ITEM_")]
        streams.append(
            _describe(
                path,
                layer,
                schema,
                geometry_type,
                geometry=meta["geometry_name"] or "wkb_geometry",
                crs=meta["crs"],
                provenance=next(filter(None, map(_parse_object, kept)), {}) if kept else _read_member(path),
            )
        )
    if not streams:
        raise InputError(f"{path} has no geometries", expected="a vector layer")
    return streams


def _open_parquet(path: Path) -> LayerStream:
    with pq.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata.metadata or {}
    if b"geo" not in metadata:
        raise InputError(f"{path} has no geometries", expected="GeoParquet", remedy="check how it was written")
    geo = json.loads(metadata[b"geo"])
    geometry = geo["columns"][geo["primary_column"]]
    if geometry["encoding"] != "WKB":
        raise InputError(f"{path} has geometries as {geometry['encoding']}", expected="WKB")
    covering = {place[0] for place in geometry.get("covering", {}).get("bbox", {}).values()}
    kinds = geometry["geometry_types"]
    return _describe(
        path,
        path.stem,
        pa.schema([field for field in schema if field.name not in covering]),
        kinds[0] if len(kinds) == 1 else "Unknown",
        geometry=geo["primary_column"],
        crs=geometry.get("crs", "OGC:CRS84"),  # what the specification takes where none is said; null is unknown
        provenance=_parse_object(metadata.get(KEY.encode(), b"").decode()),
    )


def _describe(
    path: Path,
    layer: str,
    schema: pa.Schema,
    geometry_type: str,
    *,
    geometry: str,
    crs: Any,
    provenance: dict[str, Any],
) -> LayerStream:
    if crs is None:
        raise InputError(f"{path} has no CRS", expected="a georeferenced layer", remedy="assign the CRS it was made in")
    fields = [field for field in schema if field.name != geometry]
    names = {field.name for field in fields}
    own = next((name for name, (known, _) in MAP_LAYERS.items() if {c.name for c in known} == names), None)
    if not names:  # a collection without features does not say its columns
        own = layer if layer in MAP_LAYERS else None
        if own is None:
            raise InputError(f"{path} says no columns", expected="features", remedy="write it as .gpkg")
        geometry_type = MAP_LAYERS[own][1]
    columns = tuple(_widen(path, field) for field in fields) if own is None else MAP_LAYERS[own][0]
    if "id" not in {column.name for column in columns}:
        columns = (Column("id", pa.string()), *columns)
    return LayerStream(
        path=path,
        name=own if own and path.name.lower().endswith(_NAMELESS) else layer,
        columns=columns,
        geometry_type="Geometry" if geometry_type == "Unknown" else geometry_type,
        crs=CRS.from_user_input(crs),
        provenance=provenance,
        own_name=layer,
        fields=(*(field.name for field in fields), geometry),
    )


def _widen(path: Path, field: pa.Field) -> Column:
    kind = _WIDER.get(field.type, field.type)
    if kind not in _TYPES:
        raise InputError(
            f"{path}: the column {field.name} is of the type {field.type}",
            expected="texts, numbers and truth values",
            remedy="leave it out, or write it as text",
        )
    return Column(field.name, pa.string() if field.name == "id" else kind)


def _identify(batch: pa.RecordBatch) -> pa.Array:
    """Names of features that follow from all they hold."""
    rows = zip(*batch.to_pydict().values(), strict=True)
    return pa.array([hashlib.blake2b(repr(row).encode(), digest_size=8).hexdigest() for row in rows], pa.string())


def _reading(path: Path) -> dict[str, Any]:
    # Texts that look like dates stay texts, as in the other formats.
    as_text = {"DATE_AS_STRING": "YES"} if ".geojson" in path.name.lower() else {}
    return {"use_pyarrow": True, "datetime_as_string": True, **as_text}


def _read_member(path: Path) -> dict[str, Any]:
    """The member `geoseg` of a collection, or of the first feature of a sequence."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode("utf-8", "ignore")
    return _parse_object(head.partition(f'"{KEY}":')[2])


def _parse_object(text: str) -> dict[str, Any]:
    """The JSON object that a text begins with; none where it does not."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
