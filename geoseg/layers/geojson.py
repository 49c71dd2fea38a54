"""GeoJSON by RFC 7946, streamed: numbers become text in compiled code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import BinaryIO

import numba
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg.errors import OutputError
from geoseg.layers.antimeridian import cut_polygon, find_crossing
from geoseg.layers.columns import LayerColumns

IntArray = NDArray[np.int64]
Bytes = NDArray[np.uint8]

DECIMALS = 7
_NULL = np.iinfo(np.int64).min


def write_geojson(file: BinaryIO, batches: Iterable[LayerColumns], *, crs_wkt: str, name: str) -> None:
    """Write a FeatureCollection, one feature a line, in longitude and latitude of WGS 84.

    Outer rings run counter-clockwise and holes clockwise; coordinates have 7 decimals, and vertices that fall together
    there are written once; a polygon that crosses the antimeridian becomes a MultiPolygon cut along it.

    Args:
        file: open for writing bytes.
        batches: the polygons.
        crs_wkt: CRS of the geometries.
        name: of the layer.

    Raises:
        OutputError: a vertex has no longitude and latitude.

    Source: RFC 7946, sections 3.1.6, 3.1.9, 4 and 11.2.
    """
    crs = CRS.from_wkt(crs_wkt)
    to_lonlat = Transformer.from_crs(crs, CRS.from_epsg(4326), always_xy=True)
    file.write(f'{{"type":"FeatureCollection","name":{json.dumps(name)},"features":['.encode())
    skip = 1  # every feature begins with a comma and a line break; the first one has no comma
    for batch in batches:
        file.write(_encode_batch(batch, to_lonlat, is_geographic=crs.is_geographic)[skip:].data)
        skip = 0
    file.write(b"\n]}\n")


def _encode_batch(batch: LayerColumns, to_lonlat: Transformer, *, is_geographic: bool) -> Bytes:
    """The features as text, each after a comma and a line break."""
    _, xy, (ring_offsets, part_offsets) = shapely.to_ragged_array(batch.geometries, include_z=False)
    lonlat = np.stack(to_lonlat.transform(xy[:, 0], xy[:, 1]), axis=1)
    if not np.isfinite(lonlat).all():
        raise OutputError(
            "a polygon reaches beyond the area where its CRS has longitudes and latitudes",
            expected="GeoJSON is written in longitude and latitude",
            remedy="write another format, which keeps the CRS",
        )
    if is_geographic:  # datum shifts wrap at 180 degrees what the source had in one piece
        lonlat[:, 0] += 360.0 * np.rint((xy[:, 0] - lonlat[:, 0]) / 360.0)
    feature_offsets = np.arange(len(batch) + 1)
    crossing = find_crossing(lonlat[:, 0], ring_offsets, part_offsets, is_geographic=is_geographic)
    if crossing.size:
        pieces = shapely.from_ragged_array(shapely.GeometryType.POLYGON, lonlat, (ring_offsets, part_offsets))
        pieces = shapely.multipolygons(pieces, indices=np.arange(len(pieces)))
        for i in crossing:
            rings = [lonlat[ring_offsets[r] : ring_offsets[r + 1]] for r in range(part_offsets[i], part_offsets[i + 1])]
            pieces[i] = cut_polygon(rings, is_geographic=is_geographic)
        _, lonlat, (ring_offsets, part_offsets, feature_offsets) = shapely.to_ragged_array(pieces, include_z=False)

    classes = list(zip(batch.class_name.tolist(), batch.class_id.tolist(), strict=True))
    index = {kind: i for i, kind in enumerate(dict.fromkeys(classes))}
    heads = [_write_head(class_name, class_id) for class_name, class_id in index]
    out = np.empty(_bound_size(lonlat, ring_offsets, part_offsets, len(batch), max(map(len, heads))), np.uint8)
    size = _encode_features(
        out,
        np.rint(lonlat * 10**DECIMALS).astype(np.int64),
        (ring_offsets, part_offsets, feature_offsets),
        (np.frombuffer(b"".join(heads), np.uint8), np.cumsum([0, *map(len, heads)])),
        np.stack(
            [
                np.array([index[kind] for kind in classes]),
                _to_fixed(batch.confidence, 4),
                _to_fixed(batch.area_m2, 3),
                _to_fixed(batch.perimeter_m, 3),
            ]
        ),
    )
    return out[:size]


def _write_head(class_name: str, class_id: int) -> bytes:
    name = json.dumps(class_name, ensure_ascii=False)
    head = f',\n{{"type":"Feature","properties":{{"class":{name},"class_id":{class_id},"confidence":'
    return head.encode()


def _bound_size(lonlat: NDArray[np.float64], rings: IntArray, parts: IntArray, features: int, head: int) -> int:
    """Bytes that suffice: 27 a position (-180.0000000 and -90.0000000 in brackets), brackets, numbers and names."""
    return 27 * len(lonlat) + 4 * (len(rings) + len(parts)) + features * (head + 200)


def _to_fixed(values: NDArray[np.float64], decimals: int) -> IntArray:
    known = np.isfinite(values)
    fixed = np.rint(np.where(known, values, 0.0) * 10**decimals).astype(np.int64)
    return np.where(known, fixed, _NULL)


def _constant(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)


_AREA = _constant(',"area_m2":')
_PERIMETER = _constant(',"perimeter_m":')
_POLYGON = _constant('},"geometry":{"type":"Polygon","coordinates":')
_MULTIPOLYGON = _constant('},"geometry":{"type":"MultiPolygon","coordinates":[')
_NULL_TEXT = _constant("null")
_COMMA, _OPEN, _CLOSE, _BRACE, _MINUS, _DOT, _ZERO = (ord(c) for c in ",[]}-.0")


@numba.njit(nogil=True, cache=True)
def _put(out: Bytes, at: int, text: Bytes) -> int:
    for byte in text:
        out[at] = byte
        at += 1
    return at


@numba.njit(nogil=True, cache=True)
def _put_fixed(out: Bytes, at: int, value: int, decimals: int) -> int:
    """Write value / 10**decimals with as many decimals as it needs, at least one."""
    if value == _NULL:
        return _put(out, at, _NULL_TEXT)
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    whole, part = divmod(value, 10**decimals)
    digits, power = 1, 10
    while power <= whole:
        digits += 1
        power *= 10
    for i in range(at + digits - 1, at - 1, -1):
        out[i] = _ZERO + whole % 10
        whole //= 10
    at += digits
    out[at] = _DOT
    at += 1
    while decimals > 1 and part % 10 == 0:
        part //= 10
        decimals -= 1
    for i in range(at + decimals - 1, at - 1, -1):
        out[i] = _ZERO + part % 10
        part //= 10
    return at + decimals


@numba.njit(nogil=True, cache=True)
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
        out[at + 1] = _OPEN
        at = _put_fixed(out, at + 2, ring[i, 0], DECIMALS)
        out[at] = _COMMA
        at = _put_fixed(out, at + 1, ring[i, 1], DECIMALS)
        out[at] = _CLOSE
        at += 1
    out[at] = _CLOSE
    return at + 1


@numba.njit(nogil=True, cache=True)
def _encode_features(
    out: Bytes,
    lonlat: IntArray,
    offsets: tuple[IntArray, IntArray, IntArray],
    heads: tuple[Bytes, IntArray],
    numbers: IntArray,
) -> int:
    """Write all features of a batch into `out` and give the number of bytes; `numbers`: head and values."""
    rings, parts, features = offsets
    head_bytes, head_offsets = heads
    at = 0
    for feature in range(features.size - 1):
        head = numbers[0, feature]
        at = _put(out, at, head_bytes[head_offsets[head] : head_offsets[head + 1]])
        at = _put_fixed(out, at, numbers[1, feature], 4)
        at = _put(out, at, _AREA)
        at = _put_fixed(out, at, numbers[2, feature], 3)
        at = _put(out, at, _PERIMETER)
        at = _put_fixed(out, at, numbers[3, feature], 3)
        is_multi = features[feature + 1] - features[feature] != 1
        at = _put(out, at, _MULTIPOLYGON if is_multi else _POLYGON)
        for part in range(features[feature], features[feature + 1]):
            if part > features[feature]:
                out[at] = _COMMA
                at += 1
            out[at] = _OPEN
            at += 1
            for ring in range(parts[part], parts[part + 1]):
                at = _encode_ring(out, at, lonlat[rings[ring] : rings[ring + 1]], ring == parts[part])
            out[at] = _CLOSE
            at += 1
        if is_multi:
            out[at] = _CLOSE
            at += 1
        out[at] = _BRACE
        out[at + 1] = _BRACE
        at += 2
    return at
