"""The whole route on one screen: raster -> classes -> traces, a node a tile; then the join.

    predict_tile ──► list_components ──┐
    predict_tile ──► list_components ──┼──► merge what is too small ──┐
    predict_tile ──► list_components ──┘     (one process)            │
                                                                      │
         ┌────────────────────────────────────────────────────────────┘
         ├──► trace_tile, trace_roads ──┐
         ├──► trace_tile, trace_roads ──┼──► join, generalise, measure, write   (one process, streaming)
         └──► trace_tile, trace_roads ──┘

Of a mosaic of class rasters `lay_tile` takes the place of `predict_tile`. Without a minimum mapping unit tiles are
traced as soon as they are predicted. Where buildings that touch are told apart, that is a stage of its own before the
traces. Nodes hand on receipts; arrays stay in the work directory's files.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from dask.delayed import Delayed, delayed
from numpy.typing import NDArray

from geoseg.classes.stitch import stitch_window
from geoseg.classes.tile import holds_nothing, read_class_tile, write_class_tile, write_nothing
from geoseg.files import replace_file
from geoseg.heap import map_large_arrays
from geoseg.models.engine import Engine, PatchGeometry, open_engine
from geoseg.models.package import load_package
from geoseg.polygons.sieve import (
    SmallComponents,
    list_small_components,
    load_changes,
    measure_rows,
    reclassify_components,
    save_changes,
    tabulate_minimum,
)
from geoseg.polygons.sweep import merge_small_components
from geoseg.polygons.trace import TileTrace, trace_tile
from geoseg.probabilities.predict import predict_block
from geoseg.raster.classes import ClassRaster
from geoseg.raster.mosaic import ClassMosaic
from geoseg.roads.scale import RoadScale
from geoseg.roads.trace import RoadTile, trace_road_tile
from geoseg.run.job import Job, Prediction
from geoseg.run.parts import number_parts
from geoseg.run.sources import SourceRuns
from geoseg.tiles.plan import Tile
from geoseg.tiles.store import CHANGES, CLASSES, COMPONENTS, PARTS, ROADS, SOURCES, TRACES, TileReceipt

TilePair = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]
Task = Callable[[Job, Tile, TileReceipt | None], TileReceipt]
RUN_DIGITS = 12
"""Of a name that is in every message of a cluster."""
CLASS_SUFFIX, ARRAY_SUFFIX = ".tif", ".safetensors"


def build_graph(job: Job, stage: str) -> list[Delayed]:
    """One delayed receipt a tile, row-major, of CLASSES, or of COMPONENTS or TRACES, whose tiles follow at once."""
    # Names are a run's own: on a cluster that several runs share, equal names would mean equal results.
    run = uuid.uuid4().hex[:RUN_DIGITS]
    shared = delayed(job, name=f"job-{run}", traverse=False)
    how = delayed(job.classes, name=f"prediction-{run}", traverse=False)
    predict, lay = delayed(predict_tile_file, pure=False), delayed(lay_tile_file, pure=False)
    follow = delayed(list_tile_components if stage == COMPONENTS else trace_tile_file, pure=False)
    nodes = []
    for tile in job.tiles():
        before = None
        if isinstance(job.classes, Prediction):
            before = predict(shared, how, tile, dask_key_name=(f"{CLASSES}-{run}", *tile.id))
        elif isinstance(job.classes, ClassMosaic):
            before = lay(shared, how, tile, dask_key_name=(f"{CLASSES}-{run}", *tile.id))
        if before is None or stage != CLASSES:
            before = follow(shared, tile, before, dask_key_name=(f"{stage}-{run}", *tile.id))
        nodes.append(before)
    return nodes


def build_stage(job: Job, stage: str, task: Task) -> list[Delayed]:
    """One delayed receipt a tile, row-major, of a stage that starts when the one before is done with all tiles."""
    run = uuid.uuid4().hex[:RUN_DIGITS]
    shared = delayed(job, name=f"job-{run}", traverse=False)
    follow = delayed(task, pure=False)
    return [follow(shared, tile, None, dask_key_name=(f"{stage}-{run}", *tile.id)) for tile in job.tiles()]


def predict_tile_file(job: Job, how: Prediction, tile: Tile) -> TileReceipt:
    """Predict one tile into the work directory, unless an earlier run did."""
    done = job.store.finished(CLASSES, tile, CLASS_SUFFIX)
    if done:
        return done
    start = time.perf_counter()
    pair = predict_block(
        how.source,
        engine_for(how),
        how.lattice,
        tile.core,
        nodata=job.legend.nodata,
        mask=how.aoi.mask if how.aoi else None,
    )
    path = job.store.path(CLASSES, tile, CLASS_SUFFIX)
    if pair is None:
        size = write_nothing(path)
    else:
        size = write_class_tile(path, *pair, grid=job.plan.grid, window=tile.core, nodata=job.legend.nodata)
    return TileReceipt(CLASSES, tile.id, str(path), size, time.perf_counter() - start, computed=True)


def lay_tile_file(job: Job, how: ClassMosaic, tile: Tile) -> TileReceipt:
    """Put one tile of a mosaic into the work directory, and which scene each pixel is of, unless an earlier run did."""
    done = job.store.finished(CLASSES, tile, CLASS_SUFFIX)
    if done and (job.store.finished(SOURCES, tile, ARRAY_SUFFIX) or holds_nothing(Path(done.path))):
        return done
    start = time.perf_counter()
    block = how.read_block(tile.core)
    path = job.store.path(CLASSES, tile, CLASS_SUFFIX)
    if block is None:
        write_nothing(path)
    else:
        # First: a tile whose classes are there is finished.
        with replace_file(job.store.path(SOURCES, tile, ARRAY_SUFFIX), tag=uuid.uuid4().hex) as temporary:
            SourceRuns.of(block.members).save(temporary)
        write_class_tile(
            path, block.classes, block.confidence, grid=job.plan.grid, window=tile.core, nodata=job.legend.nodata
        )
    return TileReceipt(CLASSES, tile.id, str(path), path.stat().st_size, time.perf_counter() - start, computed=True)


def list_tile_components(job: Job, tile: Tile, _before: TileReceipt | None) -> TileReceipt:
    """List what may be too small in one tile, unless an earlier run did."""

    def work(pair: TilePair) -> SmallComponents:
        return list_small_components(
            pair[0],
            window=tile.core,
            row_areas=measure_rows(job.plan.grid, tile.core),
            minimum=tabulate_minimum(dict(job.options.min_unit_m2)),
            nodata=job.unknown_id,
        )

    return _work_on_tile(job, tile, COMPONENTS, lambda: _read_raw(job, tile), work)


def merge_components(job: Job) -> None:
    """Decide what becomes of all components that are too small, and leave it where `read_classes` finds it."""
    folder = job.store.empty_folder(CHANGES)
    paths = (job.store.path(COMPONENTS, tile, ARRAY_SUFFIX) for tile in job.tiles())
    listed = (SmallComponents.load(path) for path in paths if not holds_nothing(path))
    minimum, pixel_m = tabulate_minimum(dict(job.options.min_unit_m2)), job.plan.grid.ground_resolution_m()
    for window, changes in merge_small_components(listed, minimum=minimum, pixel_m=pixel_m):
        tile = next(iter(job.tiles(window)))
        save_changes(folder / f"{tile.name}{ARRAY_SUFFIX}", changes)


def split_tile_file(job: Job, tile: Tile, _before: TileReceipt | None) -> TileReceipt:
    """Tell one tile's buildings apart, unless an earlier run did."""
    done = job.store.finished(PARTS, tile, CLASS_SUFFIX)
    if done:
        return done
    start = time.perf_counter()
    path = job.store.path(PARTS, tile, CLASS_SUFFIX)
    numbered = None
    if not holds_nothing(job.store.path(CLASSES, tile, CLASS_SUFFIX)):
        numbered = number_parts(job, tile, partial(read_classes, job))
    if numbered is None:
        size = write_nothing(path)
    else:
        nodata, confidence = job.legend.nodata, np.zeros_like(numbered)
        size = write_class_tile(path, numbered, confidence, grid=job.plan.grid, window=tile.core, nodata=nodata)
    return TileReceipt(PARTS, tile.id, str(path), size, time.perf_counter() - start, computed=True)


def read_parts(job: Job, tile: Tile) -> TilePair | None:
    """What `read_classes` gives, parts that touch under ids of their own."""
    pair = read_classes(job, tile)
    numbered = read_class_tile(job.store.path(PARTS, tile, CLASS_SUFFIX)) if job.options.separate and pair else None
    return pair if pair is None or numbered is None else (numbered[0], pair[1])


def trace_tile_file(job: Job, tile: Tile, _before: TileReceipt | None) -> TileReceipt:
    """Trace one tile's classes into the work directory, unless an earlier run did."""

    def work(pair: TilePair) -> TileTrace:
        shape = (job.plan.grid.rows, job.plan.grid.cols)
        return trace_tile(*pair, window=tile.core, grid_shape=shape, skip=job.skip, marked=job.options.generalises)

    return _work_on_tile(job, tile, TRACES, lambda: read_parts(job, tile), work)


def _work_on_tile(
    job: Job,
    tile: Tile,
    stage: str,
    read: Callable[[], TilePair | None],
    work: Callable[[TilePair], TileTrace | SmallComponents | RoadTile],
) -> TileReceipt:
    done = job.store.finished(stage, tile, ARRAY_SUFFIX)
    if done:
        return done
    start = time.perf_counter()
    pair = read()
    path = job.store.path(stage, tile, ARRAY_SUFFIX)
    if pair is None:
        write_nothing(path)
    else:
        with replace_file(path, tag=uuid.uuid4().hex) as temporary:
            work(pair).save(temporary)
    return TileReceipt(stage, tile.id, str(path), path.stat().st_size, time.perf_counter() - start, computed=True)


def _read_raw(job: Job, tile: Tile) -> TilePair | None:
    if isinstance(job.classes, ClassRaster):
        return job.classes.read(tile.core), None
    return read_class_tile(job.store.path(CLASSES, tile, CLASS_SUFFIX))


def read_classes(job: Job, tile: Tile) -> TilePair | None:
    """Classes and confidence of one tile, nothing too small in it any more; None where no pixel is known."""
    pair = _read_raw(job, tile)
    path = job.store.path(CHANGES, tile, ARRAY_SUFFIX)
    if pair is None or not path.exists():
        return pair
    return reclassify_components(pair[0], load_changes(path), nodata=job.unknown_id), pair[1]


def trace_tile_roads(job: Job, tile: Tile, _before: TileReceipt | None, *, class_id: int) -> TileReceipt:
    """Trace one tile's centrelines into the work directory, unless an earlier run did."""
    stage = f"{ROADS}/{class_id}"
    scale = RoadScale.of(job.plan.grid)

    def read() -> TilePair | None:
        window = tile.core.pad(*scale.halo_px()).intersect(job.plan.grid.window)
        if not isinstance(job.classes, ClassRaster) and all(
            holds_nothing(job.store.path(CLASSES, near, CLASS_SUFFIX)) for near in job.tiles(window)
        ):
            return None
        elsewhere = 255 if class_id != 255 else 0
        return stitch_window(window, job.tiles(window), partial(read_classes, job), elsewhere=elsewhere)

    def work(pair: TilePair) -> RoadTile:
        window = tile.core.pad(*scale.halo_px()).intersect(job.plan.grid.window)
        return trace_road_tile(*pair, class_id=class_id, window=window, core=tile.core, scale=scale)

    return _work_on_tile(job, tile, stage, read, work)


def read_traces(job: Job) -> Iterator[TileTrace]:
    """Row-major, the traces of every tile that holds something."""
    for tile in job.tiles():
        path = job.store.path(TRACES, tile, ARRAY_SUFFIX)
        if not holds_nothing(path):
            yield TileTrace.load(path)


def read_roads(job: Job, class_id: int) -> Iterator[RoadTile]:
    """Row-major, the roads of every tile that holds something."""
    for tile in job.tiles():
        path = job.store.path(f"{ROADS}/{class_id}", tile, ARRAY_SUFFIX)
        if not holds_nothing(path):
            yield RoadTile.load(path)


_engines: dict[tuple[str, PatchGeometry, str], Engine] = {}
_engines_lock = threading.Lock()


def engine_for(how: Prediction) -> Engine:
    """One engine a process, however many threads ask."""
    with _engines_lock:
        key = (how.model_fingerprint, how.geometry, how.device)
        if key not in _engines:
            _engines.clear()
            map_large_arrays()
            _engines[key] = open_engine(load_package(how.model, refine=how.refine), how.geometry, device=how.device)
        return _engines[key]
