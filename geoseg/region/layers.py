"""Many scenes' classes to one map: a mosaic, and one ordinary run over it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from geoseg.errors import InputError, OptionError
from geoseg.grid import GeoGrid
from geoseg.layers.read import list_files
from geoseg.progress import Progress, Silence
from geoseg.raster.aoi import parse_aoi
from geoseg.raster.member import MosaicMember, open_member
from geoseg.raster.mosaic import ClassMosaic, Precedence
from geoseg.raster.scene import SceneInfo
from geoseg.region.grid import choose_grid, cut_grid, find_zone_window, find_zones, parse_crs
from geoseg.region.parts import RegionMember, RegionResult, sum_up
from geoseg.region.split import Split, check_parts, find_scenes, find_sheets, name_part, split_layers
from geoseg.run.execute import SegmentResult, execute
from geoseg.run.finish import Finish
from geoseg.run.job import Job, Outputs
from geoseg.run.memory import check_budget, parse_bytes
from geoseg.run.outputs import Execution, check_outputs
from geoseg.run.segment import check_tile_px, make_outputs
from geoseg.tiles.plan import TilePlan
from geoseg.tiles.store import TileStore

__all__ = ["RegionMember", "RegionResult", "write_region"]

TILE_PX = 2048
READERS = 4
WHOLE = "whole.gpkg"


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What is the same for every run of a region."""

    output: Path
    rasters: tuple[Path | None, Path | None]
    finish: Finish
    execution: Execution
    memory: int | None
    tile_px: int
    model_pixel_m: float
    made_by: dict[str, str]
    progress: Progress
    inputs: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def folder(self) -> Path:
        """Where work is done."""
        return self.execution.work_dir or self.output.parent / ".geoseg" / self.output.name


def write_region(
    members: Sequence[RegionMember],
    output: str | Path,
    *,
    crs: str | None = None,
    resolution_m: float | None = None,
    precedence: Precedence = "newest",
    split: str = "none",
    finish: Finish | None = None,
    aoi: str | Path | None = None,
    classes_raster: str | Path | None = None,
    confidence_raster: str | Path | None = None,
    model_pixel_m: float = 0.0,
    made_by: Mapping[str, str] | None = None,
    scheduler: str = "threads",
    workers: int | None = None,
    memory: str | int | None = None,
    tile_px: int = TILE_PX,
    work_dir: str | Path | None = None,
    fresh: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RegionResult:
    """Write the map of many scenes, as if they were one: nothing doubled, no seam where they meet.

    Args:
        members: the scenes.
        output: the layer; of parts, what their names begin with: `region.gpkg` makes `region_37S.gpkg`.
        crs: of the output; default: the scenes' common one, else the UTM zone of the region's centre.
        resolution_m: pixel side in metres; default: that of the finest scene.
        precedence: which scene a pixel of several is of: "newest", "first" or "confidence".
        split: "none"; "scene", by the scene of a feature's first pixel; "sheet:SIZE_M", by the map sheet of its first
            vertex; "utm", a grid a zone, which cuts what lies across.
        finish: what makes a map of the classes; default: everything, with roads.
        aoi: "W,S,E,N" in degrees or a vector file of polygons; nothing outside is written.
        classes_raster: GeoTIFF of the region's class ids to write as well.
        confidence_raster: GeoTIFF of its confidence to write as well.
        model_pixel_m: size of the pixels that the model saw.
        made_by: what outputs say of their origin besides.
        scheduler: "threads", "local" (processes), the tcp:// address of a dask scheduler, or its scheduler file.
        workers: threads or processes; default: one a processor.
        memory: budget in bytes or as "4GiB".
        tile_px: tile side in pixels.
        work_dir: where finished tiles are kept; default: beside the output, emptied at the end.
        fresh: do again what an earlier run finished.
        overwrite: outputs that exist may be replaced.
        progress: told of stages and steps.

    Raises:
        GeosegError: an input, an option or an output cannot work; no file is half-written.
    """
    how = check_layout(split, crs)
    if not members:
        raise InputError("a region of no scene", expected="at least one")
    # Where scenes are parts, features name them by what tells them apart until each is in its place.
    names = {member.id: member.name or member.id for member in members}

    def open_one(member: RegionMember) -> MosaicMember:
        name, date = (member.id if how.kind == "scene" else names[member.id]), (member.datetime or "")[:10] or None
        scene = SceneInfo(name, date)
        return open_member(member.classes, member.confidence, scene=scene, datetime=member.datetime)

    with ThreadPoolExecutor(READERS) as pool:
        opened = list(pool.map(open_one, members))
    wishes = _Wishes(
        output=Path(output),
        rasters=tuple(None if p is None else Path(p) for p in (classes_raster, confidence_raster)),  # type: ignore[arg-type]
        finish=finish or Finish(),
        execution=Execution(scheduler, workers, None if work_dir is None else Path(work_dir), fresh, overwrite),
        memory=parse_bytes(memory),
        tile_px=check_tile_px(tile_px),
        model_pixel_m=model_pixel_m,
        made_by={"precedence": precedence, "scenes": str(len(members)), **(made_by or {})},
        progress=progress or Silence(),
        inputs=tuple(path for member in members for path in (member.classes, member.confidence)),
    )
    if how.kind == "utm":
        return _write_zones(opened, precedence, wishes, resolution_m=resolution_m, aoi=aoi)
    grid = choose_grid([member.classes.grid for member in opened], crs=crs, resolution_m=resolution_m)
    mosaic = _lay_mosaic(opened, precedence, grid, aoi)
    if how.kind == "none":
        result = _run(*_plan(mosaic, wishes), wishes)
        return sum_up({"": tuple(list_files(wishes.output))}, [result])
    check_parts(wishes.output, overwrite=overwrite)
    find = find_scenes if how.kind == "scene" else find_sheets(grid.crs, how.side_m)
    whole = wishes.folder / WHOLE
    execution = replace(wishes.execution, overwrite=True)
    if any(wishes.rasters):
        check_outputs(Outputs(None, *wishes.rasters), wishes.execution, inputs=wishes.inputs)
    inner = replace(wishes, output=whole, execution=execution)
    job, outputs = _plan(mosaic, inner)
    result = _run(job, outputs, inner)
    wishes.progress.start("split", None)
    parts = split_layers(
        whole,
        wishes.output,
        find,
        crs_wkt=grid.crs,
        sources=names if how.kind == "scene" else {},
        legend=job.legend,
        provenance={**job.provenance, "split": split},
        pixel_m=math.sqrt(math.prod(grid.ground_resolution_m())),
    )
    if work_dir is None:
        whole.unlink()
    return sum_up({part: tuple(files) for part, files in parts.items()}, [result])


def check_layout(split: str, crs: str | None) -> Split:
    """How the output is divided, if it can be in that CRS.

    Raises:
        OptionError: it cannot, or one of both is none.
    """
    how = Split.parse(split)
    if how.kind == "utm" and crs is not None:
        raise OptionError(f"--crs {crs} and a grid for each UTM zone", expected="one of both", remedy="leave out --crs")
    wkt = None if crs is None else parse_crs(crs)
    if how.kind == "sheet" and wkt is not None:
        find_sheets(wkt, how.side_m)
    return how


def cut_to_area(grid: GeoGrid, aoi: str | Path | None) -> GeoGrid:
    """The part of a grid that holds the area of interest.

    Raises:
        InputError: there is none.
    """
    return grid if aoi is None else cut_grid(grid, parse_aoi(aoi, grid).window)


def _lay_mosaic(
    members: Sequence[MosaicMember], precedence: Precedence, grid: GeoGrid, aoi: str | Path | None
) -> ClassMosaic:
    cut = cut_to_area(grid, aoi)
    return ClassMosaic(cut, tuple(members), precedence, None if aoi is None else parse_aoi(aoi, cut))


def _write_zones(
    members: Sequence[MosaicMember],
    precedence: Precedence,
    wishes: _Wishes,
    *,
    resolution_m: float | None,
    aoi: str | Path | None,
) -> RegionResult:
    plans: dict[str, tuple[Job, Outputs, _Wishes]] = {}
    outside: InputError | None = None
    for zone, numbers in find_zones([member.classes.grid for member in members]):
        mine = [members[number] for number in numbers]
        grid = choose_grid([member.classes.grid for member in mine], crs=zone.crs, resolution_m=resolution_m)
        grid = cut_grid(grid, find_zone_window(grid, zone))
        if grid.window.is_empty:
            continue
        try:
            mosaic = replace(_lay_mosaic(mine, precedence, grid, aoi), within=zone.band)
        except InputError as error:
            outside = error
            continue
        execution = wishes.execution
        if execution.work_dir is not None:
            execution = replace(execution, work_dir=execution.work_dir / zone.name)
        own = replace(
            wishes,
            output=name_part(wishes.output, zone.name),
            rasters=tuple(p and name_part(p, zone.name) for p in wishes.rasters),  # type: ignore[arg-type]
            execution=execution,
        )
        job, outputs = _plan(mosaic, own)
        # The bounds of scenes may reach into a zone where their pixels do not.
        if any(mosaic.read_block(tile.core) is not None for tile in job.tiles()):
            plans[zone.name] = job, outputs, own
    if outside is not None and not plans:
        raise outside
    results = [_run(*plan) for plan in plans.values()]
    return sum_up({zone: tuple(list_files(own.output)) for zone, (_, _, own) in plans.items()}, results)


def _plan(mosaic: ClassMosaic, wishes: _Wishes) -> tuple[Job, Outputs]:
    outputs = make_outputs(wishes.output, *wishes.rasters, roads=wishes.finish.roads)
    check_outputs(outputs, wishes.execution, inputs=wishes.inputs)
    pixel_m, legend = max(mosaic.grid.ground_resolution_m()), mosaic.legend
    job = Job(
        plan=TilePlan(mosaic.grid, (wishes.tile_px, wishes.tile_px)),
        classes=mosaic,
        legend=legend,
        skip=(*sorted(legend.background_ids), legend.nodata),
        store=TileStore(wishes.execution.directory(outputs)),
        options=wishes.finish.options(legend, pixel_m=pixel_m, model_pixel_m=wishes.model_pixel_m),
        scene=SceneInfo(None, None),
        made_by=wishes.made_by,
    )
    return job, outputs


def _run(job: Job, outputs: Outputs, wishes: _Wishes) -> SegmentResult:
    execution = check_budget(job, 0.0, wishes.execution, wishes.memory)
    return execute(job, outputs, execution=execution, progress=wishes.progress)
