"""The wrappers run; how fast is for `compare.py` to say. GEOSEG_RASTER_VISION and GEOSEG_GEOAI name interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = {"--raster-vision": "GEOSEG_RASTER_VISION", "--geoai": "GEOSEG_GEOAI"}


@pytest.mark.peers
@pytest.mark.data
@pytest.mark.parametrize("option", PROGRAMS)
def test_a_small_crop(data_dir: Path, option: str) -> None:
    interpreter = os.environ.get(PROGRAMS[option])
    if not interpreter:
        pytest.skip(f"{PROGRAMS[option]} names no interpreter")
    raster = data_dir / "oam" / "zanzibar_z21_c0.tif"
    command = [sys.executable, str(Path(__file__).with_name("compare.py")), str(raster), option, interpreter]
    found = subprocess.run([*command, "--rounds", "1", "--size-px", "640"], capture_output=True, text=True, check=True)
    assert found.stdout.count("|") == 16
