"""Features into the rows of a table, and the difference between two tables of a layer."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.csv

from geoseg.errors import InputError
from geoseg.layers.database import import_psycopg
from geoseg.layers.postgis_table import Table
from geoseg.progress import Progress

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.sql import Composable

_HAS_SRID = 0x20000000


def copy_rows(
    cursor: Cursor[Any], table: Table, into: Composable, batches: Iterable[pa.RecordBatch], progress: Progress
) -> int:
    """Stream features into an empty table, make `id` its key, and give their number."""
    sql = import_psycopg().sql
    names = sql.SQL(", ").join(map(sql.Identifier, table.types))
    features = 0
    with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(into, names)) as copy:
        for batch in batches:
            copy.write(_encode(batch, table.srid))
            features += batch.num_rows
            progress.advance(batch.num_rows)
    cursor.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (id)").format(into))
    return features


def _encode(batch: pa.RecordBatch, srid: int) -> memoryview:
    """A batch as CSV, numbers with all their digits, geometries as EWKB in hexadecimal digits."""
    last = batch.num_columns - 1
    geometries = [None if wkb is None else _add_srid(wkb, srid) for wkb in batch.column(last).to_pylist()]
    columns = [*batch.columns[:last], pa.array(geometries, pa.string())]
    text = BytesIO()
    records = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    pyarrow.csv.write_csv(records, text, pyarrow.csv.WriteOptions(include_header=False))
    return text.getbuffer()


def _add_srid(wkb: bytes, srid: int) -> str:
    """ISO WKB as EWKB, in hexadecimal digits.

    Source: PostGIS, liblwgeom/lwin_wkb.c: a flag of the type says that an SRID follows, in the same byte order.
    """
    order: Literal["little", "big"] = "little" if wkb[0] else "big"
    kind = int.from_bytes(wkb[1:5], order) | _HAS_SRID
    return (wkb[:1] + kind.to_bytes(4, order) + srid.to_bytes(4, order)).hex() + wkb[5:].hex()


def delete_absent(cursor: Cursor[Any], table: Table, stage: Composable, *, sources: list[str] | None) -> int:
    """Take away rows that the stage does not have, and give their number.

    Args:
        cursor: of the transaction.
        table: where.
        stage: the new features.
        sources: only rows of these sources and of those of the new features; None: all.

    Raises:
        InputError: only one source's, and nothing says which that is.
    """
    sql = import_psycopg().sql
    query = sql.SQL("DELETE FROM {} t WHERE NOT EXISTS (SELECT FROM {} s WHERE s.id = t.id)")
    query = query.format(table.identifier, stage)
    if sources is None:
        return int(cursor.execute(query).rowcount)
    if "source" in table.types:
        said = cursor.execute(sql.SQL("SELECT DISTINCT source FROM {} WHERE source IS NOT NULL").format(stage))
        sources = sorted({*sources, *(row[0] for row in said)})
    if not sources or "source" not in table.types:
        raise InputError(
            f"the layer for {table} does not say its source, and that source's rows were to be replaced",
            expected="features with a source",
            remedy="load it without --replace source",
        )
    return int(cursor.execute(query + sql.SQL(" AND t.source = ANY(%s)"), [sources]).rowcount)


def merge_rows(cursor: Cursor[Any], table: Table, stage: Composable) -> tuple[int, int]:
    """Bring new features into a table, and give the numbers of rows updated and inserted.

    Those with the same values are not touched.
    """
    sql = import_psycopg().sql
    names = [name for name in table.types if name != "id"]

    def list_columns(prefix: str) -> Composable:
        joined: Composable = sql.SQL(", ").join(sql.SQL(prefix) + sql.Identifier(name) for name in names)
        return joined

    bare, old, new = list_columns(""), list_columns("t."), list_columns("s.")
    updated = cursor.execute(
        sql.SQL(
            "UPDATE {} t SET ({}) = ROW({}) FROM {} s WHERE s.id = t.id AND ROW({}) IS DISTINCT FROM ROW({})"
        ).format(table.identifier, bare, new, stage, old, new)
    ).rowcount
    inserted = cursor.execute(
        sql.SQL("INSERT INTO {} (id, {}) SELECT id, {} FROM {} ON CONFLICT (id) DO NOTHING").format(
            table.identifier, bare, bare, stage
        )
    ).rowcount
    return int(updated), int(inserted)
