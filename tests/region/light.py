"""The command line with a model that costs next to nothing: `python -m tests.region.light batch ...`.

It predicts nothing while the file exists that GATE names in the environment.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from geoseg.cli import main
from tests.invariance.light_engine import install, predict_after

GATE = "GEOSEG_TEST_GATE"


def wait_at(gate: Path) -> None:
    while gate.exists():
        time.sleep(0.005)


if __name__ == "__main__":
    install()
    if GATE in os.environ:
        predict_after(lambda: wait_at(Path(os.environ[GATE])))
    main()
