"""Lines for tests of roads."""

from __future__ import annotations

import itertools

import numpy as np
import shapely
import shapely.ops
from hypothesis import strategies as st


def lines(*coordinates) -> np.ndarray:
    """LineStrings from lists of (x, y)."""
    return np.array([shapely.LineString(c) for c in coordinates], dtype=object)


def cut_lines(whole: np.ndarray, random) -> np.ndarray:
    """The same lines in pieces: cut at random places, in random order and direction."""
    pieces = []
    for line in whole:
        cuts = [0.0, *sorted(random.random() for _ in range(random.randrange(4))), 1.0]
        parts = [shapely.ops.substring(line, a, b, normalized=True) for a, b in itertools.pairwise(cuts)]
        pieces += [p.reverse() if random.random() < 0.5 else p for p in parts if p.length > 0]
    random.shuffle(pieces)
    return np.array(pieces, dtype=object)


@st.composite
def streets(draw, most: int = 8) -> np.ndarray:
    """Straight streets between the points of a raster that is no part of the spacing of control nodes."""
    point = st.tuples(st.integers(0, 5), st.integers(0, 5))
    ends = draw(st.lists(st.tuples(point, point).filter(lambda p: p[0] != p[1]), min_size=1, max_size=most))
    return lines(*(41.3 * np.array(pair) for pair in ends))
