"""What a process has held at most; `ru_maxrss` begins with what its parent held when it started it."""

from __future__ import annotations

import re
from pathlib import Path


def peak_kib() -> int:
    """Of this process since it started, as Linux tells it."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
