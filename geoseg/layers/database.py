"""A PostgreSQL database that a URL names: reached with libpq's ways of saying who one is, and named without them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args
from urllib.parse import quote, unquote

from geoseg.errors import GeosegError, OptionError, OutputError
from geoseg.redact import redact

if TYPE_CHECKING:
    import psycopg

SCHEMES = ("postgresql://", "postgres://")
CONNECT_TIMEOUT_S = 15
IDENTIFIER_BYTES = 63
"""PostgreSQL cuts off what is longer, without a word."""

Replace = Literal["none", "source", "all"]
"""Which rows go that a layer does not have."""

_OWN = ("schema", "prefix", "replace")
# An unescaped character of a password would be taken for host, port or name of the database, and so be shown.
_ONE_AT = re.compile(r"[^@/]*@?[^@]*")


@dataclass(frozen=True, slots=True)
class Database:
    """Where layers go.

    Args:
        conninfo: what libpq takes, with the password if the URL had one; not shown.
        place: the same for people, without any credential.
        schema: of the tables.
        prefix: of their names.
        replace: which rows go that the layer does not have.
    """

    conninfo: str = field(repr=False)
    place: str
    schema: str = "public"
    prefix: str = ""
    replace: Replace = "none"


def is_database(text: object) -> bool:
    """Whether an output is the URL of a PostgreSQL database."""
    return isinstance(text, str) and text.lower().startswith(SCHEMES)


def parse_database(
    url: str, *, schema: str | None = None, prefix: str | None = None, replace: Replace | None = None
) -> Database:
    """Read the URL of a database as libpq does, and `schema`, `prefix` and `replace` from its query.

    Args:
        url: postgresql://user@host:port/name; what is left out libpq takes from PG* variables, ~/.pgpass, or a service.
        schema: goes before the URL's; "public" where neither says.
        prefix: goes before the URL's.
        replace: goes before the URL's; "none" where neither says.

    Raises:
        OptionError: it is none, or psycopg is not installed.
    """
    psycopg = import_psycopg()
    if not is_database(url):
        raise OptionError(
            f"{redact(url)!r} is no database",
            expected="a URL such as postgresql://db.example.org/gis",
            remedy="write its URL",
        )
    base, _, query = url.partition("?")
    pairs = [(part, *part.partition("=")[::2]) for part in query.split("&") if part]
    own = {name: unquote(value) for _, name, value in pairs if name in _OWN}
    others = "&".join(part for part, name, _ in pairs if name not in _OWN)
    conninfo = f"{base}?{others}" if others else base
    faulty = OptionError(
        "the URL of the database cannot be read",
        expected="a URL such as postgresql://db.example.org:5432/gis, with the user before the host",
        remedy="write special characters of a password as %XX, or keep it in PGPASSWORD, ~/.pgpass or a service file",
    )
    if not _ONE_AT.fullmatch(conninfo.partition("://")[2]):
        raise faulty
    try:
        said = psycopg.conninfo.conninfo_to_dict(conninfo)
    except psycopg.Error:  # its text may quote a part of the password
        raise faulty from None
    schema = schema or own.get("schema") or "public"
    prefix = own.get("prefix", "") if prefix is None else prefix
    kind = replace or own.get("replace") or "none"
    if kind not in get_args(Replace):
        raise OptionError(f"replace={kind}", expected=", ".join(get_args(Replace)))
    return Database(conninfo, _name(said, schema), schema, prefix, cast(Replace, kind))


def import_psycopg() -> Any:
    """The driver, loaded when a database is asked for.

    Raises:
        OptionError: it is not installed.
    """
    try:
        import psycopg  # noqa: PLC0415  (an extra, and only databases need it)
    except ImportError as error:
        raise OptionError(
            "psycopg is not installed, and layers go to a database through it",
            expected="psycopg 3 with libpq",
            remedy="pip install 'geoseg[postgis]'",
        ) from error
    return psycopg


@contextmanager
def connect(database: Database) -> Iterator[psycopg.Connection]:
    """A connection with one transaction: done on leaving, undone if an exception was raised.

    Raises:
        OutputError: the database cannot be reached, or refuses something; naming it without credentials.
    """
    psycopg = import_psycopg()
    said = psycopg.conninfo.conninfo_to_dict(database.conninfo)
    defaults: dict[str, Any] = {"fallback_application_name": "geoseg"}
    if not ({"connect_timeout", "service"} & set(said) or {"PGCONNECT_TIMEOUT", "PGSERVICE"} & set(os.environ)):
        defaults["connect_timeout"] = CONNECT_TIMEOUT_S
    secrets = [said.get("password"), said.get("sslpassword"), os.environ.get("PGPASSWORD")]
    with translate_errors(database, secrets):
        # Prepared statements would not survive a pool that hands out a server for each transaction.
        settings = {"prepare_threshold": None, "client_encoding": "utf8"}
        with psycopg.connect(database.conninfo, **defaults, **settings) as connection:
            # Each statement sees what others had done when it began: a load that waited sees the one it waited for.
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            yield connection


@contextmanager
def translate_errors(database: Database, secrets: list[Any]) -> Iterator[None]:
    """Turn what psycopg raises into an OutputError that tells no credential."""
    psycopg = import_psycopg()
    try:
        yield
    except GeosegError:
        raise
    except psycopg.Error as error:
        said = " ".join((error.diag.message_primary or str(error)).split())
        if error.diag.message_detail:
            said += f" ({' '.join(error.diag.message_detail.split())})"
        for secret in filter(None, secrets):
            said = said.replace(str(secret), "***")
        # Without its cause: that one may hold what was taken out here.
        raise OutputError(
            f"{database.place}: {redact(said)}", expected="a database that takes the layer", remedy=_advise(error)
        ) from None


def _advise(error: Exception) -> str:
    errors = import_psycopg().errors
    if isinstance(error, errors.InsufficientPrivilege):
        return "ask the owner of the database for the rights, or name a schema of your own: ?schema=name"
    if isinstance(error, errors.UniqueViolation):
        return "features of one layer need an id of their own each; write the layer again"
    if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure | errors.LockNotAvailable):
        return "another program writes into these tables; run the same command again"
    if isinstance(error, errors.OperationalError):
        return "check host, port, user and network; when it answers, run the same command again"
    return "nothing was changed; see what it says, and run the same command again"


def _name(said: dict[str, Any], schema: str) -> str:
    user = f"{quote(str(said['user']), safe='')}@" if said.get("user") else ""
    host = str(said.get("host", ""))
    if "," not in host:  # else there are several
        host = f"[{host}]" if ":" in host else quote(host, safe="")
    port = f":{said['port']}" if said.get("port") else ""
    service = f"&service={quote(str(said['service']), safe='')}" if said.get("service") else ""
    name = quote(str(said.get("dbname", "")), safe="")
    return f"postgresql://{user}{host}{port}/{name}?schema={quote(schema, safe='')}{service}"
