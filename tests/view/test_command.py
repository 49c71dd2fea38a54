"""The command `view`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from click.testing import CliRunner

from geoseg.cli.viewing import view


def test_a_page_by_command(layer_path: Path) -> None:
    output = layer_path.with_suffix(".html")
    done = CliRunner().invoke(view, [str(layer_path), "-o", str(output)])
    assert done.exit_code == 0
    assert "42 features" in done.output
    assert output.exists()


def test_serving_stops_at_an_interrupt(layer_path: Path) -> None:
    script = "import sys; from geoseg.cli.viewing import view; view(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", script, str(layer_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.match(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found
        with urllib.request.urlopen(found[0], timeout=600) as answer:
            assert answer.status == 200
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=600)
        assert (process.returncode, errors) == (0, f"reading {layer_path}\n")
    finally:
        process.kill()
        process.wait()
