"""Every attribute of polygons, column by column."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import GeoGrid
from geoseg.legend import ClassLegend
from geoseg.polygons.attributes import locate_rings, mean_confidence, measure_rings
from geoseg.polygons.identity import identify_ragged
from geoseg.polygons.rectangles import fit_rectangles
from geoseg.polygons.rings import PolygonBatch
from geoseg.ragged import RaggedGeometries
from geoseg.raster.scene import SceneInfo


def describe_polygons(
    batch: PolygonBatch,
    ragged: RaggedGeometries,
    grid: GeoGrid,
    *,
    legend: ClassLegend,
    scene: SceneInfo,
    has_confidence: bool,
) -> dict[str, NDArray[Any]]:
    """The columns of a polygon layer, in their order; each value follows from its own polygon alone.

    Args:
        batch: n polygons: class, pixels and confidence.
        ragged: their outlines in the CRS of `grid`, as they will be written.
        grid: gives the CRS.
        legend: names of the classes, and which are buildings; a class without a name is named by its number.
        scene: where the polygons come from.
        has_confidence: whether the confidences of `batch` were measured; else both columns are not numbers.

    Returns:
        (n,) arrays: object where text (None: unknown), int64 class_id, else float64. Confidences are 0 to 1, the
        smallest is that of the least certain pixel; orientation, length and width are not numbers but for buildings.
    """
    class_id = batch.class_id.astype(np.int64)
    names = np.array([legend.names.get(i, str(i)) for i in range(256)], object)
    buildings = [c.id for c in legend.classes if c.kind == "building"]
    rings = locate_rings(ragged, grid)
    area_m2, perimeter_m = measure_rings(rings)
    rectangles = fit_rectangles(rings, np.isin(class_id, buildings))
    known = 1.0 if has_confidence else np.nan
    return {
        "id": identify_ragged(class_id, ragged, grid.crs),
        "class": names[class_id],
        "class_id": class_id,
        "confidence": known * mean_confidence(batch.confidence_sum, batch.pixels),
        "confidence_min": known * batch.confidence_min / 255.0,
        "area_m2": area_m2,
        "perimeter_m": perimeter_m,
        **rectangles._asdict(),
        "source": np.full(len(batch), scene.name, object),
        "date": np.full(len(batch), scene.date, object),
    }
