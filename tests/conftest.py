"""Small georeferenced rasters with known content."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from geoseg import cli
from geoseg.grid import GeoGrid
from geoseg.legend import LAND_COVER
from geoseg.raster.cog import write_class_raster

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
UTM = "EPSG:32737"
CORNER = Affine(0.5, 0, 530_000, 0, -0.5, 9_330_000)

MakeRaster = Callable[..., Path]


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]

# The same examples in every run, however slow the machine is; other ones where a seed is given.
settings.register_profile(
    "calm",
    deadline=None,
    derandomize="GEOSEG_TEST_SEED" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("calm")

# A shell may start programs in the background such that they, and all that they start, ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def without_fsync() -> Iterator[None]:
    """Nobody cuts the power, and waiting for the disk is most of the time; programs that tests start do wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real imagery; tests that need it are skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no imagery in {DATA}")
    return DATA


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in this process."""

    def run_command(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["geoseg", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert isinstance(end.value.code, int)
        return Ended(end.value.code, *capsys.readouterr())

    return run_command


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server with PostGIS; tests that need it are skipped where none is installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    from tests.layers.postgres import run_server  # noqa: PLC0415  (needs psycopg, an extra)

    with run_server() as server:
        yield server


@pytest.fixture
def database(postgres: Any) -> Iterator[str]:
    """The name of an empty database of that server."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def make_grid() -> Callable[..., GeoGrid]:
    """Factory of grids: (rows, cols, transform=..., crs=...), UTM at 0.5 m unless told."""

    def make(rows: int, cols: int, transform: Affine = CORNER, crs: str = UTM) -> GeoGrid:
        return GeoGrid(rasterio.CRS.from_user_input(crs).to_wkt(), transform, rows, cols)

    return make


@pytest.fixture
def make_raster(tmp_path: Path) -> MakeRaster:
    """Factory of GeoTIFFs: (array (B, h, w), name=..., **profile) gives the path."""

    def make(values: NDArray[Any], name: str = "scene.tif", **profile: Any) -> Path:
        path = tmp_path / name
        shape = {"count": values.shape[0], "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
        settings = {"driver": "GTiff", "crs": UTM, "transform": CORNER} | shape | profile
        with rasterio.open(path, "w", **settings) as raster:
            raster.write(values)
        return path

    return make


@pytest.fixture
def rgb_values() -> NDArray[np.uint8]:
    """A (3, 70, 90) uint8 image of random pixels."""
    return np.random.default_rng(1).integers(0, 256, (3, 70, 90)).astype(np.uint8)


@pytest.fixture
def class_raster(tmp_path: Path, make_grid: Callable[..., GeoGrid]) -> Callable[..., Path]:
    """Factory of class rasters in the shipped legend: (array uint8 (h, w), name=...) gives the path."""

    def make(classes: NDArray[np.uint8], name: str = "classes.tif") -> Path:
        path, grid = tmp_path / name, make_grid(*classes.shape)
        write_class_raster(path, grid, [(grid.window, classes)], legend=LAND_COVER, overwrite=True)
        return path

    return make
