"""One scene and one reference run."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoseg.run.demo import make_demo_scene
from tests.invariance.running import segment_to


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_scene(tmp_path_factory.mktemp("scene"), size_px=900, seed=3).image


@pytest.fixture(scope="session")
def reference(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calm run on one thread: layer.fgb, classes.tif, confidence.tif."""
    folder = tmp_path_factory.mktemp("reference")
    segment_to(folder, scene, "--workers", 1)
    return folder
