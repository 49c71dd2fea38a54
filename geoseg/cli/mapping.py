"""The commands that turn rasters into layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geoseg.cli.completing import complete_files, complete_models
from geoseg.console import echo_summary, open_progress
from geoseg.errors import OptionError

if TYPE_CHECKING:
    from geoseg.run.execute import SegmentResult

OUTPUTS = ".gpkg .geojson .geojson.gz .geojsonl .geojsonseq .fgb .parquet .pmtiles, or postgresql://USER@HOST/DB"

Command = TypeVar("Command", bound=Callable[..., Any])

SEGMENT_EXAMPLES = """\b
Examples:
  geoseg segment scene.tif -o map.geojson
  geoseg segment scene.tif -o map.gpkg --classes-raster classes.tif --min-area 5
  geoseg segment scene.vrt -o map.fgb --aoi 39.19,-6.17,39.21,-6.15 --workers 8
  geoseg segment scene.tif -o pixels.gpkg --exact --no-roads
  geoseg segment scene.tif -o "postgresql://me@db.example.org/gis?schema=city&replace=source"
  geoseg segment scene.tif -o map.parquet --min-unit building=8,vegetation=50 --simplify 0.8
"""
POLYGONIZE_EXAMPLES = """\b
Examples:
  geoseg polygonize classes.tif -o map.gpkg
  geoseg polygonize classes.tif -o map.parquet --min-unit 4
  geoseg polygonize classes.tif -o map.gpkg --simplify auto --regularize --smooth --roads
"""
DEMO_EXAMPLES = """\b
Examples:
  geoseg demo
  geoseg demo try --size-px 512
"""
INFO_EXAMPLES = """\b
Examples:
  geoseg info scene.tif
  geoseg info https://example.org/scene.tif
"""


class Tolerance(click.ParamType[float | str]):
    """Ground metres from 0 upward, or the word auto."""

    name = "M|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Read what the user wrote."""
        return value if value == "auto" else read_measure(value, "ground metres", param, ctx)


class MinUnits(click.ParamType[float | str | dict[str, float]]):
    """Square metres for all classes, by class, or the word auto."""

    name = "M2|NAME=M2,...|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str | dict[str, float]:
        """Read what the user wrote."""
        unit = "square metres, NAME=M2,..."
        if "=" not in value:
            return value if value == "auto" else read_measure(value, unit, param, ctx)
        pairs = (part.partition("=") for part in value.split(","))
        return {name.strip(): read_measure(number, unit, param, ctx) for name, _, number in pairs}


def read_measure(value: str, unit: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
    """A number from 0 upward, where the word auto could stand too."""
    try:
        number = float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no number of {unit} or auto", ctx, param) from None
    return float(click.FloatRange(min=0).convert(number, param, ctx))


class LayerOutput(click.Path):
    """A file, or the URL of a database, which as a path would lose a slash."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "FILE|URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Tell which of them it is."""
        from geoseg.layers.database import is_database

        return value if is_database(value) else Path(value)


class OneRaster(click.Command):
    """A command for one raster, which says what there is for several."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what the user wrote."""
        more = super().parse_args(ctx, args)
        if more and not ctx.resilient_parsing:
            words = " ".join([ctx.params["image"], *more])
            raise OptionError(
                f"more than one raster: {words}",
                expected="one",
                remedy=f"one map of all of them: geoseg batch {words} -o DIR",
            )
        return more


def run_options(command: Command) -> Command:
    """The options that `segment` and `polygonize` share."""
    places = [
        click.option("--work-dir", type=click.Path(path_type=Path), help="Keep finished tiles here."),
        click.option("--overwrite", is_flag=True, help="Replace outputs that exist."),
    ]
    return work_options(_add_options(finish_options(command), places))


def work_options(command: Command) -> Command:
    """How the work is done."""
    options = [
        click.option(
            "--scheduler",
            default="threads",
            show_default=True,
            help="threads, local, tcp://HOST:PORT or a scheduler file.",
        ),
        click.option("--workers", type=click.IntRange(min=1), help="Threads or processes; default: one a processor."),
        click.option("--memory", help="Memory budget such as 4GiB; a run that needs more is refused."),
        click.option("--tile-px", type=click.IntRange(min=1), help="Wanted tile side in source pixels."),
        click.option("--fresh", is_flag=True, help="Do again what an earlier run finished."),
    ]
    return _add_options(command, options)


def finish_options(command: Command) -> Command:
    """What becomes of the classes' outlines, and --quiet."""
    options = [
        click.option(
            "--min-unit",
            type=MinUnits(),
            help="What is smaller joins a neighbour, m2; 0: nothing.",
        ),
        click.option("--simplify", type=Tolerance(), help="Tolerance of outlines in ground metres; 0: pixel corners."),
        click.option("--min-area", type=click.FloatRange(min=0), help="Leave out smaller polygons at the end, m2."),
        click.option("--quiet", is_flag=True, help="Print errors only."),
    ]
    return _add_options(command, options)


def shape_options(command: Command) -> Command:
    """What is done to the outlines of each kind of class, where classes are predicted."""
    options = [
        click.option("--exact", is_flag=True, help="Follow the pixels: no minimum unit, no finish of outlines."),
        click.option(
            "--separate/--no-separate", default=None, help="Buildings that touch are told apart; default: yes."
        ),
        click.option(
            "--regularize/--no-regularize", default=True, help="Straight walls and right angles; default: yes."
        ),
        click.option("--smooth/--no-smooth", default=True, help="Smooth outlines of vegetation; default: yes."),
        click.option("--roads/--no-roads", default=None, help="Also a layer of centrelines; default: in a GeoPackage."),
    ]
    return _add_options(command, options)


def predict_options(command: Command) -> Command:
    """How a model predicts."""
    options = [
        click.option("--no-refine", is_flag=True, help="Leave out the model's refiner, where it has one."),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
        click.option(
            "--patch-px", type=click.IntRange(min=1), help="Patch side in model pixels; default: by raster size."
        ),
    ]
    return _add_options(command, options)


def _add_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


@click.command(cls=OneRaster, epilog=SEGMENT_EXAMPLES)
@click.argument("image", shell_complete=complete_files)
@click.option("-o", "--output", required=True, type=LayerOutput(), help=OUTPUTS)
@click.option(
    "--model", shell_complete=complete_models, help="Name of a shipped model, or a package's directory or zip."
)
@click.option("--classes-raster", type=click.Path(path_type=Path), help="Also write class ids as a GeoTIFF.")
@click.option("--confidence-raster", type=click.Path(path_type=Path), help="Also write confidence as a GeoTIFF.")
@click.option("--aoi", shell_complete=complete_files, help="W,S,E,N in degrees, or a vector file of polygons.")
@shape_options
@predict_options
@run_options
def segment(image: str, quiet: bool, **options: Any) -> None:
    """Turn the raster IMAGE into a layer of polygons.

    The shipped models find buildings, roads and vegetation.
    """
    from geoseg.run.segment import segment as run

    with open_progress(quiet) as progress:
        result = run(image, progress=progress, **run_arguments(options))
    _echo_result(result, quiet)


@click.command(epilog=POLYGONIZE_EXAMPLES)
@click.argument("classes", shell_complete=complete_files)
@click.option("-o", "--output", required=True, type=LayerOutput(), help=OUTPUTS)
@click.option("--regularize", is_flag=True, help="Straight walls and right angles; needs --simplify.")
@click.option("--smooth", is_flag=True, help="Smooth outlines of areas; needs --simplify.")
@click.option("--roads", is_flag=True, help="Also a layer of centrelines.")
@click.option("--connectivity", type=click.Choice(["4"]), default="4", show_default=True)
@run_options
def polygonize(classes: str, connectivity: str, quiet: bool, **options: Any) -> None:
    """Turn the class raster CLASSES into a layer of polygons.

    Every class leaves some, also a background class.
    """
    from geoseg.run.polygonize import polygonize as run

    with open_progress(quiet) as progress:
        result = run(classes, connectivity=int(connectivity), progress=progress, **run_arguments(options))
    _echo_result(result, quiet)


@click.command(epilog=DEMO_EXAMPLES)
@click.argument("directory", type=click.Path(path_type=Path), default=Path("geoseg-demo"))
@click.option("--size-px", type=click.IntRange(min=256), default=2048, show_default=True, help="Side of the scene.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def demo(directory: Path, size_px: int, quiet: bool) -> None:
    """Make a scene, segment it, and compare with its truth.

    The files go into DIRECTORY; those of an earlier demo are replaced.
    """
    from geoseg.run.demo import run_demo

    with open_progress(quiet) as progress:
        result = run_demo(directory, size_px=size_px, progress=progress)
    _echo_result(result.segmented, quiet)
    click.echo(result.evaluation.format())
    click.echo(f"picture: {result.picture}")


@click.command(epilog=INFO_EXAMPLES)
@click.argument("image", shell_complete=complete_files)
def info(image: str) -> None:
    """Say what IMAGE is and how geoseg would read it."""
    from geoseg.raster.describe import describe_raster

    click.echo(describe_raster(image).format())


def run_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """What the command line says, in the words of the Python API; options left out keep the API's defaults."""
    given = [f"--{name.replace('_', '-')}" for name in ("simplify", "min_unit") if options[name] is not None]
    if options.get("exact") and given:
        raise OptionError(f"--exact and {given[0]}", expected="one of them")
    if "no_refine" in options:
        options["refine"] = not options.pop("no_refine")
    names = {"min_area": "min_area_m2", "simplify": "simplify_m", "min_unit": "min_unit_m2"}
    return {names.get(name, name): value for name, value in options.items() if value is not None}


def _echo_result(result: SegmentResult, quiet: bool) -> None:
    if not quiet:
        echo_summary(result)
