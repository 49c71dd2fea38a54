"""Imagery to classes, for what is made of many rasters together."""

from __future__ import annotations

from pathlib import Path

from geoseg.models.package import load_package
from geoseg.progress import Progress, Silence
from geoseg.run.execute import SegmentResult, execute
from geoseg.run.job import Outputs
from geoseg.run.memory import check_budget, parse_bytes
from geoseg.run.outputs import Execution, check_outputs
from geoseg.run.segment import DEFAULT_MODEL, TILE_PX, plan_job


def predict_classes(
    image: str | Path,
    classes_raster: str | Path,
    confidence_raster: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
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
    progress: Progress | None = None,
) -> SegmentResult:
    """Predict a raster of any size and write its classes and their confidence, as they are: nothing is merged.

    Args:
        image: georeferenced raster: a file, VRT or URL that GDAL opens.
        classes_raster: GeoTIFF of class ids.
        confidence_raster: GeoTIFF of confidence (255 = 1.0).
        model: name of a shipped model, or the directory of a model package.
        aoi: "W,S,E,N" in degrees or a vector file of polygons; nothing outside is predicted or written.
        refine: whether the model's refiner is used, where it has one.
        device: "auto", "cpu" or "cuda"; of a dask scheduler's workers "auto" takes the processors.
        scheduler: "threads", "local" (processes), the tcp:// address of a dask scheduler, or its scheduler file.
        workers: threads or processes; default: one a processor.
        memory: budget in bytes or as "4GiB"; a run that the formula says needs more is refused.
        tile_px: wanted tile side in source pixels; the nearest multiple of the patch core is taken.
        patch_px: side of the patches in model pixels; default: what predicts the fewest pixels for this raster.
        work_dir: where finished tiles are kept; default: beside the class raster, emptied at the end.
        fresh: do again what an earlier run finished.
        overwrite: outputs that exist may be replaced.
        progress: told of stages and steps.

    Raises:
        GeosegError: an input, an option or an output cannot work; nothing half-written is left.
    """
    outputs = Outputs(None, Path(classes_raster), Path(confidence_raster))
    execution = Execution(scheduler, workers, None if work_dir is None else Path(work_dir), fresh, overwrite)
    check_outputs(outputs, execution, inputs=[image] if aoi is None else [image, aoi])
    package = load_package(model, refine=refine)
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
        finish=None,
    )
    execution = check_budget(job, package.workspace_bytes_per_px, execution, parse_bytes(memory))
    return execute(job, outputs, execution=execution, progress=progress or Silence())
