"""The command line with a model that costs next to nothing: `python -m tests.region.light batch ...`."""

from __future__ import annotations

from geoseg.cli import main
from tests.invariance.light_engine import install

if __name__ == "__main__":
    install()
    main()
