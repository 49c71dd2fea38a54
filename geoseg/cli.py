"""The commands. Heavy imports wait inside them, so that `geoseg --help` answers at once."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geoseg import __version__
from geoseg.console import echo_summary, open_progress
from geoseg.errors import GeosegError, OptionError

if TYPE_CHECKING:
    from geoseg.run.execute import SegmentResult

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
Command = TypeVar("Command", bound=Callable[..., Any])

SEGMENT_EXAMPLES = """\b
Examples:
  geoseg segment scene.tif -o map.geojson
  geoseg segment scene.tif -o map.gpkg --classes-raster classes.tif --min-area 5
  geoseg segment scene.vrt -o map.fgb --aoi 39.19,-6.17,39.21,-6.15 --workers 8
"""
POLYGONIZE_EXAMPLES = """\b
Examples:
  geoseg polygonize classes.tif -o map.gpkg
  geoseg polygonize classes.tif -o map.parquet --min-area 4
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="geoseg %(version)s")
def cli() -> None:
    """Large satellite and aerial rasters into map layers."""


def run_options(command: Command) -> Command:
    """The options that `segment` and `polygonize` share."""
    options = [
        click.option("--scheduler", default="threads", show_default=True, help="threads, local or tcp://HOST:PORT."),
        click.option("--workers", type=click.IntRange(min=1), help="Threads or processes; default: one a processor."),
        click.option("--memory", help="Memory budget such as 4GiB; a run that needs more is refused."),
        click.option("--tile-px", type=click.IntRange(min=1), help="Wanted tile side in source pixels."),
        click.option("--work-dir", type=click.Path(path_type=Path), help="Keep finished tiles here."),
        click.option("--fresh", is_flag=True, help="Do again what an earlier run finished."),
        click.option("--overwrite", is_flag=True, help="Replace outputs that exist."),
        click.option("--min-area", type=click.FloatRange(min=0), default=0.0, help="Leave out smaller polygons, m2."),
        click.option("--simplify", type=click.FloatRange(min=0, min_open=True), help="Tolerance in ground metres."),
        click.option("--exact", is_flag=True, help="Keep every pixel corner (the default)."),
        click.option("--quiet", is_flag=True, help="Print errors only."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command(epilog=SEGMENT_EXAMPLES)
@click.argument("image")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help=".gpkg .geojson .fgb .parquet")
@click.option("--model", help="Name of a shipped model, or a package's directory.")
@click.option("--classes-raster", type=click.Path(path_type=Path), help="Also write class ids as a GeoTIFF.")
@click.option("--confidence-raster", type=click.Path(path_type=Path), help="Also write confidence as a GeoTIFF.")
@click.option("--aoi", help="W,S,E,N in degrees, or a vector file of polygons.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@run_options
def segment(image: str, quiet: bool, **options: Any) -> None:
    """Turn IMAGE into a layer of building, road and vegetation polygons."""
    from geoseg.run.segment import segment as run

    with open_progress(quiet) as progress:
        result = run(image, progress=progress, **_run_arguments(options))
    _echo_result(result, quiet)


@cli.command(epilog=POLYGONIZE_EXAMPLES)
@click.argument("classes")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help=".gpkg .geojson .fgb .parquet")
@click.option("--connectivity", type=click.Choice(["4"]), default="4", show_default=True)
@run_options
def polygonize(classes: str, connectivity: str, quiet: bool, **options: Any) -> None:
    """Turn the class raster CLASSES into a layer of polygons: every class leaves some, also a background class."""
    from geoseg.run.polygonize import polygonize as run

    with open_progress(quiet) as progress:
        result = run(classes, connectivity=int(connectivity), progress=progress, **_run_arguments(options))
    _echo_result(result, quiet)


@cli.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory of the run; default: beside the job.")
@click.option("--root", type=click.Path(path_type=Path), help="Where the job's files lie; default: the job's own root.")
def train(job: Path, output: Path | None, root: Path | None) -> None:
    """Train the network that the TOML file JOB describes."""
    from geoseg.training.fit import train as run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    result = run(job, output or job.with_suffix(""), root=root)
    click.echo(result.format())


@cli.command()
@click.argument("predicted", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
def evaluate(predicted: Path, truth: Path) -> None:
    """Compare PREDICTED with TRUTH, each a class raster or a layer."""
    from geoseg.evaluation.pixels import evaluate as run

    click.echo(run(predicted, truth).format())


@cli.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the shipped models, or show one."""
    if context.invoked_subcommand is None:
        from geoseg.models.package import list_packages, load_package

        for name in list_packages():
            package = load_package(name)
            classes = ", ".join(c.name for c in package.legend.classes if c.kind != "background")
            click.echo(f"{name}  {package.version}  {package.ground_resolution_m:g} m  {classes}")


@models.command("show")
@click.argument("name")
def show_model(name: str) -> None:
    """Print what the package NAME says of itself."""
    from geoseg.models.manifest import format_manifest
    from geoseg.models.package import load_package

    click.echo(format_manifest(load_package(name)))


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path), default=Path("geoseg-demo"))
@click.option("--size-px", type=click.IntRange(min=256), default=2048, show_default=True, help="Side of the scene.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def demo(directory: Path, size_px: int, quiet: bool) -> None:
    """Make a scene with known truth in DIRECTORY, segment it, and compare."""
    from geoseg.run.demo import run_demo

    with open_progress(quiet) as progress:
        result = run_demo(directory, size_px=size_px, progress=progress)
    _echo_result(result.segmented, quiet)
    click.echo(result.evaluation.format())
    click.echo(f"picture: {result.picture}")


@cli.command()
@click.argument("image")
def info(image: str) -> None:
    """Say what IMAGE is and how geoseg would read it."""
    from geoseg.raster.describe import describe_raster

    click.echo(describe_raster(image).format())


def _run_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """What the command line says, in the words of the Python API; options left out keep the API's defaults."""
    if options.pop("exact") and options["simplify"] is not None:
        raise OptionError("--exact and --simplify", expected="one of them")
    names = {"min_area": "min_area_m2", "simplify": "simplify_m"}
    return {names.get(name, name): value for name, value in options.items() if value is not None}


def _echo_result(result: SegmentResult, quiet: bool) -> None:
    if not quiet:
        echo_summary(result)


def main() -> None:
    """Run the command line; exits with 0 done, 1 a failure of the program, 2 a wrong input or call, 130 interrupted."""
    try:
        cli.main(standalone_mode=False)
        code = DONE
    except click.exceptions.Abort:
        code = INTERRUPTED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = WRONG
    except GeosegError as error:
        click.echo(f"geoseg: {error}", err=True)
        code = WRONG
    except MemoryError:
        click.echo("geoseg: out of memory\n  remedy: fewer --workers, a smaller --tile-px", err=True)
        code = WRONG
    except Exception:
        click.echo(f"geoseg {__version__} failed; please report this:\n{traceback.format_exc()}", err=True)
        code = FAILED
    if code == INTERRUPTED:
        resumes = {"segment", "polygonize"} & set(sys.argv[1:2])
        click.echo("interrupted" + "; without --fresh the same command goes on from here" * bool(resumes), err=True)
    sys.exit(code)
