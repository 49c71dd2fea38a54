"""Imagery to polygons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from geoseg.errors import OptionError
from geoseg.grid import GeoGrid
from geoseg.layers.write import holds_many, place_layers
from geoseg.models.engine import has_cuda, takes_any_size
from geoseg.models.package import ModelPackage, load_package
from geoseg.progress import Progress, Silence
from geoseg.raster.aoi import parse_aoi
from geoseg.raster.classes import refuse_classes
from geoseg.raster.scene import describe_source
from geoseg.raster.source import open_raster
from geoseg.run.database import accept_database
from geoseg.run.execute import SegmentResult, execute
from geoseg.run.finish import Finish, MinUnit, Simplification, check_steps
from geoseg.run.job import Job, LayerOptions, Outputs, Prediction
from geoseg.run.memory import check_budget, parse_bytes
from geoseg.run.outputs import Execution, check_outputs
from geoseg.run.scheduler import ON_THIS_MACHINE
from geoseg.tiles.patches import LATTICE_PX, PatchLattice, fit_patches
from geoseg.tiles.plan import TilePlan
from geoseg.tiles.store import TileStore

DEFAULT_MODEL = "landcover-rgb"

TILE_PX = 1024
"""Wanted tile side: small, so that small scenes keep all processors busy."""


@accept_database
def segment(
    image: str | Path,
    output: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    classes_raster: str | Path | None = None,
    confidence_raster: str | Path | None = None,
    aoi: str | Path | None = None,
    refine: bool = True,
    device: str = "auto",
    scheduler: str = "threads",
    workers: int | None = None,
    memory: str | int | None = None,
    tile_px: int = TILE_PX,
    patch_px: int | None = None,
    work_dir: str | Path | None = None,
    fresh: bool = False,
    overwrite: bool = False,
    exact: bool = False,
    min_unit_m2: MinUnit = "auto",
    simplify_m: Simplification = "auto",
    regularize: bool = True,
    smooth: bool = True,
    roads: bool | None = None,
    separate: bool | None = None,
    min_area_m2: float = 0.0,
    progress: Progress | None = None,
) -> SegmentResult:
    """Segment a raster of any size and write its polygons as a map layer.

    Args:
        image: georeferenced raster: a file, VRT or URL that GDAL opens.
        output: the layer; .gpkg, .geojson, .geojson.gz, .geojsonl, .geojsonseq, .fgb, .parquet or .pmtiles; or
            postgresql://user@host/name with `?schema=`, `prefix=`, `replace=` as of `load_layer`: what a GeoPackage
            would hold goes to tables, in one transaction.
        model: name of a shipped model, or the directory of a model package.
        classes_raster: GeoTIFF of class ids to write as well.
        confidence_raster: GeoTIFF of confidence (255 = 1.0) to write as well.
        aoi: "W,S,E,N" in degrees or a vector file of polygons; nothing outside is predicted or written.
        refine: whether the model's refiner is used, where it has one.
        device: "auto", "cpu" or "cuda"; of a dask scheduler's workers "auto" takes the processors.
        scheduler: "threads", "local" (processes), the tcp:// address of a dask scheduler, or its scheduler file.
        workers: threads or processes; default: one a processor.
        memory: budget in bytes or as "4GiB"; a run that the formula says needs more is refused.
        tile_px: wanted tile side in source pixels; the nearest multiple of the patch core is taken.
        patch_px: side of the patches in model pixels; default: what predicts the fewest pixels for a raster of this
            size. Classes depend on it, by no more than the model's seam error.
        work_dir: where finished tiles are kept; default: beside the output, emptied at the end.
        fresh: do again what an earlier run finished.
        overwrite: outputs that exist may be replaced.
        exact: polygons follow the pixels, every one of them: none of the next four steps.
        min_unit_m2: components below this area join a neighbour: one for all classes, or by name; "auto": by kind; 0:
            none does.
        simplify_m: tolerance of the outlines in ground metres; "auto": about a pixel; 0 or None: every pixel corner.
        regularize: whether buildings get straight walls and right angles.
        smooth: whether vegetation gets smooth outlines.
        roads: whether the layer `roads` of centrelines is written as well; None: into a GeoPackage only.
        separate: whether buildings that touch are told apart, where the model was less sure between them; None: unless
            `exact`.
        min_area_m2: leave out polygons below this geodesic area at the very end.
        progress: told of stages and steps.

    Raises:
        GeosegError: an input, an option or an output cannot work; nothing half-written is left.
    """
    finish = Finish(min_unit_m2, simplify_m, regularize, smooth, holds_many(output) if roads is None else roads)
    finish = finish.exact() if exact else finish
    finish = replace(finish, min_area_m2=min_area_m2, separate=not exact if separate is None else separate)
    outputs = make_outputs(output, classes_raster, confidence_raster, roads=finish.roads)
    execution = Execution(scheduler, workers, None if work_dir is None else Path(work_dir), fresh, overwrite)
    check_outputs(outputs, execution, inputs=[image] if aoi is None else [image, aoi])
    package = load_package(model, refine=refine)
    check_steps(package.legend, [step for step, asked in (("roads", roads), ("separate", separate)) if asked])
    job = plan_job(
        image,
        outputs,
        execution,
        package,
        aoi=aoi,
        refine=refine,
        device=device,
        tile_px=tile_px,
        patch_px=patch_px,
        finish=finish,
    )
    refuse_classes(image)
    execution = check_budget(job, package.workspace_bytes_per_px, execution, parse_bytes(memory))
    return execute(job, outputs, execution=execution, progress=progress or Silence())


def plan_job(
    image: str | Path,
    outputs: Outputs,
    execution: Execution,
    package: ModelPackage,
    *,
    aoi: str | Path | None,
    refine: bool,
    device: str,
    tile_px: int,
    patch_px: int | None,
    finish: Finish | None,
) -> Job:
    """The prediction of a raster as plain data; without a finish there is no layer to make of it.

    Raises:
        GeosegError: an input or an option cannot work.
    """
    source = open_raster(image, bands=len(package.bands))
    lattice = lay_patches(source.grid, package, patch_px)
    plan = TilePlan(source.grid, lattice.tile_px(check_tile_px(tile_px)), lattice.halo_source_px)
    prediction = Prediction(
        source=source,
        model=str(package.path.absolute()),
        model_fingerprint=package.fingerprint,
        refine=refine,
        device=choose_device(device, here=execution.scheduler in ON_THIS_MACHINE),
        lattice=lattice,
        aoi=None if aoi is None else parse_aoi(aoi, source.grid),
    )
    options = LayerOptions()
    if finish is not None:
        pixel_m = max(source.grid.ground_resolution_m())
        options = finish.options(package.legend, pixel_m=pixel_m, model_pixel_m=package.ground_resolution_m)
    return Job(
        plan=plan,
        classes=prediction,
        legend=package.legend,
        skip=(*sorted(package.legend.background_ids), package.legend.nodata),
        store=TileStore(execution.directory(outputs)),
        options=options,
        scene=describe_source(source.path),
        made_by={"model": package.name, "model_checksum": package.fingerprint},
    )


def make_outputs(
    layer: str | Path,
    classes_raster: str | Path | None = None,
    confidence_raster: str | Path | None = None,
    *,
    roads: bool = False,
) -> Outputs:
    """The files of a run from what a user named.

    Raises:
        OptionError: the layer's suffix names no format.
    """
    rasters = [None if p is None else Path(p) for p in (classes_raster, confidence_raster)]
    places = place_layers(Path(layer), ["polygons", "roads"] if roads else ["polygons"])
    apart = places[-1] if places[-1] != places[0] else None
    return Outputs(places[0], rasters[0], rasters[1], apart)


def lay_patches(grid: GeoGrid, package: ModelPackage, patch_px: int | None = None) -> PatchLattice:
    """How a model's patches lie on a raster: of the side asked for, or of the one that suits the raster's size.

    Raises:
        InputError: the raster's ground resolution is out of the model's reach.
        OptionError: the model has no such patches.
    """
    own = fit_patches(grid, package.ground_resolution_m, patch_px=package.patch_px, halo_px=package.halo_px)
    if patch_px is None:
        return own.fit(grid) if takes_any_size(package) else own
    least = 2 * own.halo_px + LATTICE_PX
    if patch_px != own.patch_px and not takes_any_size(package):
        raise OptionError(f"--patch-px {patch_px}", expected=f"{own.patch_px}, the only size that {package.name} takes")
    if patch_px % LATTICE_PX or patch_px < least:
        raise OptionError(f"--patch-px {patch_px}", expected=f"a multiple of {LATTICE_PX}, at least {least}")
    return replace(own, patch_px=patch_px)


def choose_device(device: str, *, here: bool = True) -> Literal["cpu", "cuda"]:
    """Settle "auto" once, so that every worker computes alike; what others compute on is not looked for here.

    Raises:
        OptionError: the device is unknown, or CUDA is not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise OptionError(f"--device {device}", expected="auto, cpu or cuda")
    if device == "cpu" or not here:
        return "cuda" if device == "cuda" else "cpu"
    found = has_cuda()
    if device == "cuda" and not found:
        raise OptionError(
            "--device cuda, and there is no CUDA device",
            expected="an NVIDIA GPU with its driver, and a torch built for CUDA",
            remedy="use --device cpu",
        )
    return "cuda" if found else "cpu"


def check_tile_px(tile_px: int) -> int:
    """Refuse tile sizes below one pixel.

    Raises:
        OptionError: it is.
    """
    if tile_px < 1:
        raise OptionError(f"--tile-px {tile_px}", expected="at least 1")
    return tile_px
