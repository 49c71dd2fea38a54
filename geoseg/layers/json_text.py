"""Features as GeoJSON text, in compiled code."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.kernel import kernel
from geoseg.layers.columns import Column, GeometryType, LayerBatch

IntArray = NDArray[np.int64]
Bytes = NDArray[np.uint8]

DECIMALS = 7
_NULL = np.iinfo(np.int64).min
_TEXT = -1  # in place of a number of decimals


def encode_features(
    batch: LayerBatch,
    columns: Sequence[Column],
    geometry_type: GeometryType,
    lonlat: NDArray[np.float64],
    offsets: tuple[IntArray, IntArray, IntArray],
    *,
    around: tuple[bytes, bytes],
) -> Bytes:
    """The features of a batch as text.

    Args:
        batch: n features; their geometries are not looked at.
        columns: what becomes their properties.
        geometry_type: of the single parts.
        lonlat: (m, 2) vertices of all geometries in degrees.
        offsets: first vertex of each ring or line, first of those of each part, first part of each feature; and ends.
        around: what stands before and after each feature.
    """
    decimals, numbers, texts, starts = _encode_columns(batch, columns)
    keys = [f',"{column.name}":'.encode() for column in columns]
    keys[:1] = [key[1:] for key in keys[:1]]
    words = [
        around[0] + b'{"type":"Feature","properties":{',
        f'}},"geometry":{{"type":"{geometry_type}","coordinates":'.encode(),
        f'}},"geometry":{{"type":"Multi{geometry_type}","coordinates":['.encode(),
        b"}}" + around[1],
        *keys,
    ]
    # A position needs 27 bytes (-180.0000000 and -90.0000000 in brackets) and a number up to 21.
    size = 27 * len(lonlat) + 4 * sum(map(len, offsets[:2])) + texts.size
    size += len(batch) * (sum(map(len, words)) + 24 * len(columns))
    out = np.empty(size, np.uint8)
    used = _encode_features(
        out,
        (np.rint(lonlat * 10**DECIMALS).astype(np.int64), *offsets),
        (np.frombuffer(b"".join(words), np.uint8), np.cumsum([0, *map(len, words)])),
        (decimals, numbers, texts, starts),
        geometry_type == "Polygon",
    )
    return out[:used]


def _encode_columns(batch: LayerBatch, columns: Sequence[Column]) -> tuple[IntArray, IntArray, Bytes, IntArray]:
    """Decimals (c,), numbers (c, n) in units of the last decimal, text of all other values, its starts (c, n + 1)."""
    decimals = np.full(len(columns), _TEXT)
    numbers = np.zeros((len(columns), len(batch)), np.int64)
    starts = np.zeros((len(columns), len(batch) + 1), np.int64)
    pieces = []
    size = 0
    for i, column in enumerate(columns):
        values = batch.columns[column.name]
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            decimals[i] = column.decimals or 0
            numbers[i] = _to_fixed(values, column.decimals) if column.decimals else values
            continue
        items = pa.array(values, column.type, from_pandas=True).to_pylist()
        # A line break within a value is escaped, so that those of the separator are the only ones.
        piece = np.frombuffer(json.dumps(items, ensure_ascii=False, separators=("\n", ":")).encode(), np.uint8)
        starts[i] = size + np.concatenate([[1], np.flatnonzero(piece == ord("\n")) + 1, [piece.size]])
        pieces.append(piece)
        size += piece.size
    return decimals, numbers, np.concatenate([np.empty(0, np.uint8), *pieces]), starts


def _to_fixed(values: NDArray[np.float64], decimals: int) -> IntArray:
    known = np.isfinite(values)
    fixed = np.rint(np.where(known, values, 0.0) * 10**decimals).astype(np.int64)
    return np.where(known, fixed, _NULL)


_POWERS = 10 ** np.arange(19)
_NULL_TEXT = np.frombuffer(b"null", np.uint8)
_COMMA, _OPEN, _CLOSE, _MINUS, _DOT, _ZERO = (ord(c) for c in ",[]-.0")


@kernel
def _put(out: Bytes, at: int, text: Bytes) -> int:
    for byte in text:
        out[at] = byte
        at += 1
    return at


@kernel
def _put_fixed(out: Bytes, at: int, value: int, decimals: int) -> int:
    """Write value / 10**decimals with as many decimals as it needs: none, or at least one of those there may be."""
    if value == _NULL:
        return _put(out, at, _NULL_TEXT)
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    whole = value // _POWERS[decimals]
    part = value - whole * _POWERS[decimals]
    digits = 1
    while digits < _POWERS.size and _POWERS[digits] <= whole:
        digits += 1
    for i in range(at + digits - 1, at - 1, -1):
        out[i] = _ZERO + whole % 10
        whole //= 10
    at += digits
    if decimals == 0:
        return at
    out[at] = _DOT
    at += 1
    while decimals > 1 and part % 10 == 0:
        part //= 10
        decimals -= 1
    for i in range(at + decimals - 1, at - 1, -1):
        out[i] = _ZERO + part % 10
        part //= 10
    return at + decimals


@kernel
def _put_position(out: Bytes, at: int, position: IntArray) -> int:
    out[at] = _OPEN
    at = _put_fixed(out, at + 1, position[0], DECIMALS)
    out[at] = _COMMA
    at = _put_fixed(out, at + 1, position[1], DECIMALS)
    out[at] = _CLOSE
    return at + 1


@kernel
def _encode_ring(out: Bytes, at: int, ring: IntArray, is_outer: bool) -> int:
    """Write one closed ring (m, 2) in units of the last decimal, after a comma unless it is the outer one."""
    area, distinct = 0.0, 1
    for i in range(1, ring.shape[0]):
        dx0, dy0 = float(ring[i - 1, 0] - ring[0, 0]), float(ring[i - 1, 1] - ring[0, 1])
        dx, dy = float(ring[i, 0] - ring[0, 0]), float(ring[i, 1] - ring[0, 1])
        area += dx0 * dy - dx * dy0
        distinct += ring[i, 0] != ring[i - 1, 0] or ring[i, 1] != ring[i - 1, 1]
    is_degenerate = distinct < 4 or area == 0.0
    if is_degenerate and not is_outer:
        return at
    if not is_outer:
        out[at] = _COMMA
        at += 1
    is_reversed = area < 0.0 if is_outer else area > 0.0
    last = ring.shape[0] - 1
    for step in range(last + 1):
        i = last - step if is_reversed else step
        if step:
            before = i + 1 if is_reversed else i - 1
            # A polygon smaller than the last decimal keeps its positions: a ring needs four.
            if not is_degenerate and ring[i, 0] == ring[before, 0] and ring[i, 1] == ring[before, 1]:
                continue
        out[at] = _COMMA if step else _OPEN
        at = _put_position(out, at + 1, ring[i])
    out[at] = _CLOSE
    return at + 1


@kernel
def _encode_line(out: Bytes, at: int, line: IntArray) -> int:
    out[at] = _OPEN
    at = _put_position(out, at + 1, line[0])
    written = 1
    for i in range(1, line.shape[0]):
        is_repeated = line[i, 0] == line[i - 1, 0] and line[i, 1] == line[i - 1, 1]
        # A line shorter than the last decimal keeps its end: a line needs two positions.
        if is_repeated and (written > 1 or i < line.shape[0] - 1):
            continue
        out[at] = _COMMA
        at = _put_position(out, at + 1, line[i])
        written += 1
    out[at] = _CLOSE
    return at + 1


@kernel
def _encode_part(out: Bytes, at: int, lonlat: IntArray, rings: IntArray) -> int:
    out[at] = _OPEN
    at += 1
    for ring in range(rings.size - 1):
        at = _encode_ring(out, at, lonlat[rings[ring] : rings[ring + 1]], ring == 0)
    out[at] = _CLOSE
    return at + 1


@kernel
def _encode_features(
    out: Bytes,
    geometries: tuple[IntArray, IntArray, IntArray, IntArray],
    words: tuple[Bytes, IntArray],
    columns: tuple[IntArray, IntArray, Bytes, IntArray],
    is_polygon: bool,
) -> int:
    """Write all features of a batch into `out` and give the number of bytes.

    `words`: the start of a feature, what leads to a single and to a multiple geometry, its end, keys of the columns.
    """
    lonlat, rings, parts, features = geometries
    word, ends = words
    decimals, numbers, texts, starts = columns
    at = 0
    for feature in range(features.size - 1):
        at = _put(out, at, word[: ends[1]])
        for column in range(decimals.size):
            at = _put(out, at, word[ends[4 + column] : ends[5 + column]])
            if decimals[column] == _TEXT:
                at = _put(out, at, texts[starts[column, feature] : starts[column, feature + 1] - 1])
            else:
                at = _put_fixed(out, at, numbers[column, feature], decimals[column])
        is_multi = features[feature + 1] - features[feature] != 1
        at = _put(out, at, word[ends[2] : ends[3]] if is_multi else word[ends[1] : ends[2]])
        for part in range(features[feature], features[feature + 1]):
            if part > features[feature]:
                out[at] = _COMMA
                at += 1
            if is_polygon:
                at = _encode_part(out, at, lonlat, rings[parts[part] : parts[part + 1] + 1])
            else:
                at = _encode_line(out, at, lonlat[rings[part] : rings[part + 1]])
        if is_multi:
            out[at] = _CLOSE
            at += 1
        at = _put(out, at, word[ends[3] : ends[4]])
    return at
