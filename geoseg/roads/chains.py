"""Lines of points between nodes, and the one operation that keeps them whole: joining what meets at two ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.kernel import kernel

Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Chains:
    """A graph whose m edges are lines of points, in an order and in directions that depend on their points alone.

    Args:
        offsets: (m + 1,) int64, where each edge starts in the arrays of points.
        points: (k, 2) int32 (row, col) in half cells.
        width_m: (k,) float32.
        confidence: (k,) int16, -1 where unknown.
        ends: (m, 2) int64, numbers of the nodes at the start and the stop of each edge.
        place: (n, 2) float64 (row, col) of the nodes in half cells.
        radius_m: (n,) float64, half the width of the road at each node.
    """

    offsets: Int64
    points: Int32
    width_m: Float32
    confidence: Int16
    ends: Int64
    place: Float64
    radius_m: Float64

    def __len__(self) -> int:
        return len(self.ends)

    @classmethod
    def of_pieces(cls, offsets: Int64, points: Int32, width_m: Float32, confidence: Int16) -> Chains:
        """Join pieces that end at the same points."""
        tips = np.stack([offsets[:-1], offsets[1:] - 1], axis=1).ravel()
        key = (points[tips, 0].astype(np.int64) << 32) + points[tips, 1]
        _, first, node = np.unique(key, return_index=True, return_inverse=True)
        place, radius = points[tips[first]].astype(np.float64), np.zeros(len(first))
        # Pieces that end in one place have widths of their own there.
        np.maximum.at(radius, node, width_m[tips].astype(np.float64) / 2)
        return cls(offsets, points, width_m, confidence, node.reshape(-1, 2), place, radius).merge()

    def degrees(self) -> Int64:
        """(n,) int64, how many edges end at each node; a loop ends twice."""
        return np.bincount(self.ends.ravel(), minlength=len(self.place))

    def lengths_m(self, cell_m: tuple[float, float]) -> Float64:
        """(m,) float64, from point to point."""
        return _measure(self.offsets, self.points, cell_m[0] / 2, cell_m[1] / 2)

    def widths_m(self) -> Float64:
        """(m,) float64, mean width of each edge."""
        total = np.concatenate([[0.0], np.cumsum(self.width_m, dtype=np.float64)])[self.offsets]
        return np.asarray(np.diff(total) / np.diff(self.offsets), np.float64)

    def take(self, kept: Bool) -> Chains:
        """The graph of some of the edges, joined anew."""
        index = np.flatnonzero(kept)
        sizes = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        source = np.repeat(self.offsets[index] - offsets[:-1], sizes) + np.arange(offsets[-1])
        parts = self.points[source], self.width_m[source], self.confidence[source]
        return Chains(offsets, *parts, self.ends[index], self.place, self.radius_m).merge()

    def split(self, at: Int64) -> tuple[Chains, Int64]:
        """Put nodes at points, `at` (n,) their numbers in `points`; the graph with them, and (n,) the node at each."""
        edge = np.searchsorted(self.offsets, at, side="right") - 1
        node = np.where(at == self.offsets[edge], self.ends[edge, 0], self.ends[edge, 1])
        inner = (at > self.offsets[edge]) & (at < self.offsets[edge + 1] - 1)
        cuts, number = np.unique(at[inner], return_inverse=True)
        node[inner] = len(self.place) + number
        # A cut point is the last one of one edge and the first one of the next.
        source = np.sort(np.concatenate([np.arange(len(self.points)), cuts]))
        starts = np.sort(np.concatenate([self.offsets, cuts]))
        offsets = starts + np.searchsorted(cuts, starts)
        owner = np.searchsorted(self.offsets, starts[:-1], side="right") - 1
        ends = self.ends[owner].copy()
        ends[np.isin(starts[:-1], cuts), 0] = len(self.place) + np.arange(len(cuts))
        ends[np.isin(starts[1:], cuts), 1] = len(self.place) + np.arange(len(cuts))
        parts = self.points[source], self.width_m[source], self.confidence[source]
        place = np.concatenate([self.place, self.points[cuts]])
        radius = np.concatenate([self.radius_m, self.width_m[cuts] / 2])
        return Chains(offsets, *parts, ends, place, radius), node

    def merge(self) -> Chains:
        """Join the two edges at every node that has only two, and bring edges and nodes into their order.

        A ring that nothing else meets starts at its first point and gets a node there.
        """
        order = np.argsort(self.ends.ravel(), kind="stable")
        walk, starts, rings = _walk(self.ends, order, self.degrees())
        offsets, source = _gather(self.offsets, self.points, walk, starts, len(starts) - 1 - rings)
        ends = np.stack([self.ends.ravel()[walk[starts[:-1]]], self.ends.ravel()[walk[starts[1:] - 1] ^ 1]], axis=1)
        flipped = _orient(offsets, self.points, source, len(ends) - rings)
        ends[flipped] = ends[flipped, ::-1]
        place, radius = self.place, self.radius_m
        if rings:
            start = source[offsets[len(ends) - rings : -1]]
            ends[len(ends) - rings :] = len(place) + np.arange(rings)[:, None]
            place = np.concatenate([place, self.points[start].astype(np.float64)])
            radius = np.concatenate([radius, self.width_m[start].astype(np.float64) / 2])
        used, ends = np.unique(ends, return_inverse=True)
        rank = np.lexsort(place[used].T[::-1])
        used, number = used[rank], np.argsort(rank)
        ends = number[ends.reshape(-1, 2)]
        tips = [self.points[source[at]] for at in (offsets[:-1], offsets[:-1] + 1, offsets[1:] - 2, offsets[1:] - 1)]
        rank = np.lexsort([*np.concatenate(tips, axis=1).T[::-1]]) if len(ends) else np.zeros(0, np.int64)
        sizes = np.diff(offsets)[rank]
        ordered = np.concatenate([[0], np.cumsum(sizes)])
        source = source[np.repeat(offsets[rank] - ordered[:-1], sizes) + np.arange(ordered[-1])]
        parts = self.points[source], self.width_m[source], self.confidence[source]
        return Chains(ordered, *parts, ends[rank], place[used], radius[used])


@kernel
def _measure(offsets: Int64, points: Int32, row_m: float, col_m: float) -> Float64:
    length = np.zeros(len(offsets) - 1)
    for edge in range(len(length)):
        for i in range(offsets[edge] + 1, offsets[edge + 1]):
            rows, cols = points[i, 0] - points[i - 1, 0], points[i, 1] - points[i - 1, 1]
            length[edge] += np.hypot(rows * row_m, cols * col_m)
    return length


@kernel
def _walk(ends: Int64, order: Int64, degrees: Int64) -> tuple[Int64, Int64, int]:
    """Half edges, 2 x edge + 1 where walked backwards, chain by chain; where each chain starts; how many are rings."""
    m = len(ends)
    first = np.zeros(len(degrees) + 1, np.int64)
    for node in range(len(degrees)):
        first[node + 1] = first[node] + degrees[node]
    used = np.zeros(m, np.bool_)
    walk = np.empty(m, np.int64)
    starts = np.zeros(m + 1, np.int64)
    chains = 0
    count = 0
    rings = 0
    for turn in range(2):
        for i in range(2 * m):
            half = order[i] if turn == 0 else 2 * (i // 2)
            if used[half >> 1] or (turn == 0 and degrees[ends[half >> 1, half & 1]] == 2):
                continue
            while not used[half >> 1]:
                used[half >> 1] = True
                walk[count] = half
                count += 1
                node = ends[half >> 1, 1 - (half & 1)]
                if degrees[node] == 2:
                    a, b = order[first[node]], order[first[node] + 1]
                    half = b if a == half ^ 1 else a
            chains += 1
            rings += turn
            starts[chains] = count
    return walk, starts[: chains + 1], rings


@kernel
def _gather(offsets: Int64, points: Int32, walk: Int64, starts: Int64, rings_from: int) -> tuple[Int64, Int64]:
    """(chains + 1,) offsets, and of every point of every chain where it comes from; shared ones are there once."""
    source = np.empty(len(points) + len(starts), np.int64)
    joined = np.zeros(len(starts), np.int64)
    count = 0
    for chain in range(len(starts) - 1):
        begin = count
        for i in range(starts[chain], starts[chain + 1]):
            edge, back = walk[i] >> 1, walk[i] & 1
            size = offsets[edge + 1] - offsets[edge]
            for k in range(size):
                at = offsets[edge + 1] - 1 - k if back else offsets[edge] + k
                if count > begin:
                    last = source[count - 1]
                    if points[at, 0] == points[last, 0] and points[at, 1] == points[last, 1]:
                        continue
                source[count] = at
                count += 1
        a, b = points[source[begin]], points[source[count - 1]]
        if chain >= rings_from and (a[0] != b[0] or a[1] != b[1]):
            source[count] = source[begin]
            count += 1
        joined[chain + 1] = count
    return joined, source[:count]


@kernel
def _orient(offsets: Int64, points: Int32, source: Int64, rings_from: int) -> Bool:
    """Turn chains, in place, so that the lesser end comes first, and rings so that their least point does."""
    flipped = np.zeros(len(offsets) - 1, np.bool_)
    for chain in range(len(offsets) - 1):
        part = source[offsets[chain] : offsets[chain + 1]]
        n = len(part)
        if chain >= rings_from:
            # The last point is the first one again.
            closed = part[: n - 1].copy()
            best = 0
            for i in range(1, n - 1):
                a, b = closed[i], closed[best]
                if points[a, 0] < points[b, 0] or (points[a, 0] == points[b, 0] and points[a, 1] < points[b, 1]):
                    best = i
            for i in range(n):
                part[i] = closed[(best + i) % (n - 1)]
        for i in range(n):
            a, b = part[i], part[n - 1 - i]
            if points[a, 0] != points[b, 0] or points[a, 1] != points[b, 1]:
                flip = points[b, 0] < points[a, 0] or (points[a, 0] == points[b, 0] and points[b, 1] < points[a, 1])
                if flip:
                    for k in range(n // 2):
                        part[k], part[n - 1 - k] = part[n - 1 - k], part[k]
                    flipped[chain] = True
                break
    return flipped
