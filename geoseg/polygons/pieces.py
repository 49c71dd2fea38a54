"""Pieces: chords of arcs, each with the polyline that it replaces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from geoseg.polygons.arcs import Arcs
from geoseg.polygons.kernel import kernel
from geoseg.polygons.rings import Int32, Int64, Uint8
from geoseg.polygons.thinning import Limits, Splits, find_farthest, thin_polyline


class Pieces(NamedTuple):
    """Chords of arcs with the polylines between their ends, which they replace.

    Args:
        coords: (vertices, 2) int32, (row, col) in 1/256 pixels.
        first: (n,) int64, where in `coords` each polyline begins.
        last: (n,) int64, where its last vertex is.
        keys: (n,) int64, of the arcs.
        positions: (n,) int64, of the polylines' first vertices in their arcs.
    """

    coords: Int32
    first: Int64
    last: Int64
    keys: Int64
    positions: Int64


@kernel
def list_pieces(arcs: Arcs, kept: Uint8) -> Pieces:
    """The pieces of arcs between kept vertices ((vertices,) uint8), each arc once however many sides it has."""
    count = 0
    for arc in range(len(arcs.keys)):
        if arcs.is_single[arc] or not arcs.is_backward[arc]:
            for k in range(arcs.offsets[arc] + 1, arcs.offsets[arc + 1]):
                count += kept[k]
    first, last = np.empty(count, np.int64), np.empty(count, np.int64)
    keys, positions = np.empty(count, np.int64), np.empty(count, np.int64)
    n = 0
    for arc in range(len(arcs.keys)):
        if arcs.is_single[arc] or not arcs.is_backward[arc]:
            begin = arcs.offsets[arc]
            start = begin
            for k in range(begin + 1, arcs.offsets[arc + 1]):
                if kept[k]:
                    first[n], last[n] = start, k
                    keys[n], positions[n] = arcs.keys[arc], start - begin
                    n += 1
                    start = k
    return Pieces(arcs.coords, first, last, keys, positions)


@kernel
def split_pieces(pieces: Pieces, splits: Splits, limits: tuple[Limits, Limits]) -> Pieces:
    """The pieces after splits, each where it was in their order."""
    coords, first, last, keys, positions = pieces
    kept = np.zeros(len(coords), np.uint8)
    count = 0
    low, high = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    for k in range(len(keys)):
        low[k] = np.searchsorted(splits.keys, keys[k], side="left")
        if low[k] < len(splits.keys) and splits.keys[low[k]] == keys[k]:
            high[k] = low[k] + np.searchsorted(splits.keys[low[k] :], keys[k], side="right")
            demanded = splits.positions[low[k] : high[k]] - positions[k] + first[k]
            thin_polyline(coords, (first[k], last[k]), limits[keys[k] & 1], demanded, kept)
            for vertex in range(first[k] + 1, last[k]):
                count += kept[vertex]
        count += 1
    new_first, new_last = np.empty(count, np.int64), np.empty(count, np.int64)
    new_keys, new_positions = np.empty(count, np.int64), np.empty(count, np.int64)
    n = 0
    for k in range(len(keys)):
        start = first[k]
        for vertex in range(first[k] + 1, last[k] + 1):
            if vertex == last[k] or (high[k] > low[k] and kept[vertex]):
                new_first[n], new_last[n], new_keys[n] = start, vertex, keys[k]
                new_positions[n] = positions[k] + start - first[k]
                start = vertex
                n += 1
    return Pieces(coords, new_first, new_last, new_keys, new_positions)


@kernel
def bound_pieces(pieces: Pieces) -> Int32:
    """(n, 4) int32 first row, first col, last row, last col of each piece's polyline."""
    boxes = np.empty((len(pieces.keys), 4), np.int32)
    for k in range(len(boxes)):
        boxes[k, :2] = boxes[k, 2:] = pieces.coords[pieces.first[k]]
        for vertex in range(pieces.first[k] + 1, pieces.last[k] + 1):
            for axis in range(2):
                value = pieces.coords[vertex, axis]
                boxes[k, axis] = min(boxes[k, axis], value)
                boxes[k, 2 + axis] = max(boxes[k, 2 + axis], value)
    return boxes


@kernel
def take_pieces(pieces: Pieces, order: Int64) -> Pieces:
    """The pieces at the positions `order` ((m,) int64), with nothing but their own coordinates."""
    first, last = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    n = 0
    for k in range(len(order)):
        first[k] = n
        n += pieces.last[order[k]] - pieces.first[order[k]] + 1
        last[k] = n - 1
    coords = np.empty((n, 2), np.int32)
    for k in range(len(order)):
        shift = pieces.first[order[k]] - first[k]
        for vertex in range(first[k], last[k] + 1):
            coords[vertex, 0], coords[vertex, 1] = pieces.coords[vertex + shift, 0], pieces.coords[vertex + shift, 1]
    return Pieces(coords, first, last, pieces.keys[order], pieces.positions[order])


@kernel
def choose_splits(pieces: Pieces, failed: Int64, limits: tuple[Limits, Limits]) -> Int64:
    """The positions in their arcs of the vertices at which the pieces `failed` ((m,) int64) are to be split."""
    positions = np.empty(len(failed), np.int64)
    for n in range(len(failed)):
        k = failed[n]
        farthest, _ = find_farthest(pieces.coords, pieces.first[k], pieces.last[k], limits[pieces.keys[k] & 1])
        positions[n] = pieces.positions[k] + farthest - pieces.first[k]
    return positions
