"""Building footprints from noisy masks: geoseg beside `buildingregulariser` and plain simplification, on one thread.

usage: python tests/benchmarks/regularisation.py [NUMBER]

Generated shapes have a known truth; OSM footprints (where ../shared/data is) are taken as one. Each is drawn at 0.4 m,
blurred (corners become round), its outline moved by a random field of about a pixel, thresholded and traced.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas
import numpy as np
import rasterio.features
import shapely
from affine import Affine
from scipy import ndimage

from geoseg.grid import Window
from geoseg.polygons.arcs import SUBPIXELS
from geoseg.polygons.buildings import regularize_buildings
from geoseg.polygons.generalise import generalise_coverage
from geoseg.polygons.join import join_tiles
from geoseg.polygons.rings import PolygonBatch
from geoseg.polygons.trace import TileTrace, trace_tile

PIXEL_M = 0.4
LABELS = Path(__file__).parents[3] / "shared" / "data" / "oam" / "labels"
Shapes = np.ndarray
Method = Callable[[Shapes], Shapes]


def make_block(kind: str, rng: np.random.Generator) -> list[shapely.Polygon]:
    """One building of a kind, or a row of touching ones, turned by any angle; 6 to 40 m."""
    width, depth = rng.uniform(6, 40), rng.uniform(6, 30)
    a, b = rng.uniform(0.4, 0.65, 2)
    if kind == "courtyard":
        width, depth = rng.uniform(15, 40), rng.uniform(15, 30)
    whole = shapely.box(0, 0, width, depth)
    cut = {
        "rectangle": [],
        "L": [shapely.box(a * width, b * depth, width, depth)],
        "T": [
            shapely.box(0, 0, 0.3 * width, b * depth),
            shapely.box(0.7 * width, 0, width, b * depth),
        ],
        "U": [shapely.box(0.33 * width, a * depth, 0.67 * width, depth)],
        "courtyard": [shapely.box(0.3 * width, 0.3 * depth, 0.7 * width, 0.7 * depth)],
    }
    if kind == "terrace":
        parts, x = [], 0.0
        for _ in range(int(rng.integers(3, 8))):
            wide, front = rng.uniform(6, 9), rng.choice([0.0, 0.0, 0.0, 2.0])
            parts.append(shapely.box(x, front, x + wide, depth % 7 + 8))
            x += wide
    else:
        parts = [shapely.difference(whole, shapely.union_all(cut[kind]))]
    angle = rng.uniform(0, 90)
    return [shapely.affinity.rotate(part, angle, origin=(0, 0)) for part in parts]


def roughen(block: list[shapely.Polygon], rng: np.random.Generator, *, noise_px: float) -> list[shapely.Polygon | None]:
    """What a network makes of touching buildings: round corners, walls moved by `noise_px`; None where all is lost."""
    fine, margin = 3, 5
    x0, y0, x1, y1 = shapely.total_bounds(block)
    origin = np.floor(np.array([x0, y0]) / PIXEL_M) - margin
    cols, rows = (np.ceil(np.array([x1, y1]) / PIXEL_M) + margin - origin).astype(int)
    transform = Affine(PIXEL_M, 0, origin[0] * PIXEL_M, 0, PIXEL_M, origin[1] * PIXEL_M)
    scores = []
    for part in (shapely.union_all(block), *block):
        drawn = rasterio.features.rasterize(
            [part], (rows * fine, cols * fine), transform=transform @ Affine.scale(1 / fine)
        ).astype(bool)
        distance = (ndimage.distance_transform_edt(drawn) - ndimage.distance_transform_edt(~drawn)) / fine
        distance = ndimage.gaussian_filter(np.clip(distance, -6, 6), 1.5 * fine)[fine // 2 :: fine, fine // 2 :: fine]
        field = ndimage.gaussian_filter(rng.standard_normal((rows, cols)), 2)
        scores.append(distance + noise_px * field / field.std())
    # Building or not is one decision, whose building it is another: no slits between those that touch.
    ids = np.where(scores[0] > 0, np.argmax(scores[1:], axis=0) + 1, 0).astype(np.uint8)
    found: list[shapely.Polygon | None] = [None] * len(block)
    for geometry, k in rasterio.features.shapes(ids, ids > 0, connectivity=4, transform=transform):
        polygon = shapely.geometry.shape(geometry)
        best = found[int(k) - 1]
        if best is None or polygon.area > best.area:
            found[int(k) - 1] = polygon
    return found


def read_osm(rng: np.random.Generator, number: int) -> Iterator[list[shapely.Polygon]]:
    """Groups of touching OSM footprints of at least 25 m2 each, in metres."""
    for path in sorted(LABELS.glob("*_osm_buildings.geojson")):
        frame = geopandas.read_file(path).explode()
        footprints = np.array(frame.to_crs(frame.estimate_utm_crs()).geometry)
        footprints = footprints[shapely.is_valid(footprints) & (shapely.area(footprints) >= 25)]
        one, two = shapely.STRtree(footprints).query(footprints, predicate="dwithin", distance=0.3)
        groups: dict[int, list[int]] = {}
        label = np.arange(len(footprints))
        for a, b in zip(one, two, strict=True):
            label[label == max(label[a], label[b])] = min(label[a], label[b])
        for k, group in enumerate(label):
            groups.setdefault(int(group), []).append(k)
        chosen = [members for members in groups.values() if len(members) <= 40]
        for k in rng.permutation(len(chosen))[: number // 4]:
            yield [footprints[member] for member in chosen[k]]


def collect(
    blocks: Iterator[list[shapely.Polygon]], rng: np.random.Generator, noise_px: float
) -> tuple[Shapes, Shapes]:
    """Truth and roughened outlines, blocks laid out side by side so that they cannot touch."""
    truth, rough = [], []
    for k, block in enumerate(blocks):
        x0, y0, _, _ = shapely.total_bounds(block)
        shift = np.array([k % 100, k // 100]) * 1000 * PIXEL_M + rng.uniform(0, PIXEL_M, 2) - (x0, y0)
        placed = [shapely.affinity.translate(part, *shift) for part in block]
        for part, outline in zip(placed, roughen(placed, rng, noise_px=noise_px), strict=True):
            if outline is not None:
                truth.append(part)
                rough.append(outline)
    return np.array(truth), np.array(rough)


def count_corners(shapes: Shapes) -> np.ndarray:
    """Corners where the outline turns by more than 5 degrees."""
    return np.array([sum(int((np.abs(turn) > 5).sum()) for _, turn in _walls(shape)) for shape in shapes])


def measure_angle_error(shapes: Shapes, truth: Shapes) -> float:
    """Mean angle between a wall and the nearest direction of a true one, by length, in degrees."""
    total, length = 0.0, 0.0
    for shape, true in zip(shapes, truth, strict=True):
        directions = np.concatenate([np.degrees(np.arctan2(v[:, 1], v[:, 0])) for v, _ in _walls(true)])
        for walls, _ in _walls(shape):
            angles = np.degrees(np.arctan2(walls[:, 1], walls[:, 0]))
            off = np.abs((angles[:, None] - directions + 90) % 180 - 90).min(axis=1)
            weight = np.hypot(walls[:, 0], walls[:, 1])
            total, length = total + (off * weight).sum(), length + weight.sum()
    return total / length


def _walls(shape: shapely.Geometry) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for polygon in shapely.get_parts(shape):
        for ring in (polygon.exterior, *polygon.interiors):
            vectors = np.diff(shapely.get_coordinates(ring), axis=0)
            vectors = vectors[np.hypot(*vectors.T) > 1e-6]
            angle = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0]))
            yield vectors, (np.roll(angle, -1) - angle + 180) % 360 - 180


def measure_shared(shapes: Shapes, pairs: np.ndarray) -> tuple[float, float]:
    """Length in metres that pairs have exactly in common, and the area in m2 in which they overlap."""
    one, two = shapes[pairs[:, 0]], shapes[pairs[:, 1]]
    common = shapely.length(shapely.intersection(shapely.boundary(one), shapely.boundary(two)))
    return float(common.sum()), float(shapely.area(shapely.intersection(one, two)).sum())


def run_peer(**options: object) -> Method:
    """`buildingregulariser` on one core; a polygon it drops or spoils counts as empty."""
    from buildingregulariser import regularize_geodataframe  # noqa: PLC0415 - may be absent

    def run(rough: Shapes) -> Shapes:
        frame = geopandas.GeoDataFrame({"number": np.arange(len(rough))}, geometry=rough, crs="EPSG:32633")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = regularize_geodataframe(frame, num_cores=1, **options)
        shapes = np.full(len(rough), shapely.Polygon())
        shapes[result["number"]] = shapely.make_valid(np.array(result.geometry))
        return shapes

    return run


class CoverageStage:
    """What `geoseg segment` does after the join, walls included; drawing and tracing come before and count once."""

    BLOCK_PX = 1000
    MARGIN_PX = 100

    def __init__(self) -> None:
        self._traced: dict[int, list[PolygonBatch]] = {}

    def __call__(self, rough: Shapes) -> Shapes:
        number = {(*self._place(shape), k % 254 + 1): k for k, shape in enumerate(rough)}
        if id(rough) not in self._traced:
            self._traced = {id(rough): list(join_tiles(self._trace(rough)))}
        shapes = np.full(len(rough), shapely.Polygon())
        with TemporaryDirectory() as folder:
            for batch in generalise_coverage(
                self._traced[id(rough)],
                Path(folder),
                tolerance_m=PIXEL_M,
                pixel_m=(PIXEL_M, PIXEL_M),
                regularize=range(1, 255),
            ):
                margin = Affine.translation(-self.MARGIN_PX, -self.MARGIN_PX)
                found = batch.geometries(Affine.scale(PIXEL_M) @ margin @ Affine.scale(1 / SUBPIXELS))
                for shape, class_id in zip(found, batch.class_id, strict=True):
                    k = number[(*self._place(shape), int(class_id))]
                    shapes[k] = max(shape, shapes[k], key=shapely.area)
        return shapes

    def _place(self, shape: shapely.Polygon) -> tuple[int, int]:
        x, y = shape.centroid.coords[0]
        return int(y / PIXEL_M // self.BLOCK_PX), int(x / PIXEL_M // self.BLOCK_PX)

    def _trace(self, rough: Shapes) -> Iterator[TileTrace]:
        blocks: dict[tuple[int, int], list[tuple[shapely.Polygon, int]]] = {}
        for k, shape in enumerate(rough):
            blocks.setdefault(self._place(shape), []).append((shape, k % 254 + 1))
        side = self.BLOCK_PX
        for (row, col), parts in sorted(blocks.items()):
            place = Affine.scale(PIXEL_M) @ Affine.translation(col * side - self.MARGIN_PX, row * side - self.MARGIN_PX)
            classes = rasterio.features.rasterize(parts, (side, side), transform=place, dtype=np.uint8)
            window = Window(row * side, col * side, side, side)
            shape_px = (side * (max(blocks)[0] + 1), side * 100)
            yield trace_tile(classes, window=window, grid_shape=shape_px, skip=(0,), marked=True)


def make_methods() -> dict[str, Method]:
    methods: dict[str, Method] = {
        "as traced": lambda rough: rough,
        "simplify, 1.5 px": lambda rough: shapely.simplify(rough, 1.5 * PIXEL_M),
        "coverage_simplify, 2 px": lambda rough: shapely.coverage_simplify(rough, 2 * PIXEL_M),
    }
    try:
        methods["buildingregulariser"] = run_peer()
        methods["buildingregulariser, right angles"] = run_peer(
            allow_45_degree=False, allow_circles=False, simplify_tolerance=1.0, parallel_threshold=2.0
        )
    except ImportError:
        print("no buildingregulariser here: pip install buildingregulariser\n")
    methods["geoseg, a whole coverage"] = CoverageStage()
    methods["geoseg, in memory"] = lambda rough: regularize_buildings(rough, pixel_m=PIXEL_M, tolerance_m=4 * PIXEL_M)
    return methods


def compare(name: str, truth: Shapes, rough: Shapes) -> None:
    pairs = shapely.STRtree(rough).query(rough, predicate="intersects").T
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    true_corners = count_corners(truth)
    before, _ = measure_shared(rough, pairs)
    print(f"\n{name}: {len(truth)} footprints, {true_corners.mean():.2f} corners, {before:.0f} m of shared staircase\n")
    print("| | IoU | worst 5 % | corners | right number | angle error | shared m | overlap m2 | CPU s for 10,000 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for label, method in make_methods().items():
        method(rough)  # compiles what these shapes need
        start = time.process_time()
        shapes = method(rough)
        seconds = (time.process_time() - start) / len(rough) * 10_000
        iou = shapely.area(shapely.intersection(truth, shapes)) / shapely.area(shapely.union(truth, shapes))
        corners = count_corners(shapes)
        shared, overlap = measure_shared(shapes, pairs)
        print(
            f"| {label} | {iou.mean():.3f} | {np.quantile(iou, 0.05):.3f} | {corners.mean():.2f}"
            f" | {(corners == true_corners).mean():.0%} | {measure_angle_error(shapes, truth):.1f}"
            f" | {shared:.0f} | {overlap:.1f} | {seconds:.2f} |"
        )


def main(number: int) -> None:
    kinds = ["rectangle", "L", "T", "U", "courtyard"]
    for noise_px in (0.5, 1.0):
        rng = np.random.default_rng(1)
        singles = (make_block(kinds[k % 5], rng) for k in range(number))
        compare(f"Generated, {noise_px} px of noise", *collect(singles, rng, noise_px))
    rows = (make_block("terrace", rng) for _ in range(number // 10))
    compare("Terraces, 1.0 px of noise", *collect(rows, rng, 1.0))
    if not LABELS.exists():
        print(f"\nno OSM footprints: {LABELS} is absent")
        return
    compare("OSM footprints, 1.0 px of noise", *collect(read_osm(rng, number), rng, 1.0))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
