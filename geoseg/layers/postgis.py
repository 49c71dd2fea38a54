"""Layers into tables of PostGIS: a transaction a load, features known by their id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyproj import CRS

from geoseg.layers.columns import Layer
from geoseg.layers.database import Database, Replace, connect, import_psycopg, parse_database
from geoseg.layers.postgis_rows import copy_rows, delete_absent, merge_rows
from geoseg.layers.postgis_table import Table, check_unique, find_postgis, find_srid, place_table, table_exists
from geoseg.layers.provenance import Provenance, encode_provenance
from geoseg.layers.stream import open_streams
from geoseg.progress import Progress, Silence

if TYPE_CHECKING:
    from psycopg import Cursor

PROVENANCE_TABLE = "geoseg_provenance"

_STAGE = "geoseg_stage"
_CHECK_WAIT_S = 10


@dataclass(frozen=True, slots=True)
class LoadedLayer:
    """What a load did to a table.

    Attributes:
        table: schema and name.
        features: of the layer.
        inserted: those that were not there.
        updated: those that were there with other values.
        deleted: rows that the layer does not have and that were taken away.
    """

    table: str
    features: int
    inserted: int
    updated: int = 0
    deleted: int = 0

    @property
    def unchanged(self) -> int:
        """Features that were there with the same values."""
        return self.features - self.inserted - self.updated


def load_layer(
    path: Path | str,
    url: str,
    *,
    schema: str | None = None,
    prefix: str | None = None,
    replace: Replace | None = None,
    progress: Progress | None = None,
) -> list[LoadedLayer]:
    """Load the layers of a file into a PostGIS database, a table each, in one transaction: all of it or nothing.

    A table that is not there is made, with the primary key `id` and a spatial index. One that is there gets what it
    lacks, by id; what is the same stays untouched, so that loading again changes nothing. Ids follow from class and
    geometry: what another version of a layer draws otherwise has another id, and the older drawing stays beside it
    unless `replace` says otherwise. Two loads into one schema take place one after the other. Provenance goes to the
    table `geoseg_provenance`.

    Args:
        path: a file that `write_layers` writes, but for PMTiles; with the roads beside it.
        url: postgresql://user@host:port/name, to which PG* variables, ~/.pgpass and services add as they do for psql;
            `?schema=`, `prefix=` and `replace=` as below.
        schema: of the tables; default: the URL's, else "public".
        prefix: before the layer's name, which is "polygons" or "roads", to make the table's.
        replace: rows that the layer does not have stay ("none"), go if they are of the same `source` ("source"), or go
            ("all"); default: as the URL says, else "none". A source is the raster's file name, whatever its folder.
        progress: told of tables and features.

    Raises:
        InputError: the file is no layer, cut off, or has no CRS.
        OptionError: the URL cannot be read, a name is too long, or psycopg is not installed.
        OutputError: the database cannot be reached or refuses something; a table has other columns or another CRS; an
            id occurs twice. Nothing was changed.
    """
    database = parse_database(url, schema=schema, prefix=prefix, replace=replace)
    streams = open_streams(path)
    check_unique([stream.name for stream in streams])
    names = [place_table(database, stream.name) for stream in streams]
    progress = progress or Silence()
    with connect(database) as connection, connection.cursor() as cursor:
        find_postgis(cursor, database)
        _take_turns(cursor, database, progress)
        loaded = []
        for stream, (_, name) in zip(streams, names, strict=True):
            srid = find_srid(cursor, stream.crs, database)
            table = Table(database.schema, name, stream.columns, stream.geometry_type, srid)
            progress.start(f"load {table}", None)
            sources = [str(stream.provenance["source"])] if "source" in stream.provenance else []
            loaded.append(_load(cursor, table, stream.batches(), database.replace, sources, progress=progress))
            if stream.provenance:
                _record_provenance(cursor, table, stream.provenance, alone=database.replace == "all")
    return loaded


def check_database(url: str, layers: Sequence[Layer], crs_wkt: str) -> Database:
    """Load layers without a feature and undo it: what would fail at the end of hours of work fails now.

    Args:
        url: as of `load_layer`.
        layers: what will be loaded; no batch is drawn.
        crs_wkt: CRS of the geometries.

    Returns:
        The database, to be named without credentials.

    Raises:
        OptionError: the URL cannot be read, a name is too long, or psycopg is not installed.
        OutputError: the database cannot be reached, lacks PostGIS or the schema, the user lacks a right, or a table has
            other columns or another CRS.
    """
    database = parse_database(url)
    psycopg = import_psycopg()
    with connect(database) as connection, connection.cursor() as cursor:
        find_postgis(cursor, database)
        cursor.execute(f"SET LOCAL lock_timeout = '{_CHECK_WAIT_S}s'")
        try:
            _take_turns(cursor, database, Silence())
            srid = find_srid(cursor, CRS.from_wkt(crs_wkt), database)
            for layer in layers:
                schema, name = place_table(database, layer.name)
                table = Table(schema, name, layer.columns, layer.geometry_type, srid)
                # A source that nothing has: whether rows may be taken away is tried on none.
                kind: Replace = "none" if database.replace == "none" else "source"
                _load(cursor, table, [], kind, [""], progress=Silence())
                _record_provenance(cursor, table, {"version": ""}, alone=False)
        except psycopg.errors.LockNotAvailable:
            pass  # a load is at work in this schema: it can be written
        connection.rollback()
    return database


def _take_turns(cursor: Cursor[Any], database: Database, progress: Progress) -> None:
    """Wait until no other load writes into this schema; the lock goes with the transaction."""
    key = f"geoseg load {database.schema}"
    free = cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [key]).fetchone()
    if free != (True,):
        progress.note(f"waiting for another load into the schema {database.schema}")
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])


def _load(
    cursor: Cursor[Any],
    table: Table,
    batches: Iterable[pa.RecordBatch],
    replace: Replace,
    sources: list[str],
    *,
    progress: Progress,
) -> LoadedLayer:
    sql = import_psycopg().sql
    if not table_exists(cursor, table):
        cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(table.identifier, table.define()))
        features = copy_rows(cursor, table, table.identifier, batches, progress)
        cursor.execute(sql.SQL("CREATE INDEX ON {} USING gist (geom)").format(table.identifier))
        remark = f"Map layer loaded by geoseg; where it comes from is in {PROVENANCE_TABLE}"
        cursor.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(table.identifier, sql.Literal(remark)))
        cursor.execute(sql.SQL("ANALYZE {}").format(table.identifier))
        return LoadedLayer(str(table), features, features)
    stage = sql.Identifier("pg_temp", _STAGE)
    cursor.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(stage, table.define()))
    features = copy_rows(cursor, table, stage, batches, progress)
    cursor.execute(sql.SQL("ANALYZE {}").format(stage))
    of = None if replace == "all" else sources
    deleted = 0 if replace == "none" else delete_absent(cursor, table, stage, sources=of)
    updated, inserted = merge_rows(cursor, table, stage)
    cursor.execute(sql.SQL("DROP TABLE {}").format(stage))
    if deleted or updated or inserted:
        cursor.execute(sql.SQL("ANALYZE {}").format(table.identifier))
    return LoadedLayer(str(table), features, inserted, updated, deleted)


def _record_provenance(cursor: Cursor[Any], table: Table, provenance: Provenance, *, alone: bool) -> None:
    """Keep what made a layer, one row a table and source."""
    sql = import_psycopg().sql
    place = sql.Identifier(table.schema, PROVENANCE_TABLE)
    known = cursor.execute("SELECT to_regclass(%s)", [place.as_string(cursor)]).fetchone()
    if known == (None,):
        cursor.execute(
            sql.SQL(
                "CREATE TABLE {} (layer text, source text, provenance jsonb NOT NULL, PRIMARY KEY (layer, source))"
            ).format(place)
        )
    source = str(provenance.get("source", ""))
    if alone:
        cursor.execute(sql.SQL("DELETE FROM {} WHERE layer = %s AND source <> %s").format(place), [table.name, source])
    cursor.execute(
        sql.SQL(
            "INSERT INTO {} AS t VALUES (%s, %s, %s) ON CONFLICT (layer, source) DO UPDATE "
            "SET provenance = excluded.provenance WHERE t.provenance <> excluded.provenance"
        ).format(place),
        [table.name, source, encode_provenance(provenance)],
    )
