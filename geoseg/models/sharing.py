"""Packages on their way to others: one file of a package."""

from __future__ import annotations

from pathlib import Path

from geoseg.errors import OptionError
from geoseg.models.archive import pack_archive
from geoseg.models.package import load_package


def export_package(name: str | Path, output: Path, *, onnx: bool = False, refine: bool = True) -> None:
    """Write a package as one file.

    Args:
        name: a shipped model, or the directory or zip of a package.
        output: a .zip, or with `onnx` an .onnx.
        onnx: write an ONNX file with the weights inside, as QGIS's plugin Deepness reads it.
        refine: whether that ONNX file refines, where the package can; a zip always holds both.

    Raises:
        OptionError: the output's suffix is of another kind of file.
        ModelError: there is no such package, or it is damaged.
        OutputError: the file cannot be written.
    """
    suffix = ".onnx" if onnx else ".zip"
    if output.suffix.lower() != suffix:
        raise OptionError(
            f"output {output}", expected=f"a name that ends in {suffix}", remedy="--onnx writes .onnx, without it .zip"
        )
    package = load_package(name, refine=refine)
    if not onnx:
        return pack_archive(package, output)
    from geoseg.models.deepness import export_deepness  # noqa: PLC0415 (onnx is not needed for a zip)

    return export_deepness(package, output)
