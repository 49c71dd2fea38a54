"""Polygons into one file, a batch at a time, in the format that the suffix names."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyogrio
import shapely

from geoseg.errors import OptionError, OutputError
from geoseg.files import replace_file
from geoseg.layers.columns import LayerColumns, rebatch
from geoseg.layers.geojson import write_geojson
from geoseg.layers.parquet import write_geoparquet

__all__ = ["LAYER_NAME", "LayerColumns", "WrittenLayer", "check_layer_path", "write_layer"]

LAYER_NAME = "polygons"

# Not the time of the run: the same features give the same file.
_TIMESTAMP = "1970-01-01T00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """What was written: the file, its size in bytes and how many polygons it holds."""

    path: Path
    polygons: int
    size_bytes: int


def write_layer(
    path: Path | str, batches: Iterable[LayerColumns], *, crs_wkt: str, overwrite: bool = False
) -> WrittenLayer:
    """Write a polygon layer, complete or not at all; the old file stays until the new one is complete.

    The layer `polygons` has the columns class, class_id, confidence, area_m2 and perimeter_m. GeoJSON is longitude and
    latitude (RFC 7946); the other formats keep the CRS. The same features in the same order give the same bytes,
    however they are cut into batches. Memory holds one batch and at most 16384 polygons more.

    Args:
        path: the file; `.gpkg`, `.geojson`, `.fgb` or `.parquet`.
        batches: the polygons, in the order of the layer; drawn as they are written.
        crs_wkt: CRS of the geometries.
        overwrite: replace an existing file.

    Raises:
        OptionError: the suffix is none of the four.
        OutputError: the file exists and `overwrite` is off, or it cannot be written.
    """
    path = Path(path)
    write = check_layer_path(path, overwrite=overwrite)
    counted = _Counter()
    with replace_file(path) as temporary:
        write(temporary, counted.pass_on(rebatch(batches)), crs_wkt)
        size_bytes = temporary.stat().st_size
        _refuse_open_database(path)
    return WrittenLayer(path, counted.polygons, size_bytes)


def check_layer_path(path: Path | str, *, overwrite: bool = False) -> _Writer:
    """The writer for a path that can be written; raises what `write_layer` would before hours of work are spent.

    Raises:
        OptionError: the suffix is none of the four.
        OutputError: the file exists and `overwrite` is off, or it is open in another program.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise OptionError(
            f"a layer cannot be written as '{path.name}': the suffix '{path.suffix}' is not known",
            expected=f"one of {', '.join(_WRITERS)}",
            remedy="change the suffix of the output",
        )
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists", expected="a new file", remedy="choose another name or allow it to be overwritten"
        )
    _refuse_open_database(path)
    return writer


class _Counter:
    def __init__(self) -> None:
        self.polygons = 0

    def pass_on(self, batches: Iterator[LayerColumns]) -> Iterator[LayerColumns]:
        for batch in batches:
            self.polygons += len(batch)
            yield batch


def _refuse_open_database(path: Path) -> None:
    """A journal that another program keeps for the old file would be played back into the new one."""
    journal = path.with_name(path.name + "-wal")
    if journal.exists():
        raise OutputError(
            f"{path} is open in another program, which keeps {journal.name}",
            expected="a layer that nobody has open",
            remedy="close the layer there, or choose another name",
        )


SCHEMA = pa.schema(
    [
        ("class", pa.string()),
        ("class_id", pa.int32()),
        ("confidence", pa.float64()),
        ("area_m2", pa.float64()),
        ("perimeter_m", pa.float64()),
        ("geometry", pa.binary()),
    ]
)


def _to_arrow(batch: LayerColumns) -> pa.RecordBatch:
    wkb = shapely.to_wkb(batch.geometries, output_dimension=2, byte_order=1, flavor="iso")
    values = (batch.class_name, batch.class_id, batch.confidence, batch.area_m2, batch.perimeter_m, wkb)
    return pa.RecordBatch.from_arrays(
        [pa.array(v, t, from_pandas=True) for v, t in zip(values, SCHEMA.types, strict=True)], schema=SCHEMA
    )


def _write_ogr(path: Path, batches: Iterator[LayerColumns], crs_wkt: str, driver: str, **options: str) -> None:
    """Stream into a GDAL driver and check that everything arrived."""
    failures: list[BaseException] = []
    written = 0

    def draw() -> Iterator[pa.RecordBatch]:
        # An exception cannot cross the C interface of the stream: it is kept here and raised again below.
        nonlocal written
        try:
            for batch in batches:
                yield _to_arrow(batch)
                written += len(batch)
        except BaseException as error:
            failures.append(error)
            raise

    try:
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(SCHEMA, draw()),
            path,
            layer=LAYER_NAME,
            driver=driver,
            geometry_name="geometry",
            geometry_type="Polygon",
            crs=crs_wkt,
            layer_options={"SPATIAL_INDEX": "YES", **options},
        )
        found = pyogrio.read_info(path, layer=LAYER_NAME, force_feature_count=True)["features"]
    except Exception as error:
        if failures:
            raise failures[0] from None
        raise OSError(str(error)) from error
    if found != written:
        raise OSError(f"{found} of {written} polygons arrived")


def _write_geopackage(path: Path, batches: Iterator[LayerColumns], crs_wkt: str) -> None:
    _write_ogr(path, batches, crs_wkt, "GPKG", GEOMETRY_NAME="geom")
    try:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE gpkg_contents SET last_change = ?", (_TIMESTAMP,))
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


def _write_flatgeobuf(path: Path, batches: Iterator[LayerColumns], crs_wkt: str) -> None:
    _write_ogr(path, batches, crs_wkt, "FlatGeobuf", TEMPORARY_DIR=str(path.parent))


def _write_geoparquet(path: Path, batches: Iterator[LayerColumns], crs_wkt: str) -> None:
    tables = ((_to_arrow(batch), shapely.bounds(batch.geometries)) for batch in batches)
    write_geoparquet(path, tables, schema=SCHEMA, crs_wkt=crs_wkt)


def _write_geojson(path: Path, batches: Iterator[LayerColumns], crs_wkt: str) -> None:
    with path.open("wb") as file:
        write_geojson(file, batches, crs_wkt=crs_wkt, name=LAYER_NAME)


_Writer = Callable[[Path, Iterator[LayerColumns], str], None]

_WRITERS: dict[str, _Writer] = {
    ".gpkg": _write_geopackage,
    ".geojson": _write_geojson,
    ".fgb": _write_flatgeobuf,
    ".parquet": _write_geoparquet,
}
