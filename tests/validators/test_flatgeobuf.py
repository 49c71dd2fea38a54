"""FlatGeobuf in the hands of ogrinfo."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyogrio
import shapely

from geoseg.layers.write import WrittenLayer
from tests.validators.conftest import PROVENANCE, Map, count_features, ogrinfo

MapFile = Callable[[str], list[WrittenLayer]]
BOX = (530_010, 9_329_900, 530_080, 9_329_950)


def test_ogrinfo_finds_features_and_crs(map_file: MapFile) -> None:
    for layer in map_file(".fgb"):
        text = ogrinfo(layer.path)
        assert count_features(text) == [layer.features]
        assert 'ID["EPSG",32737]' in text
        assert f"Layer name: {layer.name}\n" in text


def test_provenance_is_in_the_header(map_file: MapFile) -> None:
    for layer in map_file(".fgb"):
        metadata = pyogrio.read_info(layer.path)["layer_metadata"]
        assert json.loads(metadata["geoseg"]) == PROVENANCE
        assert "landcover-rgb" in metadata["DESCRIPTION"]


def test_spatial_filter_uses_the_index_and_finds_what_is_there(map_file: MapFile, small_map: Map) -> None:
    for layer, geometries in zip(map_file(".fgb"), (small_map.polygons, small_map.roads), strict=True):
        expected = shapely.intersects(np.array(geometries, object), shapely.box(*BOX)).sum()
        assert count_features(ogrinfo(layer.path, "-spat", *map(str, BOX))) == [expected]
        assert 0 < expected < layer.features
