"""Mixed jobs for an hour on two workers in one process: memory and open files do not creep."""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import shutil
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import geoseg
from geoseg.region.batch import batch
from tests.invariance.light_engine import LightEngine
from tests.region.running import MODEL, write_scene

MINUTES = float(os.environ.get("GEOSEG_SOAK_MINUTES", "60"))
WARM_UP = 0.25
"""Share of the time in which caches fill."""
LIMIT_MIB_PER_HOUR = 24.0
LIMIT_FILES = 4
WORKERS = 2


def measure() -> tuple[float, int]:
    """Resident memory in MiB, without what the C library keeps for later, and open files."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss / 2**20, len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
def test_memory_and_open_files_stay_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.run.graph.open_engine", lambda package, geometry, device: LightEngine(geometry))
    monkeypatch.setattr("os.fsync", lambda file: None)
    for number in range(3):
        write_scene(tmp_path / f"scenes/{number}.tif", number)
    large = write_scene(tmp_path / "large.tif", 9, side_px=500)
    expected: dict[str, bytes] = {}
    samples: list[tuple[float, float, int]] = []
    began = time.monotonic()
    for turn in itertools.count():
        hours = (time.monotonic() - began) / 3600
        if hours * 60 > MINUTES:
            break
        out = tmp_path / "out"
        suffix = (".gpkg", ".fgb", ".parquet", ".geojson")[turn % 4]
        options = {"workers": WORKERS, "tile_px": 1, "patch_px": 512}
        geoseg.segment(large, out / f"map{suffix}", classes_raster=out / "classes.tif", roads=True, **options)
        geoseg.polygonize(out / "classes.tif", out / f"pixels{suffix}", tile_px=100, min_unit_m2=2.0, workers=WORKERS)
        result = batch([tmp_path / "scenes"], out / "region", model=MODEL, format=suffix, workers=WORKERS)
        assert len(result.done) == 3
        with pytest.raises(geoseg.InputError):
            geoseg.segment(tmp_path / "none.tif", out / "none.fgb")
        # Every turn makes the same map as the first of its kind.
        if suffix != ".gpkg":
            content = (out / f"map{suffix}").read_bytes()
            assert expected.setdefault(suffix, content) == content
        shutil.rmtree(out)
        samples.append((hours, *measure()))
    hours, memory, files = np.array(samples).T
    settled = hours > WARM_UP * MINUTES / 60
    slope = np.polyfit(hours[settled], memory[settled], 1)[0]
    creep = slope * (hours[-1] - hours[settled][0])
    print(f"{len(samples)} turns, {memory[-1]:.0f} MiB, {slope:+.1f} MiB/h ({creep:+.1f} MiB), {files[-1]:.0f} files")
    # Over a few minutes a slope an hour is mostly noise: there what counts is how much it became.
    assert slope < LIMIT_MIB_PER_HOUR or creep < LIMIT_MIB_PER_HOUR / 8, f"{slope:.1f} MiB/h"
    assert files[settled].max() - files[settled].min() <= LIMIT_FILES
