"""A PostgreSQL server of the tests' own, started from the system's binaries."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

ACCOUNT = "postgres"
PASSWORD = "s3cret/p@ss:word?#%"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "40",
}
_numbers = count()


@dataclass(frozen=True)
class Server:
    """A running server; `folder` has its socket."""

    folder: Path
    port: int

    def url(self, database: str = "gis", query: str = "") -> str:
        """By its socket, as superuser, who needs no password there."""
        return f"postgresql://{ACCOUNT}@/{database}?host={self.folder}&port={self.port}{query}"

    def tcp_url(self, database: str, user: str, password: str = "") -> str:
        """By TCP, where a password is asked for; `password` as the URL has it."""
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def run(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """Rows of the last statement."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def create_database(self, template: str = "gis") -> str:
        """A new database with PostGIS, or what else the template has."""
        name = f"test_{next(_numbers)}"
        self.run("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Whoever is still in it."""
        self.run("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def create_user(self, name: str) -> None:
        """A user with PASSWORD and no rights, if not there."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(PASSWORD))
                )


def find_binaries() -> Path:
    """The folder of initdb and postgres; the test is skipped where there is none."""
    found = [Path(place) for place in glob("/usr/lib/postgresql/*/bin")]
    on_path = shutil.which("initdb")
    found += [Path(os.path.realpath(on_path)).parent] if on_path else []
    found = [place for place in found if (place / "postgres").exists()]
    if not found:
        pytest.skip("no PostgreSQL server is installed")
    return max(found, key=lambda place: [int(part) for part in place.parts if part.isdigit()])


@contextmanager
def run_server() -> Iterator[Server]:
    """Start a server with a database `gis` that has PostGIS; it and its files go on leaving."""
    binaries = find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    who: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL}
    if os.geteuid() == 0:  # whom PostgreSQL does not serve
        try:
            shutil.chown(folder, ACCOUNT, ACCOUNT)
        except LookupError:
            pytest.skip(f"root cannot run PostgreSQL, and there is no account {ACCOUNT}")
        who |= {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []}
    try:
        initdb = [binaries / "initdb", "-D", folder / "data", "-U", ACCOUNT, "-E", "UTF8", "--no-locale", "-N"]
        subprocess.run([*initdb, "--auth-local=trust", "--auth-host=scram-sha-256"], check=True, **who)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with (folder / "log").open("wb") as log:
            command = [binaries / "postgres", "-D", folder / "data", "-k", folder, "-p", str(port), *options]
            process = subprocess.Popen(command, **who | {"stdout": log, "stderr": log})
        server = Server(folder, port)
        try:
            _await(server, process)
            server.run("postgres", "CREATE DATABASE gis")
            try:
                server.run("gis", "CREATE EXTENSION postgis")
            except psycopg.Error as error:
                pytest.skip(f"no PostGIS is installed: {error}")
            yield server
        finally:
            process.send_signal(3)  # at once, without waiting for clients
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(server: Server, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            server.run("postgres", "SELECT 1")
            return
        except psycopg.OperationalError:
            if process.poll() is not None:
                raise
            time.sleep(0.05)
    raise TimeoutError("the server does not answer")
