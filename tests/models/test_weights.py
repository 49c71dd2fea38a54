"""The safetensors header, honest and hostile."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from geoseg.errors import ModelError
from geoseg.models.weights import read_weights_header

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@given(
    shapes=st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(SHAPES, st.booleans()), min_size=1, max_size=6)
)
def test_every_tensor_lies_where_the_header_says(
    shapes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("w") / "weights.safetensors"
    shapes.pop("__metadata__", None)
    shapes["one"] = ((1,), True)
    random = np.random.default_rng(0)
    saved = {k: random.normal(size=s).astype(np.float16 if half else np.float32) for k, (s, half) in shapes.items()}
    save_file(saved, path)
    data, expected = path.read_bytes(), load_file(path)
    entries = read_weights_header(path)
    assert entries.keys() == expected.keys()
    for name, entry in entries.items():
        dtype = {"F16": np.float16, "F32": np.float32}[entry.dtype]
        found = np.frombuffer(data[entry.offset : entry.offset + entry.length], dtype).reshape(entry.shape)
        np.testing.assert_array_equal(found, expected[name])


def write(path: Path, header: object, data: bytes = b"\0" * 8) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def tensor(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        [],
        {},
        {"a": 1},
        {"a": {"dtype": "F32"}},
        {"a": tensor(dtype="I64")},
        {"a": tensor(dtype=["F32"])},
        {"a": tensor(shape=[3])},
        {"a": tensor(shape=[-2])},
        {"a": tensor(shape=[2.0])},
        {"a": tensor(shape=[2**60])},
        {"a": tensor(shape=2)},
        {"a": tensor(data_offsets=[8, 0])},
        {"a": tensor(data_offsets=[0, 8, 9])},
        {"a": tensor(data_offsets=[4, 12])},
        {"a": tensor(data_offsets=[10**9, 10**9 + 8])},
        {"a": tensor(shape=[1], data_offsets=[0, 4])},
        {"a": tensor(), "b": tensor()},
    ],
)
def test_hostile_headers_are_refused(tmp_path: Path, header: object) -> None:
    with pytest.raises(ModelError, match=r"w\.safetensors"):
        read_weights_header(write(tmp_path / "w.safetensors", header))


@pytest.mark.parametrize(
    "data", [b"", b"abc", b"\xff" * 8, struct.pack("<Q", 2**40) + b"{}", struct.pack("<Q", 90) + b"{}"]
)
def test_files_without_a_header_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="header"):
        read_weights_header(tmp_path / "w.safetensors")


def test_empty_tensors_may_begin_where_others_do(tmp_path: Path) -> None:
    for names in ("ab", "ba"):
        empty, full = (tensor(shape=[0], data_offsets=[0, 0]), tensor())
        path = write(tmp_path / "w", {n: empty if n == "b" else full for n in names})
        assert read_weights_header(path)["b"].length == 0
