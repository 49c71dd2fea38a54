"""geoai: its default windows, which overlap by half, then its own polygons.

usage: python geoai_layer.py RASTER NETWORK.pt FOLDER THREADS CLASS...   (in an environment with geoai-py)
"""

from __future__ import annotations

import sys

import torch
from geoai.train import semantic_inference_on_geotiff
from geoai.utils import raster_to_vector


def main(raster: str, network: str, folder: str, threads: str, *names: str) -> None:
    torch.set_num_threads(int(threads))
    semantic_inference_on_geotiff(
        model=torch.jit.load(network),
        geotiff_path=raster,
        output_path=f"{folder}/classes.tif",
        window_size=512,
        overlap=256,
        batch_size=4,
        num_channels=3,
        num_classes=len(names),
        device=torch.device("cpu"),
        quiet=True,
    )
    raster_to_vector(f"{folder}/classes.tif", f"{folder}/layer.gpkg", min_area=0, simplify_tolerance=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
