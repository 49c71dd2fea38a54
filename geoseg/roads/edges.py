"""Finished edges of a network, which wait in files to be bridged and drawn, each without the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.roads.bands import BandFile, Bands
from geoseg.roads.chains import Chains
from geoseg.roads.lines import SPAN, Int64, LineFile, to_key

Records = NDArray[np.void]

EDGE = np.dtype(
    [
        ("span", SPAN),
        ("place", np.float64, (2, 2)),
        ("radius_m", np.float64, 2),
        ("degree", np.int64, 2),
        ("is_loop", np.bool_),
    ]
)
"""An edge: its line; of the nodes at both ends the place in half cells, half the width of the road, and the degree."""

CUT = np.dtype([("band", np.int64), ("start", np.int64), ("point", np.int64)])
"""Where a bridge meets an edge: the edge's band, the first point of its line in the file, and the number of a point."""


@dataclass(frozen=True, eq=False)
class EdgeFile:
    """The edges of a network in the order in which they are drawn, by the band of their first point.

    Args:
        lines: their points.
        bands: of the raster.
        edges: `EDGE` by band.
        cuts: `CUT` by band.
    """

    lines: LineFile
    bands: Bands
    edges: BandFile
    cuts: BandFile

    def append(self, graph: Chains) -> None:
        """Write the edges of some components."""
        edges = np.empty(len(graph), EDGE)
        edges["span"], edges["degree"] = graph.spans, graph.degrees()[graph.ends]
        edges["place"], edges["radius_m"] = graph.place[graph.ends], graph.radius_m[graph.ends]
        edges["is_loop"] = graph.ends[:, 0] == graph.ends[:, 1]
        self.edges.append(self.bands.find(graph.spans["tips"][:, 0, 0]), edges)

    def cut(self, cuts: Records) -> None:
        """Note bridges that meet edges."""
        self.cuts.append(cuts["band"], cuts)

    def read(self, band: int) -> Records:
        """(n,) the edges of a band in their order."""
        return sort_edges(self.edges.read(band))

    def read_cut(self, band: int) -> tuple[Chains, Int64]:
        """The edges of a band in their order, with nodes where bridges meet them, and (n,) the degree of the nodes."""
        edges, cuts = self.read(band), self.cuts.read(band)
        order = np.argsort(edges["span"]["start"])
        edge = order[np.searchsorted(edges["span"]["start"], cuts["start"], sorter=order)]
        graph, node = self.to_graph(edges).split(edge, cuts["point"])
        new = np.full(len(graph.place) - 2 * len(edges), 2)
        degree = np.concatenate([edges["degree"].ravel(), new])
        np.add.at(degree, node, 1)
        return graph, degree

    def to_graph(self, edges: Records) -> Chains:
        """Edges as a graph in which they do not meet: 2 i and 2 i + 1 are the nodes of edge i, 2 i those of a loop."""
        ends = np.arange(2 * len(edges)).reshape(-1, 2)
        ends[edges["is_loop"], 1] -= 1
        spans = np.ascontiguousarray(edges["span"])
        return Chains(self.lines, spans, ends, edges["place"].reshape(-1, 2), edges["radius_m"].ravel())


def sort_edges(edges: Records) -> Records:
    """Edges (n,) in the order of their first, second, last but one and last points."""
    tips = edges["span"]["tips"]
    return edges[np.lexsort([to_key(tips[:, tip]) for tip in (3, 2, 1, 0)])]
