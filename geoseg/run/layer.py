"""From traces to the layer file: join, order, measure, filter, write; a batch at a time.

Simplification alone holds the whole layer, since it looks at all common boundaries at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.layers.write import LayerColumns, write_layer
from geoseg.polygons.attributes import mean_confidence, measure_polygons
from geoseg.polygons.join import join_tiles
from geoseg.polygons.order import sort_spilled
from geoseg.polygons.rings import PolygonBatch
from geoseg.polygons.simplify import simplify_coverage
from geoseg.progress import Progress
from geoseg.run.graph import read_traces
from geoseg.run.job import Job, LayerOptions
from geoseg.tiles.store import JOIN


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """What went into a layer, by class name."""

    polygons: dict[str, int] = field(default_factory=dict)
    area_m2: dict[str, float] = field(default_factory=dict)

    def add(self, names: NDArray[np.object_], area_m2: NDArray[np.float64]) -> None:
        """Count one batch: class names (n,) and areas (n,) in m2."""
        for name in np.unique(names):
            mine = names == name
            self.polygons[name] = self.polygons.get(name, 0) + int(mine.sum())
            self.area_m2[name] = self.area_m2.get(name, 0.0) + float(area_m2[mine].sum())


def write_polygons(job: Job, path: Path, options: LayerOptions, progress: Progress) -> LayerCounts:
    """Join the traces of every tile and write the layer.

    Raises:
        OutputError: the layer cannot be written.
    """
    counts = LayerCounts()
    progress.start("write polygons", None)
    ordered = sort_spilled(join_tiles(read_traces(job)), job.store.empty_folder(JOIN))
    if options.simplify_m is not None:
        whole = PolygonBatch.concatenate(ordered)
        pixel_m = job.plan.grid.ground_resolution_m()
        ordered = iter([simplify_coverage(whole, tolerance_m=options.simplify_m, pixel_m=pixel_m)])
    columns = _describe_polygons(job, ordered, options, counts, progress)
    write_layer(path, columns, crs_wkt=job.plan.grid.crs, overwrite=True)
    return counts


def _describe_polygons(
    job: Job, batches: Iterator[PolygonBatch], options: LayerOptions, counts: LayerCounts, progress: Progress
) -> Iterator[LayerColumns]:
    named = job.legend.names
    names = np.array([named.get(i, str(i)) for i in range(256)], object)
    grid = job.plan.grid
    for batch in batches:
        geometries = batch.geometries(grid.transform)
        area_m2, perimeter_m = measure_polygons(geometries, grid)
        confidence = (
            mean_confidence(batch.confidence_sum, batch.pixels) if job.predicts else np.full(len(area_m2), np.nan)
        )
        kept = area_m2 >= options.min_area_m2
        class_id = batch.class_id[kept].astype(np.int64)
        columns = LayerColumns(
            geometries[kept], names[class_id], class_id, confidence[kept], area_m2[kept], perimeter_m[kept]
        )
        counts.add(columns.class_name, columns.area_m2)
        progress.advance(len(columns))
        yield columns
