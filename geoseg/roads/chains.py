"""A graph of lines of points, and the one operation that keeps it whole: joining what meets at two ends."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from geoseg.kernel import kernel
from geoseg.roads.lines import SPAN, Bool, Float64, Int32, Int64, LineFile, Lines, Spans, cut_batches, to_key


@dataclass(frozen=True, eq=False)
class Chains:
    """A graph whose m edges are lines of points, in an order and in directions that depend on their points alone.

    The points lie in a file; in memory is what is known of each edge and node.

    Args:
        file: holds the points.
        spans: (m,) `SPAN`, where they lie.
        ends: (m, 2) int64, numbers of the nodes at the start and the stop of each edge.
        place: (n, 2) float64 (row, col) of the nodes in half cells.
        radius_m: (n,) float64, half the width of the road at each node.
    """

    file: LineFile
    spans: Spans
    ends: Int64
    place: Float64
    radius_m: Float64

    def __len__(self) -> int:
        return len(self.ends)

    @classmethod
    def of_pieces(cls, file: LineFile, spans: Spans) -> Chains:
        """Join pieces that end at the same points."""
        return cls(file, spans, *_place_nodes(spans)).merge()

    def degrees(self) -> Int64:
        """(n,) int64, how many edges end at each node; a loop ends twice."""
        return np.bincount(self.ends.ravel(), minlength=len(self.place))

    def take(self, kept: Bool) -> Chains:
        """The graph of some of the edges, joined anew."""
        return replace(self, spans=self.spans[kept], ends=self.ends[kept]).merge()

    def split(self, edge: Int64, point: Int64) -> tuple[Chains, Int64]:
        """Put nodes at points (n,) of edges (n,), counted from each edge's start.

        Returns:
            The graph with them; (n,) the node at each.
        """
        size = self.spans["size"]
        node = np.where(point == 0, self.ends[edge, 0], self.ends[edge, 1])
        inner = (point > 0) & (point < size[edge] - 1)
        cuts, number = np.unique(np.stack([edge, point], axis=1)[inner], axis=0, return_inverse=True)
        node[inner] = len(self.place) + number.ravel()
        # A cut point is the last one of one edge and the first one of the next.
        owner, first = np.concatenate([np.stack([np.arange(len(self)), np.zeros(len(self), np.int64)], axis=1), cuts]).T
        order = np.lexsort((first, owner))
        owner, first = owner[order], first[order]
        goes_on = np.append(owner[1:] == owner[:-1], np.zeros(min(len(self), 1), bool))
        last = np.where(goes_on, np.roll(first, -1), size[owner] - 1)
        spans, ends = self.spans[owner], self.ends[owner]
        is_part = goes_on | (first > 0)
        spans[is_part] = self.file.cut(spans[is_part], first[is_part], last[is_part])
        ends[first > 0, 0] = ends[goes_on, 1] = len(self.place) + np.arange(len(cuts))
        place = np.concatenate([self.place, spans["tips"][first > 0, 0]])
        radius = np.concatenate([self.radius_m, spans["tip_width_m"][first > 0, 0] / 2])
        return Chains(self.file, spans, ends, place, radius), node

    def merge(self) -> Chains:
        """Join the two edges at every node that has only two, and bring edges and nodes into their order.

        A ring that nothing else meets starts at its first point and gets a node there. What this graph knows of its
        edges is used up.
        """
        edge, rings = self._chain()
        spans, ends, place, radius = self.spans, self.ends, self.place, self.radius_m
        if rings:
            ends[edge[-rings:]] = len(place) + np.arange(rings)[:, None]
            place = np.concatenate([place, spans["tips"][edge[-rings:], 0]])
            radius = np.concatenate([radius, spans["tip_width_m"][edge[-rings:], 0] / 2])
        edge = edge[np.lexsort([to_key(spans["tips"][edge, tip]) for tip in (3, 2, 1, 0)])]
        spans, ends = spans[edge], ends[edge]
        is_used = np.zeros(len(place), bool)
        is_used[ends] = True
        used = np.flatnonzero(is_used)
        used = used[np.lexsort(place[used].T[::-1])]
        number = np.zeros(len(place), np.int64)
        number[used] = np.arange(len(used))
        return Chains(self.file, spans, number[ends], place[used], radius[used])

    def _chain(self) -> tuple[Int64, int]:
        """(c,) edges that hold, in place, all that they are joined with; how many of them, the last ones, are rings."""
        order = np.argsort(self.ends.ravel(), kind="stable")
        walk, starts, rings = _walk(self.ends, order, self.degrees())
        edge, count = walk[starts[:-1]] >> 1, np.diff(starts)
        is_ring = np.arange(len(edge)) >= len(edge) - rings
        is_new = is_ring | (count > 1) | ~_is_ahead(self.spans["tips"])[edge]
        walk, starts = walk[np.repeat(is_new, count)], np.concatenate([[0], np.cumsum(count[is_new])])
        self.spans[edge[is_new]], self.ends[edge[is_new]] = self._rewrite(walk, starts, is_ring[is_new])
        return edge, rings

    def _rewrite(self, walk: Int64, starts: Int64, is_ring: Bool) -> tuple[Spans, Int64]:
        """(c,) spans of chains of half edges, written anew, and (c, 2) the nodes at their ends."""
        ends = np.stack([self.ends.ravel()[walk[starts[:-1]]], self.ends.ravel()[walk[starts[1:] - 1] ^ 1]], axis=1)
        spans = np.empty(len(ends), SPAN)
        points = np.concatenate([[0], np.cumsum(self.spans["size"][walk >> 1])])
        for part in cut_batches(np.diff(points[starts]), self.file.batch_points):
            own = starts[part.start : part.stop + 1]
            halves = walk[own[0] : own[-1]]
            lines = self.file.read(self.spans[halves >> 1])
            offsets, source = _gather(lines.offsets, lines.points, halves, own - own[0], is_ring[part])
            flipped = _orient(offsets, lines.points, source, is_ring[part])
            ends[part][flipped] = ends[part][flipped, ::-1]
            parts = lines.points[source], lines.width_m[source], lines.confidence[source]
            spans[part] = self.file.append(Lines(offsets, *parts))
        return spans, ends


def _place_nodes(spans: Spans) -> tuple[Int64, Float64, Float64]:
    """(m, 2) nodes at the ends of lines, (n, 2) where these are, and (n,) half the width of the road there."""
    tips = spans["tips"][:, [0, 3]].reshape(-1, 2)
    _, first, node = np.unique(to_key(tips), return_index=True, return_inverse=True)
    radius = np.zeros(len(first))
    # Pieces that end in one place have widths of their own there.
    np.maximum.at(radius, node, spans["tip_width_m"].ravel().astype(np.float64) / 2)
    return node.reshape(-1, 2), tips[first].astype(np.float64), radius


def _is_ahead(tips: Int32) -> Bool:
    """(m,) whether lines with tips (m, 4, 2) surely start at the lesser end."""
    first, second, third, last = (to_key(tips[:, tip]) for tip in range(4))
    return np.asarray((first < last) | ((first == last) & (second < third)), bool)


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
def _gather(offsets: Int64, points: Int32, walk: Int64, starts: Int64, is_ring: Bool) -> tuple[Int64, Int64]:
    """(chains + 1,) offsets, and of every point of every chain where it comes from; shared ones are there once."""
    source = np.empty(len(points) + len(starts), np.int64)
    joined = np.zeros(len(starts), np.int64)
    count = 0
    for chain in range(len(starts) - 1):
        begin = count
        for i in range(starts[chain], starts[chain + 1]):
            for k in range(offsets[i + 1] - offsets[i]):
                at = offsets[i + 1] - 1 - k if walk[i] & 1 else offsets[i] + k
                if count > begin:
                    last = source[count - 1]
                    if points[at, 0] == points[last, 0] and points[at, 1] == points[last, 1]:
                        continue
                source[count] = at
                count += 1
        a, b = points[source[begin]], points[source[count - 1]]
        if is_ring[chain] and (a[0] != b[0] or a[1] != b[1]):
            source[count] = source[begin]
            count += 1
        joined[chain + 1] = count
    return joined, source[:count]


@kernel
def _orient(offsets: Int64, points: Int32, source: Int64, is_ring: Bool) -> Bool:
    """Turn chains, in place, so that the lesser end comes first, and rings so that their least point does."""
    flipped = np.zeros(len(offsets) - 1, np.bool_)
    for chain in range(len(offsets) - 1):
        part = source[offsets[chain] : offsets[chain + 1]]
        n = len(part)
        if is_ring[chain]:
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
