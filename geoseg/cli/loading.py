"""The command that brings layers into a database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geoseg.console import open_progress

LOAD_EXAMPLES = """\b
Examples:
  geoseg load map.gpkg postgresql://me@db.example.org/gis
  geoseg load map.gpkg "postgresql://me@db.example.org/gis?schema=city" --replace source
  geoseg load map.parquet postgresql:///?service=gis --prefix year2026_
"""


@click.command(epilog=LOAD_EXAMPLES)
@click.argument("layer", type=click.Path(path_type=Path))
@click.argument("url")
@click.option("--schema", help="Schema of the tables; default: the URL's ?schema=, else public.")
@click.option("--prefix", help="Before polygons and roads, to make the names of the tables.")
@click.option(
    "--replace",
    type=click.Choice(["none", "source", "all"]),
    help="Take away rows that LAYER does not have: none (the default), those of the same source raster, or all.",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
def load(layer: Path, url: str, quiet: bool, **options: Any) -> None:
    """Load the layers of a file into PostGIS.

    Each gets a table; all of it is loaded or nothing. URL is postgresql://user@host:port/name. Others on this machine
    can see a password in it: keep that in PGPASSWORD, ~/.pgpass or a service file. Features are known by their id, so
    that loading again changes nothing.
    """
    from geoseg.layers.postgis import load_layer

    with open_progress(quiet) as progress:
        loaded = load_layer(layer, url, progress=progress, **options)
    for table in () if quiet else loaded:
        click.echo(
            f"{table.table}: {table.features:,} features, {table.inserted:,} new, {table.updated:,} changed, "
            f"{table.unchanged:,} as they were; {table.deleted:,} rows removed"
        )
