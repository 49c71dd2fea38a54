"""Networks and refined networks side by side on what a training job holds out: pixels, edges, buildings.

usage: python tests/benchmarks/refinement.py JOB.toml ROOT RUN...

Each RUN is a folder of `geoseg train` or `geoseg refine`, judged by its last averaged weights, be they its best
or not. Buildings are polygons simplified by a metre, of 10 m2 and more, against the outlines of the truth.
"""

from __future__ import annotations

import operator
import sys
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
import torch
from affine import Affine

from geoseg.evaluation.evaluate import evaluate
from geoseg.evaluation.result import EvaluationResult
from geoseg.legend import ClassLegend
from geoseg.models.networks import build_network, load_weights
from geoseg.models.torch_engine import read_spec
from geoseg.run.polygonize import polygonize
from geoseg.training.checkpoint import read_description
from geoseg.training.job import TrainingJob, read_job
from geoseg.training.losses import FULL
from geoseg.training.samples import read_whole
from geoseg.training.scenes import Scene, SceneReader, find_scenes
from geoseg.training.validate import predict_classes

SIMPLIFY_M, MIN_AREA_M2 = 1.0, 10.0


def load_average(run: Path) -> torch.nn.Module:
    network = build_network(read_spec(read_description(run / "best")["network"]))
    load_weights(network, run / "last" / "average.safetensors")
    return network.eval().to(memory_format=torch.channels_last)


def judge(network: torch.nn.Module, job: TrainingJob, scene: Scene, reader: SceneReader) -> EvaluationResult:
    image, truth = read_whole(scene, reader, job.ground_resolution_m)
    rows, cols = truth.shape
    found = predict_classes(network, job.normalisation, image, precision=job.schedule.precision)
    found[truth == 255] = 255
    grid = Affine(job.ground_resolution_m, 0, 500_000, 0, -job.ground_resolution_m, 0)
    with TemporaryDirectory() as name:
        folder = Path(name)
        for stem, classes in (("found", found), ("truth", truth)):
            options = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255}
            with rasterio.open(
                folder / f"{stem}.tif", "w", height=rows, width=cols, crs="EPSG:32637", transform=grid, **options
            ) as raster:
                raster.write(classes, 1)
        layer = folder / "found.gpkg"
        polygonize(folder / "found.tif", layer, workers=1, simplify_m=SIMPLIFY_M, min_area_m2=MIN_AREA_M2)
        pixels = evaluate(folder / "found.tif", folder / "truth.tif", workers=1)
        objects = evaluate(layer, folder / "truth.tif", workers=1)
    return EvaluationResult(
        pixels.classes, pixels.counts, pixels.boundary_px, 0, pixels.pixel_m, objects.buildings, None
    )


def main(job_path: str, root: str, *runs: str) -> None:
    job = read_job(Path(job_path), root=Path(root))
    legend = ClassLegend(job.legend)
    scenes = [s for s in find_scenes(job, legend, use="validation")[0] if s.only == FULL]
    reader = SceneReader(legend, bands=len(job.normalisation.mean), cache_mb=job.cache_mb)
    names = [c.name for c in job.legend]
    print("| run | place | IoU " + " | IoU ".join(names) + " | boundary IoU | F1 | corners | right angles |")
    print("| --- | --- |" + " --- |" * (len(names) + 4))
    for run in map(Path, runs):
        network = load_average(run)
        for place in dict.fromkeys(s.source.name for s in scenes):
            results = [judge(network, job, s, reader) for s in scenes if s.source.name == place]
            matrix = reduce(operator.add, (r.pixels for r in results))
            boundary = reduce(operator.add, (r.counts.boundary for r in results))
            buildings = reduce(operator.add, (r.buildings for r in results if r.buildings))
            scores = [*matrix.iou, np.nanmean(boundary.iou), buildings.matched.f1]
            shape = buildings.predicted
            cells = [*(f"{s:.3f}" for s in scores), f"{shape.mean_corners:.1f}", f"{shape.right_share:.3f}"]
            print(f"| {run.name} | {place} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
