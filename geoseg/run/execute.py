"""What every run does once its job is known: tiles, then the files, then the account of it."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from geoseg.classes.stitch import stitch_tiles
from geoseg.errors import InputError, OptionError
from geoseg.heap import return_freed_memory
from geoseg.kernel import announce_compiling
from geoseg.layers.write import check_layer_path
from geoseg.polygons.marks import MAX_SIDE
from geoseg.progress import Progress
from geoseg.raster.cog import write_class_raster, write_confidence_raster
from geoseg.raster.source import is_unchanged
from geoseg.run.graph import (
    build_graph,
    build_stage,
    merge_components,
    read_classes,
    split_tile_file,
    trace_tile_file,
    trace_tile_roads,
)
from geoseg.run.job import Job, LayerOptions, Outputs, Prediction, digest
from geoseg.run.layer import LayerCounts, write_map
from geoseg.run.machine import check_open_files
from geoseg.run.outputs import Execution
from geoseg.run.scheduler import open_scheduler
from geoseg.tiles.plan import TilePlan
from geoseg.tiles.store import CLASSES, COMPONENTS, PARTS, ROADS, TRACES, TileReceipt, TileStore, hold_store

MAX_TILES = 1_000_000
MIN_GEOJSON_PIXEL_M = 0.02


class TooLargeError(OptionError):
    """A grid of more pixels or tiles than there can be."""


class ChangedError(InputError):
    """A raster that was replaced while it was read."""


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """The account of a run.

    Attributes:
        output: the layer, or else the first raster; of a database its URL without credentials.
        roads: the network's own file, where the layer's format holds one layer only.
        classes_raster: class ids as a GeoTIFF, where asked for.
        confidence_raster: confidence as a GeoTIFF, where asked for.
        polygons: number of polygons by class name.
        area_m2: geodesic area by class name.
        road_segments: lines of the network between two nodes; 0 where none was asked for.
        road_length_m: their geodesic length.
        pixels: pixels of the raster.
        pixels_computed: pixels of the tiles that this run computed.
        seconds: wall-clock time.
        peak_bytes: peak memory of the largest process.
        tiles: tiles of the run.
        tiles_computed: tiles that this run computed; the others were finished before.
    """

    output: Path | str
    roads: Path | None
    classes_raster: Path | None
    confidence_raster: Path | None
    polygons: dict[str, int]
    area_m2: dict[str, float]
    road_segments: int
    road_length_m: float
    pixels: int
    pixels_computed: int
    seconds: float
    peak_bytes: int
    tiles: int
    tiles_computed: int

    @property
    def mpx_per_s(self) -> float:
        """Million pixels that this run computed, per second of it; 0 where there was nothing to compute."""
        return self.pixels_computed / 1e6 / self.seconds if self.pixels_computed else 0.0


def execute(job: Job, outputs: Outputs, *, execution: Execution, progress: Progress) -> SegmentResult:
    """Run a job to its files; what an earlier run of the same job finished is not done again.

    Raises:
        GeosegError: an input, an output or an option does not hold what the job needs.
    """
    start = time.perf_counter()
    check_open_files()
    check_plan(job.plan, job.options, outputs.layer)
    with (
        hold_store(job.store.directory, job.fingerprint, fresh=execution.fresh) as store,
        announce_compiling(progress.note),
    ):
        paths = {role: str(path.resolve()) for role, path in asdict(outputs).items() if path is not None}
        wanted = digest([job.fingerprint, asdict(job.legend), asdict(job.options), paths])
        known = _finished_result(store, wanted, outputs)
        if known is not None:
            _settle(store, keep=execution.work_dir is not None)
            return known
        try:
            receipts = _compute_tiles(job, execution, progress, traced=outputs.layer is not None)
        except InputError:
            _check_sources(job)  # whoever writes to a file is the likeliest reason that it cannot be read
            raise
        _check_sources(job)
        # A run that is killed from here on may have made some of its outputs: the next one may replace those.
        new = [path for path in paths.values() if not os.path.exists(path)]
        store.write_state(store.read_state() | {"writing": sorted({*store.read_state().get("writing", []), *new})})
        counts = LayerCounts() if outputs.layer is None else write_map(job, outputs.layer, progress)
        _write_rasters(job, outputs, progress)
        computed = {r.tile for r in receipts if r.computed}
        result = SegmentResult(
            output=outputs.paths()[0],
            roads=outputs.roads,
            classes_raster=outputs.classes_raster,
            confidence_raster=outputs.confidence_raster,
            polygons=counts.polygons,
            area_m2=counts.area_m2,
            road_segments=counts.road_segments,
            road_length_m=counts.road_length_m,
            pixels=job.plan.grid.rows * job.plan.grid.cols,
            pixels_computed=sum(math.prod(job.plan.tile(*tile).core.shape) for tile in computed),
            seconds=time.perf_counter() - start,
            peak_bytes=peak_memory_bytes(),
            tiles=len({r.tile for r in receipts}),
            tiles_computed=len(computed),
        )
        _record(store, wanted, outputs, result)
        _settle(store, keep=execution.work_dir is not None)
    return result


def check_plan(plan: TilePlan, options: LayerOptions, layer: Path | None) -> None:
    """Refuse what the files of a run could not hold.

    Raises:
        TooLargeError: there are too many tiles or pixels.
        OptionError: the pixels are too small for the layer's format.
    """
    down, across = plan.shape
    if down * across > MAX_TILES:
        raise TooLargeError(
            f"{down} x {across} tiles", expected=f"at most {MAX_TILES}", remedy="choose a larger --tile-px"
        )
    if options.generalises and max(plan.grid.rows, plan.grid.cols) > MAX_SIDE:
        raise TooLargeError(
            f"outlines to be simplified in a raster of {plan.grid.rows} x {plan.grid.cols} pixels",
            expected=f"at most {MAX_SIDE} pixels a side",
            remedy="--simplify 0, or cut the raster",
        )
    if layer is None:
        return
    pixel_m = min(plan.grid.ground_resolution_m())
    if check_layer_path(layer, overwrite=True).startswith(".geojson") and pixel_m < MIN_GEOJSON_PIXEL_M:
        raise OptionError(
            f"pixels of {pixel_m:g} m in a GeoJSON, whose 7 decimals of a degree are 0.011 m",
            expected=f"pixels of at least {MIN_GEOJSON_PIXEL_M:g} m",
            remedy="write .gpkg, .fgb or .parquet",
        )


def peak_memory_bytes() -> int:
    """Peak resident memory of this process or of its largest finished child."""
    unit = 1 if sys.platform == "darwin" else 1024
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return unit * max(resource.getrusage(kind).ru_maxrss for kind in kinds)


def _compute_tiles(job: Job, execution: Execution, progress: Progress, *, traced: bool) -> list[TileReceipt]:
    receipts: list[TileReceipt] = []
    merges, separates = traced and bool(job.options.min_unit_m2), traced and bool(job.options.separate)
    first = COMPONENTS if merges else CLASSES if separates or not traced else TRACES

    def count(receipt: TileReceipt) -> None:
        receipts.append(receipt)
        if receipt.stage != CLASSES or first == CLASSES:
            progress.advance()

    for stage, key in job.stage_keys.items():
        job.store.keep_stage(stage, key)
    gpu = isinstance(job.classes, Prediction) and job.classes.device == "cuda"
    with open_scheduler(execution.scheduler, execution.workers, gpu=gpu) as compute:
        nodes = build_graph(job, first)
        progress.start("segment" if job.predicts else "find small areas" if merges else "trace", len(nodes))
        compute(nodes, count)
        return_freed_memory()
        if merges:
            progress.start("merge small areas", None)
            merge_components(job)
            return_freed_memory()
        if separates:
            nodes = build_stage(job, PARTS, split_tile_file)
            progress.start("tell buildings apart", len(nodes))
            compute(nodes, count)
            return_freed_memory()
        traces_wait = traced and first != TRACES
        nodes = build_stage(job, TRACES, trace_tile_file) if traces_wait else []
        for number in job.options.roads if traced else ():
            nodes += build_stage(job, f"{ROADS}/{number}", partial(trace_tile_roads, class_id=number))
        if nodes:
            progress.start("trace" if traces_wait else "trace roads", len(nodes))
            compute(nodes, count)
    return_freed_memory()
    return receipts


def _check_sources(job: Job) -> None:
    """Refuse tiles of a raster that changed while it was read; none of them is left to a later run."""
    for source in job.sources:
        if not is_unchanged(source):
            job.store.clear_tiles()
            raise ChangedError(
                f"{source.path}: changed while it was read",
                expected="a raster that stays as it is during a run",
                remedy="run the same command again once it does",
            )


def _write_rasters(job: Job, outputs: Outputs, progress: Progress) -> None:
    read = partial(read_classes, job)
    grid = job.plan.grid
    if outputs.classes_raster:
        progress.start("write classes", None)
        write_class_raster(
            outputs.classes_raster,
            grid,
            stitch_tiles(job.tiles(), read, band="class"),
            legend=job.legend,
            provenance=job.provenance,
            overwrite=True,
        )
    if outputs.confidence_raster:
        progress.start("write confidence", None)
        write_confidence_raster(
            outputs.confidence_raster,
            grid,
            stitch_tiles(job.tiles(), read, band="confidence"),
            provenance=job.provenance,
            overwrite=True,
        )


def _record(store: TileStore, wanted: str, outputs: Outputs, result: SegmentResult) -> None:
    files = {str(p.absolute()): _stamp(p) for p in outputs.paths()}
    account = {k: v for k, v in asdict(result).items() if not isinstance(v, Path)}
    store.write_state(store.read_state() | {"finished": wanted, "files": files, "result": account})


def _settle(store: TileStore, *, keep: bool) -> None:
    """The last acts of a run: a kill before the very last of them still leaves one that the same command completes."""
    if not keep:
        store.clear_tiles()
    state = store.read_state()
    if state.pop("writing", None) is not None:
        store.write_state(state)


def _finished_result(store: TileStore, wanted: str, outputs: Outputs) -> SegmentResult | None:
    """The account of the run that made these very files, with nothing computed; None where they must be made."""
    state = store.read_state()
    if state.get("finished") != wanted:
        return None
    with contextlib.suppress(OSError, KeyError, TypeError):
        if all(state["files"][str(p.absolute())] == _stamp(p) for p in outputs.paths()):
            now = {"pixels_computed": 0, "tiles_computed": 0, "seconds": 0.0, "peak_bytes": peak_memory_bytes()}
            paths = {k: v for k, v in asdict(outputs).items() if k != "layer"} | {"output": outputs.paths()[0]}
            return SegmentResult(**(state["result"] | now | paths))
    return None


def _stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]
