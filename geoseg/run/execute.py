"""What every run does once its job is known: tiles, then the files, then the account of it."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

from geoseg.classes.stitch import stitch_tiles
from geoseg.errors import OptionError, OutputError
from geoseg.layers.write import check_layer_path
from geoseg.polygons.kernel import announce_compiling
from geoseg.progress import Progress
from geoseg.raster.cog import write_class_raster, write_confidence_raster
from geoseg.run.graph import build_graph, build_stage, merge_components, read_classes, trace_tile_file, trace_tile_roads
from geoseg.run.job import Job, Outputs, Prediction, digest
from geoseg.run.layer import write_map
from geoseg.run.scheduler import open_scheduler
from geoseg.tiles.store import CLASSES, ROADS, TRACES, TileReceipt, TileStore, hold_store

MAX_TILES = 1_000_000
MIN_GEOJSON_PIXEL_M = 0.02
RASTER_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """The account of a run.

    Attributes:
        output: the layer.
        roads: the network's own file, where the layer's format holds one layer only.
        classes_raster: class ids as a GeoTIFF, where asked for.
        confidence_raster: confidence as a GeoTIFF, where asked for.
        polygons: number of polygons by class name.
        area_m2: geodesic area by class name.
        pixels: pixels of the raster.
        seconds: wall-clock time.
        peak_bytes: peak memory of the largest process.
        tiles: tiles of the run.
        tiles_computed: tiles that this run computed; the others were finished before.
    """

    output: Path
    roads: Path | None
    classes_raster: Path | None
    confidence_raster: Path | None
    polygons: dict[str, int]
    area_m2: dict[str, float]
    pixels: int
    seconds: float
    peak_bytes: int
    tiles: int
    tiles_computed: int

    @property
    def mpx_per_s(self) -> float:
        """Million pixels of the raster per second."""
        return self.pixels / 1e6 / max(self.seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Execution:
    """Where and how a job runs; no result depends on it.

    Args:
        scheduler: "threads", "local", tcp://HOST:PORT or a scheduler file.
        workers: threads or processes; None: one a processor.
        work_dir: where finished tiles are kept; None: beside the output, emptied of tiles at the end.
        fresh: forget what an earlier run finished.
        overwrite: outputs that exist may be replaced.

    Raises:
        OptionError: there would be no worker.
    """

    scheduler: str = "threads"
    workers: int | None = None
    work_dir: Path | None = None
    fresh: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"--workers {self.workers}", expected="1 or more")

    def directory(self, outputs: Outputs) -> Path:
        """The work directory."""
        return (self.work_dir or outputs.layer.parent / ".geoseg" / outputs.layer.name).absolute()


def check_outputs(outputs: Outputs, execution: Execution, *, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse outputs that could not be written at the end, or would replace an input, before any work is done.

    Raises:
        OptionError: a suffix names no format.
        OutputError: an output exists, is an input or a directory, or lies where nothing can be written.
    """
    check_layer_path(outputs.layer, overwrite=True)
    paths = [p.resolve() for p in outputs.paths()]
    if len(set(paths)) != len(paths):
        raise OutputError("two outputs have the same path", expected="a file of its own for each")
    for raster in filter(None, (outputs.classes_raster, outputs.confidence_raster)):
        if raster.suffix.lower() not in RASTER_SUFFIXES:
            raise OptionError(f"{raster.name} is written as a GeoTIFF", expected=f"a name in {RASTER_SUFFIXES[0]}")
    for path, given in product(paths, inputs):
        # Not Path.exists, which raises where a name is too long for a file, as that of a URL may be.
        if os.path.exists(path) and os.path.exists(given) and os.path.samefile(path, given):
            raise OutputError(f"{path} is an input", expected="a new file", remedy="choose another name")
    unfinished = TileStore(execution.directory(outputs)).read_state().get("writing", [])
    for path in paths:
        if path.is_dir() or (path.exists() and not execution.overwrite and str(path) not in unfinished):
            raise OutputError(
                f"{path} exists" + (" and is a directory" if path.is_dir() else ""),
                expected="a new file",
                remedy="choose another name" if path.is_dir() else "choose another name, or say --overwrite",
            )
        _probe_folder(path)


def _probe_folder(path: Path) -> None:
    # Folders are made when there is something to put into them: here the nearest one that exists is tried.
    folder = next(parent for parent in path.parents if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            expected="a folder that can be written",
            remedy="choose another folder",
        ) from error


def execute(job: Job, outputs: Outputs, *, execution: Execution, progress: Progress) -> SegmentResult:
    """Run a job to its files; what an earlier run of the same job finished is not done again.

    Raises:
        GeosegError: an input, an output or an option does not hold what the job needs.
    """
    start = time.perf_counter()
    _check_plan(job, outputs)
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
        receipts = _compute_tiles(job, execution, progress)
        # A run that is killed from here on may have made some of its outputs: the next one may replace those.
        new = [path for path in paths.values() if not os.path.exists(path)]
        store.write_state(store.read_state() | {"writing": sorted({*store.read_state().get("writing", []), *new})})
        counts = write_map(job, outputs.layer, progress)
        _write_rasters(job, outputs, progress)
        computed = {r.tile for r in receipts if r.computed}
        result = SegmentResult(
            output=outputs.layer,
            roads=outputs.roads,
            classes_raster=outputs.classes_raster,
            confidence_raster=outputs.confidence_raster,
            polygons=counts.polygons,
            area_m2=counts.area_m2,
            pixels=job.plan.grid.rows * job.plan.grid.cols,
            seconds=time.perf_counter() - start,
            peak_bytes=peak_memory_bytes(),
            tiles=len({r.tile for r in receipts}),
            tiles_computed=len(computed),
        )
        _record(store, wanted, outputs, result)
        _settle(store, keep=execution.work_dir is not None)
    return result


def _check_plan(job: Job, outputs: Outputs) -> None:
    down, across = job.plan.shape
    if down * across > MAX_TILES:
        raise OptionError(
            f"{down} x {across} tiles", expected=f"at most {MAX_TILES}", remedy="choose a larger --tile-px"
        )
    pixel_m = min(job.plan.grid.ground_resolution_m())
    if check_layer_path(outputs.layer, overwrite=True).startswith(".geojson") and pixel_m < MIN_GEOJSON_PIXEL_M:
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


def _compute_tiles(job: Job, execution: Execution, progress: Progress) -> list[TileReceipt]:
    receipts: list[TileReceipt] = []

    def count(receipt: TileReceipt) -> None:
        receipts.append(receipt)
        if receipt.stage != CLASSES:
            progress.advance()

    for stage, key in job.stage_keys.items():
        job.store.keep_stage(stage, key)
    gpu = isinstance(job.classes, Prediction) and job.classes.device == "cuda"
    with open_scheduler(execution.scheduler, execution.workers, gpu=gpu) as compute:
        nodes = build_graph(job)
        progress.start("segment" if job.predicts else "trace", len(nodes))
        compute(nodes, count)
        nodes = []
        if job.options.min_unit_m2:
            merge_components(job)
            nodes += build_stage(job, TRACES, trace_tile_file)
        for number in job.options.roads:
            nodes += build_stage(job, f"{ROADS}/{number}", partial(trace_tile_roads, class_id=number))
        if nodes:
            progress.start("trace", len(nodes))
            compute(nodes, count)
    return receipts


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
            now = {"tiles_computed": 0, "seconds": 0.0, "peak_bytes": peak_memory_bytes(), "output": outputs.layer}
            others = {k: v for k, v in asdict(outputs).items() if k != "layer"}
            return SegmentResult(**(state["result"] | now | others))
    return None


def _stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]
