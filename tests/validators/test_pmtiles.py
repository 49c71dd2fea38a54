"""PMTiles in the hands of the pmtiles package, with a decoder of vector tiles."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from geoseg.layers.write import WrittenLayer

MapFile = Callable[[str], list[WrittenLayer]]


def test_tiles_hold_the_layer(map_file: MapFile) -> None:
    reader = pytest.importorskip("pmtiles.reader", reason="pmtiles is not installed")
    decoder = pytest.importorskip("mapbox_vector_tile", reason="mapbox-vector-tile is not installed")
    for layer in map_file(".pmtiles"):
        with layer.path.open("rb") as file:
            source = reader.MmapSource(file)
            archive = reader.Reader(source)
            header, metadata = archive.header(), archive.metadata()
            tiles = {place: gzip.decompress(tile) for place, tile in reader.all_tiles(source)}
        assert 40_075_016 / 4096 / 2 ** header["max_zoom"] <= 0.5  # metres across a unit of the finest tiles
        assert 39.2 < header["min_lon_e7"] / 1e7 < header["max_lon_e7"] / 1e7 < 39.3
        assert -6.2 < header["min_lat_e7"] / 1e7 < header["max_lat_e7"] / 1e7 < -6.0
        assert [one["id"] for one in metadata["vector_layers"]] == [layer.name]
        assert "landcover-rgb" in metadata["description"]
        finest = [decoder.decode(tile) for (zoom, _, _), tile in tiles.items() if zoom == header["max_zoom"]]
        features = [feature for tile in finest for feature in tile[layer.name]["features"]]
        assert len({feature["properties"]["id"] for feature in features}) == layer.features
