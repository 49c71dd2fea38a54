"""GeoJSON by RFC 7946 and sequences of features, streamed."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from geoseg.layers.columns import Layer, LayerBatch, rebatch
from geoseg.layers.json_text import Bytes, encode_features
from geoseg.layers.lonlat import LonLat
from geoseg.layers.provenance import KEY, Provenance, encode_provenance

_AHEAD = 2


class _Sink(Protocol):
    def write(self, data: bytes | memoryview, /) -> object: ...


RECORD_SEPARATOR = b"\x1e"
"""What begins a feature of a sequence by RFC 8142; newline-delimited GeoJSON goes without."""


def write_geojson(file: _Sink, layer: Layer, *, crs_wkt: str, provenance: Provenance) -> int:
    """Write a FeatureCollection, one feature a line, and give the number of features.

    Longitude and latitude of WGS 84 with 7 decimals; outer rings run counter-clockwise and holes clockwise; vertices
    that fall together are written once; what crosses the antimeridian becomes several parts of one geometry.

    Args:
        file: open for writing bytes.
        layer: what to write.
        crs_wkt: CRS of the geometries.
        provenance: the foreign member `geoseg` of the collection.

    Raises:
        OutputError: a vertex has no longitude and latitude.

    Source: RFC 7946, sections 3.1.6, 3.1.9, 4, 6.1 and 11.2.
    """
    head = f'{{"type":"FeatureCollection","name":{json.dumps(layer.name)},"{KEY}":{encode_provenance(provenance)}'
    file.write(f'{head},"features":['.encode())
    written = 0
    for text, count in _encode_ahead(_Encoder(layer, crs_wkt, around=(b",\n", b"")), layer):
        file.write(text[0 if written else 1 :].data)  # no comma before the first feature
        written += count
    file.write(b"\n]}\n")
    return written


def write_geojson_sequence(
    file: _Sink, layer: Layer, *, crs_wkt: str, provenance: Provenance, separator: bytes = b""
) -> int:
    """Write features as `write_geojson` does, each a text of its own, and give their number.

    A sequence has no place outside of its features: the first one carries the provenance as its member `geoseg`.

    Args:
        file: open for writing bytes.
        layer: what to write.
        crs_wkt: CRS of the geometries.
        provenance: what made the layer.
        separator: what begins every feature.

    Raises:
        OutputError: a vertex has no longitude and latitude.

    Source: RFC 8142, section 2.
    """
    start = separator + b'{"type":"Feature",'
    written = 0
    for text, count in _encode_ahead(_Encoder(layer, crs_wkt, around=(separator, b"\n")), layer):
        if not written:
            file.write(start + f'"{KEY}":{encode_provenance(provenance)},'.encode())
        file.write(text[0 if written else len(start) :].data)
        written += count
    return written


def _encode_ahead(encode: _Encoder, layer: Layer) -> Iterator[tuple[Bytes, int]]:
    """Text and number of features of each batch in turn; the next ones are encoded while one is written."""
    pending: deque[tuple[Future[Bytes], int]] = deque()
    with ThreadPoolExecutor(_AHEAD) as pool:
        for batch in rebatch(layer):
            pending.append((pool.submit(encode, batch), len(batch)))
            if len(pending) > _AHEAD:
                text, count = pending.popleft()
                yield text.result(), count
        while pending:
            text, count = pending.popleft()
            yield text.result(), count


class _Encoder:
    def __init__(self, layer: Layer, crs_wkt: str, *, around: tuple[bytes, bytes]) -> None:
        self._columns, self._geometry_type, self._around = layer.columns, layer.geometry_type, around
        self._to_lonlat = LonLat(layer.name, layer.geometry_type, crs_wkt)

    def __call__(self, batch: LayerBatch) -> Bytes:
        lonlat, offsets = self._to_lonlat(batch.geometries)
        return encode_features(batch, self._columns, self._geometry_type, lonlat, offsets, around=self._around)
