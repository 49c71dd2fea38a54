"""The sweep over the tiles that decides what components below the minimum mapping unit become.

It holds what is not decided yet, which lies near the last row of tiles that it has seen: everything else is, or has
become, part of a class that stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.polygons.merging import NOTHING, Contacts, Regions, class_of_code, code_of_class, merge_small, unite
from geoseg.polygons.rings import Int32, Int64, Uint8
from geoseg.polygons.sieve import SmallComponents, sum_contacts

Changes = tuple[Int32, Uint8]


def merge_small_components(
    tiles: Iterable[SmallComponents], *, minimum: Int64, pixel_m: tuple[float, float]
) -> Iterator[tuple[Window, Changes]]:
    """Decide what every component below the minimum becomes: part of the neighbour class it has the longest side with.

    The smallest component goes first; among equal ones that of the topmost, leftmost pixel. What is still too small
    afterwards goes on. A component that touches nothing but unknown pixels stays. Memory: about 250 bytes for each
    component that is listed in one row of tiles.

    Args:
        tiles: row-major; tiles without a known pixel may be absent.
        minimum: (256,) int64, as given to `list_small_components`.
        pixel_m: (height, width) of a pixel in metres.

    Yields:
        For each tile in which something changes, once all of it is decided: the numbers of components and their new
        classes.
    """
    sweep = _Sweep(minimum, (max(1, round(pixel_m[0] * 1e6)), max(1, round(pixel_m[1] * 1e6))))
    for _, row in groupby(tiles, key=lambda tile: tile.window.row):
        yield from sweep.advance(row)
    yield from sweep.advance(())


@dataclass(frozen=True, eq=False)
class _Side:
    """Code and class of the pixels on one side of a tile."""

    code: Int64
    class_id: Uint8


@dataclass(frozen=True, eq=False)
class _Undecided:
    """A tile: the numbers of its components, their classes, and the code of what each is part of by now."""

    window: Window
    number: Int32
    class_id: Uint8
    code: Int64


class _Sweep:
    """What is left of the rows of tiles so far.

    The code of a component that is not decided is its number here, that of others stands for a class.
    """

    def __init__(self, minimum: Int64, side_lengths: tuple[int, int]) -> None:
        self._minimum = minimum
        self._upright, self._level = side_lengths
        self._class_id = np.zeros(0, np.uint8)
        self._area = np.zeros(0, np.int64)
        self._first = np.zeros(0, np.int64)
        self._contacts = np.zeros((0, 3), np.int64)
        self._bottoms: dict[tuple[int, int], _Side] = {}
        self._tiles: list[_Undecided] = []

    def advance(self, row: Iterable[SmallComponents]) -> Iterator[tuple[Window, Changes]]:
        """Add the tiles of one row and give those of which everything is decided now; without a tile, all of them."""
        regions, contacts = self._collect(row)
        order = np.argsort(contacts[:, 0], kind="stable")
        offsets = np.searchsorted(contacts[order, 0], np.arange(len(regions.area) + 1)).astype(np.int64)
        merge_small(regions, Contacts(offsets, contacts[order, 1], contacts[order, 2]), self._minimum)
        self._keep_waiting(regions, contacts)
        decided = [tile for tile in self._tiles if (tile.code < 0).all()]
        self._tiles = [tile for tile in self._tiles if (tile.code >= 0).any()]
        for tile in decided:
            new = class_of_code(tile.code)
            differs = new != tile.class_id
            if differs.any():
                yield tile.window, (tile.number[differs], new[differs])

    def _collect(self, row: Iterable[SmallComponents]) -> tuple[Regions, Int64]:
        """All components that are not decided, one for each wherever tiles cut them, and (m, 3) contacts."""
        class_id, area, first, count = [self._class_id], [self._area], [self._first], len(self._area)
        links, contacts = [np.zeros((0, 2), np.int64)], [self._contacts]
        bottoms: dict[tuple[int, int], _Side] = {}
        rights: dict[tuple[int, int], _Side] = {}
        for tile in row:
            window, w, h = tile.window, tile.window.cols, tile.window.rows
            cuts = np.cumsum([w, w, h])
            codes = np.split(_shift(tile.border, count), cuts)
            top, bottom, left, right = map(_Side, codes, np.split(tile.border_class, cuts))
            lengths = tile.contacts[:, 2] * self._upright + tile.contacts[:, 3] * self._level
            contacts.append(np.stack([*_shift(tile.contacts[:, :2], count).T, lengths], axis=1))
            for side, near, length in (
                (top, self._bottoms.get((window.row, window.col)), self._level),
                (left, rights.get((window.row, window.col)), self._upright),
            ):
                if near is not None:
                    links.append(_link(near, side))
                    contacts += [_touch(near, side, length), _touch(side, near, length)]
            bottoms[window.row_stop, window.col] = bottom
            rights = {(window.row, window.col_stop): right}
            class_id.append(tile.class_id)
            area.append(tile.area)
            first.append(tile.first)
            self._tiles.append(
                _Undecided(window, tile.number, tile.class_id, np.arange(count, count + len(tile.number)))
            )
            count += len(tile.number)
        self._bottoms = bottoms
        is_open = np.zeros(count, np.bool_)
        for side in bottoms.values():
            is_open[side.code[side.code >= 0]] = True
        regions = Regions(
            np.arange(count),
            np.concatenate(class_id),
            np.concatenate(area),
            np.concatenate(first),
            np.zeros(count, np.bool_),
            is_open,
            np.zeros(count, np.bool_),
        )
        unite(regions, np.concatenate(links))
        return regions, np.concatenate(contacts)

    def _keep_waiting(self, regions: Regions, contacts: Int64) -> None:
        """Forget what is decided, and write what it became where it was known by its number."""
        roots = np.flatnonzero(regions.waits & (regions.parent == np.arange(len(regions.parent))))
        number = np.zeros(len(regions.parent), np.int64)
        number[roots] = np.arange(len(roots))
        new = np.where(regions.waits, number[regions.parent], code_of_class(regions.class_id))

        def renew(codes: Int64) -> Int64:
            renewed, listed = codes.copy(), codes >= 0
            renewed[listed] = new[codes[listed]]
            return renewed

        self._class_id, self._area, self._first = regions.class_id[roots], regions.area[roots], regions.first[roots]
        mine, its = new[contacts[:, 0]], renew(contacts[:, 1])
        kept = (mine >= 0) & (mine != its)
        self._contacts = np.stack([mine[kept], its[kept], contacts[kept, 2]], axis=1)
        self._bottoms = {place: replace(side, code=renew(side.code)) for place, side in self._bottoms.items()}
        self._tiles = [replace(tile, code=renew(tile.code)) for tile in self._tiles]


def _shift(codes: Int32 | Int64, count: int) -> Int64:
    """The codes of a tile's components as numbers after `count` others."""
    return np.where(codes >= 0, codes.astype(np.int64) + count, codes)


def _link(one: _Side, two: _Side) -> Int64:
    """(l, 2) pairs of codes that are one component."""
    same = _meet(one, two) & (one.class_id == two.class_id)
    return np.unique(np.stack([one.code[same], two.code[same]], axis=1), axis=0)


def _touch(one: _Side, two: _Side, length: int) -> Int64:
    """(m, 3) contacts of the listed components of one side with those of the other."""
    other = _meet(one, two) & (one.class_id != two.class_id) & (one.code >= 0)
    return sum_contacts(np.stack([one.code[other], two.code[other], np.full(other.sum(), length)], axis=1))


def _meet(one: _Side, two: _Side) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = (one.code != NOTHING) & (two.code != NOTHING)
    return known & ((one.code >= 0) | (two.code >= 0))
