"""Geometries as well-known binary."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.errors import OutputError
from geoseg.kernel import kernel, subkernel
from geoseg.ragged import RaggedGeometries

LINE, POLYGON = 2, 3
MAX_BYTES = 2**31 - 1

Bytes = NDArray[np.uint8]
Int64 = NDArray[np.int64]


def encode_wkb(ragged: RaggedGeometries) -> pa.BinaryArray:
    """LineStrings or Polygons as ISO WKB, in little-endian order.

    Args:
        ragged: n geometries; a line is the only part of its geometry.

    Raises:
        OutputError: they take more than 2 GiB.

    Source: OGC 06-103r4, Simple feature access, section 8.2.
    """
    parts, owners = ragged.part_offsets, ragged.owner_offsets
    head = 5 if ragged.are_lines else 9
    offsets = np.arange(len(owners)) * head + owners * 4 + parts[owners] * 16
    offsets -= offsets[0]
    if offsets[-1] > MAX_BYTES:
        raise OutputError(
            f"{len(ragged)} geometries of {len(ragged.xy)} vertices in one batch",
            expected="at most 2 GiB of coordinates in a batch",
            remedy="simplify the outlines",
        )
    octets = np.ascontiguousarray(ragged.xy, "<f8").view(np.uint8).reshape(-1)
    content = _encode(octets, parts, owners, offsets, LINE if ragged.are_lines else POLYGON)
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.binary(), len(ragged), buffers)


@kernel
def _encode(octets: Bytes, parts: Int64, owners: Int64, offsets: Int64, kind: int) -> Bytes:
    out = np.empty(offsets[-1], np.uint8)
    for k in range(len(owners) - 1):
        at = offsets[k]
        out[at] = 1
        at = _put(out, at + 1, kind)
        if kind == POLYGON:
            at = _put(out, at, owners[k + 1] - owners[k])
        for part in range(owners[k], owners[k + 1]):
            at = _put(out, at, parts[part + 1] - parts[part])
            start, stop = 16 * parts[part], 16 * parts[part + 1]
            out[at : at + stop - start] = octets[start:stop]
            at += stop - start
    return out


@subkernel
def _put(out: Bytes, at: int, value: int) -> int:
    """Write a number of four bytes and give where the next one goes."""
    for _ in range(4):
        out[at] = value & 255
        value >>= 8
        at += 1
    return at
