"""Damaged GeoTIFFs, the same ones for a number every time: whole files of many layouts, and one fault in each."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

SEED = 20_260
ROWS, COLS = 100, 90
PLACE = {"crs": "EPSG:32737", "transform": Affine(0.5, 0, 530_000, 0, -0.5, 9_330_000)}

LAYOUTS: dict[str, dict[str, object]] = {
    "plain strips": {},
    "deflate tiles": {"compress": "deflate", "tiled": True, "blockxsize": 32, "blockysize": 32},
    "lzw predictor": {"compress": "lzw", "predictor": 2, "blockysize": 8},
    "packbits planes": {"compress": "packbits", "interleave": "band"},
    "zstd bigtiff": {"compress": "zstd", "bigtiff": "yes", "tiled": True, "blockxsize": 64, "blockysize": 64},
    "jpeg tiles": {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 64, "blockysize": 64},
    "cloud-optimised": {"driver": "COG", "compress": "deflate", "blocksize": 64, "nodata": 0},
    "12 bits": {"dtype": "uint16", "nbits": 12, "compress": "deflate"},
    "floats": {"dtype": "float32", "compress": "deflate", "predictor": 3, "nodata": -1},
    "lerc": {"dtype": "int16", "compress": "lerc", "blockysize": 16},
    "big endian": {"endianness": "big", "blockysize": 16},
    "classes": {"count": 1, "compress": "lzw", "tiled": True, "blockxsize": 32, "blockysize": 32, "nodata": 255},
    "plain classes": {"count": 1, "blockysize": 4},
}
"""What rasterio writes, by name."""

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8, 18: 8}
EXTREMES = (0, 1, 2, 3, 7, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)

Fault = Callable[[bytearray, np.random.Generator], None]


@dataclass(frozen=True)
class Mutant:
    """A damaged file: which layout, which fault, its bytes."""

    layout: str
    fault: str
    content: bytes


def make_mutant(number: int) -> Mutant:
    """The mutant of a number."""
    layouts, faults = list(LAYOUTS), list(FAULTS)
    layout = layouts[number % len(layouts)]
    fault = faults[number // len(layouts) % len(faults)]
    content = bytearray(write_layout(layout))
    FAULTS[fault](content, np.random.default_rng((SEED, number)))
    return Mutant(layout, fault, bytes(content))


@cache
def write_layout(layout: str) -> bytes:
    """The whole file of a layout."""
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": ROWS, "width": COLS, **PLACE}
    profile |= LAYOUTS[layout]
    values = draw_image() if profile["count"] == 3 else draw_image()[:1] // 64
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.tif"
        with rasterio.open(path, "w", **profile) as raster:
            raster.write(values.astype(profile["dtype"]))
        return path.read_bytes()


@cache
def draw_image() -> NDArray[np.uint8]:
    """Smooth hills and some noise, uint8 (3, ROWS, COLS)."""
    rows, cols = np.mgrid[:ROWS, :COLS]
    hills = [120 + 100 * np.sin(rows / (7 + band)) * np.cos(cols / (9 - band)) for band in range(3)]
    noise = np.random.default_rng(SEED).integers(0, 30, (3, ROWS, COLS))
    return (np.stack(hills) + noise).astype(np.uint8)


def _cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[int(rng.integers(len(content))) :]


def _flip_header(content: bytearray, rng: np.random.Generator) -> None:
    # The directory lies at the start or at the end of the file.
    first = struct.unpack_from(
        _order(content) + ("Q" if _is_big(content) else "I"), content, 8 if _is_big(content) else 4
    )
    start = int(rng.choice([0, min(first[0], len(content) - 2)]))
    _flip(content, rng, start, min(len(content), start + 400), count=int(rng.integers(1, 9)))


def _flip_data(content: bytearray, rng: np.random.Generator) -> None:
    _flip(content, rng, 600, len(content), count=int(rng.integers(1, 33)))


def _flip(content: bytearray, rng: np.random.Generator, start: int, stop: int, *, count: int) -> None:
    for _ in range(count):
        content[int(rng.integers(min(start, stop - 1), stop))] ^= 1 << int(rng.integers(8))


def _set_entry(content: bytearray, rng: np.random.Generator) -> None:
    """Give a field of a directory entry an extreme value."""
    order, entries = _order(content), _list_entries(content)
    at = int(rng.choice(entries))
    value = int(rng.choice(np.array(EXTREMES, np.uint64)))
    wide = _is_big(content)
    places = [
        (at, "H"),
        (at + 2, "H"),
        (at + 4, "Q" if wide else "I"),
        (at + (12 if wide else 8), "Q" if wide else "I"),
    ]
    place, kind = places[int(rng.choice([0, 1, 2, 3, 3, 3]))]
    struct.pack_into(order + kind, content, place, value % 2 ** (8 * struct.calcsize(kind)))


def _set_array(content: bytearray, rng: np.random.Generator) -> None:
    """Give an element of an entry's array (offsets, byte counts, georeference, ...) an extreme value."""
    order, wide = _order(content), _is_big(content)
    arrays = []
    for at in _list_entries(content):
        kind, count = struct.unpack_from(order + ("HQ" if wide else "HI"), content, at + 2)
        size = TYPE_BYTES.get(kind, 1)
        if count * size > (8 if wide else 4):
            (where,) = struct.unpack_from(order + ("Q" if wide else "I"), content, at + (12 if wide else 8))
            arrays.append((where, count, size))
    where, count, size = arrays[int(rng.integers(len(arrays)))]
    place = where + size * int(rng.integers(count))
    value = int(rng.choice(np.array(EXTREMES, np.uint64))) % 2 ** (8 * size)
    special = struct.pack(order + "d", rng.choice([np.nan, np.inf, 0.0, 1e300, -1e-300])) if size == 8 else b""
    whole = value.to_bytes(size, "big" if order == ">" else "little")
    content[place : place + size] = special if special and rng.integers(2) else whole


def _zero(content: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(content)))
    stop = min(len(content), start + int(rng.integers(1, 600)))
    content[start:stop] = bytes(stop - start)


def _shift(content: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(16, len(content)))
    if rng.integers(2):
        content[at:at] = rng.bytes(int(rng.integers(1, 64)))
    else:
        del content[at : at + int(rng.integers(1, 64))]


def _scramble(content: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(content)))
    stop = min(len(content), start + int(rng.integers(1, 200)))
    content[start:stop] = rng.bytes(stop - start)


FAULTS: dict[str, Fault] = {
    "cut off": _cut,
    "bits of the header": _flip_header,
    "bits of the data": _flip_data,
    "an extreme entry": _set_entry,
    "an extreme element": _set_array,
    "zeros": _zero,
    "shifted": _shift,
    "scrambled": _scramble,
}


def _order(content: bytearray) -> str:
    return ">" if content[:2] == b"MM" else "<"


def _is_big(content: bytearray) -> bool:
    return struct.unpack_from(_order(content) + "H", content, 2)[0] == 43


def _list_entries(content: bytearray) -> list[int]:
    """Where the entries of all directories begin."""
    order, wide = _order(content), _is_big(content)
    found: list[int] = []
    (at,) = struct.unpack_from(order + ("Q" if wide else "I"), content, 8 if wide else 4)
    while at:
        (count,) = struct.unpack_from(order + ("Q" if wide else "H"), content, at)
        start, size = at + (8 if wide else 2), 20 if wide else 12
        found += range(start, start + count * size, size)
        (at,) = struct.unpack_from(order + ("Q" if wide else "I"), content, start + count * size)
    return found
