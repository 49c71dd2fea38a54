"""Run the notebooks and keep what they show: `python notebooks/run.py [NAME...]`, all of them where none is named.

Each runs in a kernel of its own and an empty folder. One that fails or warns stays as it is.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

FOLDER = Path(__file__).parent
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
TIMEOUT_S = 600
QUIET = {"PYTHONWARNINGS": "ignore:IProgress not found"}
"""A library asks for a widget of Jupyter that it does not need."""
PALETTE = 160


def execute(path: Path) -> NotebookNode:
    """The notebook with new outputs, pictures with a palette, and the digest of the code that made them."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=TIMEOUT_S, record_timing=False, resources=place)
        client.execute(env=os.environ | QUIET | {"TMPDIR": folder})
    for output in list_outputs(notebook):
        if output.get("name") == "stderr":
            raise RuntimeError(f"{path.name} warns: {output['text']}")
        if "image/png" in output.get("data", {}):
            output["data"]["image/png"] = shrink(output["data"]["image/png"])
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "executed": digest(notebook)}
    return notebook


def list_outputs(notebook: NotebookNode) -> list[NotebookNode]:
    """Of all code cells, in their order."""
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def digest(notebook: NotebookNode) -> str:
    """Of the code of all cells: tells whether outputs belong to it."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()


def shrink(png: str) -> str:
    """A picture with a palette takes a third of the bytes."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    few, file = picture.quantize(PALETTE, kmeans=4, dither=Image.Dither.NONE), io.BytesIO()
    few.save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main(names: list[str]) -> None:
    """Execute in place those whose file name starts with one of the names."""
    for path in NOTEBOOKS:
        if not names or path.name.startswith(tuple(names)):
            nbformat.write(execute(path), path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
