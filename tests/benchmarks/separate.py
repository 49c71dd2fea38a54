"""Buildings that are found one by one, with those that touch told apart and without.

usage: python tests/benchmarks/separate.py SCENE=FOOTPRINTS...

Each scene is mapped with the default model as `geoseg segment` does, with and without `--separate`, and its buildings
are matched one to one with the footprints, polygons in any CRS, at an IoU of at least 0.5.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

import geoseg
from geoseg.evaluation.objects import ObjectScore, score_objects
from geoseg.evaluation.outlines import OutlineCounts

LEAST_M2 = 5.0


def measure(scene: Path, footprints: Path, *, separate: bool) -> tuple[ObjectScore, NDArray[np.object_], float]:
    """What was found of the footprints in a scene, the buildings, and processor seconds."""
    with rasterio.open(scene) as raster:
        box = geopandas.GeoSeries([shapely.box(*raster.bounds)], crs=raster.crs)
    ground = box.estimate_utm_crs()
    box = box.to_crs(ground)
    true = geopandas.read_file(footprints).to_crs(ground).geometry.make_valid().clip(box).values
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        geoseg.segment(scene, Path(folder, "map.fgb"), separate=separate, roads=False, device="cpu", workers=1)
        seconds = time.process_time() - began
        layer = geoseg.open_layer(Path(folder, "map.fgb")).to_crs(ground)
    found = np.asarray(layer[layer["class"] == "building"].geometry.values)
    return score_objects(found, np.asarray(true[true.area >= LEAST_M2])), found, seconds


def main(*pairs: str) -> None:
    print("| scene | separate | found | made up | missed | F1 | corners | right angles | processor s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    totals = {False: ObjectScore(0, 0, 0), True: ObjectScore(0, 0, 0)}
    for pair in pairs:
        scene, footprints = map(Path, pair.split("="))
        measure(scene, footprints, separate=True)  # compiles what is not yet compiled
        for separate, total in totals.items():
            score, buildings, seconds = measure(scene, footprints, separate=separate)
            totals[separate] = total + score
            outlines = OutlineCounts.count(buildings)
            counts = f"{score.found} | {score.made_up} | {score.missed} | {score.f1:.2f}"
            name = f"{scene.stem} | {'yes' if separate else 'no'}"
            shape = f"{outlines.mean_corners:.1f} | {outlines.right_share:.2f}"
            print(f"| {name} | {counts} | {shape} | {seconds:.1f} |", flush=True)
    for separate, total in totals.items():
        counts = f"{total.found} | {total.made_up} | {total.missed} | {total.f1:.2f}"
        print(f"| all | {'yes' if separate else 'no'} | {counts} | | | |")


if __name__ == "__main__":
    main(*sys.argv[1:])
