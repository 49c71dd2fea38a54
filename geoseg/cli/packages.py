"""The commands around model packages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoseg.cli.completing import complete_models
from geoseg.errors import OptionError

if TYPE_CHECKING:
    from geoseg.legend import ClassLegend


MODELS_EXAMPLES = """\b
Examples:
  geoseg models
  geoseg models show landcover-rgb
  geoseg models export landcover-rgb landcover.zip
"""
LIST_EXAMPLES = """\b
Examples:
  geoseg models list
"""
SHOW_EXAMPLES = """\b
Examples:
  geoseg models show landcover-rgb
  geoseg models show ./mine
"""
EXPORT_EXAMPLES = """\b
Examples:
  geoseg models export landcover-rgb landcover.zip
  geoseg models export landcover-rgb landcover.onnx --onnx
"""
VERIFY_EXAMPLES = """\b
Examples:
  geoseg models verify landcover-rgb
  geoseg models verify mine.zip
"""
IMPORT_EXAMPLES = """\b
Examples:
  geoseg models import other.onnx ./other --name other --resolution 0.3 \\
    --class background:background:000000 --class building:building:d64541
"""


@click.group(invoke_without_command=True, epilog=MODELS_EXAMPLES)
@click.pass_context
def models(context: click.Context) -> None:
    """List models; look into, exchange and check packages."""
    if context.invoked_subcommand is None:
        context.invoke(list_models)


@models.command("list", epilog=LIST_EXAMPLES)
def list_models() -> None:
    """List the shipped models."""
    from geoseg.models.package import find_package, list_packages, read_manifest

    for name in list_packages():
        package = read_manifest(find_package(name))
        classes = ", ".join(c.name for c in package.legend.classes if c.kind != "background")
        click.echo(f"{name}  {package.version}  {package.ground_resolution_m:g} m  {classes}")


@models.command("show", epilog=SHOW_EXAMPLES)
@click.argument("name", shell_complete=complete_models)
@click.option("--json", "as_json", is_flag=True, help="Print all of its description, model.json.")
def show_model(name: str, as_json: bool) -> None:
    """Print the card of the package NAME."""
    from geoseg.models.card import read_card
    from geoseg.models.manifest import format_manifest
    from geoseg.models.package import load_package

    package = load_package(name)
    click.echo(format_manifest(package) if as_json else read_card(package))


@models.command("export", epilog=EXPORT_EXAMPLES)
@click.argument("name", shell_complete=complete_models)
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--onnx", is_flag=True, help="One ONNX file, as the QGIS plugin Deepness reads it.")
@click.option("--no-refine", is_flag=True, help="With --onnx: leave the refiner out.")
def export_model(name: str, output: Path, onnx: bool, no_refine: bool) -> None:
    """Write the package NAME as one file, OUTPUT.

    It is a .zip, or with --onnx an .onnx.
    """
    from geoseg.models.sharing import export_package

    export_package(name, output, onnx=onnx, refine=not no_refine)
    click.echo(f"-> {output}")


@models.command("verify", epilog=VERIFY_EXAMPLES)
@click.argument("name", shell_complete=complete_models)
def verify_model(name: str) -> None:
    """Check all of the package NAME, a directory or a zip."""
    from geoseg.models.verify import verify_package

    found = verify_package(name)
    click.echo(found.format())
    if not found.is_sound:
        raise click.exceptions.Exit(2)


@models.command("import", epilog=IMPORT_EXAMPLES)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Of the package.")
@click.option("--band", "bands", multiple=True, default=("red", "green", "blue"), show_default=True)
@click.option(
    "--class",
    "classes",
    multiple=True,
    required=True,
    metavar="NAME:KIND:RRGGBB",
    help="In the output's order; KIND: background, building, network or area.",
)
@click.option(
    "--resolution",
    "ground_resolution_m",
    type=click.FloatRange(min=0, min_open=True),
    required=True,
    help="Metres a pixel.",
)
@click.option("--mean", type=float, multiple=True, help="Per band, within the input range.")
@click.option("--std", type=float, multiple=True, help="Per band, within the input range.")
@click.option(
    "--input-range", type=(float, float), default=(0.0, 1.0), show_default=True, help="What 0 and 255 become."
)
@click.option("--layout", type=click.Choice(["NCHW", "NHWC"]), default="NCHW", show_default=True)
@click.option(
    "--activation",
    type=click.Choice(["softmax", "sigmoid", "none"]),
    default="softmax",
    show_default=True,
    help="What is left to do to the output.",
)
@click.option("--patch-px", type=int, default=512, show_default=True)
@click.option("--summary", default="A model trained elsewhere.")
@click.option("--licence", "licences", type=(str, str), multiple=True, metavar="SOURCE LICENCE")
def import_model(
    path: Path, output: Path, classes: tuple[str, ...], licences: tuple[tuple[str, str], ...], **options: Any
) -> None:
    """Make the package OUTPUT of the ONNX model PATH.

    The model may come from PyTorch or TensorFlow (--layout NHWC), of any stride, fixed or free size, opset 11 or newer.
    """
    from geoseg.models.importing import import_onnx

    import_onnx(path, output, legend=_parse_legend(classes), licences=dict(licences), **options)
    click.echo(f"-> {output}")


def _parse_legend(classes: tuple[str, ...]) -> ClassLegend:
    from typing import get_args

    from geoseg.legend import ClassLegend, GeometryKind, LegendClass

    kinds: tuple[GeometryKind, ...] = get_args(GeometryKind)
    listed = []
    for i, text in enumerate(classes):
        try:
            name, kind, color = text.split(":")
            red, green, blue = bytes.fromhex(color)
            listed.append(LegendClass(i, name, (red, green, blue), kinds[kinds.index(kind)]))
        except ValueError as error:
            raise OptionError(
                f"--class {text}", expected=f"NAME:KIND:RRGGBB, where KIND is {', '.join(kinds)}"
            ) from error
    return ClassLegend(tuple(listed))
