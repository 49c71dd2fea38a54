"""A layer of roads as a graph that routes can be searched in."""

from __future__ import annotations

from pathlib import Path

import geopandas
import networkx as nx
import pyogrio
import shapely

from geoseg.errors import InputError
from geoseg.files import check_whole, gdal_name

LAYER_NAME = "roads"
_NEEDED = ("node_from", "node_to", "length_m")


def open_network(path: Path | str) -> nx.MultiGraph:
    """Read a layer of roads as a networkx graph.

    Args:
        path: a GeoPackage, GeoJSON, FlatGeobuf or GeoParquet file that geoseg wrote; of several layers, `roads`.

    Returns:
        Nodes are the int ids of the layer and have `x` and `y` in its CRS; every edge has `geometry`, a LineString from
        `node_from` to `node_to`, and the columns of the layer, among them `length_m` and `width_m` in metres. The graph
        has `crs` as WKT. `networkx.shortest_path(graph, a, b, weight="length_m")` is the shortest way.

    Raises:
        InputError: there is no such file, or it holds no road network.
    """
    path = Path(path)
    frame = _read(path)
    missing = [name for name in _NEEDED if name not in frame.columns]
    lines = frame.geometry.to_numpy()
    if missing or (shapely.get_type_id(lines) != shapely.GeometryType.LINESTRING).any():
        raise InputError(
            f"{path} holds no road network" + (f": no column {missing[0]}" if missing else ""),
            expected="LineStrings with the nodes that they join",
            remedy="open the layer of roads that geoseg wrote",
        )
    graph = nx.MultiGraph(crs=frame.crs.to_wkt() if frame.crs is not None else None)
    columns = [name for name in frame.columns if name != frame.geometry.name]
    ends = [shapely.get_coordinates(shapely.get_point(lines, i)).tolist() for i in (0, -1)]
    for row, line, *tips in zip(frame[columns].to_dict("records"), lines, *ends, strict=True):
        nodes = int(row["node_from"]), int(row["node_to"])
        for node, (x, y) in zip(nodes, tips, strict=True):
            graph.add_node(node, x=x, y=y)
        graph.add_edge(*nodes, geometry=line, **row)
    return graph


def _read(path: Path) -> geopandas.GeoDataFrame:
    if not path.is_file():
        raise InputError(f"{path} is not there", expected="a layer of roads", remedy="check the path")
    try:
        if path.suffix.lower() == ".parquet":
            return geopandas.read_parquet(path)
        check_whole(path)
        source = gdal_name(path)
        names = [str(name) for name, _ in pyogrio.list_layers(source)]
        # Texts that look like dates stay texts, as in the other formats.
        options = {"DATE_AS_STRING": "YES"} if ".geojson" in path.name.lower() else {}
        frame = pyogrio.read_dataframe(source, layer=LAYER_NAME if LAYER_NAME in names else names[0], **options)
    except InputError:
        raise
    except Exception as error:  # each driver has exceptions of its own
        raise InputError(f"{path} cannot be read as a layer: {error}", expected="a complete file") from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise InputError(f"{path} has no geometries", expected="a layer of roads")
    return frame
