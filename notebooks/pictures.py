"""Make the pictures of the README from the synthetic demo scene: `python notebooks/pictures.py`.

Each step of the map's finish is shown before and after, every other option being the same. The picture of
`geoseg view` needs Chromium and stays as it is without. `frontier.png` is of `tests/benchmarks/frontier.py`.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import rasterio
import rasterio.windows
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

import geoseg
from geoseg.comparison.rows import STYLE
from geoseg.legend import LAND_COVER
from geoseg.run.demo import DemoScene, make_demo_scene
from geoseg.view.page import write_map_page

IMAGES = Path(__file__).parent / "images"
COLORS = {c.name: "#{:02x}{:02x}{:02x}".format(*c.color) for c in LAND_COVER.classes}
UNSEEN = "unchanged", "noise"
CHANGES = {c.name: "#{:02x}{:02x}{:02x}".format(*c.color) for c in STYLE.classes if c.name not in UNSEEN}
DPI = 100
PANEL_IN = 5.6, 4.2
TITLE_IN = 0.34
GAP_IN = 0.12
PALETTE = 160
STAIRCASE = {"simplify_m": 0, "regularize": False, "smooth": False}
FEW_CORNERS = {"regularize": False, "smooth": False}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

Options = dict[str, Any]
Crop = tuple[float, float, float]
"""Metres from the scene's left and upper edge to those of the crop, and its width."""


@dataclass(frozen=True)
class Side:
    """One half of a picture: its title, in which `{corners}` and `{polygons}` are counted, and how it was made."""

    title: str
    options: Options = field(default_factory=dict)
    roads: bool = False


@dataclass(frozen=True)
class Step:
    """A step before and after in a crop of the scene."""

    name: str
    crop: Crop
    before: Side
    after: Side


STEPS = (
    Step(
        "min-unit",
        (500, 402, 64),
        Side("--exact: {polygons} polygons", {"exact": True}),
        Side("--min-unit auto: {polygons} polygons", STAIRCASE | {"separate": False}),
    ),
    Step(
        "separate",
        (452, 245, 70),
        Side("--no-separate", {"separate": False}),
        Side("--separate"),
    ),
    Step(
        "simplify",
        (372, 104, 44),
        Side("--simplify 0: {corners} corners", STAIRCASE),
        Side("--simplify auto: {corners} corners", FEW_CORNERS),
    ),
    Step(
        "regularize",
        (263, 387, 62),
        Side("--no-regularize: {corners} corners", {"regularize": False}),
        Side("--regularize: {corners} corners"),
    ),
    Step("smooth", (476, 405, 30), Side("--no-smooth", {"smooth": False}), Side("--smooth")),
    Step("roads", (240, 85, 170), Side("the polygons"), Side("and the layer roads; dashed: a gap closed", roads=True)),
)


class Panels:
    """A picture of two panels of one crop of the scene, side by side."""

    def __init__(self, scene: DemoScene, crop: Crop) -> None:
        x_m, y_m, width_m = crop
        height_m = width_m * PANEL_IN[1] / PANEL_IN[0]
        with rasterio.open(scene.image) as raster:
            left, top = raster.bounds.left + x_m, raster.bounds.top - y_m
            self.box = (left, top - height_m, left + width_m, top)
            around = left - 1, top - height_m - 1, left + width_m + 1, top + 1
            outer = rasterio.windows.from_bounds(*around, raster.transform).round_offsets().round_lengths()
            self._image = np.moveaxis(raster.read(window=outer), 0, -1)
            west, south, east, north = rasterio.windows.bounds(outer, raster.transform)
            self._extent = (west, east, south, north)
        self._size_in = (2 * PANEL_IN[0] + GAP_IN, PANEL_IN[1] + TITLE_IN)
        self._figure = Figure(figsize=self._size_in, dpi=DPI)
        FigureCanvasAgg(self._figure)

    def open(self, number: int, title: str) -> Axes:
        """The left (0) or right (1) panel with its title and the imagery."""
        width, height = self._size_in
        left = number * (PANEL_IN[0] + GAP_IN) / width
        axes = self._figure.add_axes((left, 0, PANEL_IN[0] / width, PANEL_IN[1] / height))
        axes.imshow(self._image, extent=self._extent, interpolation="bilinear")
        axes.set_title(title, fontsize=14, pad=5)
        return axes

    def save(self, path: Path) -> None:
        """Write as a PNG with a palette."""
        west, south, east, north = self.box
        for axes in self._figure.axes:
            axes.set(xlim=(west, east), ylim=(south, north), aspect="auto")
            axes.axis("off")
        pixels = io.BytesIO()
        self._figure.savefig(pixels, format="png")
        save_palette(Image.open(pixels), path)


def save_palette(image: Image.Image, path: Path) -> None:
    """Write a picture with a palette, which takes half of the bytes."""
    few = image.convert("RGB").quantize(PALETTE, kmeans=4, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def draw_polygons(axes: Axes, polygons: geopandas.GeoDataFrame, *, alpha: float = 0.4) -> None:
    """Areas in the colours of the legend, the outlines opaque."""
    for name, group in polygons.groupby("class"):
        group.plot(ax=axes, facecolor=to_rgba(COLORS[name], alpha), edgecolor=COLORS[name], linewidth=1.4)


def draw_roads(axes: Axes, roads: geopandas.GeoDataFrame) -> None:
    """Centrelines with a casing, closed gaps dashed, and the nodes."""
    for bridged, lines in roads.groupby("bridged"):
        style = (0, (1.5, 1.2)) if bridged else "solid"
        lines.plot(ax=axes, color="#1c2733", linewidth=3.4, zorder=3)
        lines.plot(ax=axes, color="white" if bridged else COLORS["road"], linewidth=1.8, linestyle=style, zorder=4)
    ends = shapely.get_coordinates(shapely.boundary(roads.geometry.to_numpy()))
    axes.plot(*ends.T, "o", color="white", markeredgecolor="#1c2733", markersize=5, zorder=5)


def draw_step(step: Step, scene: DemoScene, work: Path) -> None:
    """A step before and after."""
    panels = Panels(scene, step.crop)
    for number, (end, side) in enumerate((("before", step.before), ("after", step.after))):
        output = work / f"{step.name}-{end}.gpkg"
        geoseg.segment(scene.image, output, work_dir=work / "tiles", **side.options)
        polygons = pyogrio.read_dataframe(output, layer="polygons", bbox=panels.box)
        axes = panels.open(number, side.title.format(**count(polygons, panels)))
        draw_polygons(axes, polygons)
        if side.roads:
            draw_roads(axes, pyogrio.read_dataframe(output, layer="roads", bbox=panels.box))
    panels.save(IMAGES / f"{step.name}.png")


def count(polygons: geopandas.GeoDataFrame, panels: Panels) -> dict[str, str]:
    """How many polygons touch the crop, and how many of their corners lie within it."""
    x, y = shapely.get_coordinates(polygons.geometry.to_numpy()).T
    west, south, east, north = panels.box
    inside = (x > west) & (x < east) & (y > south) & (y < north)
    return {"polygons": f"{len(polygons):,}", "corners": f"{int(inside.sum()):,}"}


def draw_map(scene: DemoScene, layer: Path) -> None:
    """The scene, and its map as `geoseg segment` makes it."""
    panels = Panels(scene, (235, 80, 190))
    panels.open(0, "a scene")
    axes = panels.open(1, "its map")
    draw_polygons(axes, pyogrio.read_dataframe(layer, layer="polygons", bbox=panels.box), alpha=0.5)
    draw_roads(axes, pyogrio.read_dataframe(layer, layer="roads", bbox=panels.box))
    shown = [Patch(color=COLORS[name], label=name) for name in ("building", "road", "vegetation")]
    axes.legend(handles=shown, loc="upper right", fontsize=11, framealpha=0.9)
    panels.save(IMAGES / "demo.png")


def draw_changes(scene: DemoScene, layer: Path, work: Path) -> None:
    """The buildings of two models, and what differs."""
    other, changes = work / "fast.gpkg", work / "changes.gpkg"
    geoseg.segment(scene.image, other, model="landcover-rgb-fast")
    geoseg.compare(other, layer, changes, tolerance_m=1.5, only_class="building")
    panels = Panels(scene, (415, 230, 130))
    axes = panels.open(0, "landcover-rgb-fast; dashed: landcover-rgb")
    for path, style in ((other, {"color": COLORS["building"]}), (layer, {"color": "white", "linestyle": "dashed"})):
        polygons = pyogrio.read_dataframe(path, layer="polygons", bbox=panels.box)
        polygons[polygons["class"] == "building"].boundary.plot(ax=axes, linewidth=1.3, **style)
    axes = panels.open(1, "--only-class building --tolerance 1.5")
    shown = []
    for name, group in pyogrio.read_dataframe(changes, layer="changes", bbox=panels.box).groupby("change"):
        if name in CHANGES:
            group.plot(ax=axes, facecolor=to_rgba(CHANGES[name], 0.75), edgecolor="white", linewidth=0.8)
            shown.append(Patch(color=CHANGES[name], label=name))
    axes.legend(handles=shown, loc="upper right", fontsize=10, framealpha=0.9)
    panels.save(IMAGES / "compare.png")


def draw_page(scene: DemoScene, layer: Path, work: Path) -> None:
    """`geoseg view` in a browser."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print("view.png is left as it is: there is no Chromium")
        return
    page, shot = work / "map.html", work / "view.png"
    write_map_page(layer, page, image=scene.image)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1060,640"]
    command += ["--virtual-time-budget=10000", f"--user-data-dir={work / 'profile'}", f"--screenshot={shot}"]
    subprocess.run([*command, page.as_uri()], check=True, timeout=120, capture_output=True)
    save_palette(Image.open(shot), IMAGES / "view.png")


def main() -> None:
    """Make the scene, run every step with and without, and draw."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scene = make_demo_scene(work)
        layer = work / "map.gpkg"
        geoseg.segment(scene.image, layer, work_dir=work / "tiles")
        draw_map(scene, layer)
        for step in STEPS:
            draw_step(step, scene, work)
        draw_page(scene, layer, work)
        draw_changes(scene, layer, work)


if __name__ == "__main__":
    main()
