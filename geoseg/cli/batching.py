"""The command that turns many scenes into one map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from geoseg.cli.completing import complete_files, complete_models
from geoseg.cli.mapping import finish_options, predict_options, run_arguments, shape_options, work_options
from geoseg.console import open_progress
from geoseg.errors import OptionError

if TYPE_CHECKING:
    from geoseg.region.settings import BatchJob

PARTLY = 3
"""The exit code where some scenes are done and some failed."""

FORMATS = ".gpkg .geojson .geojson.gz .geojsonl .geojsonseq .fgb .parquet .pmtiles"

BATCH_EXAMPLES = """\b
Examples:
  geoseg batch scenes/ -o region
  geoseg batch 'scenes/*.tif' https://example.org/scene.tif list.txt -o region --aoi district.gpkg
  geoseg batch --stac https://example.org/stac -o region --collection c --bbox 39.1,-6.3,39.4,-6.0 --asset visual
  geoseg batch scenes/ -o region --crs EPSG:32737 --precedence confidence --split sheet:5000 --format .parquet
  geoseg batch job.toml
  geoseg batch --status region

\b
The same command again does what is missing: new, changed and failed scenes.
Exit codes: 0 all done; 3 some scenes failed, the map is made of the others; 2 nothing could be done.
"""


class Box(click.ParamType[tuple[float, float, float, float]]):
    """West, south, east, north in degrees."""

    name = "W,S,E,N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float, float]:
        """Read what the user wrote."""
        try:
            west, south, east, north = map(float, value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not W,S,E,N in degrees", param, ctx)
        return west, south, east, north


@click.command(epilog=BATCH_EXAMPLES)
@click.argument("sources", nargs=-1, shell_complete=complete_files)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory of the region; a job may name it.")
@click.option("--status", type=click.Path(path_type=Path), help="Say where the run in this directory is, and end.")
@click.option("--stac", metavar="URL", help="Search this STAC API for scenes.")
@click.option("--collection", "collections", multiple=True, help="Collection to search; may be given more than once.")
@click.option("--bbox", type=Box(), help="Search here; default: the area of --aoi.")
@click.option("--datetime", help="Search then: a time, or a range such as 2024-05-01/2024-06-30.")
@click.option("--asset", help="Key of the image in STAC items; default: visual, or the only image.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many scenes of the search.")
@click.option(
    "--model", shell_complete=complete_models, help="Name of a shipped model, or a package's directory or zip."
)
@click.option("--aoi", shell_complete=complete_files, help="W,S,E,N in degrees, or a vector file of polygons.")
@click.option("--crs", help="CRS of the map, as EPSG:32737; default: that of the scenes, or their UTM zone.")
@click.option(
    "--resolution",
    "resolution_m",
    type=click.FloatRange(min=0, min_open=True),
    help="Pixel in metres; default: that of the finest scene.",
)
@click.option(
    "--precedence",
    type=click.Choice(["newest", "first", "confidence"]),
    default="newest",
    show_default=True,
    help="Whose class a pixel has where scenes overlap.",
)
@click.option("--split", default="none", show_default=True, help="Parts of the map: none, scene, utm or sheet:SIZE_M.")
@click.option("--format", default=".gpkg", show_default=True, help=FORMATS)
@click.option("--classes-raster", is_flag=True, help="Also write class ids of the region as a GeoTIFF.")
@click.option("--confidence-raster", is_flag=True, help="Also write confidence of the region as a GeoTIFF.")
@click.option(
    "--postgis",
    metavar="URL",
    help="Also load the layers into this PostGIS database; ?replace=source: not beside what earlier runs drew.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Try a scene so often again where a file or a server failed.",
)
@shape_options
@predict_options
@work_options
@finish_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def batch(
    context: click.Context, /, sources: tuple[str, ...], status: Path | None, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Turn many scenes into one map of a region.

    SOURCES are files, patterns, folders, lists (.txt), VRTs, URLs (http, https, s3), STAC items or collections; or a
    job file JOB.toml, which names scenes and options.
    """
    if status is not None:
        if sources:
            raise OptionError("--status and sources", expected="one of them")
        from geoseg.region.status import read_status

        found = read_status(status)
        click.echo(json.dumps(found.to_dict(), indent=2) if as_json else found.format())
        return
    fresh = options.pop("fresh")
    said = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    job = _make_job(sources, said)
    if job.output is None:
        raise OptionError("no directory for the region", expected="-o DIR, or the key output in the job")
    from geoseg.region.batch import run_batch

    with open_progress(quiet) as progress:
        result = run_batch(job, Path(job.output), fresh=fresh, progress=progress)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    elif not quiet:
        click.echo(result.format())
    if result.failed:
        context.exit(PARTLY)


def _make_job(sources: tuple[str, ...], said: dict[str, Any]) -> BatchJob:
    """The job of a file, in which what was said on the command line takes the place of what it says; or one of that."""
    import dataclasses

    from geoseg.catalog.search import StacSearch
    from geoseg.region.settings import BatchJob, read_batch_job

    if "output" in said:
        said["output"] = str(said["output"])
    jobs = [source for source in sources if source.lower().endswith(".toml")]
    if jobs and len(sources) > 1:
        raise OptionError(f"{jobs[0]} and other sources", expected="one job, or sources")
    base = read_batch_job(Path(jobs[0])) if jobs else None
    given = run_arguments({"simplify": None, "min_unit": None, **said})
    search = {name: given.pop(name) for name in ("collections", "bbox", "datetime", "limit") if name in given}
    url = given.pop("stac", base.stac.url if base and base.stac else None)
    if search and url is None:
        raise OptionError(f"--{next(iter(search)).removesuffix('s')} without --stac", expected="the URL of a STAC API")
    if url is not None:
        stac = base.stac if base and base.stac else StacSearch(url)
        given["stac"] = dataclasses.replace(stac, url=url, **search)
    if base is not None:
        return dataclasses.replace(base, **given)
    return BatchJob(sources=sources, **given)
