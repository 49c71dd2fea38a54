"""Processors and memory that a run finds: those of the machine, and what control groups leave of them."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from geoseg.errors import BudgetError

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")

MIN_OPEN_FILES = 64
"""Libraries that cannot open a file of their own fail in ways that no message explains."""


def default_workers() -> int:
    """The processors this process may use; a control group's share of one counts as one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, max(1, math.ceil(find_processor_limit() or allowed)))


def check_open_files() -> None:
    """Refuse to run where too few files may be open at a time.

    Raises:
        BudgetError: it says how many may.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limit < MIN_OPEN_FILES:
        raise BudgetError(
            f"only {limit} files may be open at a time",
            expected=f"at least {MIN_OPEN_FILES}",
            remedy="`ulimit -n 1024` before the command",
        )


def available_bytes() -> int | None:
    """What can be used without swapping, and without being ended by a control group; None where nothing says."""
    found = (limit - used for limit, used in _list_memory())
    return min((max(free, 0) for free in (*_read_available(), *found)), default=None)


def find_memory_limit() -> int | None:
    """Bytes that the tightest control group grants, or None."""
    return min((limit for limit, _ in _list_memory()), default=None)


def find_processor_limit() -> float | None:
    """Processors that the tightest control group grants, perhaps a part of one, or None."""
    shares = (_read(folder / "cpu.max").split() for folder in _list_groups())
    return min((int(time) / int(period) for time, period in filter(None, shares) if time != "max"), default=None)


def _list_memory() -> Iterator[tuple[int, int]]:
    """Of every control group that limits memory: the limit, and what is used but for the page cache, in bytes."""
    for folder in _list_groups():
        limit, used = (_read(folder / f"memory.{name}").strip() for name in ("max", "current"))
        if limit.isdecimal():
            facts = _read(folder / "memory.stat").split()
            cached = dict(zip(facts[::2], facts[1::2], strict=False)).get("inactive_file", 0)
            yield int(limit), int(used or 0) - int(cached)


def _list_groups() -> list[Path]:
    """Folders of the control groups (version 2) that this process is in, the innermost one first."""
    paths = [line[3:] for line in _read(MEMBERSHIP).splitlines() if line.startswith("0::")]
    # A container sees its own group as the root, whatever the kernel calls it.
    inner = CGROUPS / paths[0].lstrip("/") if paths else CGROUPS
    return [folder for folder in (inner, *inner.parents) if folder.is_relative_to(CGROUPS) and folder.is_dir()]


def _read_available() -> Iterator[int]:
    for fact in _read(MEMINFO).splitlines():
        name, _, value = fact.partition(":")
        if name == "MemAvailable":
            yield 1024 * int(value.removesuffix("kB"))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
