"""Runs whose layers go to a database: to a file in the work directory first, and from there in one transaction."""

from __future__ import annotations

import hashlib
import inspect
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from geoseg.errors import OutputError
from geoseg.layers.database import is_database
from geoseg.layers.postgis import check_database, load_layer
from geoseg.layers.stream import describe_map
from geoseg.raster.source import open_raster
from geoseg.run.execute import SegmentResult
from geoseg.tiles.store import JOB_KEY, TileStore, hold_store

FOLDER = Path(".geoseg")
LAYER_NAME = "layer.gpkg"

Run = TypeVar("Run", bound=Callable[..., SegmentResult])


def accept_database(run: Run) -> Run:
    """Let a run from a raster (its first argument) to `output` take the URL of a PostGIS database for that.

    Work goes on in the run's work directory, else in `.geoseg` of the current one, so that a killed run continues and
    the connection is open only for the load. That the database would take the layers is tried before work begins.

    Args:
        run: a function with the keywords `output`, `work_dir`, `roads` and `progress`.
    """
    signature = inspect.signature(run)

    @wraps(run)
    def decide(*arguments: Any, **keywords: Any) -> SegmentResult:
        given = signature.bind(*arguments, **keywords)
        if not is_database(given.arguments["output"]):
            return run(*arguments, **keywords)
        given.apply_defaults()
        return _run_into(run, given)

    return cast(Run, decide)


def _run_into(run: Callable[..., SegmentResult], given: inspect.BoundArguments) -> SegmentResult:
    options, url = given.arguments, given.arguments["output"]
    raster = next(iter(options.values()))
    layers = describe_map(roads=options["roads"] is not False)  # None: what a file of many layers gets
    crs_wkt = open_raster(raster, bands=(1,), value_range=(0.0, 1.0)).grid.crs
    database = check_database(url, layers, crs_wkt)
    kept = options["work_dir"]
    name = hashlib.sha256(f"{database.place}{database.prefix}\n{raster}".encode()).hexdigest()[:16]
    folder = FOLDER / name if kept is None else Path(kept)
    layer = folder / LAYER_NAME
    _go_on(folder, layer)
    options |= {"output": layer, "work_dir": folder}
    result = run(*given.args, **given.kwargs)
    try:
        load_layer(layer, url, progress=options["progress"])
    except OutputError as error:
        remedy = f"{error.remedy}; the layer is kept in {layer}, and the same command goes on from there"
        raise OutputError(error.found, expected=error.expected, remedy=remedy) from None
    layer.unlink()
    if kept is None:
        shutil.rmtree(folder)
        with suppress(OSError):  # other runs may have theirs beside it
            FOLDER.rmdir()
    return replace(result, output=database.place)


def _go_on(folder: Path, layer: Path) -> None:
    """A layer that is still there was not loaded: the run that made it may replace what it wrote, or find it done."""
    made_by = TileStore(folder).read_state().get(JOB_KEY)
    if made_by is None or not layer.exists():
        return
    with hold_store(folder, made_by) as store:
        state = store.read_state()
        written = {str(Path(path).resolve()) for path in (layer, *state.get("files", ()))}
        store.write_state(state | {"writing": sorted({*state.get("writing", ()), *written})})
