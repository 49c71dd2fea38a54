"""Small scenes, and a model that costs next to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.invariance.light_engine import LightEngine
from tests.region.running import write_scene


@pytest.fixture
def light_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions in this process cost next to nothing."""

    def open_light(package: Any, geometry: Any, device: str) -> LightEngine:
        return LightEngine(geometry)

    monkeypatch.setattr("geoseg.run.graph.open_engine", open_light)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A folder of three scenes, a to c."""
    for number, name in enumerate("abc"):
        write_scene(tmp_path / "scenes" / f"{name}.tif", number)
    return tmp_path / "scenes"
