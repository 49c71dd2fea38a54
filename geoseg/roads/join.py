"""The pieces of all tiles into one network: joined, pruned, snapped, bridged, drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from geoseg.roads.bands import BAND_CELLS, BandFile, Bands
from geoseg.roads.bridge import BRIDGE, bridge_gaps, read_bridges
from geoseg.roads.chains import Chains
from geoseg.roads.components import PLACE_BLOCK, close_components, write_pieces
from geoseg.roads.draw import draw_bridges, draw_edges
from geoseg.roads.edges import CUT, EDGE, EdgeFile
from geoseg.roads.ends import trim_ends
from geoseg.roads.gaps import BridgeRule
from geoseg.roads.lines import BATCH_POINTS, SPAN, LineFile
from geoseg.roads.network import RoadSegments
from geoseg.roads.prune import prune, snap_junctions
from geoseg.roads.scale import RoadScale
from geoseg.roads.trace import RoadTile


def join_roads(
    tiles: Iterable[RoadTile],
    scale: RoadScale,
    *,
    class_id: int,
    folder: Path,
    bridges: BridgeRule | None = None,
    batch_points: int = BATCH_POINTS,
    band_cells: int = BAND_CELLS,
) -> Iterator[RoadSegments]:
    """Join the tiles of a raster into its road network.

    In this order, everywhere by position and never by tile: pieces are joined at common points; branches shorter than
    the road is wide at their junction are dropped, and so are short patches; junctions no further from each
    other than the road is wide become one; gaps are bridged; loose ends are led to the end of the road; lines
    are smoothed and thinned out to within half a cell.

    The raster is swept in bands of rows. Memory holds what lies in one band, and some three hundred bytes for each
    piece of line, from node to node, of connected components that are not complete yet: one component is held whole.

    Args:
        tiles: of all of the raster, in any order; drawn once.
        scale: of the raster.
        class_id: the class of roads.
        folder: an existing directory for files without a name, which are gone when the process or the iteration ends.
        bridges: which gaps to close; None closes none.
        batch_points: about how many points are held in memory; the network does not depend on it.
        band_cells: rows of a band; the network does not depend on it.

    Yields:
        The network, part by part, in an order that depends on positions alone, bridges last.
    """
    bands = Bands.of(scale, band_cells)
    with ExitStack() as files:

        def open_file() -> IO[bytes]:
            return files.enter_context(TemporaryFile(dir=folder))

        lines = LineFile(open_file(), scale.cell_m, batch_points)
        pieces, blocks = BandFile(open_file(), SPAN), BandFile(open_file(), PLACE_BLOCK)
        write_pieces(tiles, lines, bands, pieces, blocks)
        network = EdgeFile(lines, bands, BandFile(open_file(), EDGE), BandFile(open_file(), CUT))
        for spans in close_components(pieces, blocks, lines, bands, scale):
            graph = prune(Chains.of_pieces(lines, spans), scale)
            network.append(trim_ends(prune(snap_junctions(graph, scale), scale), scale))
        closed = bridge_gaps(network, scale, bridges, open_file) if bridges else BandFile(open_file(), BRIDGE)
        for band in range(bands.count):
            yield from filter(len, draw_edges(*network.read_cut(band), scale, class_id))
        for found in read_bridges(closed, bands):
            drawn = draw_bridges(found["place"], found["width_m"], scale, class_id)
            yield from filter(len, [drawn])
