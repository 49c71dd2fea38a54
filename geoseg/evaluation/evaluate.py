"""A prediction against the truth: pixels of every class, buildings one by one, roads by length and routes."""

from __future__ import annotations

import math
from pathlib import Path

from geoseg.errors import InputError, OptionError
from geoseg.evaluation.buildings import score_buildings
from geoseg.evaluation.comparison import Comparison, PixelCounts, count_pixels, index_classes
from geoseg.evaluation.layer_side import ClassLayer
from geoseg.evaluation.result import EvaluationResult
from geoseg.evaluation.road_sides import score_road_sides
from geoseg.evaluation.sides import CHECK_PLACE, RasterClasses, bring_together
from geoseg.grid import GeoGrid
from geoseg.layers.read import is_layer_path
from geoseg.legend import LAND_COVER, ClassLegend
from geoseg.raster.aoi import AreaOfInterest, parse_aoi

MAX_REACH_PX = 64
"""Windows are read with at most this much around them."""


def evaluate(
    predicted: Path | str,
    truth: Path | str,
    *,
    legend: ClassLegend = LAND_COVER,
    only_class: str | None = None,
    resolution_m: float = 0.5,
    aoi: Path | str | None = None,
    ignore: Path | str | None = None,
    boundary_px: int = 4,
    slack_px: int = 0,
    road_buffer_m: float = 3.0,
    workers: int | None = None,
) -> EvaluationResult:
    """Compare a prediction with the truth; either may be a class raster (uint8) or a polygon layer.

    Roads may also be a layer of lines; then roads are all that is compared.

    Everything is brought to the grid of the truth: polygons are burnt in where they cover a pixel's centre, a raster
    on another grid is resampled to the nearest pixel. If the truth is a layer, the grid is the prediction's; if both
    are, it is new. Rasters are read in windows, several at a time, so memory does not grow with them; layers, and the
    outlines of buildings and the lines of roads of a raster, are held whole. An open `distributed.Client` takes the
    windows to its workers.

    Args:
        predicted: raster of class ids, or polygons with `class_id` or `class`.
        truth: the same; 255 (no data) is left out.
        legend: the classes.
        only_class: compare this class with everything else, for a truth that knows one class; polygons without a
            class column are of it.
        resolution_m: pixel of the grid if both are layers.
        aoi: judge only this area: "W,S,E,N" in degrees, or a vector file of polygons in any CRS.
        ignore: judge nothing here: the same.
        boundary_px: the boundary IoU looks at the pixels of a class that are at most this many rows and columns away
            from another class.
        slack_px: if not 0, also give scores for which a pixel is a hit if the other side has its class within this
            distance.
        road_buffer_m: so far from each other two lines may lie and still be one road.
        workers: threads; default: one a processor.

    Raises:
        InputError: a side or an area cannot be read, holds unknown classes, or has no CRS where one is needed; or
            there is no pixel that both sides know.
        OptionError: the legend has no class of that name, lines are to be compared as another class than roads, or a
            number is out of range.
    """
    _check_numbers(resolution_m, road_buffer_m, boundary_px, slack_px, workers)
    only_id = _find_class(only_class, legend)
    found, expected = (_open_side(Path(p), legend, only_id) for p in (predicted, truth))
    grid, found_classes, expected_classes = bring_together(found, expected, resolution_m=resolution_m)
    names = tuple(c.name for c in legend.classes) if only_class is None else ("everything else", only_class)
    if any(isinstance(side, ClassLayer) and side.holds_lines for side in (found, expected)):
        names = ()
    comparison = Comparison(
        grid,
        found_classes,
        expected_classes,
        len(names),
        index_classes(legend, only_id),
        _parse_area(aoi, grid),
        _parse_area(ignore, grid),
    )
    building_ids, road_ids = (
        [c.id for c in legend.classes if c.kind == kind and only_id in (None, c.id)] for kind in ("building", "network")
    )
    if not names and not road_ids:
        raise OptionError(f"{predicted} and {truth}: lines can be compared as roads only", expected="a class of roads")
    counts, buildings, roads = PixelCounts.zero(0, comparison.block), None, None
    if names:
        counts = count_pixels(comparison, boundary_px=boundary_px, slack_px=slack_px, workers=workers)
        if not counts.matrix.pixels:
            raise InputError(
                f"{predicted} and {truth}: there is no pixel that both know",
                expected="two sides that overlap where neither is nodata",
                remedy=CHECK_PLACE,
            )
        if building_ids:
            buildings = score_buildings(comparison, building_ids)
    if road_ids and grid.crs:
        roads = score_road_sides(comparison, road_ids, buffer_m=road_buffer_m)
    pixel_m = grid.ground_resolution_m() if grid.crs else (math.nan, math.nan)
    return EvaluationResult(names, counts, boundary_px, slack_px, pixel_m, buildings, roads)


def _open_side(path: Path, legend: ClassLegend, only_id: int | None) -> ClassLayer | RasterClasses:
    if is_layer_path(path):
        return ClassLayer.open(path, legend=legend, only_class=only_id)
    return RasterClasses.open(path)


def _parse_area(text: Path | str | None, grid: GeoGrid) -> AreaOfInterest | None:
    if text is None:
        return None
    if not grid.crs:
        raise InputError(
            f"area {text}: the rasters have no CRS", expected="georeferenced rasters", remedy="leave the area out"
        )
    return parse_aoi(text, grid)


def _find_class(name: str | None, legend: ClassLegend) -> int | None:
    if name is None:
        return None
    ids = {c.name: c.id for c in legend.classes}
    if name not in ids:
        raise OptionError(f"there is no class '{name}'", expected=f"one of {', '.join(ids)}")
    return ids[name]


def _check_numbers(
    resolution_m: float, road_buffer_m: float, boundary_px: int, slack_px: int, workers: int | None
) -> None:
    for name, value in (("resolution", resolution_m), ("road buffer", road_buffer_m)):
        if not (math.isfinite(value) and value > 0):
            raise OptionError(f"{name} {value} m", expected="metres above 0")
    if not 1 <= boundary_px <= MAX_REACH_PX:
        raise OptionError(f"boundary {boundary_px} px", expected=f"1 to {MAX_REACH_PX}")
    if not 0 <= slack_px <= MAX_REACH_PX:
        raise OptionError(f"slack {slack_px} px", expected=f"0 to {MAX_REACH_PX}")
    if workers is not None and workers < 1:
        raise OptionError(f"{workers} workers", expected="at least 1")
