"""Layers in a GeoPackage, with their style and provenance inside."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from geoseg.layers.columns import Layer, rebatch
from geoseg.layers.ogr import check_count, write_ogr
from geoseg.layers.provenance import Provenance, describe_provenance, encode_provenance
from geoseg.layers.style import make_qml
from geoseg.legend import ClassLegend

# Not the time of the run: the same features give the same file.
_TIMESTAMP = "1970-01-01T00:00:00.000Z"
_GEOMETRY = "geom"


def write_geopackage(
    path: Path, layers: Sequence[Layer], *, crs_wkt: str, legend: ClassLegend, provenance: Provenance
) -> list[int]:
    """Write layers with their spatial indexes, styles that QGIS takes by itself, and the provenance as metadata.

    Args:
        path: the file, which does not exist.
        layers: what to write, one after the other.
        crs_wkt: CRS of the geometries.
        legend: colours of the styles.
        provenance: what made the layers.

    Returns:
        The number of features of each layer.

    Raises:
        OSError: it cannot be written.

    Source: OGC GeoPackage 1.3, annex F.8 (metadata); `layer_styles` as QGIS lays it out.
    """
    features = []
    for layer in layers:
        written = write_ogr(
            path,
            layer,
            rebatch(layer),
            crs_wkt=crs_wkt,
            driver="GPKG",
            # Programs with a GDAL older than 3.10 warn of 1.4, whose only news is other triggers of the spatial index.
            dataset_options={"VERSION": "1.3"},
            layer_options={
                "SPATIAL_INDEX": "YES",
                "GEOMETRY_NAME": _GEOMETRY,
                "DESCRIPTION": describe_provenance(provenance),
            },
        )
        check_count(path, layer, written)
        features.append(written)
    try:
        with closing(sqlite3.connect(path)) as connection, connection:
            _add_styles(connection, layers, legend)
            _add_metadata(connection, layers, encode_provenance(provenance))
            connection.execute("UPDATE gpkg_contents SET last_change = ?", (_TIMESTAMP,))
    except sqlite3.Error as error:
        raise OSError(str(error)) from error
    return features


def _add_styles(connection: sqlite3.Connection, layers: Sequence[Layer], legend: ClassLegend) -> None:
    connection.execute(
        """
        CREATE TABLE layer_styles (
            id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
            f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
            styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN,
            description TEXT, owner TEXT(30), ui TEXT(30),
            update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
        )
        """
    )
    connection.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) "
        "VALUES ('layer_styles', 'attributes', 'layer_styles', 0)"
    )
    # QGIS looks for an empty schema, not for none.
    connection.executemany(
        "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
        "styleQML, styleSLD, useAsDefault, description, owner, update_time) VALUES "
        "('', '', ?, ?, 'classes', ?, '', 1, 'classes in the colours of the legend', '', ?)",
        [
            (layer.name, _GEOMETRY, make_qml(legend, layer.geometry_type, column=layer.colored_by), _TIMESTAMP)
            for layer in layers
        ],
    )


def _add_metadata(connection: sqlite3.Connection, layers: Sequence[Layer], provenance: str) -> None:
    connection.execute(
        """
        CREATE TABLE gpkg_metadata (
            id INTEGER CONSTRAINT m_pk PRIMARY KEY ASC NOT NULL,
            md_scope TEXT NOT NULL DEFAULT 'dataset',
            md_standard_uri TEXT NOT NULL,
            mime_type TEXT NOT NULL DEFAULT 'text/xml',
            metadata TEXT NOT NULL DEFAULT ''
        )
        """
    )
    connection.execute(
        """
        CREATE TABLE gpkg_metadata_reference (
            reference_scope TEXT NOT NULL,
            table_name TEXT,
            column_name TEXT,
            row_id_value INTEGER,
            timestamp DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
            md_file_id INTEGER NOT NULL,
            md_parent_id INTEGER,
            CONSTRAINT crmr_mfi_fk FOREIGN KEY (md_file_id) REFERENCES gpkg_metadata(id),
            CONSTRAINT crmr_mpi_fk FOREIGN KEY (md_parent_id) REFERENCES gpkg_metadata(id)
        )
        """
    )
    connection.executemany(
        "INSERT INTO gpkg_extensions (table_name, extension_name, definition, scope) "
        "VALUES (?, 'gpkg_metadata', 'http://www.geopackage.org/spec130/#extension_metadata', 'read-write')",
        [("gpkg_metadata",), ("gpkg_metadata_reference",)],
    )
    connection.execute(
        "INSERT INTO gpkg_metadata (id, md_scope, md_standard_uri, mime_type, metadata) "
        "VALUES (1, 'dataset', 'urn:geoseg:provenance', 'application/json', ?)",
        (provenance,),
    )
    connection.executemany(
        "INSERT INTO gpkg_metadata_reference (reference_scope, table_name, timestamp, md_file_id) "
        "VALUES ('table', ?, ?, 1)",
        [(layer.name, _TIMESTAMP) for layer in layers],
    )
