"""A GeoPackage into PostGIS: `load_layer` beside ogr2ogr and GeoDataFrame.to_postgis.

usage: python tests/benchmarks/postgis.py [POLYGONS] [ROUNDS]

All end with a table of the same polygons that has a key and a spatial index, in a database of its own each round, of a
server that this script starts with its safety (fsync) off, so that programs are compared and not disks. What
to_postgis makes is given the key afterwards; it needs SQLAlchemy and GeoAlchemy 2.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.writers import make_batches, write_ours
from tests.layers.postgres import Server, run_server

LOAD = "import sys; from geoseg.layers.postgis import load_layer; load_layer(sys.argv[1], sys.argv[2])"
FRAME = """
import sys, geopandas, sqlalchemy
engine = sqlalchemy.create_engine(sys.argv[2].replace("postgresql://", "postgresql+psycopg://"))
geopandas.read_file(sys.argv[1], layer="polygons").to_postgis("polygons", engine)
with engine.begin() as connection:
    connection.execute(sqlalchemy.text("ALTER TABLE polygons ADD PRIMARY KEY (id)"))
"""


def make_command(program: str, path: Path, server: Server, database: str) -> list[str]:
    if program == "ogr2ogr":
        target = f"PG:dbname={database} host={server.folder} port={server.port} user=postgres"
        return ["ogr2ogr", "-f", "PostgreSQL", target, str(path), "--config", "PG_USE_COPY", "YES"]
    return [sys.executable, "-c", FRAME if program == "to_postgis" else LOAD, str(path), server.url(database)]


def read_peak_mb(process: int) -> float:
    """Not that of wait4, which is the parent's where that one is larger."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def main(count: int = 200_000, rounds: int = 3) -> None:
    programs = ["geoseg", "geoseg again", "to_postgis"] + ["ogr2ogr"] * bool(shutil.which("ogr2ogr"))
    seconds: dict[str, list[float]] = {program: [] for program in programs}
    peaks = dict.fromkeys(programs, 0.0)
    with tempfile.TemporaryDirectory() as folder, run_server() as server:
        path = Path(folder) / "map.gpkg"
        write_ours(path, make_batches(count))
        for _ in range(rounds):
            databases = {program: server.create_database() for program in programs}
            databases["geoseg again"] = databases["geoseg"]
            for program in programs:
                start = time.perf_counter()
                process = subprocess.Popen(make_command(program, path, server, databases[program]))
                while process.poll() is None:
                    peaks[program] = max(peaks[program], read_peak_mb(process.pid))
                    time.sleep(0.02)
                if process.returncode:
                    sys.exit(f"{program} failed")
                seconds[program].append(time.perf_counter() - start)
            for database in set(databases.values()):
                server.drop_database(database)
    print(f"{count:,} polygons, median of {rounds}, with the start of each program")
    print("| program | s | thousand polygons a second | peak of the program, MB |")
    print("|---|---|---|---|")
    for program in programs:
        taken = statistics.median(seconds[program])
        print(f"| {program} | {taken:.1f} | {count / 1e3 / taken:.0f} | {peaks[program]:.0f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
