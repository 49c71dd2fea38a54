"""Pieces of line into connected components, each as soon as the sweep over the bands has all of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.roads.bands import BandFile, Bands
from geoseg.roads.lines import SPAN, Bool, Int32, Int64, LineFile, Spans, to_key
from geoseg.roads.places import is_before, leads_to, link_places
from geoseg.roads.scale import RoadScale
from geoseg.roads.trace import RoadTile, to_points

PLACE_BLOCK = np.dtype((np.int32, (2,)))
"""A block of a place as it lies in a file: (row, col)."""


def write_pieces(tiles: Iterable[RoadTile], lines: LineFile, bands: Bands, pieces: BandFile, blocks: BandFile) -> None:
    """Write what tiles hold: points to `lines`, pieces and blocks to the band of their first row."""
    for tile in tiles:
        spans = lines.append(tile)
        pieces.append(bands.find(spans["rows"][:, 0]), spans)
        blocks.append(bands.find(to_points(tile.blocks)[:, 0]), tile.blocks)


def close_components(
    pieces: BandFile, blocks: BandFile, lines: LineFile, bands: Bands, scale: RoadScale
) -> Iterator[Spans]:
    """Take pieces together that hang together, over points at which they end and over places.

    A piece ends at no row before its first one: all that end at a row before the next band are known. Memory holds the
    components and places that reach into it, and what is yielded.

    Yields:
        Some components as a whole, lines through places included.
    """
    pool = _OpenPieces()
    held = np.zeros((0, 2), np.int32)
    for band in range(bands.count):
        stop = bands.stop(band)
        pool.add(pieces.read(band))
        held = np.unique(np.concatenate([held, blocks.read(band)]), axis=0)
        done = is_before(held, stop, scale)
        roads = pool.tips[leads_to(pool.tips, held[done], scale)]
        pool.add(lines.append(link_places(held[done], roads, scale)))
        held = held[~done]
        # Above the raster lies what is mirrored of rows below.
        yield pool.take_closed((np.abs(pool.tips[:, 0]) >= stop) | leads_to(pool.tips, held, scale))


class _OpenPieces:
    """Pieces of components that are not complete, and where these may go on: (n, 2) `tips`."""

    def __init__(self) -> None:
        self.tips = np.zeros((0, 2), np.int32)
        self._spans: Spans = np.empty(0, SPAN)
        self._of_tip = np.zeros(0, np.int64)
        self._of_piece = np.zeros(0, np.int64)

    def add(self, spans: Spans) -> None:
        """Join pieces (n,) with the components that they meet."""
        known = int(self._of_piece.max(initial=-1)) + 1
        new = known + np.arange(len(spans))
        self._spans = np.concatenate([self._spans, spans])
        self.tips = np.concatenate([self.tips, spans["tips"][:, [0, 3]].reshape(-1, 2)])
        of_tip = np.concatenate([self._of_tip, np.repeat(new, 2)])
        group = _group(self.tips, of_tip, known + len(spans))
        self._of_tip, self._of_piece = group[of_tip], group[np.concatenate([self._of_piece, new])]

    def take_closed(self, goes_on: Bool) -> Spans:
        """Take out the pieces, in the order of the file, of all components none of whose tips (n,) goes on."""
        is_open = np.zeros(int(self._of_piece.max(initial=-1)) + 1, bool)
        is_open[self._of_tip[goes_on]] = True
        number, left = np.cumsum(is_open) - 1, is_open[self._of_piece]
        closed = self._spans[~left]
        closed = closed[np.argsort(closed["start"])]
        self._spans, self._of_piece = self._spans[left], number[self._of_piece[left]]
        self.tips, self._of_tip = self.tips[goes_on], number[self._of_tip[goes_on]]
        return closed


def _group(points: Int32, owner: Int64, owners: int) -> Int64:
    """(owners,) int64 from 0, the same for owners that have points (n, 2) in common, be it by way of others."""
    _, node = np.unique(to_key(points), return_inverse=True)
    edges = coo_array((np.ones(len(owner), np.int8), (owner, owners + node)), shape=(owners + len(node),) * 2)
    _, group = connected_components(edges, directed=False)
    return np.asarray(group[:owners], np.int64)
