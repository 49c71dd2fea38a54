"""Where a layer comes from, as text that formats carry."""

from __future__ import annotations

import json
from collections.abc import Mapping

Provenance = Mapping[str, str | int | float]
"""What made a layer: version, model, checksum, parameters, source. The same for the same input, so no time of a run."""

KEY = "geoseg"
"""Under which formats with keys keep it."""


def encode_provenance(provenance: Provenance) -> str:
    """A JSON object in one line, its keys in order."""
    return json.dumps(dict(provenance), ensure_ascii=False, sort_keys=True, allow_nan=False)


def describe_provenance(provenance: Provenance) -> str:
    """One line for people."""
    return "; ".join(f"{key}: {value}" for key, value in sorted(provenance.items()))
