"""What no user can do anything about stays out of sight."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


@contextmanager
def hush_undecodable() -> Iterator[None]:
    """Leave out that a warning of GDAL is no UTF-8, as metadata of a raster may be.

    rasterio logs warnings from within GDAL, where an exception can be raised to nobody: Cython prints it, and tells of
    it as one that is ignored.
    """
    hooks = sys.excepthook, sys.unraisablehook
    dask_setup()
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = hooks


def dask_setup(worker: object = None) -> None:
    """Do the same for good, in a process of dask's that preloads this module."""
    prints, reports = sys.excepthook, sys.unraisablehook

    def print_other(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not (kind is UnicodeDecodeError and trace is None):
            prints(kind, error, trace)

    def report_other(fault: sys.UnraisableHookArgs) -> None:
        if not (fault.exc_type is UnicodeDecodeError and "rasterio" in str(fault.object)):
            reports(fault)

    sys.excepthook, sys.unraisablehook = print_other, report_other
