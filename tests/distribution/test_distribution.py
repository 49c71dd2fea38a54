"""What travels: a wheel with all that geoseg needs and nothing else, the same from the sdist, working anywhere."""

from __future__ import annotations

import ast
import email
import email.policy
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.message import EmailMessage
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import geoseg

ROOT = Path(geoseg.__file__).parents[1]
DATA = {".md", ".json", ".onnx", ".safetensors", ".toml", ".html", ".css", ".js", ".typed"}
BUILD = "import sys; from setuptools import build_meta as b; getattr(b, 'build_' + sys.argv[1])(sys.argv[2])"


def copy_sources(place: Path) -> Path:
    """The files of a checkout, without what builds and runs leave in it."""
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", ".*", "scratch", "images", "*.ipynb")
    place.mkdir()
    for name in ("geoseg", "tests", "notebooks"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, place)
    return place


def build(sources: Path, kind: str, place: Path) -> Path:
    """Build without a network and without another environment: with the setuptools that is there."""
    place.mkdir()
    command = [sys.executable, "-c", BUILD, kind, str(place)]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = place.iterdir()
    return path


def list_wheel(path: Path) -> dict[str, int]:
    """Size or, of what is compiled into RECORD, checksum of every file."""
    with zipfile.ZipFile(path) as wheel:
        return {i.filename: i.CRC for i in wheel.infolist() if not i.is_dir()}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("geoseg does not run from a checkout")
    pytest.importorskip("setuptools", minversion="77")
    return copy_sources(tmp_path_factory.mktemp("dist") / "checkout")


@pytest.fixture(scope="module")
def wheel(sources: Path) -> Path:
    return build(sources, "wheel", sources.parent / "wheel")


@pytest.fixture(scope="module")
def sdist(sources: Path) -> Path:
    return build(sources, "sdist", sources.parent / "sdist")


def test_the_wheel_holds_all_of_the_package_and_nothing_else(sources: Path, wheel: Path) -> None:
    wanted = {
        str(f.relative_to(sources))
        for f in (sources / "geoseg").rglob("*")
        if f.is_file() and (f.suffix in {".py", *DATA} or f.name == "py.typed")
    }
    found = set(list_wheel(wheel))
    info = {name for name in found if ".dist-info/" in name}
    assert found - info == wanted
    assert wheel.stat().st_size < 20e6
    ends = {name.split("/", 1)[1] for name in info}
    assert {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"} <= ends
    assert "licenses/geoseg/models/library/THIRD-PARTY.md" in ends
    named = {
        "geoseg/py.typed",
        "geoseg/models/library/THIRD-PARTY.md",
        "geoseg/models/library/landcover-rgb/weights.safetensors",
        "geoseg/models/library/landcover-rgb/model.onnx",
        "geoseg/models/library/landcover-rgb-fast/model.json",
        "geoseg/training/jobs/landcover-rgb.toml",
        "geoseg/view/map.html",
        "geoseg/view/map.css",
        "geoseg/view/map.js",
    }
    assert named <= found


def test_no_file_of_the_package_is_of_a_kind_that_stays_behind(sources: Path) -> None:
    kinds = {f.suffix or f.name for f in (sources / "geoseg").rglob("*") if f.is_file()}
    assert kinds <= {".py", *DATA}, "name the new kind in pyproject.toml and here"


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(name)
        scripts = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    told = email.message_from_bytes(text, policy=email.policy.default)
    assert isinstance(told, EmailMessage)
    assert (told["Name"], told["Version"]) == ("geoseg", geoseg.__version__)
    assert told["License-Expression"] == "Apache-2.0"
    assert set(told.get_all("License-File")) == {"LICENSE", "geoseg/models/library/THIRD-PARTY.md"}
    assert told["Requires-Python"] == ">=3.11"
    assert "geoseg = geoseg.cli:main" in scripts
    assert not told.get_all("Project-URL")


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path, filter="data")
    assert not [n for n in names if "__pycache__" in n or "scratch" in n or n.endswith((".pyc", ".nbi", ".tif"))]
    (unpacked,) = tmp_path.iterdir()
    again = build(unpacked, "wheel", tmp_path / "again")
    assert again.name == wheel.name
    assert list_wheel(again) == list_wheel(wheel)


def test_every_model_is_in_the_notices() -> None:
    library = ROOT / "geoseg/models/library"
    notices = (library / "THIRD-PARTY.md").read_text()
    for manifest in library.glob("*/model.json"):
        assert f"`{manifest.parent.name}`" in notices
        licences = json.loads(manifest.read_text())["properties"]["geoseg:provenance"]["licences"]
        for said in " ".join(licences.values()).replace(";", ",").split(","):
            for word in ("CC-BY-4.0", "CC0", "ODbL", "Apache-2.0", "public domain"):
                if word in said:
                    assert word in notices
        for holder in ("OpenAerialMap contributors", "OpenStreetMap contributors", "MassGIS", "Ventura et al. 2024"):
            assert (holder in str(licences)) <= (holder in notices)


@pytest.mark.slow
def test_an_installed_wheel_works_in_another_folder(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own that sees this one's libraries, but not this checkout."""
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=600)
    python = place / "bin/python"
    site = next(place.glob("lib/python3*/site-packages"))
    # A folder named in a .pth file is searched, but its own .pth files, such as that of this checkout, are not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel]
    subprocess.run(install, check=True, timeout=600)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "NUMBA_CACHE_DIR")}

    def run(*arguments: str) -> str:
        command = [place / "bin/geoseg", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = [python, "-c", "import geoseg; print(geoseg.__file__)"]
    found = subprocess.run(
        where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=600
    )
    assert found.stdout.startswith(str(site))
    assert run("--version") == f"geoseg {geoseg.__version__}\n"
    report = json.loads(run("doctor", "--json"))
    assert report["sound"]
    told = run("demo", "--size-px", "512")
    assert "building" in told
    assert (tmp_path / "geoseg-demo/demo.geojson").stat().st_size > 1000
    assert "geoseg works here" in run("doctor")


def test_every_library_that_is_imported_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for name, listed in project["optional-dependencies"].items() if name != "test" for r in listed]
    requirements = [Requirement(text) for text in (*project["dependencies"], *extras)]
    # dask[distributed] asks for both.
    asked = {name.lower().replace("_", "-") for r in requirements for name in (r.name, *r.extras)}
    brings = metadata.packages_distributions()
    imported: dict[str, str] = {}
    for module in (ROOT / "geoseg").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.split(".")[0]: f"{module.relative_to(ROOT)}:{node.lineno}" for name in names}
    for name in imported.keys() - sys.stdlib_module_names - {"geoseg"}:
        owners = {owner.lower().replace("_", "-") for owner in brings.get(name, [name])}
        if owners & asked:
            del imported[name]
    assert {k: v for k, v in imported.items() if k not in sys.stdlib_module_names and k != "geoseg"} == {}
