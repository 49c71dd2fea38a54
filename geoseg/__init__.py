"""geoseg: large satellite and aerial rasters into map layers.

The route, which is also the order of the folders::

    raster ──► tiles ──► probabilities ──► classes ──► polygons ──► layers
    any GDAL    plan,     an engine of       cores       traced,      GeoPackage, GeoJSON,
    source      store     models/            stitched    joined       FlatGeobuf, GeoParquet

`run` composes it, `training` and `evaluation` make and judge the models.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from geoseg.errors import BudgetError, GeosegError, InputError, ModelError, OptionError, OutputError

if TYPE_CHECKING:
    from geoseg.comparison.compare import compare as compare
    from geoseg.evaluation.evaluate import evaluate as evaluate
    from geoseg.layers.read import open_layer as open_layer
    from geoseg.models.package import load_package as load_model
    from geoseg.region.batch import batch as batch
    from geoseg.region.result import BatchResult as BatchResult
    from geoseg.roads.graph import open_network as open_network
    from geoseg.run.array import segment_array as segment_array
    from geoseg.run.array_polygons import polygonize_array as polygonize_array
    from geoseg.run.execute import SegmentResult as SegmentResult
    from geoseg.run.polygonize import polygonize as polygonize
    from geoseg.run.segment import segment as segment
    from geoseg.training.fit import train as train

__version__ = "0.1.0"

# Imported on first use: `import geoseg` and `geoseg --help` stay light.
_LAZY = {
    "BatchResult": ("geoseg.region.result", "BatchResult"),
    "SegmentResult": ("geoseg.run.execute", "SegmentResult"),
    "batch": ("geoseg.region.batch", "batch"),
    "compare": ("geoseg.comparison.compare", "compare"),
    "evaluate": ("geoseg.evaluation.evaluate", "evaluate"),
    "load_model": ("geoseg.models.package", "load_package"),
    "open_layer": ("geoseg.layers.read", "open_layer"),
    "open_network": ("geoseg.roads.graph", "open_network"),
    "polygonize": ("geoseg.run.polygonize", "polygonize"),
    "polygonize_array": ("geoseg.run.array_polygons", "polygonize_array"),
    "segment": ("geoseg.run.segment", "segment"),
    "segment_array": ("geoseg.run.array", "segment_array"),
    "train": ("geoseg.training.fit", "train"),
}

__all__ = [
    "BatchResult",
    "BudgetError",
    "GeosegError",
    "InputError",
    "ModelError",
    "OptionError",
    "OutputError",
    "SegmentResult",
    "batch",
    "compare",
    "evaluate",
    "load_model",
    "open_layer",
    "open_network",
    "polygonize",
    "polygonize_array",
    "segment",
    "segment_array",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value
