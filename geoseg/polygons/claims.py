"""What rings claim of the raster's junctions and arcs, in files, a band of rows each: few of them are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.polygons.rings import Int64

Claims = NDArray[Any]
"""(n,) structured, with an int64 `key` that begins with a row and the int64 `owner` who claims it."""

BAND_BITS = 10
"""Of the number of rows of a band."""

BANDS_IN_MEMORY = 8
"""A tile's polygons reach over a few bands, and so do those of its neighbours that follow."""


class ClaimFile:
    """Claims by the band of rows in which their keys lie.

    Args:
        folder: an existing, empty directory.
        dtype: of a claim.
        row_shift: where the row begins in a key, in bits.
    """

    def __init__(self, folder: Path, dtype: np.dtype[Any], row_shift: int) -> None:
        self.dtype = dtype
        self._folder, self._shift = folder, row_shift + BAND_BITS
        self._loaded: dict[int, Claims] = {}

    def append(self, claims: Claims) -> None:
        """Add claims in any order."""
        bands = claims["key"] >> self._shift
        order = np.argsort(bands, kind="stable")
        numbers, starts = np.unique(bands[order], return_index=True)
        for number, mine in zip(numbers.tolist(), np.split(order, starts[1:]), strict=False):
            with self._path(number).open("ab") as file:
                claims[mine].tofile(file)

    def find_later(self) -> Int64:
        """The owners of what another, lesser owner claims as well, or of what they claim twice."""
        later = [np.zeros(0, np.int64)]
        for number in self._list_bands():
            claims = self._read(number)
            claims = claims[np.lexsort((claims["owner"], claims["key"]))]
            later.append(claims["owner"][1:][claims["key"][1:] == claims["key"][:-1]])
        return np.concatenate(later)

    def keep(self, owners: Int64) -> None:
        """Drop the claims of all but these ((n,) sorted); whose are left bear the position of their owner."""
        for number in self._list_bands():
            claims = self._read(number)
            position, is_kept = look_up(owners, claims["owner"])
            claims["owner"] = position
            claims = claims[is_kept]
            claims[np.argsort(claims["key"])].tofile(self._path(number))

    def find(self, keys: Int64) -> tuple[Claims, NDArray[np.bool_]]:
        """The claim ((n,)) of each key after `keep`, and whether there is one."""
        claims, is_found = np.zeros(len(keys), self.dtype), np.zeros(len(keys), bool)
        bands = keys >> self._shift
        for number in np.unique(bands).tolist():
            mine, band = np.flatnonzero(bands == number), self._load(number)
            at, is_there = look_up(band["key"], keys[mine])
            is_found[mine] = is_there
            claims[mine[is_there]] = band[at[is_there]]
        return claims, is_found

    def _load(self, number: int) -> Claims:
        band = self._loaded.pop(number, None)
        if band is None:
            band = self._read(number) if self._path(number).exists() else np.zeros(0, self.dtype)
        self._loaded[number] = band
        if len(self._loaded) > BANDS_IN_MEMORY:
            self._loaded.pop(next(iter(self._loaded)))
        return band

    def _read(self, number: int) -> Claims:
        return np.fromfile(self._path(number), self.dtype)

    def _list_bands(self) -> Iterator[int]:
        return (int(path.name) for path in sorted(self._folder.iterdir()))

    def _path(self, number: int) -> Path:
        return self._folder / str(number)


def look_up(sorted_keys: Int64, keys: Int64) -> tuple[Int64, NDArray[np.bool_]]:
    """Where keys are among sorted ones, or -1, and whether they are."""
    if len(sorted_keys) == 0:
        return np.full(len(keys), -1, np.int64), np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    found = sorted_keys[at] == keys
    return np.where(found, at, -1), found
