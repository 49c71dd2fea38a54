"""From traces to the layers of a map: join, generalise, describe, filter, write; a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geoseg.classes.stitch import stitch_window
from geoseg.grid import Window
from geoseg.heap import return_freed_memory
from geoseg.layers.columns import POLYGON_COLUMNS, ROAD_COLUMNS, Layer, LayerBatch
from geoseg.layers.write import write_layers
from geoseg.polygons.arcs import SUBPIXELS
from geoseg.polygons.describe import describe_polygons
from geoseg.polygons.generalise import generalise_coverage
from geoseg.polygons.identity import identify_features
from geoseg.polygons.join import join_tiles
from geoseg.polygons.order import sort_spilled
from geoseg.polygons.rings import PolygonBatch
from geoseg.polygons.stored import RecordFile
from geoseg.progress import Progress
from geoseg.raster.mosaic import ClassMosaic
from geoseg.roads.gaps import BridgeRule, mark_classes
from geoseg.roads.join import join_roads
from geoseg.roads.scale import RoadScale
from geoseg.run.graph import TilePair, read_classes, read_roads, read_traces
from geoseg.run.job import Job
from geoseg.run.sources import SourceIndex, find_line_members, name_members, note_members
from geoseg.tiles.plan import Tile
from geoseg.tiles.store import JOIN

CLOSED = 255
"""Marks pixels that no road leads through."""


@dataclass(slots=True)
class LayerCounts:
    """What went into the layers: polygons by class name, and the segments of the network."""

    polygons: dict[str, int] = field(default_factory=dict)
    area_m2: dict[str, float] = field(default_factory=dict)
    road_segments: int = 0
    road_length_m: float = 0.0

    def add(self, names: NDArray[np.object_], area_m2: NDArray[np.float64]) -> None:
        """Count one batch: class names (n,) and areas (n,) in m2."""
        for name in np.unique(names):
            mine = names == name
            self.polygons[name] = self.polygons.get(name, 0) + int(mine.sum())
            self.area_m2[name] = self.area_m2.get(name, 0.0) + float(area_m2[mine].sum())


def write_map(job: Job, path: Path, progress: Progress) -> LayerCounts:
    """Join what the tiles left and write the layers `polygons` and, where there is a network, `roads`.

    Raises:
        OutputError: the layers cannot be written.
    """
    counts = LayerCounts()
    progress.start("write polygons", None)
    folder = job.store.empty_folder(JOIN)
    layers = [Layer("polygons", "Polygon", POLYGON_COLUMNS, _describe_polygons(job, folder, counts, progress))]
    if job.options.roads:
        layers.append(Layer("roads", "LineString", ROAD_COLUMNS, _describe_roads(job, folder, counts)))
    grid = job.plan.grid
    write_layers(
        path,
        layers,
        crs_wkt=grid.crs,
        legend=job.legend,
        provenance=job.provenance,
        pixel_m=math.sqrt(math.prod(grid.ground_resolution_m())),
        overwrite=True,
    )
    return counts


def _describe_polygons(job: Job, folder: Path, counts: LayerCounts, progress: Progress) -> Iterator[LayerBatch]:
    ordered = sort_spilled(join_tiles(read_traces(job)), folder)
    members = RecordFile(folder / "members")
    if isinstance(job.classes, ClassMosaic):
        ordered = note_members(ordered, job, members)
    batches, transform = _finish_polygons(job, ordered, folder)
    noted = members.read()
    for numbered in batches:
        batch = replace(numbered, class_id=job.class_of_part[numbered.class_id])
        ragged = batch.flatten(transform)
        columns = describe_polygons(
            batch,
            ragged,
            job.plan.grid,
            legend=job.legend,
            scene=job.scene,
            has_confidence=job.has_confidence,
        )
        if isinstance(job.classes, ClassMosaic):
            columns |= name_members(job.classes, next(noted)[0])
        kept = columns["area_m2"] >= job.options.min_area_m2
        if not kept.all():
            columns = {name: values[kept] for name, values in columns.items()}
            ragged = batch.take(np.flatnonzero(kept)).flatten(transform)
        counts.add(columns["class"], columns["area_m2"])
        progress.advance(len(ragged))
        yield LayerBatch(ragged, columns)


def _finish_polygons(job: Job, ordered: Iterator[PolygonBatch], folder: Path) -> tuple[Iterator[PolygonBatch], Affine]:
    """The same polygons in the same batches, drawn, and what takes their (col, row) to the world."""
    grid, options = job.plan.grid, job.options
    if options.simplify_m is None:
        return ordered, grid.transform
    # A class raster's background leaves polygons too: an area's outline towards it is as smooth as it is without them.
    smooth = (*options.smooth, *job.legend.background_ids) if options.smooth else ()
    finished = generalise_coverage(
        ordered,
        folder,
        tolerance_m=options.simplify_m,
        pixel_m=grid.ground_resolution_m(),
        smooth=smooth,
        regularize=np.flatnonzero(np.isin(job.class_of_part, options.regularize)).tolist(),
        detail_m=options.detail_m,
    )
    return finished, grid.transform @ Affine.scale(1 / SUBPIXELS)


def _mark_ways(job: Job, tile: Tile) -> TilePair | None:
    """How sure it is that no road runs below a tile's pixels: the background's confidence, CLOSED under buildings."""
    pair = read_classes(job, tile)
    if pair is None:
        return None
    classes, confidence = pair
    background = mark_classes(job.legend.background_ids)
    closed = mark_classes([c.id for c in job.legend.classes if c.kind == "building"])
    sure = np.uint8(0) if confidence is None else np.minimum(confidence, CLOSED - 1)
    marks = np.where(background[classes], sure, np.uint8(0))
    marks[closed[classes]] = CLOSED
    return marks, None


def _describe_roads(job: Job, folder: Path, counts: LayerCounts) -> Iterator[LayerBatch]:
    return_freed_memory()
    grid = job.plan.grid
    scale = RoadScale.of(grid)

    # Gaps are asked for one beside the other; each lies on four tiles at most.
    read_marks = lru_cache(4)(partial(_mark_ways, job))

    def read(window: Window) -> TilePair:
        marks, _ = stitch_window(window, job.tiles(window), read_marks, elsewhere=0)
        return marks, marks

    rule = BridgeRule(background=range(CLOSED), blocking=[CLOSED], read=read)
    index = SourceIndex(job)
    for number in job.options.roads:
        network = join_roads(read_roads(job, number), scale, class_id=number, folder=folder, bridges=rule)
        for part in network:
            batch = part.describe(grid)
            same = {"class": job.legend.names[number], "source": job.scene.name, "date": job.scene.date}
            constant = {name: np.full(len(batch.geometries), value, object) for name, value in same.items()}
            constant["id"] = identify_features(np.full(len(batch.geometries), number), batch.geometries, grid.crs)
            if isinstance(job.classes, ClassMosaic):
                constant |= name_members(job.classes, find_line_members(batch.geometries, job, index))
            counts.road_segments += len(batch.geometries)
            counts.road_length_m += float(batch.columns["length_m"].sum())
            yield LayerBatch(batch.geometries, batch.columns | constant)
