"""The command that shows a layer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from geoseg.cli.completing import complete_files

VIEW_EXAMPLES = """\b
Examples:
  geoseg view map.gpkg --image scene.tif -o map.html
  geoseg view map.gpkg --image scene.tif
"""


@click.command(epilog=VIEW_EXAMPLES)
@click.argument("layer", type=click.Path(path_type=Path))
@click.option("--image", shell_complete=complete_files, help="Raster to lay beneath: file, VRT or URL, in any CRS.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Page to write, .html; without it, serve.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of 127.0.0.1 to serve on; default: a free one.")
@click.option("--overwrite", is_flag=True, help="Replace a page that exists.")
def view(layer: Path, image: str | None, output: Path | None, port: int | None, overwrite: bool) -> None:
    """Show LAYER as a map.

    With -o it is one HTML file that works offline; without, the map is served to this machine's browser.
    """
    if output:
        from geoseg.view.page import write_map_page

        page = write_map_page(layer, output, image=image, overwrite=overwrite)
        click.echo(f"{page.features:,} features, {page.size_bytes / 1e6:.1f} MB\n-> {page.path}")
        return
    from geoseg.view.server import open_server

    click.echo(f"reading {layer}", err=True)
    with open_server(layer, image=image, port=port or 0) as server:
        click.echo(f"{server.url}  (Ctrl-C stops)")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
