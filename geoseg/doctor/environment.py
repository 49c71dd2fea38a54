"""Environment variables that change what geoseg and its libraries do; no value that may be a secret is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator

from geoseg.doctor.findings import Finding
from geoseg.progress import Progress

SECTION = "environment"

SHOWN = (
    "CUDA_VISIBLE_DEVICES",
    "GDAL_CACHEMAX",
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "GDAL_NUM_THREADS",
    "GDAL_SKIP",
    "GDAL_VRT_ENABLE_PYTHON",
    "GEOSEG_CACHE",
    "MKL_NUM_THREADS",
    "NUMBA_CACHE_DIR",
    "NUMBA_DISABLE_JIT",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ORT_DISABLE_TELEMETRY",
    "PROJ_DATA",
    "PROJ_LIB",
    "PROJ_NETWORK",
    "TMPDIR",
)
"""Folders, counts and switches: their values are shown, those of no other variable."""

NAMED = ("AWS_", "AZURE_", "CPL_", "CURL_", "DASK_", "GDAL_", "GS_", "OGR_", "PG", "SWIFT_", "VSI_")
"""Beginnings of the names of variables of which only the name is shown."""

REMEDIES = {
    "GDAL_DATA": "unset it: rasterio and pyogrio each bring the files that fit them",
    "PROJ_DATA": "unset it: rasterio, pyogrio and pyproj each bring the database that fits them",
    "PROJ_LIB": "unset it: rasterio, pyogrio and pyproj each bring the database that fits them",
    "GDAL_DRIVER_PATH": "unset it: plugins of another GDAL can end the process",
    "GDAL_VRT_ENABLE_PYTHON": "unset it: with it, a VRT may run any program",
    "NUMBA_DISABLE_JIT": "unset it: geoseg becomes a hundred times slower",
}


def find_settings(_: Progress) -> Iterator[Finding]:
    """Variables that are set, with values only where these cannot be secrets."""
    found = sorted(os.environ)
    for name in found:
        if name in SHOWN:
            remedy = REMEDIES.get(name, "")
            yield Finding(SECTION, name, os.environ[name], "note" if remedy else "ok", remedy)
        elif name.startswith(NAMED):
            yield Finding(SECTION, name, "set; its value is not shown")
    if not any(name in SHOWN or name.startswith(NAMED) for name in found):
        yield Finding(SECTION, "variables", "none that matter are set")
