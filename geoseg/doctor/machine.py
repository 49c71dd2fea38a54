"""Processors, memory and devices, and what a container leaves of them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from geoseg.doctor.findings import Finding
from geoseg.progress import Progress

SECTION = "devices"
CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
CUDA_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")


def find_devices(progress: Progress) -> Iterator[Finding]:
    """Processors, available memory, limits of the control group and CUDA devices; torch is loaded for a driver only."""
    from geoseg.run.memory import available_bytes, format_bytes
    from geoseg.run.scheduler import default_workers

    yield Finding(SECTION, "processors", f"{os.cpu_count()}, of which this process may use {default_workers()}")
    available = available_bytes()
    yield Finding(SECTION, "memory left", "unknown" if available is None else format_bytes(available))
    limit = read_limit("memory.max")
    if limit is not None:
        free = max(limit - (read_usage() or 0), 0)
        is_tight = available is not None and free < available
        remedy = f"say so to large runs: --memory {free // 2**20}MiB" if is_tight else ""
        yield Finding(SECTION, "memory limit", format_bytes(limit), "note" if is_tight else "ok", remedy)
    processors = read_limit("cpu.max")
    if processors is not None:
        is_tight = processors < default_workers()
        value, remedy = f"{processors:g} processors", f"--workers {max(1, round(processors))}"
        yield Finding(SECTION, "processor limit", value, "note" if is_tight else "ok", remedy if is_tight else "")
    yield from _find_cuda(progress)


def read_limit(name: str) -> float | int | None:
    """The tightest limit of the control groups (version 2) that this process is in, or None.

    Args:
        name: `memory.max`, in bytes, or `cpu.max`, in processors.
    """
    limits = []
    for folder in _list_groups():
        words = _read(folder / name).split()
        if words and words[0] != "max":
            limits.append(int(words[0]) / int(words[1]) if len(words) == 2 else int(words[0]))
    return min(limits, default=None)


def read_usage() -> int | None:
    """Bytes that the control group holds, those of the page cache left out, or None."""
    for folder in _list_groups():
        used, facts = _read(folder / "memory.current"), _read(folder / "memory.stat").split()
        if used:
            stats = dict(zip(facts[::2], facts[1::2], strict=False))
            return int(used) - int(stats.get("inactive_file", 0))
    return None


def _list_groups() -> list[Path]:
    """Folders of the control groups, the innermost one first."""
    paths = [line[3:] for line in _read(MEMBERSHIP).splitlines() if line.startswith("0::")]
    # A container sees its own group as the root, whatever the kernel calls it.
    inner = CGROUPS / paths[0].lstrip("/") if paths else CGROUPS
    return [folder for folder in (inner, *inner.parents) if folder.is_relative_to(CGROUPS) and folder.is_dir()]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _find_cuda(progress: Progress) -> Iterator[Finding]:
    if not has_driver():
        yield Finding(SECTION, "CUDA", "no NVIDIA driver: geoseg uses the processor")
        return
    progress.note("loading torch, to ask it for devices")
    import torch

    if not torch.cuda.is_available():
        remedy = "install a torch built for CUDA, and a driver that is new enough for it"
        yield Finding(SECTION, "CUDA", f"torch {torch.__version__} sees no device", "note", remedy)
    for i in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(i)
        value = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, capability {facts.major}.{facts.minor}"
        yield Finding(SECTION, f"cuda:{i}", value)


def has_driver() -> bool:
    """Whether an NVIDIA driver is installed."""
    for name in CUDA_LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False
