"""Processors, memory and devices, and what control groups leave of them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

from geoseg.doctor.findings import Finding
from geoseg.progress import Progress

SECTION = "devices"
CUDA_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")


def find_devices(progress: Progress) -> Iterator[Finding]:
    """Processors, available memory, limits of the control group and CUDA devices; torch is loaded for a driver only."""
    from geoseg.run.machine import available_bytes, default_workers, find_memory_limit, find_processor_limit
    from geoseg.run.memory import format_bytes

    yield Finding(SECTION, "processors", f"{os.cpu_count()}, of which this process may use {default_workers()}")
    available = available_bytes()
    yield Finding(SECTION, "memory left", "unknown" if available is None else format_bytes(available))
    limit, processors = find_memory_limit(), find_processor_limit()
    if limit is not None:
        yield Finding(SECTION, "memory limit", f"{format_bytes(limit)} for the control group")
    if processors is not None:
        yield Finding(SECTION, "processor limit", f"{processors:g} processors for the control group")
    yield from _find_cuda(progress)


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
