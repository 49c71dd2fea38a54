"""Layers through the drivers of GDAL, streamed as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyogrio

from geoseg.layers.arrow import GEOMETRY, make_schema, to_arrow
from geoseg.layers.columns import Layer, LayerBatch, rebatch
from geoseg.layers.provenance import KEY, Provenance, describe_provenance, encode_provenance


def write_ogr(
    path: Path, layer: Layer, batches: Iterable[LayerBatch], *, crs_wkt: str, driver: str, **options: object
) -> int:
    """Stream a layer into a GDAL driver and give the number of features.

    Args:
        path: the file; a layer is added where it exists and the driver holds several.
        layer: name, columns and, unless an option says otherwise, the type of geometry.
        batches: the features as they are to be written.
        crs_wkt: CRS of the geometries.
        driver: its short name.
        options: to `pyogrio.write_arrow`.

    Raises:
        OSError: the driver cannot write it.
    """
    failures: list[BaseException] = []
    schema = make_schema(layer.columns)
    written = 0

    def draw() -> Iterator[pa.RecordBatch]:
        # An exception cannot cross the C interface of the stream: it is kept here and raised again below.
        nonlocal written
        try:
            for batch in batches:
                yield to_arrow(batch, schema)
                written += len(batch)
        except BaseException as error:
            failures.append(error)
            raise

    try:
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(schema, draw()),
            path,
            layer=layer.name,
            driver=driver,
            geometry_name=GEOMETRY,
            crs=crs_wkt,
            **{"geometry_type": layer.geometry_type, **options},
        )
    except Exception as error:
        if failures:
            raise failures[0] from None
        raise OSError(str(error)) from error
    return written


def check_count(path: Path, layer: Layer, written: int) -> None:
    """Raise OSError unless the layer in the file has as many features as were written."""
    try:
        found = pyogrio.read_info(path, layer=layer.name, force_feature_count=True)["features"]
    except Exception as error:
        raise OSError(str(error)) from error
    if found != written:
        raise OSError(f"{found} of {written} features arrived")


def write_flatgeobuf(path: Path, layer: Layer, *, crs_wkt: str, provenance: Provenance) -> int:
    """Write a FlatGeobuf file with its index; features are in the order of its Hilbert curve.

    Raises:
        OSError: it cannot be written.
    """
    written = write_ogr(
        path,
        layer,
        rebatch(layer),
        crs_wkt=crs_wkt,
        driver="FlatGeobuf",
        layer_metadata={KEY: encode_provenance(provenance)},
        layer_options={
            "SPATIAL_INDEX": "YES",
            "TEMPORARY_DIR": str(path.parent),
            "TITLE": layer.name,
            "DESCRIPTION": describe_provenance(provenance),
        },
    )
    check_count(path, layer, written)
    return written
