"""Where and how a run may write, checked before any work is done."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from geoseg.errors import OptionError, OutputError
from geoseg.layers.read import list_files
from geoseg.layers.write import check_layer_path
from geoseg.run.job import Outputs
from geoseg.tiles.store import TileStore

RASTER_SUFFIXES = (".tif", ".tiff")


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
        return (self.work_dir or outputs.paths()[0].parent / ".geoseg" / outputs.paths()[0].name).absolute()


def check_outputs(outputs: Outputs, execution: Execution, *, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse outputs that could not be written at the end, or would replace an input, before any work is done.

    Raises:
        OptionError: a suffix names no format.
        OutputError: an output exists, is an input or a directory, or lies where nothing can be written; or roads of
            another run would lie beside the layer and be taken for its own.
    """
    if outputs.layer is not None:
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
    for roads in list_files(outputs.layer)[1:] if outputs.layer and outputs.roads is None else []:
        raise OutputError(
            f"{roads} lies beside the output and would be taken for its roads",
            expected="no roads of another run",
            remedy="remove it, add --roads, or choose another name",
        )


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
