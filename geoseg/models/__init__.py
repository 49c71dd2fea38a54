"""Networks, the packages they are shipped in and the engines that run them."""

from __future__ import annotations

import os

# From 1.29 on, ONNX Runtime reports names and checksums of models to its maker unless this is set before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
