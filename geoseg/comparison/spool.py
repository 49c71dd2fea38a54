"""Byte strings that wait in a file."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterable
from types import TracebackType

import numpy as np
from numpy.typing import NDArray


class Spool:
    """A list of byte strings in a temporary file; memory holds 8 bytes of each. Closing it removes the file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="geoseg-", buffering=2**20)  # noqa: SIM115 (closed by `__exit__`)
        self._ends = array("q", [0])

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, items: Iterable[bytes]) -> None:
        """Add some at the end."""
        for item in items:
            self._file.write(item)
            self._ends.append(self._ends[-1] + len(item))

    def read(self, index: NDArray[np.integer]) -> list[bytes]:
        """Those of some numbers, in that order."""
        self._file.flush()
        handle, ends = self._file.fileno(), self._ends
        return [os.pread(handle, ends[i + 1] - ends[i], ends[i]) for i in index.tolist()]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n,) bytes of each."""
        ends = np.array(self._ends, np.int64)
        return ends[1:] - ends[:-1]
