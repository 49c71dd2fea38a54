"""The notebooks run, and what is stored is what ran."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from notebooks.run import NOTEBOOKS, digest, execute, list_outputs

MOST_BYTES = 1_000_000
FOLDERS = re.compile(r"""(?:^|[\s'"(=])/(?:\w[\w.-]*/)+""")
"""A path from the root of a file system."""


def mark(path: Path) -> object:
    return pytest.param(path, id=path.stem, marks=[pytest.mark.cluster] * ("dask" in path.name))


stored = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def read_texts(notebook: NotebookNode) -> str:
    """All that is written in outputs."""
    outputs = list_outputs(notebook)
    texts = [output.get("text", "") for output in outputs]
    texts += [text for output in outputs for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(texts)


def check_outputs(notebook: NotebookNode) -> None:
    outputs = list_outputs(notebook)
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    texts = read_texts(notebook)
    assert not FOLDERS.search(texts)
    assert not [place for place in (tempfile.gettempdir(), Path.home(), Path.cwd()) if f"{place}/" in texts]


def test_there_are_five() -> None:
    assert len(NOTEBOOKS) == 5


@pytest.mark.parametrize("text", ["/home/me/map.gpkg", "-> '/tmp/tmp1/map.gpkg'", "Path('/a/b')"])
def test_paths_of_a_machine_are_noticed(text: str) -> None:
    assert FOLDERS.search(text)
    assert not FOLDERS.search("map.gpkg: 3 km/h, and/or <b>a</b> https://example.org/a/b scenes/a.tif")


@stored
def test_outputs_are_kept_and_small(path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES
    check_outputs(read(path))


@stored
def test_what_is_stored_is_what_ran(path: Path) -> None:
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert notebook.metadata["executed"] == digest(notebook), f"run `python notebooks/run.py {path.stem}`"


@stored
def test_it_reads_well(path: Path) -> None:
    """Prose comes first, and cells are short."""
    cells = read(path).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert not [cell.source for cell in cells if cell.source.count("\n") > 60]


@pytest.mark.slow
@pytest.mark.parametrize("path", [mark(path) for path in NOTEBOOKS])
def test_it_runs(path: Path) -> None:
    before = path.read_bytes()
    executed = execute(path)
    check_outputs(executed)
    assert len(nbformat.writes(executed)) < MOST_BYTES
    assert path.read_bytes() == before
