"""The command that says what changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

COMPARE_EXAMPLES = """\b
Examples:
  geoseg compare 2019.gpkg 2024.gpkg -o changes.gpkg
  geoseg compare model_a.fgb model_b.fgb --tolerance 1 --json
  geoseg compare osm.geojson map.gpkg --only-class building
"""


@click.command(epilog=COMPARE_EXAMPLES)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Layer of the changes, in the CRS of B.")
@click.option(
    "--tolerance",
    "tolerance_m",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Differences narrower than this are noise, in ground metres.",
)
@click.option(
    "--road-buffer",
    "buffer_m",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Metres within which two lines are one road.",
)
@click.option("--only-class", help="Compare this class alone; layers without classes are taken to be of it.")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(a: Path, b: Path, as_json: bool, **options: Any) -> None:
    """Say what changed from layer A to layer B.

    Objects appeared, vanished, grew, shrank, moved, split, merged or stayed.
    """
    from geoseg.comparison.compare import compare as run

    result = run(a, b, **options)
    click.echo(json.dumps(result.to_dict(), indent=2) if as_json else result.format())
