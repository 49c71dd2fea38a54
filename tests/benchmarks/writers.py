"""Layers into files: every format beside a bare Arrow write of the same table by pyogrio or pyarrow.

usage: python tests/benchmarks/writers.py [POLYGONS] [ROUNDS] [SUFFIX ...]

Each write runs in a process of its own, which makes its polygons batch by batch from a small stock, so that the peak
memory is that of writing; the time of making them is taken off. The bare write gets the same batches as WKB in Arrow,
made by the same code, with neither checks, rounding, styles nor metadata. Ratios above 1 mean that geoseg is faster.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyproj import CRS

from geoseg.layers.arrow import make_schema, to_arrow
from geoseg.layers.columns import POLYGON_COLUMNS, Layer, LayerBatch
from geoseg.layers.write import SUFFIXES, write_layers
from geoseg.legend import LAND_COVER

CRS_WKT = CRS.from_epsg(32633).to_wkt()
BATCH = 4_096
ACROSS = 1_024
SCHEMA = make_schema(POLYGON_COLUMNS)
BARE = {
    ".gpkg": "GPKG",
    ".geojson": "GeoJSON",
    ".geojson.gz": "",
    ".geojsonl": "GeoJSONSeq",
    ".geojsonseq": "GeoJSONSeq",
    ".geojsons": "GeoJSONSeq",
    ".fgb": "FlatGeobuf",
    ".parquet": "Parquet",
    ".pmtiles": "PMTiles",
}
SHARE = {".pmtiles": 50}  # tiles take minutes for what other formats take in seconds


def make_stock(rng: np.random.Generator) -> np.ndarray:
    """Coordinates of BATCH staircase polygons of 4 to 40 vertices in the plane, around the origin."""
    polygons = []
    for steps in rng.integers(1, 10, BATCH):
        x, y = np.repeat(np.arange(steps + 1), 2), np.repeat(np.arange(steps + 1), 2)
        ring = np.concatenate([np.stack([x[1:], y[:-1]], 1), [[0, steps]]])[:: rng.choice([-1, 1])]
        polygons.append(shapely.Polygon(ring * 0.5))
    return np.array(polygons, object)


def make_batches(count: int) -> Iterator[LayerBatch]:
    """Polygons in the order of rows, ACROSS in a row, 10 m apart."""
    rng = np.random.default_rng(0)
    stock = make_stock(rng)
    names = np.array([c.name for c in LAND_COVER.classes], object)
    for start in range(0, count, BATCH):
        n = min(BATCH, count - start)
        place = np.arange(start, start + n)
        xy = np.stack([400_000 + 10.0 * (place % ACROSS), 5_800_000 - 10.0 * (place // ACROSS)], axis=1)
        counts = shapely.get_num_coordinates(stock[:n])
        geometries = shapely.set_coordinates(
            stock[:n].copy(), shapely.get_coordinates(stock[:n]) + xy.repeat(counts, 0)
        )
        class_id = rng.integers(1, 4, n)
        length = np.where(class_id == 1, rng.random(n) * 30, np.nan)
        values = {
            "id": np.array([f"{value:016x}" for value in rng.integers(0, 2**62, n).tolist()], object),
            "class": names[class_id],
            "class_id": class_id,
            **{name: rng.random(n) for name in ("confidence", "confidence_min")},
            **{name: rng.random(n) * 1e4 for name in ("area_m2", "perimeter_m")},
            **dict.fromkeys(("orientation_deg", "length_m", "width_m"), length),
            "source": np.full(n, "scene.tif", object),
            "date": np.full(n, "2024-05-01", object),
        }
        yield LayerBatch(geometries, values)


def write_ours(path: Path, batches: Iterator[LayerBatch]) -> None:
    layer = Layer("polygons", "Polygon", POLYGON_COLUMNS, batches)
    provenance = {"version": "0", "model": "none"}
    write_layers(path, [layer], crs_wkt=CRS_WKT, legend=LAND_COVER, provenance=provenance, pixel_m=0.5)


def write_bare(path: Path, batches: Iterator[LayerBatch]) -> None:
    driver = BARE["".join(path.suffixes)]
    records = pa.RecordBatchReader.from_batches(SCHEMA, (to_arrow(batch, SCHEMA) for batch in batches))
    if driver == "Parquet":
        with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
            for record in records:
                writer.write_batch(record)
        return
    options = {"dataset_options": {"MINZOOM": "10", "MAXZOOM": "15"}} if driver == "PMTiles" else {}
    pyogrio.write_arrow(
        records, path, driver=driver, geometry_name="geometry", geometry_type="Polygon", crs=CRS_WKT, **options
    )


def read_clocks() -> np.ndarray:
    """Seconds of wall clock and of processor, all threads together."""
    return np.array([time.perf_counter(), time.process_time()])


def measure(kind: str, suffix: str, count: int) -> None:
    """One write in this process: prints seconds of writing alone and the peak of memory in MB."""
    write = {"ours": write_ours, "bare": write_bare}[kind]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / f"warm{suffix}", make_batches(64))
        making = np.zeros(2)

        def timed() -> Iterator[LayerBatch]:
            nonlocal making
            batches = make_batches(count)
            while True:
                start = read_clocks()
                batch = next(batches, None)
                making += read_clocks() - start
                if batch is None:
                    return
                yield batch

        start = read_clocks()
        write(Path(folder) / f"map{suffix}", timed())
        seconds, processor = read_clocks() - start - making
        size = (Path(folder) / f"map{suffix}").stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "processor": processor, "peak_mb": peak, "size_mb": size / 1e6}))


def run_apart(kind: str, suffix: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", kind, suffix, str(count)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(count: int = 1_000_000, rounds: int = 5, *suffixes: str) -> None:
    print(f"{count:,} polygons, median of {rounds}; thousand polygons a second, MB")
    print("| format | geoseg | bare | ratio | by processor | peak of bare | size | peak of geoseg | at a quarter |")
    print("|---|---|---|---|---|---|---|---|---|")
    for suffix in suffixes or SUFFIXES:
        features = count // SHARE.get(suffix, 1)
        ours, bare = [], []
        for _ in range(rounds):
            ours.append(run_apart("ours", suffix, features))
            if BARE[suffix]:
                bare.append(run_apart("bare", suffix, features))
        quarter = run_apart("ours", suffix, features // 4)
        rate = features / 1e3 / statistics.median(r["seconds"] for r in ours)
        cells = ["-", "-", "-", "-"]
        if bare:
            theirs = features / 1e3 / statistics.median(r["seconds"] for r in bare)
            pairs = list(zip(ours, bare, strict=True))
            ratios = [statistics.median(b[key] / a[key] for a, b in pairs) for key in ("seconds", "processor")]
            cells = [f"{theirs:.0f}", *(f"{ratio:.2f}" for ratio in ratios), f"{max(r['peak_mb'] for r in bare):.0f}"]
        peak = max(r["peak_mb"] for r in ours)
        print(
            f"| {suffix} | {rate:.0f} | {' | '.join(cells)} | {ours[0]['size_mb']:.0f} | {peak:.0f} | "
            f"{quarter['peak_mb']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main(*map(int, sys.argv[1:3]), *sys.argv[3:])
