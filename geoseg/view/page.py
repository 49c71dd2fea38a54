"""A layer as one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import OptionError, OutputError
from geoseg.files import replace_file
from geoseg.view.content import encode_layers, gather_content
from geoseg.view.html import build_html
from geoseg.view.image import render_pyramid
from geoseg.view.opening import open_view

PAGE_FEATURES = 100_000
PAGE_BYTES = 64 * 1024**2
"""A page of more features or bytes than these is refused: browsers would take it, but not smoothly."""

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True, slots=True)
class MapPage:
    """What was written: the file, how many features of the layer went in, and its size in bytes."""

    path: Path
    features: int
    size_bytes: int


def write_map_page(
    layer: Path | str, output: Path | str, *, image: Path | str | None = None, overwrite: bool = False
) -> MapPage:
    """Write a page that shows a layer without a network: classes, roads, attributes, and imagery beneath.

    The page appears as a whole or not at all. The same inputs give the same bytes. Positions are kept to a centimetre.

    Args:
        layer: GeoPackage (all its layers), GeoJSON, FlatGeobuf or GeoParquet in any CRS; roads written beside it by
            geoseg are taken along.
        output: the page, `.html`.
        image: raster to lay beneath, in any CRS; up to 16 million pixels of it go into the page.
        overwrite: replace an existing file.

    Raises:
        InputError: the layer or the image cannot be read, or they lie in different places.
        OptionError: the output is no `.html`, or the layer is too large for one page.
        OutputError: the output exists and `overwrite` is off, or it cannot be written.
    """
    output = Path(output)
    if output.suffix.lower() not in SUFFIXES:
        raise OptionError(f"a map page named '{output.name}'", expected="a name that ends in .html")
    if output.exists() and not overwrite:
        raise OutputError(
            f"{output} exists", expected="a new file", remedy="choose another name or allow it to be overwritten"
        )
    view = open_view(layer)
    if view.features > PAGE_FEATURES:
        raise _too_large(f"{view.path.name} has {view.features:,} features", f"at most {PAGE_FEATURES:,}")
    content = gather_content(view, image)
    described = content.describe() | {"groups": encode_layers(content)}
    tiles: dict[str, str] = {}
    if content.image:
        levels = content.image.choose_levels(content.image_box)
        described["image"] = content.image.describe(levels)
        tiles = dict(render_pyramid(content.image, levels, content.image_box))
    page = build_html(described, tiles, is_served=False)
    if len(page) > PAGE_BYTES:
        raise _too_large(f"the page of {view.path.name} has {len(page):,} bytes", f"at most {PAGE_BYTES:,}")
    with replace_file(output) as temporary:
        temporary.write_bytes(page)
    return MapPage(output, sum(group["count"] for group in described["groups"]), len(page))


def _too_large(found: str, expected: str) -> OptionError:
    return OptionError(
        f"{found}, too many for one page",
        expected=expected,
        remedy="leave out -o: `geoseg view LAYER` serves layers of any size to your browser",
    )
