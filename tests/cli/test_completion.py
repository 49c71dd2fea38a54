"""What shells offer: tried in a real bash, and with click's own protocol for the others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import geoseg
from geoseg.models.package import list_packages
from tests.test_architecture import loaded_by

ROOT = Path(geoseg.__file__).parents[1]
BASH = shutil.which("bash")
TRY = """
source <(geoseg completion bash)
complete -p geoseg
compopt() { echo "files: $2"; }
COMP_WORDS=("$@")
COMP_CWORD=$(( $# - 1 ))
_geoseg_completion geoseg
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which `geoseg` is this one, whatever is installed."""
    program = tmp_path / "bin/geoseg"
    program.parent.mkdir()
    code = f"import sys\n\nsys.path.insert(0, {str(ROOT)!r})\nimport geoseg.cli\n\ngeoseg.cli.main()\n"
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def complete(path: str, *words: str) -> list[str]:
    assert BASH
    command = [BASH, "--norc", "-c", TRY, "bash", *words]
    environment = os.environ | {"PATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=True)
    assert done.stderr == ""
    registered, *offered = done.stdout.splitlines()
    assert registered.endswith("-F _geoseg_completion geoseg")
    return [word for word in offered if word]


@pytest.mark.skipif(BASH is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["geoseg", "segm"], ["segment"]),
        (["geoseg", "polygonize", "--conn"], ["--connectivity"]),
        (["geoseg", "segment", "a.tif", "--device", "cu"], ["cuda"]),
        (["geoseg", "models", "exp"], ["export"]),
        (["geoseg", "completion", ""], ["bash", "zsh", "fish"]),
        (["geoseg", "models", "show", ""], list(list_packages())),
        (["geoseg", "segment", "a.tif", "--model", "landcover-rgb-"], ["landcover-rgb-fast"]),
        # To bash, "default" means: names of files.
        (["geoseg", "segment", "a.tif", "--model", "./mi"], ["files: default"]),
        (["geoseg", "segment", "sce"], ["files: default"]),
        (["geoseg", "view", "map"], ["files: default"]),
        (["geoseg", "evaluate", "a.tif", "b.tif", "--aoi", ""], ["files: default"]),
    ],
)
def test_bash(path: str, words: list[str], offered: list[str]) -> None:
    assert complete(path, *words) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_for_this_program(path: str, shell: str) -> None:
    command = ["geoseg", "completion", shell]
    done = subprocess.run(
        command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True, timeout=600
    )
    assert f"_GEOSEG_COMPLETE={shell}_complete" in done.stdout
    syntax = shutil.which(shell)
    if syntax:
        subprocess.run([syntax, "-n"], input=done.stdout, text=True, check=True, timeout=600)


def test_another_shell_is_refused(path: str) -> None:
    command = ["geoseg", "completion", "csh"]
    done = subprocess.run(
        command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr


def test_a_begun_word_loads_no_library_that_takes_a_while() -> None:
    code = (
        "import os, sys; os.environ |= {'_GEOSEG_COMPLETE': 'bash_complete', 'COMP_CWORD': '3',"
        "'COMP_WORDS': 'geoseg segment --model land'}\n"
        "import geoseg.cli\ntry: geoseg.cli.cli(prog_name='geoseg')\nexcept SystemExit: pass"
    )
    assert not {"torch", "onnxruntime", "rasterio", "dask", "geopandas", "numba", "shapely"} & loaded_by(code)
