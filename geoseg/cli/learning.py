"""The commands that make models and judge what they find."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from geoseg.cli.completing import complete_files
from geoseg.console import open_progress

TRAIN_EXAMPLES = """\b
Examples:
  geoseg train town.toml
  geoseg train town.toml --root imagery -o run

\b
geoseg/training/jobs/ holds the jobs of the shipped models, and a README of all keys. A run that was stopped goes on
with the same command.
"""
REFINE_EXAMPLES = """\b
Examples:
  geoseg refine refine-town.toml
  geoseg refine refine-town.toml --root imagery -o run
"""
EVALUATE_EXAMPLES = """\b
Examples:
  geoseg evaluate map.gpkg truth.tif
  geoseg evaluate classes.tif truth.tif --aoi district.gpkg --json
  geoseg evaluate classes.tif roads.tif --only-class road --slack-px 2 --report report
"""


@click.command(epilog=TRAIN_EXAMPLES)
@click.argument("job", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory of the run; default: beside the job.")
@click.option("--root", type=click.Path(path_type=Path), help="Where the job's files lie; default: the job's own root.")
@click.option("--quiet", is_flag=True, help="Print errors and the result only.")
def train(job: Path, output: Path | None, root: Path | None, quiet: bool) -> None:
    """Train the network that a TOML file describes."""
    from geoseg.training.fit import train as run

    _log_to_stderr()
    with open_progress(quiet) as progress:
        result = run(job, output or job.with_suffix(""), root=root, progress=progress)
    click.echo(result.format())


def _log_to_stderr() -> None:
    # Lines between the steps would tear the bar apart.
    level = logging.WARNING if sys.stderr.isatty() else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


@click.command(epilog=REFINE_EXAMPLES)
@click.argument("job", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory of the run; default: beside the job.")
@click.option("--root", type=click.Path(path_type=Path), help="Where the training job's files lie.")
def refine(job: Path, output: Path | None, root: Path | None) -> None:
    """Train a refiner behind a trained network.

    It plays against a discriminator, as the TOML file JOB says.
    """
    from geoseg.training.refine import refine as run

    _log_to_stderr()
    click.echo(run(job, output or job.with_suffix(""), root=root).format())


@click.command(epilog=EVALUATE_EXAMPLES)
@click.argument("predicted", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option(
    "--aoi", shell_complete=complete_files, help="W,S,E,N in degrees, or a vector file of polygons: judge only this."
)
@click.option("--ignore", shell_complete=complete_files, help="The same: judge nothing here.")
@click.option("--only-class", help="Compare this class with everything else.")
@click.option(
    "--resolution",
    "resolution_m",
    type=click.FloatRange(min=0, min_open=True),
    default=0.5,
    show_default=True,
    help="Pixel in metres if both sides are layers.",
)
@click.option("--boundary-px", type=click.IntRange(1, 64), default=4, show_default=True, help="Band of boundary IoU.")
@click.option(
    "--slack-px", type=click.IntRange(0, 64), default=0, show_default=True, help="Also score with this slack."
)
@click.option(
    "--road-buffer",
    "road_buffer_m",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Metres within which two lines are one road.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Threads; default: one a processor.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--report", type=click.Path(path_type=Path, file_okay=False), help="Write report.html into this directory."
)
def evaluate(predicted: Path, truth: Path, as_json: bool, report: Path | None, **options: Any) -> None:
    """Compare PREDICTED with TRUTH, each a class raster or a layer."""
    from geoseg.evaluation.evaluate import evaluate as run

    result = run(predicted, truth, **options)
    if report is not None:
        from geoseg.evaluation.report import write_report

        pictures = {"share of wrong pixels": result.counts.errors.paint()} if result.classes else {}
        write_report(result.to_dict(), report, pictures=pictures)
    click.echo(json.dumps(result.to_dict(), indent=2) if as_json else result.format())
