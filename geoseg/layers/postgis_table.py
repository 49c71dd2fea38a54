"""Tables of PostGIS that hold a layer: their columns, their CRS, and whether one that exists is such a table."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyproj import CRS
from pyproj.exceptions import CRSError

from geoseg.errors import InputError, OptionError, OutputError
from geoseg.layers.columns import Column
from geoseg.layers.database import IDENTIFIER_BYTES, Database, import_psycopg

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.sql import Composed, Identifier

GEOMETRY = "geom"
OWN_SRIDS = (910_000, 998_999)
"""What PostGIS leaves to its users."""

SRS_LOCK = 0x67656F73  # "geos"
_SRTEXT_CHARACTERS = 2_048
_TYPES = {
    pa.string(): "text",
    pa.bool_(): "boolean",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float64(): "double precision",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a layer.

    Args:
        schema: where it is.
        name: its name.
        columns: attributes of the layer, `id` among them; the geometries are in the column `geom`.
        geometry_type: as OGR calls it.
        srid: of the geometries.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    geometry_type: str
    srid: int

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> Identifier:
        """Its name in SQL."""
        identifier: Identifier = import_psycopg().sql.Identifier(self.schema, self.name)
        return identifier

    @property
    def types(self) -> dict[str, str]:
        """Columns and their types as PostgreSQL writes them."""
        types = {column.name: _TYPES[column.type] for column in self.columns}
        return types | {GEOMETRY: f"geometry({self.geometry_type},{self.srid})"}

    def define(self) -> Composed:
        """The columns as CREATE TABLE takes them."""
        sql = import_psycopg().sql
        required = {column.name for column in self.columns if column.required} | {"id", GEOMETRY}
        parts = [
            sql.Identifier(name) + sql.SQL(f" {kind}{' NOT NULL' if name in required else ''}")
            for name, kind in self.types.items()
        ]
        defined: Composed = sql.SQL(", ").join(parts)
        return defined


def place_table(database: Database, layer: str) -> tuple[str, str]:
    """Schema and table of a layer.

    Raises:
        OptionError: the name is longer than PostgreSQL keeps.
    """
    name = database.prefix + layer
    for text in (name, database.schema):
        if not 0 < len(text.encode()) <= IDENTIFIER_BYTES or "\0" in text:
            raise OptionError(
                f"{text[:80]!r} as a name in the database",
                expected=f"1 to {IDENTIFIER_BYTES} bytes",
                remedy="choose a shorter --prefix or --schema",
            )
    return database.schema, name


def find_postgis(cursor: Cursor[Any], database: Database) -> None:
    """Make the types and operators of PostGIS known by their bare names, until the transaction ends.

    Raises:
        OutputError: the database has no PostGIS, or no such schema.
    """
    found = cursor.execute(
        "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace "
        "WHERE extname = 'postgis'"
    ).fetchone()
    if found is None:
        raise OutputError(
            f"{database.place} has no PostGIS", expected="the extension postgis", remedy="CREATE EXTENSION postgis"
        )
    if cursor.execute("SELECT FROM pg_namespace WHERE nspname = %s", [database.schema]).fetchone() is None:
        raise OutputError(
            f"{database.place} has no schema {database.schema!r}",
            expected="a schema that exists",
            remedy="create it: CREATE SCHEMA name",
        )
    # Appended: triggers of the user's tables go on finding what they find.
    cursor.execute(
        "SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), %s::text), true)",
        found,
    )


def find_srid(cursor: Cursor[Any], crs: CRS, database: Database) -> int:
    """The number under which the database knows a CRS; one without a code of an authority is added to it.

    Raises:
        OutputError: the database does not know it and may not or cannot learn it.
    """
    # Text of a CRS differs between formats: what it means is compared.
    authority = crs.to_authority()
    if authority is not None and CRS.from_authority(*authority).equals(crs, ignore_axis_order=True):
        if authority == ("OGC", "CRS84"):
            authority = ("EPSG", "4326")  # PostGIS has longitude before latitude in any case
        query = "SELECT srid FROM spatial_ref_sys WHERE auth_name = %s AND auth_srid::text = %s"
        found = cursor.execute(query, authority).fetchone()
        if found is not None:
            return int(found[0])
    # One at a time, also of loads into other schemas: both would take the same number.
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SRS_LOCK])
    query = "SELECT srid, srtext FROM spatial_ref_sys WHERE srid BETWEEN %s AND %s ORDER BY srid"
    for srid, text in cursor.execute(query, OWN_SRIDS).fetchall():
        with suppress(CRSError):
            if CRS.from_wkt(text).equals(crs, ignore_axis_order=True):
                return int(srid)
    try:
        text = crs.to_wkt("WKT1_GDAL")
    except CRSError:
        text = crs.to_wkt()
    may_add = cursor.execute("SELECT has_table_privilege('spatial_ref_sys', 'INSERT')").fetchone()
    if len(text) > _SRTEXT_CHARACTERS or may_add != (True,):
        raise OutputError(
            f"{database.place} does not know the CRS {crs.name!r}"
            + ("" if may_add == (True,) else ", and this user may not add it"),
            expected="a CRS with an EPSG code, or the right to insert into spatial_ref_sys",
            remedy="ask the owner of the database to load the layer once, or reproject it",
        )
    added = cursor.execute(
        "INSERT INTO spatial_ref_sys (srid, srtext, proj4text) SELECT greatest(max(srid) + 1, %s), %s, '' "
        "FROM spatial_ref_sys WHERE srid <= %s RETURNING srid",
        [OWN_SRIDS[0], text, OWN_SRIDS[1]],
    ).fetchone()
    return int(added[0]) if added else 0


def table_exists(cursor: Cursor[Any], table: Table) -> bool:
    """Whether it is there; then it holds features of such a layer.

    Raises:
        OutputError: something else has the name: other columns, another CRS, no table, no key.
    """
    found = cursor.execute(
        "SELECT c.oid, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = %s AND relname = %s",
        [table.schema, table.name],
    ).fetchone()
    if found is None:
        return False
    oid, kind = found
    if kind not in ("r", "p"):
        raise _refuse(table, "is no table")
    there = {
        name: (type_, required)
        for name, type_, required in cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod), "
            "attnotnull AND NOT atthasdef AND attidentity = '' FROM pg_attribute "
            "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped",
            [oid],
        )
    }
    wanted = table.types
    taken = {wanted[GEOMETRY], f"geometry(Geometry,{table.srid})"}
    for name, type_ in wanted.items():
        has = there.pop(name, ("absent", False))[0]
        if has != type_ and not (name == GEOMETRY and has in taken):
            raise _refuse(table, f"has the column {name} {has}, and the layer has {type_}")
    more = [name for name, (_, required) in there.items() if required]
    if more:
        raise _refuse(table, f"wants a value of {', '.join(more)}, which the layer does not have")
    key = cursor.execute(
        "SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] "
        "WHERE indrelid = %s AND indisunique AND indpred IS NULL AND indnkeyatts = 1 AND attname = 'id'",
        [oid],
    ).fetchone()
    if key is None:
        raise _refuse(table, "has no primary key id")
    return True


def check_unique(layers: list[str]) -> None:
    """Refuse two layers of one name, which would go to one table.

    Raises:
        InputError: there are.
    """
    double = sorted({name for name in layers if layers.count(name) > 1})
    if double:
        raise InputError(f"two layers of the name {double[0]}", expected="one table for each", remedy="rename one")


def _refuse(table: Table, why: str) -> OutputError:
    return OutputError(
        f"the table {table} {why}; nothing was changed",
        expected="a table that a load of such a layer made, in the same CRS",
        remedy="choose another --schema or --prefix, or drop the table",
    )
