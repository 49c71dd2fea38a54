"""One small scene and what calm runs make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.prepared import read_files, run, segment_words
from tests.region.running import write_scene

SCENE_PX = 400


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", 1, side_px=SCENE_PX)


@pytest.fixture(scope="session")
def calm(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of `segment_words` where nothing went wrong."""
    folder = tmp_path_factory.mktemp("calm")
    run(*segment_words(scene, folder))
    return read_files(folder)


@pytest.fixture(scope="session")
def classes(calm: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class raster of the scene."""
    path = tmp_path_factory.mktemp("classes") / "classes.tif"
    path.write_bytes(calm["classes.tif"])
    return path
