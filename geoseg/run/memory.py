"""Memory is a formula, checked before anything is read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from geoseg.errors import BudgetError, OptionError
from geoseg.raster.mosaic import BLOCK_BYTES, ClassMosaic
from geoseg.run.job import Job, Prediction
from geoseg.run.machine import available_bytes, default_workers
from geoseg.run.outputs import Execution
from geoseg.run.parts import part_bytes
from geoseg.tiles.patches import LATTICE_PX, PatchLattice

PROCESS_BYTES = 420 * 2**20
"""Interpreter, libraries, GDAL's block cache and the join of an ordinary layer, measured."""

TRACE_BYTES_PER_PX = 12
"""Classes, confidence and mask of a tile, and its traces, measured on noisy classes."""

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def parse_bytes(text: str | int | None) -> int | None:
    """A size such as 4GiB, 500MB or 1000000 in bytes.

    Raises:
        OptionError: it is none.
    """
    if text is None or isinstance(text, int):
        return text
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]I?)?B?\s*", text.upper())
    size = float(match[1]) * UNITS[match[2] or ""] if match else math.inf
    if not math.isfinite(size):
        raise OptionError(f"--memory {text}", expected="a size such as 4GiB, 500MB or 2000000000")
    return int(size)


def task_bytes(job: Job, workspace_bytes_per_px: float = 0.0) -> int:
    """The most that one tile's task holds at once, in bytes."""
    fixed = 0
    if isinstance(job.classes, Prediction):
        source, lattice = job.classes.source, job.classes.lattice
        # One strip of a patch at full resolution: values as stored, as uint8, once more reflected, and its masks.
        per_px = len(source.bands) * np.dtype(source.dtype).itemsize + 2 * source.band_count + 3
        cols = lattice.core_px[1] + 2 * lattice.halo_source_px[1]
        fixed = lattice.strip_rows_px * cols * per_px
        # What the engine gives for the core, and which of it is known.
        fixed += 4 * lattice.core_px[0] * lattice.core_px[1]
        fixed += int(workspace_bytes_per_px * lattice.patch_px**2)
    if not isinstance(job.classes, ClassMosaic):
        # The block in which a pixel lies is decoded as a whole, and handed over band by band.
        fixed += 3 * job.classes.source.block_bytes
    if isinstance(job.classes, ClassMosaic):
        fixed = BLOCK_BYTES
    return max(part_bytes(job), job.plan.peak_bytes(bytes_per_core_px=TRACE_BYTES_PER_PX, fixed_bytes=fixed))


def run_bytes(job: Job, workspace_bytes_per_px: float, workers: int, *, processes: bool) -> int:
    """The most that a run holds at once on this machine, in bytes."""
    task = task_bytes(job, workspace_bytes_per_px)
    return PROCESS_BYTES + workers * (task + (PROCESS_BYTES if processes else 0))


def check_budget(job: Job, workspace_bytes_per_px: float, execution: Execution, budget: int | None) -> Execution:
    """Refuse a run that the formula says does not fit the budget, or else this machine's available memory.

    Returns:
        The execution, where it leaves the number of workers open with as many as fit, up to one a processor.

    Raises:
        BudgetError: it says what would fit.
    """
    given = f"--memory of {format_bytes(budget)}" if budget is not None else "the memory that this machine has left"
    if budget is None:
        budget = available_bytes() if execution.scheduler in ("threads", "local") else None
    if budget is None:
        return execution
    workers = execution.workers or default_workers()
    processes = execution.scheduler != "threads"
    needed = run_bytes(job, workspace_bytes_per_px, workers, processes=processes)
    if needed <= budget:
        return execution
    remedies = [f"--memory {-(-needed // 2**20)}MiB"]
    for fewer, options, smaller in _smaller_runs(job, workers):
        if run_bytes(smaller, workspace_bytes_per_px, fewer, processes=processes) <= budget:
            if execution.workers is None and not options:
                return replace(execution, workers=fewer)
            remedies.insert(0, f"--workers {fewer}{options}")
            break
    raise BudgetError(
        f"{given}, and {workers} workers on tiles of "
        f"{job.plan.core_px[0]} x {job.plan.core_px[1]} px need {format_bytes(needed)}",
        expected=f"at least {format_bytes(needed)}",
        remedy=", or ".join(remedies),
    )


def _smaller_runs(job: Job, workers: int) -> Iterator[tuple[int, str, Job]]:
    """Workers, other options and job of runs that need ever less: fewer workers, then smaller tiles and patches."""
    for fewer in range(workers - 1, 0, -1):
        yield fewer, "", job
    lattice = job.classes.lattice if isinstance(job.classes, Prediction) else None
    side = max(job.plan.core_px) // 2
    while side:
        yield 1, f" --tile-px {side}", replace(job, plan=replace(job.plan, core_px=_tile_px(lattice, side)))
        side //= 2
    while isinstance(job.classes, Prediction) and lattice and lattice.patch_px >= 4 * lattice.halo_px + 2 * LATTICE_PX:
        lattice = replace(lattice, patch_px=lattice.patch_px // 2 // LATTICE_PX * LATTICE_PX)
        smaller = replace(job, classes=replace(job.classes, lattice=lattice))
        options = f" --tile-px 1 --patch-px {lattice.patch_px}"
        yield 1, options, replace(smaller, plan=replace(job.plan, core_px=_tile_px(lattice, 1)))


def _tile_px(lattice: PatchLattice | None, side: int) -> tuple[int, int]:
    return (side, side) if lattice is None else lattice.tile_px(side)


def format_bytes(size: float) -> str:
    """A size for people, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TiB"
