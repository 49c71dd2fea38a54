"""The whole route on one screen: raster -> classes -> traces, a node a tile; then the join.

    predict_tile ──► trace_tile ──┐
    predict_tile ──► trace_tile ──┼──► join, measure, write   (one process, streaming)
    predict_tile ──► trace_tile ──┘

Nodes hand on receipts; arrays stay in the work directory's files.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator

import numpy as np
from dask.delayed import Delayed, delayed
from numpy.typing import NDArray

from geoseg.classes.tile import NOTHING, holds_nothing, read_class_tile, write_class_tile
from geoseg.files import replace_file
from geoseg.models.engine import Engine, PatchGeometry, open_engine
from geoseg.models.package import load_package
from geoseg.polygons.trace import TileTrace, trace_tile
from geoseg.probabilities.predict import predict_block
from geoseg.raster.classes import ClassRaster
from geoseg.run.job import Job, Prediction
from geoseg.tiles.plan import Tile
from geoseg.tiles.store import CLASSES, TRACES, TileReceipt

TilePair = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]
SUFFIX = {CLASSES: ".tif", TRACES: ".safetensors"}


def build_graph(job: Job) -> list[Delayed]:
    """One delayed trace receipt a tile, row-major; class receipts hang below them where classes are predicted."""
    # Names are a run's own: on a cluster that several runs share, equal names would mean equal results.
    run = uuid.uuid4().hex
    shared = delayed(job, name=f"job-{run}", traverse=False)
    how = delayed(job.classes, name=f"prediction-{run}", traverse=False)
    predict, trace = delayed(predict_tile_file, pure=False), delayed(trace_tile_file, pure=False)
    nodes = []
    for tile in job.tiles():
        before = None
        if isinstance(job.classes, Prediction):
            before = predict(shared, how, tile, dask_key_name=(f"{CLASSES}-{run}", *tile.id))
        nodes.append(trace(shared, tile, before, dask_key_name=(f"{TRACES}-{run}", *tile.id)))
    return nodes


def predict_tile_file(job: Job, how: Prediction, tile: Tile) -> TileReceipt:
    """Predict one tile into the work directory, unless an earlier run did."""
    done = job.store.finished(CLASSES, tile, SUFFIX[CLASSES])
    if done:
        return done
    start = time.perf_counter()
    classes, confidence = predict_block(
        how.source,
        _engine(how),
        how.lattice,
        tile.core,
        nodata=job.legend.nodata,
        mask=how.aoi.mask if how.aoi else None,
    )
    path = job.store.path(CLASSES, tile, SUFFIX[CLASSES])
    size = write_class_tile(path, classes, confidence, grid=job.plan.grid, window=tile.core, nodata=job.legend.nodata)
    return TileReceipt(CLASSES, tile.id, str(path), size, time.perf_counter() - start, computed=True)


def trace_tile_file(job: Job, tile: Tile, _before: TileReceipt | None) -> TileReceipt:
    """Trace one tile's classes into the work directory, unless an earlier run did."""
    done = job.store.finished(TRACES, tile, SUFFIX[TRACES])
    if done:
        return done
    start = time.perf_counter()
    if isinstance(job.classes, ClassRaster):
        pair: TilePair | None = job.classes.read(tile.core), None
    else:
        pair = read_class_tile(job.store.path(CLASSES, tile, SUFFIX[CLASSES]))
    path = job.store.path(TRACES, tile, SUFFIX[TRACES])
    with replace_file(path, tag=uuid.uuid4().hex) as temporary:
        if pair is None:
            temporary.write_bytes(NOTHING)
        else:
            shape = (job.plan.grid.rows, job.plan.grid.cols)
            trace_tile(*pair, window=tile.core, grid_shape=shape, skip=job.skip).save(temporary)
    return TileReceipt(TRACES, tile.id, str(path), path.stat().st_size, time.perf_counter() - start, computed=True)


def read_traces(job: Job) -> Iterator[TileTrace]:
    """Row-major, the traces of every tile that holds something."""
    for tile in job.tiles():
        path = job.store.path(TRACES, tile, SUFFIX[TRACES])
        if not holds_nothing(path):
            yield TileTrace.load(path)


_engines: dict[tuple[str, PatchGeometry, str], Engine] = {}
_engines_lock = threading.Lock()


def _engine(how: Prediction) -> Engine:
    """One engine a process, however many threads ask."""
    with _engines_lock:
        key = (how.model_fingerprint, how.geometry, how.device)
        if key not in _engines:
            _engines.clear()
            _engines[key] = open_engine(load_package(how.model, refine=how.refine), how.geometry, device=how.device)
        return _engines[key]
