"""A process that reads damaged rasters, one a line of stdin, and says of each what came of it, one JSON a line."""

from __future__ import annotations

import json
import logging
import re
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import rasterio.features

from geoseg.errors import GeosegError
from geoseg.grid import Window
from geoseg.raster.classes import open_class_raster
from geoseg.raster.reader import close_thread_dataset, probe_windows
from geoseg.raster.source import open_raster
from geoseg.run.polygonize import polygonize
from geoseg.run.segment import segment
from tests.faults.inputs.mutants import LAYOUTS, Mutant, make_mutant, write_layout
from tests.invariance import light_engine
from tests.peak import peak_kib

DATA_BYTES = 6 * 2**30
"""What the process may allocate; GDAL's own limit of a block is 2 GiB."""
Verdict = dict[str, object]

HARMLESS = re.compile(
    r"tags are not sorted|contains null byte|Attribute value should be|SubfileType|GDALMetadata|Citation|Bogus"
    r"|doesn't match SamplesPerPixel"
)
"""GDAL's warnings about what changes neither pixels nor their place."""

SIDE_PX = 37
WHOLE_PX = 20_000_000


class Failures(logging.Handler):
    """What GDAL goes on over although it changes pixels or their place."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.ERROR or not HARMLESS.search(message):
            self.messages.append(message)


def judge_reading(path: Path, *, classes: bool) -> tuple[str, str]:
    """ "refused", "same" as GDAL reads it, or how it differs; and why."""
    try:
        source = open_class_raster(path).source if classes else open_raster(path)
        rows, cols = source.grid.rows, source.grid.cols
        if rows * cols > WHOLE_PX:
            windows = list(probe_windows(source.grid, count=4, size_px=64))
        else:
            side = max(SIDE_PX, -(-max(rows, cols) // 20))
            windows = [
                Window(row, col, side, side).intersect(source.grid.window)
                for row in range(0, rows, side)
                for col in range(0, cols, side)
            ]
        parts = [source.read_values(window)[0] for window in windows]
        if not classes:
            for window in windows[:: max(1, len(windows) // 10)]:
                source.read(window)
    except GeosegError as error:
        return "refused", str(error)
    finally:
        close_thread_dataset()
    failures = Failures()
    logging.getLogger("rasterio").addHandler(failures)
    try:
        with rasterio.open(path) as raster:
            if (raster.transform, raster.crs.to_wkt()) != (source.grid.transform, source.grid.crs):
                return "other georeference", repr(raster.transform)
            for window, part in zip(windows, parts, strict=True):
                box = rasterio.windows.Window(window.col, window.row, window.cols, window.rows)
                if not np.array_equal(raster.read(source.bands, window=box), part, equal_nan=part.dtype.kind == "f"):
                    return "other pixels", repr(window)
    except Exception as error:
        return "only geoseg reads it", repr(error)
    finally:
        logging.getLogger("rasterio").removeHandler(failures)
    return ("read with errors", "; ".join(failures.messages)) if failures.messages else ("same", "")


def judge_run(path: Path, folder: Path, *, classes: bool) -> tuple[str, str]:
    """ "refused", "same" as a run on a clean copy of what GDAL reads, or how it differs; and why."""
    ran, out = [], [folder / "map.fgb", folder / "clean.fgb"]
    rasters = [folder / "map.tif", folder / "clean.tif"]
    clean = folder / "copy.tif"
    for image, layer, raster in zip([path, clean], out, rasters, strict=True):
        try:
            if classes:
                polygonize(image, layer, workers=1)
            else:
                segment(image, layer, classes_raster=raster, device="cpu", workers=1)
            ran.append(layer)
        except GeosegError as error:
            left = [p.name for p in folder.iterdir() if p.name not in (path.name, clean.name, ".geoseg")]
            if left or image == clean:
                return "leavings", f"{left} {error}"
            return "refused", str(error)
        if image == path:
            with rasterio.open(path) as dataset:
                profile = dataset.profile | {"driver": "GTiff", "compress": None, "tiled": False, "photometric": None}
                for key in ("blockxsize", "blockysize", "interleave", "photometric", "nbits"):
                    profile.pop(key, None)
                values, colors = dataset.read(), dataset.colorinterp
            with rasterio.open(clean, "w", **profile) as copy:
                copy.write(values)
                copy.colorinterp = colors
    shown = out if classes else rasters
    if classes:
        mine, other = (pyogrio.read_dataframe(p).geometry.to_wkb().tolist() for p in shown)
        return ("same", "") if mine == other else ("other polygons", f"{len(mine)} {len(other)}")
    read = [rasterio.open(p).read() for p in shown]
    return ("same", "") if np.array_equal(*read) else ("other classes", "")


def judge(mutant: Mutant, *, run: bool) -> Verdict:
    """The verdict on a file."""
    classes = "classes" in mutant.layout
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = folder / "mutant.tif"
        path.write_bytes(mutant.content)
        verdict, why = judge_run(path, folder, classes=classes) if run else judge_reading(path, classes=classes)
    return {
        "verdict": verdict,
        "why": why,
        "layout": mutant.layout,
        "fault": mutant.fault,
        "whole": mutant.content == write_layout(mutant.layout),
        "peak_mib": peak_kib() // 1024,
    }


def answer(number: int | None, verdict: Verdict) -> None:
    """Print a verdict."""
    sys.stdout.write(json.dumps({"number": number, **verdict}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Judge a whole file of each kind, then the mutants of the numbers on stdin; with "run" each by a whole run."""
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    light_engine.install()
    run = "run" in sys.argv
    # What is compiled at first use is compiled here.
    for layout in LAYOUTS:
        answer(None, judge(Mutant(layout, "", write_layout(layout)), run=run))
    for line in sys.stdin:
        answer(int(line), judge(make_mutant(int(line)), run=run))


if __name__ == "__main__":
    main()
