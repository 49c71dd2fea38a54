"""Batches in any order into batches in one global order, by way of files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.polygons.rings import Int64, PolygonBatch

SPILL_BYTES = 2**23
BATCH_POLYGONS = 2**12
BATCH_VERTICES = 2**17


def sort_spilled(
    batches: Iterable[PolygonBatch],
    directory: Path,
    *,
    spill_bytes: int = SPILL_BYTES,
    batch_polygons: int = BATCH_POLYGONS,
    batch_vertices: int = BATCH_VERTICES,
) -> Iterator[PolygonBatch]:
    """Sort the polygons of a raster by key without holding them in memory.

    What is yielded depends on the polygons and the two batch limits only: neither on tiling nor on the batches given.

    Args:
        batches: all polygons of one raster, in any order.
        directory: an existing directory, in which sorted runs are kept until the iteration ends.
        spill_bytes: how many bytes are collected before a run is written.
        batch_polygons: the most polygons in a batch.
        batch_vertices: the most vertices in a batch, unless a single polygon has more.

    Yields:
        Batches whose polygons are in the order of their keys, within a batch and from one to the next.
    """
    with TemporaryDirectory(dir=directory, prefix="sort-") as folder:
        runs = [
            _SortedRun.write(Path(folder) / str(number), run)
            for number, run in enumerate(_collect(batches, spill_bytes))
        ]
        yield from _cut_evenly(_merge(runs, batch_polygons), batch_polygons, batch_vertices)


class _SortedRun:
    """Polygons in the order of their keys, a file an array, read from the first to the last, a part at a time.

    Plain reads, no memory maps: what was mapped would count as the process's memory.
    """

    def __init__(self, folder: Path, types: dict[str, tuple[np.dtype[Any], tuple[int, ...]]], length: int) -> None:
        self._folder, self._types, self._length, self._position = folder, types, length, 0

    @classmethod
    def write(cls, folder: Path, batch: PolygonBatch) -> _SortedRun:
        folder.mkdir()
        arrays = {**batch.arrays(), "keys": batch.keys}
        for name, array in arrays.items():
            array.tofile(folder / name)
        return cls(folder, {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}, len(batch))

    def _slice(self, name: str, start: int, stop: int) -> NDArray[Any]:
        dtype, inner = self._types[name]
        width = math.prod(inner)
        values = np.fromfile(
            self._folder / name, dtype, count=(stop - start) * width, offset=start * width * dtype.itemsize
        )
        return values.reshape(-1, *inner)

    @property
    def remaining(self) -> int:
        return self._length - self._position

    def peek_keys(self, count: int) -> Int64:
        return self._slice("keys", self._position, min(self._position + count, self._length))

    def read(self, count: int) -> PolygonBatch:
        start, stop = self._position, self._position + count
        self._position = stop
        rings = self._slice("polygon_offsets", start, stop + 1)
        vertices = self._slice("ring_offsets", int(rings[0]), int(rings[-1]) + 1)
        return PolygonBatch(
            self._slice("class_id", start, stop),
            self._slice("pixels", start, stop),
            self._slice("confidence_sum", start, stop),
            self._slice("confidence_min", start, stop),
            self._slice("coords", int(vertices[0]), int(vertices[-1])),
            vertices - vertices[0],
            rings - rings[0],
        )


def _collect(batches: Iterable[PolygonBatch], spill_bytes: int) -> Iterator[PolygonBatch]:
    waiting: list[PolygonBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= spill_bytes:
            yield PolygonBatch.concatenate(waiting).sort()
            waiting, size = [], 0
    if size:
        yield PolygonBatch.concatenate(waiting).sort()


def _merge(runs: list[_SortedRun], batch_polygons: int) -> Iterator[PolygonBatch]:
    # Each run shows its next few keys. Up to the smallest of the last keys shown, nothing else can come from any run.
    while runs := [run for run in runs if run.remaining]:
        share = max(1, batch_polygons // len(runs))
        shown = [run.peek_keys(share) for run in runs]
        limit = min(int(keys[-1]) for keys in shown)
        parts = [
            run.read(int(np.searchsorted(keys, limit, side="right")))
            for run, keys in zip(runs, shown, strict=True)
            if keys[0] <= limit
        ]
        yield PolygonBatch.concatenate(parts).sort()


def _cut_evenly(batches: Iterable[PolygonBatch], batch_polygons: int, batch_vertices: int) -> Iterator[PolygonBatch]:
    rest = PolygonBatch.empty()
    for batch in batches:
        rest = PolygonBatch.concatenate([rest, batch])
        while (count := _count_full(rest, batch_polygons, batch_vertices)) < len(rest):
            yield rest.slice(0, count)
            rest = rest.slice(count, len(rest))
    if len(rest):
        yield rest


def _count_full(batch: PolygonBatch, batch_polygons: int, batch_vertices: int) -> int:
    ends = batch.ring_offsets[batch.polygon_offsets[1:]]
    fitting = int(np.searchsorted(ends, batch_vertices, side="right"))
    return min(batch_polygons, max(1, fitting))
