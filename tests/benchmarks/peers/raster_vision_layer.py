"""Raster Vision: windows side by side, as its documentation has it, then its own polygons.

usage: python raster_vision_layer.py RASTER NETWORK.pt FOLDER THREADS CLASS...   (in an environment with rastervision)
"""

from __future__ import annotations

import sys

import torch
from rastervision.core.data import ClassConfig, PolygonVectorOutputConfig, SemanticSegmentationLabels
from rastervision.pytorch_learner import (
    SemanticSegmentationGeoDataConfig,
    SemanticSegmentationLearner,
    SemanticSegmentationLearnerConfig,
    SemanticSegmentationSlidingWindowGeoDataset,
)

WINDOW_PX = 512


def main(raster: str, network: str, folder: str, threads: str, *names: str) -> None:
    torch.set_num_threads(int(threads))
    classes = ClassConfig(names=list(names), null_class=names[0])
    windows = SemanticSegmentationSlidingWindowGeoDataset.from_uris(
        class_config=classes,
        image_uri=raster,
        image_raster_source_kw={"channel_order": [0, 1, 2], "allow_streaming": True},
        size=WINDOW_PX,
        stride=WINDOW_PX,
    )
    data = SemanticSegmentationGeoDataConfig(class_config=classes, num_workers=0)
    learner = SemanticSegmentationLearner(
        SemanticSegmentationLearnerConfig(data=data),
        output_dir=folder,
        model=torch.jit.load(network).eval(),
        training=False,
    )
    predictions = learner.predict_dataset(windows, raw_out=True, numpy_out=True, progress_bar=False)
    labels = SemanticSegmentationLabels.from_predictions(
        windows.windows, predictions, extent=windows.scene.extent, num_classes=len(names), smooth=True
    )
    polygons = [PolygonVectorOutputConfig(class_id=i, denoise=0) for i in range(1, len(names))]
    labels.save(
        folder,
        crs_transformer=windows.scene.raster_source.crs_transformer,
        class_config=classes,
        smooth_output=False,
        vector_outputs=polygons,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
