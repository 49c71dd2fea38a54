"""A class raster to polygons."""

from __future__ import annotations

from pathlib import Path

from geoseg.errors import OptionError
from geoseg.legend import ClassLegend
from geoseg.progress import Progress, Silence
from geoseg.raster.classes import open_class_raster
from geoseg.raster.scene import describe_source
from geoseg.run.database import accept_database
from geoseg.run.execute import SegmentResult, execute
from geoseg.run.finish import Finish, MinUnit, Simplification, check_steps
from geoseg.run.job import Job
from geoseg.run.memory import check_budget, parse_bytes
from geoseg.run.outputs import Execution, check_outputs
from geoseg.run.segment import check_tile_px, make_outputs
from geoseg.tiles.plan import TilePlan
from geoseg.tiles.store import TileStore

TILE_PX = 2048


@accept_database
def polygonize(
    classes: str | Path,
    output: str | Path,
    *,
    connectivity: int = 4,
    scheduler: str = "threads",
    workers: int | None = None,
    memory: str | int | None = None,
    tile_px: int = TILE_PX,
    work_dir: str | Path | None = None,
    fresh: bool = False,
    overwrite: bool = False,
    min_unit_m2: MinUnit = 0.0,
    simplify_m: Simplification = None,
    regularize: bool = False,
    smooth: bool = False,
    roads: bool = False,
    min_area_m2: float = 0.0,
    progress: Progress | None = None,
) -> SegmentResult:
    """Turn a class raster of any size into polygons: those of `rasterio.features.shapes`, whatever the tiles.

    Every class leaves polygons, also class 0; nodata and masked pixels leave none. `confidence` is null.

    Args:
        classes: georeferenced raster with one band of class ids 0 to 255.
        output: the layer; .gpkg, .geojson, .geojson.gz, .geojsonl, .geojsonseq, .fgb, .parquet or .pmtiles; or
            postgresql://user@host/name with `?schema=`, `prefix=`, `replace=` as of `load_layer`: what a GeoPackage
            would hold goes to tables, in one transaction.
        connectivity: 4; pixels that touch at a corner only are not connected.
        scheduler: "threads", "local" (processes) or the tcp:// address of a dask scheduler.
        workers: threads or processes; default: one a processor.
        memory: budget in bytes or as "4GiB"; a run that the formula says needs more is refused.
        tile_px: tile side in pixels.
        work_dir: where finished tiles are kept; default: beside the output, emptied at the end.
        fresh: do again what an earlier run finished.
        overwrite: outputs that exist may be replaced.
        min_unit_m2: components below this area join a neighbour: one for all classes, or by name; "auto": by kind; 0:
            none does.
        simplify_m: tolerance of the outlines in ground metres; "auto": a pixel; 0 or None: every pixel corner.
        regularize: with a tolerance, whether buildings get straight walls and right angles.
        smooth: with a tolerance, whether areas get smooth outlines.
        roads: whether the layer `roads` of centrelines is written as well.
        min_area_m2: leave out polygons below this geodesic area at the very end.
        progress: told of stages and steps.

    Raises:
        GeosegError: an input, an option or an output cannot work; nothing half-written is left.
    """
    if connectivity != 4:
        raise OptionError(f"connectivity {connectivity}", expected="4")
    asked = {"regularize": regularize, "smooth": smooth, "roads": roads}
    steps = [name for name, wanted in asked.items() if wanted]
    if steps and steps[0] != "roads" and not simplify_m:
        raise OptionError(f"--{steps[0]} without --simplify", expected="both", remedy="add --simplify auto")
    finish = Finish(min_unit_m2, simplify_m, regularize, smooth, roads, min_area_m2)
    outputs = make_outputs(output, roads=roads)
    execution = Execution(scheduler, workers, None if work_dir is None else Path(work_dir), fresh, overwrite)
    check_outputs(outputs, execution, inputs=[classes])
    raster = open_class_raster(classes)
    side = check_tile_px(tile_px)
    legend = raster.legend or ClassLegend.unnamed()
    check_steps(legend, steps)
    job = Job(
        plan=TilePlan(raster.grid, (side, side)),
        classes=raster,
        legend=legend,
        skip=() if raster.nodata is None else (raster.nodata,),
        store=TileStore(execution.directory(outputs)),
        options=finish.options(legend, pixel_m=max(raster.grid.ground_resolution_m())),
        scene=describe_source(raster.source.path),
        made_by={},
    )
    execution = check_budget(job, 0.0, execution, parse_bytes(memory))
    return execute(job, outputs, execution=execution, progress=progress or Silence())
