"""Imagery to polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from geoseg.errors import OptionError
from geoseg.models.engine import has_cuda
from geoseg.models.package import load_package
from geoseg.progress import Progress, Silence
from geoseg.raster.aoi import parse_aoi
from geoseg.raster.source import open_raster
from geoseg.run.execute import Execution, SegmentResult, check_outputs, execute
from geoseg.run.job import Job, LayerOptions, Outputs, Prediction
from geoseg.run.memory import check_budget, parse_bytes
from geoseg.tiles.patches import fit_patches
from geoseg.tiles.plan import TilePlan
from geoseg.tiles.store import TileStore

DEFAULT_MODEL = "landcover-rgb"

TILE_PX = 1024
"""Wanted tile side: small, so that small scenes keep all processors busy."""


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
    work_dir: str | Path | None = None,
    fresh: bool = False,
    overwrite: bool = False,
    min_area_m2: float = 0.0,
    simplify_m: float | None = None,
    progress: Progress | None = None,
) -> SegmentResult:
    """Segment a raster of any size and write its polygons as a map layer.

    Args:
        image: georeferenced raster: a file, VRT or URL that GDAL opens.
        output: the layer; .gpkg, .geojson, .fgb or .parquet.
        model: name of a shipped model, or the directory of a model package.
        classes_raster: GeoTIFF of class ids to write as well.
        confidence_raster: GeoTIFF of confidence (255 = 1.0) to write as well.
        aoi: "W,S,E,N" in degrees or a vector file of polygons; nothing outside is predicted or written.
        refine: whether the model's refiner is used, where it has one.
        device: "auto", "cpu" or "cuda".
        scheduler: "threads", "local" (processes) or the tcp:// address of a dask scheduler.
        workers: threads or processes; default: one a processor.
        memory: budget in bytes or as "4GiB"; a run that the formula says needs more is refused.
        tile_px: wanted tile side in source pixels; the nearest multiple of the patch core is taken.
        work_dir: where finished tiles are kept; default: beside the output, emptied at the end.
        fresh: do again what an earlier run finished.
        overwrite: outputs that exist may be replaced.
        min_area_m2: leave out polygons below this geodesic area.
        simplify_m: tolerance of the outlines in ground metres; None keeps every pixel corner.
        progress: told of stages and steps.

    Raises:
        GeosegError: an input, an option or an output cannot work; nothing half-written is left.
    """
    options = LayerOptions(min_area_m2, simplify_m)
    outputs = make_outputs(output, classes_raster, confidence_raster)
    execution = Execution(scheduler, workers, None if work_dir is None else Path(work_dir), fresh, overwrite)
    check_outputs(outputs, execution, inputs=[image] if aoi is None else [image, aoi])
    package = load_package(model, refine=refine)
    source = open_raster(image, bands=len(package.bands))
    lattice = fit_patches(source.grid, package.ground_resolution_m, patch_px=package.patch_px, halo_px=package.halo_px)
    plan = TilePlan(source.grid, lattice.tile_px(check_tile_px(tile_px)), lattice.halo_source_px)
    prediction = Prediction(
        source=source,
        model=str(package.path.absolute()),
        model_fingerprint=package.fingerprint,
        refine=refine,
        device=choose_device(device),
        lattice=lattice,
        aoi=None if aoi is None else parse_aoi(aoi, source.grid),
    )
    job = Job(
        plan=plan,
        classes=prediction,
        legend=package.legend,
        skip=(*sorted(package.legend.background_ids), package.legend.nodata),
        store=TileStore(execution.directory(outputs)),
    )
    check_budget(job, package.workspace_bytes_per_px, execution, parse_bytes(memory))
    return execute(job, outputs, options, execution=execution, progress=progress or Silence())


def make_outputs(
    layer: str | Path, classes_raster: str | Path | None = None, confidence_raster: str | Path | None = None
) -> Outputs:
    """The files of a run from what a user named."""
    return Outputs(Path(layer), *(None if p is None else Path(p) for p in (classes_raster, confidence_raster)))


def choose_device(device: str) -> Literal["cpu", "cuda"]:
    """Settle "auto" once, so that every worker computes alike.

    Raises:
        OptionError: the device is unknown, or CUDA is not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise OptionError(f"--device {device}", expected="auto, cpu or cuda")
    if device == "cpu":
        return "cpu"
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
