"""A region run: find the scenes, predict those that are missing, make one map of all."""

from __future__ import annotations

import datetime
import textwrap
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geoseg.catalog.find import find_scenes
from geoseg.catalog.search import StacSearch
from geoseg.errors import InputError, OutputError
from geoseg.models.package import load_package
from geoseg.progress import Progress, Silence
from geoseg.raster.aoi import read_area
from geoseg.raster.mosaic import Precedence
from geoseg.region.layers import check_layout
from geoseg.region.making import MadeScene, make_scene
from geoseg.region.outputs import RegionOutputs, check_database_url, check_region, make_outputs
from geoseg.region.progress import RegionProgress
from geoseg.region.report import write_reports
from geoseg.region.result import BatchResult
from geoseg.region.scenes import SceneSetting, find_done, look_at_scenes
from geoseg.region.settings import BatchJob
from geoseg.region.state import BATCH_FILE, RegionFolder, hold_region, write_json
from geoseg.run.finish import MinUnit, Simplification, check_steps
from geoseg.run.memory import parse_bytes
from geoseg.run.scheduler import ON_THIS_MACHINE, keep_processes, open_scheduler
from geoseg.run.segment import DEFAULT_MODEL, TILE_PX, check_tile_px, choose_device

GONE = "it is no longer among the sources"


def batch(
    sources: Sequence[str | Path],
    directory: str | Path,
    *,
    stac: StacSearch | None = None,
    asset: str | None = None,
    model: str | Path = DEFAULT_MODEL,
    aoi: str | Path | None = None,
    crs: str | None = None,
    resolution_m: float | None = None,
    precedence: Precedence = "newest",
    split: str = "none",
    format: str = ".gpkg",
    classes_raster: bool = False,
    confidence_raster: bool = False,
    postgis: str | None = None,
    retries: int = 1,
    refine: bool = True,
    device: str = "auto",
    scheduler: str = "threads",
    workers: int | None = None,
    memory: str | int | None = None,
    tile_px: int = TILE_PX,
    patch_px: int | None = None,
    exact: bool = False,
    min_unit_m2: MinUnit = "auto",
    simplify_m: Simplification = "auto",
    regularize: bool = True,
    smooth: bool = True,
    roads: bool | None = None,
    separate: bool | None = None,
    min_area_m2: float = 0.0,
    fresh: bool = False,
    progress: Progress | None = None,
) -> BatchResult:
    """Segment many scenes into one map of a region; a second run does only what is missing or has changed.

    Scenes are predicted one after the other, each on its own grid. The map is drawn from a mosaic of their classes, so
    that no object ends at a scene's border or is there twice. A scene that fails is told in the result and stops none
    of the others.

    Args:
        sources: files, patterns, folders, lists (.txt), VRTs, GDAL dataset names, URLs, STAC items or collections.
        directory: of the region: new, empty or that of an earlier run.
        stac: search of a STAC API for more scenes.
        asset: key of the image in STAC items; default: "visual" or the only image with the role "data".
        model: name of a shipped model, or a package's directory or zip.
        aoi: "W,S,E,N" in degrees or a vector file of polygons; nothing outside is predicted or written.
        crs: of the map, such as "EPSG:32737"; default: the scenes' common one, else the UTM zone of their centre.
        resolution_m: pixel of the mosaic in metres; default: the finest scene's.
        precedence: whose class a pixel has where scenes overlap: of the "newest" scene, of the "first" in the order of
            the sources, or the one with the highest "confidence".
        split: into files: "none", "scene", "utm" (a zone each, which cuts what lies across) or "sheet:SIZE_M" (a map
            sheet each).
        format: of the layers; .gpkg, .geojson, .geojson.gz, .geojsonl, .geojsonseq, .fgb, .parquet or .pmtiles.
        classes_raster: whether the mosaic of classes is written as a GeoTIFF as well.
        confidence_raster: whether that of the confidence is.
        postgis: URL of a PostGIS database that gets the layers as tables as well; not those of zones, which have a CRS
            each. Drawings that an earlier run loaded stay there beside new ones unless `?replace=` says otherwise.
        retries: how often a scene is tried again where a file or server failed.
        refine: whether the model's refiner is used, where it has one.
        device: "auto", "cpu" or "cuda".
        scheduler: "threads", "local" (processes), the tcp:// address of a dask scheduler, or its scheduler file.
        workers: threads or processes; default: one a processor.
        memory: budget in bytes or as "4GiB"; a scene that the formula says needs more fails.
        tile_px: wanted tile side in source pixels.
        patch_px: side of the patches in model pixels.
        exact: polygons follow the pixels, every one of them: none of the next four steps.
        min_unit_m2: components below this area join a neighbour: one for all classes, or by name; "auto": by kind.
        simplify_m: tolerance of the outlines in ground metres; "auto": about a pixel; 0 or None: every pixel corner.
        regularize: whether buildings get straight walls and right angles.
        smooth: whether vegetation gets smooth outlines.
        roads: whether the layer `roads` of centrelines is written as well; None: into a GeoPackage only.
        separate: whether buildings that touch are told apart, where the model was less sure between them; None: unless
            `exact`.
        min_area_m2: leave out polygons below this geodesic area at the very end.
        fresh: do again what an earlier run finished.
        progress: told of stages and steps.

    Raises:
        InputError: there is no scene, or none of them could be done.
        OptionError: an option cannot work.
        OutputError: something cannot be written, or another run is at work in the directory.
    """
    given: dict[str, Any] = {
        key: value for key, value in locals().items() if key not in ("directory", "fresh", "progress")
    }
    named = {key: str(given[key]) for key in ("model", "aoi") if given[key] is not None}
    job = BatchJob(**{**given, **named, "sources": tuple(map(str, sources))})
    return run_batch(job, Path(directory), fresh=fresh, progress=progress)


def run_batch(job: BatchJob, directory: Path, *, fresh: bool = False, progress: Progress | None = None) -> BatchResult:
    """Do what a job says in a directory.

    Raises:
        GeosegError: as of `batch`.
    """
    start, progress = time.perf_counter(), progress or Silence()
    directory = directory.absolute()
    setting = _prepare(job, directory, fresh=fresh)
    with hold_region(directory) as folder, _promise(), keep_processes():
        progress.start("find scenes", None)
        refs = find_scenes(job.sources, stac=job.stac, aoi=job.aoi, asset=job.asset, skip=directory)
        looks = look_at_scenes(refs, setting, progress)
        check_region([look for look in looks if look and not look.outside], setting)
        known = [
            find_done(look, folder.read_state(look.ref.id), setting) if look and not look.outside else None
            for look in looks
        ]
        account = {"run": setting.run, "started": _now(), "stage": "scenes", "asked": job.describe()}
        account["scenes"] = {
            ref.id: {"pixels": look.pixels if look else 0, "kept": state is not None}
            for ref, look, state in zip(refs, looks, known, strict=True)
        }
        write_json(directory / BATCH_FILE, account)
        bar = RegionProgress(
            progress, sum(look.pixels for look, state in zip(looks, known, strict=True) if look and state is None)
        )
        scenes = [
            MadeScene(ref, look, state) if state else make_scene(ref, look, setting, bar)
            for ref, look, state in zip(refs, looks, known, strict=True)
        ]
        folder.forget_work({scene.ref.id for scene in scenes if scene.state.state == "failed"})
        write_json(directory / BATCH_FILE, account | {"stage": "layers"})
        done = [(scene.look, scene.state) for scene in scenes if scene.look and scene.state.state == "done"]
        outputs = make_outputs(done, setting, progress) if done else RegionOutputs.nothing(directory)
        result = _sum_up(scenes, outputs, folder, seconds=time.perf_counter() - start)
        progress.start("write reports", None)
        write_reports(result, scenes, setting, account | {"finished": _now()})
    if not done:
        raise _fail(result)
    return result


@contextmanager
def _promise() -> Iterator[None]:
    """A full disk ends a run; what is done stays."""
    try:
        yield
    except OutputError as error:
        remedy = "; ".join(filter(None, (error.remedy, "the same command goes on from here")))
        raise OutputError(error.found, expected=error.expected, remedy=remedy) from error.__cause__


def _prepare(job: BatchJob, directory: Path, *, fresh: bool) -> SceneSetting:
    """Everything that is wrong with the call is found before anything is written."""
    package = load_package(job.model, refine=job.refine)
    check_tile_px(job.tile_px)
    parse_bytes(job.memory)
    job.finish.options(package.legend, pixel_m=1.0)
    check_steps(package.legend, [step for step in ("roads", "separate") if getattr(job, step)])
    if job.aoi is not None:
        read_area(job.aoi)
    check_layout(job.split, job.crs)
    check_database_url(job)
    device = choose_device(job.device, here=job.scheduler in ON_THIS_MACHINE)
    if job.scheduler not in ON_THIS_MACHINE:
        with open_scheduler(job.scheduler):
            pass
    return SceneSetting(job, package, device, RegionFolder(directory), uuid.uuid4().hex, fresh)


def _sum_up(
    scenes: Sequence[MadeScene], outputs: RegionOutputs, folder: RegionFolder, *, seconds: float
) -> BatchResult:
    reasons: dict[str, dict[str, str]] = {"failed": {}, "outside": {}, "done": {}}
    for scene in scenes:
        reasons[scene.state.state][scene.ref.id] = scene.state.reason
    done = [scene for scene in scenes if scene.state.state == "done"]
    gone = sorted(set(folder.scene_ids()) - {scene.ref.id for scene in scenes})
    return BatchResult(
        directory=folder.directory,
        done=tuple(scene.ref.id for scene in done),
        computed=tuple(scene.ref.id for scene in done if scene.computed),
        failed=reasons["failed"],
        skipped=reasons["outside"] | dict.fromkeys(gone, GONE),
        layers=outputs.layers,
        tables=outputs.tables,
        report=folder.directory / "report.json",
        page=folder.directory / "report.html",
        catalog=outputs.catalog,
        polygons=outputs.polygons,
        area_m2=outputs.area_m2,
        road_segments=outputs.road_segments,
        road_length_m=outputs.road_length_m,
        pixels=sum(scene.state.pixels for scene in done),
        pixels_computed=sum(scene.state.pixels for scene in done if scene.computed),
        seconds=seconds,
        layers_made=outputs.made,
    )


def _fail(result: BatchResult) -> InputError:
    reasons = [f"{name}: {reason}" for name, reason in [*result.failed.items(), *result.skipped.items()]]
    more = [f"and {len(reasons) - 3} more"] if len(reasons) > 3 else []
    told = textwrap.indent("\n".join(reasons[:3] + more), "    ")
    return InputError(
        f"no scene could be done:\n{told}",
        expected="at least one scene that can be used",
        remedy=f"{result.page} tells about each",
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
