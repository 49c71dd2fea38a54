"""The shape of the package: imports go down only, heavy libraries wait."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import geoseg

PACKAGE = Path(geoseg.__file__).parent
RANKS = [
    {"redact"},
    {"errors"},
    {"files", "grid", "heap", "kernel", "legend", "progress", "ragged", "settings"},
    {"raster", "tiles", "models", "page"},
    {"probabilities", "classes", "polygons", "roads", "layers"},
    {"catalog", "training", "evaluation", "comparison", "view"},
    {"run"},
    {"region"},
    {"doctor"},
    {"console"},
    {"cli", "__init__"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the route"
            names = [node.module] if node.module != "geoseg" else [f"geoseg.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        parts |= {n.split(".")[1] for n in names if n.startswith("geoseg.")}
    return parts


def test_every_module_has_a_rank() -> None:
    assert {part_of(m) for m in MODULES} <= set(RANK)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_imports_go_only_down(module: Path) -> None:
    mine = part_of(module)
    for part in imported_parts(module) - {mine, "__version__"}:
        assert RANK[part] < RANK[mine], f"{module.name} imports geoseg.{part}"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_no_assert_and_no_print(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        assert not isinstance(node, ast.Assert)
        assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print")


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_modules_stay_small(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 300


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys\nsys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_command_line_is_light() -> None:
    heavy = {"numpy", "torch", "rasterio", "dask", "onnxruntime", "geopandas", "numba", "shapely"}
    assert not heavy & loaded_by("import geoseg.cli")


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_kernels_are_compiled_in_one_way(module: Path) -> None:
    """That of `geoseg.kernel`, which also works where no folder can keep them."""
    if module == PACKAGE / "kernel.py":
        return
    for node in ast.walk(ast.parse(module.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.ImportFrom) else []
        names += [node.attr] if isinstance(node, ast.Attribute) else []
        assert not {"njit", "jit", "vectorize", "guvectorize"} & set(names)
