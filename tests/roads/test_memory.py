"""A network across a whole raster costs what its lines cost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, resource, sys
import numpy as np
from geoseg.grid import Window
from geoseg.roads.join import join_roads
from geoseg.roads.scale import RoadScale
from geoseg.roads.trace import RoadTile, trace_road_tile
from tests.roads.streets import ROAD, make_grid

size, tile = int(sys.argv[1]), 2048
grid = make_grid(size, size, 0.3)
scale = RoadScale.of(grid)
def read(window):
    # Winding streets every 250 pixels, in both directions, of one network.
    row = np.arange(window.row, window.row_stop)[:, None]
    col = np.arange(window.col, window.col_stop)
    down = (row + 60 * np.sin(col / 300)) % 250 < 22
    return ((down | ((col + 60 * np.sin(row / 350)) % 250 < 22)) * ROAD).astype(np.uint8)
def tiles():
    for row in range(0, size, tile):
        for col in range(0, size, tile):
            core = Window(row, col, tile, tile).intersect(grid.window)
            window = core.pad(*scale.halo_px()).intersect(grid.window)
            yield trace_road_tile(read(window), class_id=ROAD, window=window, core=core, scale=scale)
for _ in zip(range(1), tiles()):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
kept = list(tiles())
points = sum(len(t.points) for t in kept)
traced = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
network = join_roads(kept, scale, class_id=ROAD)
lines = sum(len(b.geometries) for b in network.batches(grid))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"start": start, "traced": traced, "peak": peak, "points": points, "lines": lines}))
"""


def measure(size: int) -> dict[str, int]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(size)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_memory_follows_the_lines_not_the_raster() -> None:
    small, large = measure(4096), measure(16384)
    assert large["lines"] > 10 * small["lines"]
    grown = 1024 * (large["peak"] - small["peak"])
    # Bytes of memory for each point of the thinned lines; the raster has 268 million pixels.
    assert grown / (large["points"] - small["points"]) < 200
    assert grown < 400e6
