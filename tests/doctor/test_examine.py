"""The doctor: sound here, and every kind of trouble found, named and given a remedy."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyogrio
import pytest
import rasterio.features
from click.testing import CliRunner, Result
from rasterio.errors import CRSError

import geoseg
from geoseg import cli
from geoseg.doctor import caches, drivers, environment, examine, machine, selftest, versions
from geoseg.doctor.examine import SECTIONS
from geoseg.doctor.findings import Examination, Finding
from geoseg.layers.read import SUFFIXES
from geoseg.models import package
from geoseg.progress import Silence

Look = Callable[[Any], Any]


def look(find: Look) -> dict[str, Finding]:
    return {f.name: f for f in find(Silence())}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, ["doctor", *arguments])


class TestCommand:
    def test_all_is_well(self) -> None:
        found = run("--json")
        report = json.loads(found.stdout)
        assert found.exit_code == 0, report
        assert report["sound"]
        assert list(dict.fromkeys(f["section"] for f in report["findings"])) == list(SECTIONS)
        assert all(set(f) == {"section", "name", "value", "state", "remedy"} for f in report["findings"])
        names = [f["name"] for f in report["findings"] if f["section"] == "self-test"]
        assert names == ["class raster", "polygons", "prediction", *(f"layer {s}" for s in SUFFIXES)]

    def test_a_failure_is_an_exit_code_and_a_line_with_a_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trouble = Finding("drivers", "GPKG", "missing: .gpkg", "failed", "install pyogrio")
        monkeypatch.setattr(examine, "SECTIONS", {"drivers": lambda _: iter([trouble, Finding("drivers", "VRT", "")])})
        found = run()
        assert found.exit_code == 1
        lines = found.stdout.splitlines()
        assert lines[:2] == ["drivers", "  FAILED  GPKG  missing: .gpkg"]
        assert lines[2].split() == ["remedy:", "install", "pyogrio"]
        assert lines[-1] == "1 of 2 FAILED"
        assert not json.loads(run("--json").stdout)["sound"]

    def test_a_note_is_no_failure(self) -> None:
        found = Examination((Finding("caches", "kernels", "", "note", "a folder"),))
        assert found.is_sound
        assert "NOTE" in found.format()
        assert "works" in found.format()

    def test_a_library_that_does_not_load_hides_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "rasterio", None)
        found = run("--json")
        report = json.loads(found.stdout)
        assert found.exit_code == 1
        assert list(dict.fromkeys(f["section"] for f in report["findings"])) == list(SECTIONS)
        failed = {f["section"]: f for f in report["findings"] if f["state"] == "failed"}
        assert "rasterio" in failed["drivers"]["value"]
        assert failed["drivers"]["remedy"]
        assert "versions" not in failed


class TestVersions:
    def test_here(self) -> None:
        found = look(versions.find_versions)
        assert found["geoseg"].value == geoseg.__version__
        assert found["numpy"].value == metadata.version("numpy")
        assert not {"pytest", "ruff"} & set(found)

    def test_what_is_missing_too_old_or_optional(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = ["nosuch>=1", "numpy>=99", "click", 'nosuchextra; extra == "xarray"', 'pytest; extra == "test"']
        monkeypatch.setattr(metadata, "requires", lambda _: asked)
        found = look(versions.find_versions)
        assert found["nosuch"].state == found["numpy"].state == "failed"
        assert found["nosuch"].remedy == "pip install 'nosuch>=1'"
        assert ">=99 is needed" in found["numpy"].value
        assert found["click"].state == found["nosuchextra"].state == "ok"
        assert "geoseg[xarray]" in found["nosuchextra"].value
        assert "pytest" not in found

    def test_uninstalled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: str) -> list[str]:
            raise metadata.PackageNotFoundError

        monkeypatch.setattr(metadata, "requires", fail)
        assert look(versions.find_versions)["requirements"].state == "note"


class TestDrivers:
    def test_here(self) -> None:
        found = look(drivers.find_drivers)
        assert not [f for f in found.values() if f.state == "failed"]
        assert {"GTiff", "COG", "GPKG", "FlatGeobuf", "PMTiles"} <= set(found)

    def test_without_vector_drivers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pyogrio, "list_drivers", lambda: {"GPKG": "r", "GeoJSON": "r"})
        found = look(drivers.find_drivers)
        assert found["GPKG"].state == found["FlatGeobuf"].state == found["PMTiles"].state == "failed"
        assert "pyogrio" in found["GPKG"].remedy
        assert found["GeoJSON"].state == "ok"
        assert found["ESRI Shapefile"].state == "note"

    def test_without_raster_drivers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rasterio.Env, "drivers", lambda _: {"GTiff": "GeoTIFF"})
        found = look(drivers.find_drivers)
        assert found["COG"].state == "failed"
        assert found["GTiff"].state == "ok"
        assert found["JP2OpenJPEG"].state == "note"

    @pytest.mark.parametrize("fault", ["raises", "lies"])
    def test_without_a_projection_database(self, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
        def transform(*_: object) -> tuple[list[float], list[float]]:
            if fault == "raises":
                raise CRSError("Cannot find proj.db")
            return [0.0], [0.0]

        monkeypatch.setattr("rasterio.warp.transform", transform)
        found = look(drivers.find_drivers)
        assert found["PROJ database of rasterio"].state == "failed"
        assert "PROJ_DATA" in found["PROJ database of rasterio"].remedy
        assert found["PROJ database of pyproj"].state == "ok"


class TestDevices:
    def test_limits_of_control_groups_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geoseg.run.machine.find_memory_limit", lambda: 2**31)
        monkeypatch.setattr("geoseg.run.machine.find_processor_limit", lambda: 0.5)
        found = look(machine.find_devices)
        assert found["memory limit"].value.startswith("2.00 GiB")
        assert found["processor limit"].value.startswith("0.5 processors")
        assert found["processors"].value.endswith("may use 1")

    def test_torch_is_loaded_for_a_driver_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "has_driver", lambda: False)
        monkeypatch.setitem(sys.modules, "torch", None)
        assert "no NVIDIA driver" in look(machine.find_devices)["CUDA"].value

    def test_devices_and_a_driver_without_any(self, monkeypatch: pytest.MonkeyPatch) -> None:
        facts = SimpleNamespace(name="Card", total_memory=2**35, major=9, minor=0)
        cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 1, get_device_properties=lambda i: facts)
        monkeypatch.setattr(machine, "has_driver", lambda: True)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, __version__="9"))  # type: ignore[arg-type]
        assert look(machine.find_devices)["cuda:0"].value == "Card, 32 GiB, capability 9.0"
        cuda.is_available, cuda.device_count = (lambda: False), (lambda: 0)
        assert look(machine.find_devices)["CUDA"].state == "note"


class TestCaches:
    def test_here(self) -> None:
        found = look(caches.find_caches)
        assert found["model landcover-rgb"].state == found["model landcover-rgb-fast"].state == "ok"

    def test_no_folder_keeps_kernels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stats = SimpleNamespace(stats=SimpleNamespace(cache_path=None))
        monkeypatch.setattr("geoseg.polygons.runs.encode_runs", stats)
        found = look(caches.find_caches)["kernels"]
        assert found.state == "note"
        assert "NUMBA_CACHE_DIR" in found.remedy

    @pytest.mark.parametrize("fault", ["altered", "gone"])
    def test_a_broken_model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
        library = tmp_path / "library"
        shutil.copytree(Path(package.__file__).parent / "library", library)
        weights = library / "landcover-rgb/weights.safetensors"
        if fault == "gone":
            shutil.rmtree(weights.parent)
        else:
            content = bytearray(weights.read_bytes())
            content[-5] ^= 1
            weights.write_bytes(content)
        monkeypatch.setattr(package, "_find_library", lambda: library)
        found = look(caches.find_caches)
        assert found["model landcover-rgb"].state == "failed"
        assert "install geoseg again" in found["model landcover-rgb"].remedy
        assert found["model landcover-rgb-fast"].state == "ok"
        tried = look(selftest.try_geoseg)
        assert tried["prediction"].state == "failed"
        assert tried["polygons"].state == "ok"

    def test_full_disk_and_places_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("GEOSEG_CACHE", str(tmp_path / "file/cache"))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
        found = look(caches.find_caches)
        assert found["unpacked models"].state == found["temporary files"].state == found["this folder"].state == "note"
        assert "GEOSEG_CACHE" in found["unpacked models"].remedy
        assert "TMPDIR" in found["temporary files"].remedy


class TestEnvironment:
    def test_no_secret_is_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        secrets = ("AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "GDAL_HTTP_USERPWD", "GDAL_HTTP_HEADERS", "PGPASSWORD")
        for name in secrets:
            monkeypatch.setenv(name, "hunter2")
        monkeypatch.setenv("MY_PASSWORD", "hunter2")
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        found = look(environment.find_settings)
        assert set(secrets) <= set(found)
        assert "hunter2" not in str(found)
        assert "MY_PASSWORD" not in found
        assert found["OMP_NUM_THREADS"].value == "3"

    @pytest.mark.parametrize("name", ["PROJ_LIB", "GDAL_DATA", "GDAL_VRT_ENABLE_PYTHON"])
    def test_what_makes_trouble_is_noted(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(name, "/opt/other")
        found = look(environment.find_settings)[name]
        assert found.state == "note"
        assert found.remedy.startswith("unset it")

    def test_nothing_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.environ", {})
        assert [f.name for f in environment.find_settings(Silence())] == ["variables"]


class TestSelfTest:
    def test_other_polygons_than_rasterio_has_are_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        true_shapes = rasterio.features.shapes
        monkeypatch.setattr(rasterio.features, "shapes", lambda *a, **k: list(true_shapes(*a, **k))[1:])
        found = look(selftest.try_geoseg)["polygons"]
        assert found.state == "failed"
        assert "differ" in found.value
        assert found.remedy

    def test_a_format_that_cannot_be_written_is_named_and_the_others_go_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("driver is broken")

        monkeypatch.setattr(pyogrio, "write_arrow", fail)
        found = look(selftest.try_geoseg)
        failed = {name for name, f in found.items() if f.state == "failed"}
        assert {"layer .gpkg", "layer .fgb"} <= failed
        assert found["layer .parquet"].state == found["layer .geojson"].state == "ok"
        assert all(found[name].remedy for name in failed)

    def test_features_that_get_lost_are_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geoseg.layers.read.open_layer", lambda _: [])
        found = look(selftest.try_geoseg)
        assert "0 read" in found["layer .gpkg"].value
        assert found["layer .gpkg"].state == "failed"

    def test_a_folder_that_cannot_be_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OSError("read-only file system")

        monkeypatch.setattr(selftest, "_make_classes", fail)
        (found,) = look(selftest.try_geoseg).values()
        assert found.state == "failed"
        assert "read-only" in found.value

    def test_nothing_is_left_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        assert look(selftest.try_geoseg)["polygons"].state == "ok"
        assert not list(tmp_path.iterdir())
