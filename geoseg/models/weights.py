"""The safetensors file: reading its header without trusting it."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.errors import ModelError
from geoseg.models.fields import REMEDY

ITEM_BYTES = {"F16": 2, "F32": 4}
ITEM_TYPES = {"F16": "<f2", "F32": "<f4"}
MAX_HEADER_BYTES = 8 * 2**20
CHECKED_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies: safetensors dtype, shape, first byte in the file and length in bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def read_weights_header(path: Path) -> dict[str, TensorEntry]:
    """Name to place of every tensor of a safetensors file, checked against the file's size; data is not read.

    Raises:
        ModelError: the header is not one, is too large, overlaps, leaves gaps, or holds other than F16 and F32.

    Source: safetensors format, https://github.com/huggingface/safetensors#format
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        header_bytes = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= header_bytes <= min(MAX_HEADER_BYTES, size - 8):
            raise _fault(path, f"a header of {header_bytes} bytes in a file of {size}", "a whole safetensors file")
        text = file.read(header_bytes)
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _fault(path, f"an unreadable header ({type(error).__name__})", "a safetensors header in JSON") from error
    if not isinstance(table, dict):
        raise _fault(path, "a header that is no table", "a table of tensors")
    start = 8 + header_bytes
    entries = {name: _read_entry(path, name, row, start) for name, row in table.items() if name != "__metadata__"}
    end = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].length)):
        if entry.offset != end:
            raise _fault(path, f"tensor {name!r} at byte {entry.offset}", f"byte {end}, next to its predecessor")
        end += entry.length
    if end != size or not entries:
        raise _fault(path, f"{len(entries)} tensors that end at byte {end}", f"the file's end at byte {size}")
    return entries


def check_finite(path: Path, entries: Mapping[str, TensorEntry]) -> None:
    """Refuse a safetensors file that holds a number which is none, or infinite; it is read piece by piece.

    Args:
        path: the file.
        entries: what `read_weights_header` gave for it.

    Raises:
        ModelError: it does.
    """
    with path.open("rb") as file:
        for name, entry in entries.items():
            file.seek(entry.offset)
            for start in range(0, entry.length, CHECKED_BYTES):
                piece = file.read(min(CHECKED_BYTES, entry.length - start))
                if not np.isfinite(np.frombuffer(piece, ITEM_TYPES[entry.dtype])).all():
                    raise _fault(path, f"tensor {name!r} with values that are not finite", "finite weights")


def _read_entry(path: Path, name: str, row: object, start: int) -> TensorEntry:
    expected = "dtype, shape and data_offsets"
    if not isinstance(row, dict) or set(row) != {"dtype", "shape", "data_offsets"}:
        raise _fault(path, f"tensor {name!r} without its three fields", expected)
    dtype, shape, span = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _fault(path, f"tensor {name!r} of dtype {dtype!r}", "F16 or F32")
    if not _are_counts(shape) or len(shape) > 8 or not _are_counts(span) or len(span) != 2:
        raise _fault(path, f"tensor {name!r} with shape {shape!r:.60} at {span!r:.60}", expected)
    length = ITEM_BYTES[dtype] * math.prod(shape)
    if span[1] - span[0] != length:
        raise _fault(path, f"tensor {name!r} of {span[1] - span[0]} bytes", f"{length} for {dtype} {tuple(shape)}")
    return TensorEntry(dtype, tuple(shape), start + span[0], length)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**48 for v in value)


def _fault(path: Path, found: str, expected: str) -> ModelError:
    return ModelError(f"{path}: {found}", expected=expected, remedy=REMEDY)
