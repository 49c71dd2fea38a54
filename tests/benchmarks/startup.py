"""How long geoseg takes to begin: the help, and a scene so small that little else is left.

usage: python tests/benchmarks/startup.py [ROUNDS]

`segment` of 512 x 512 px in a process of its own, from the command to its exit. Of that, in the same process: the
import of the engine and of numba, the loading of the cached kernels, and the network itself. All in processor seconds.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SEGMENT = """
import json, sys, time

def timed(call):
    def run(*args, **options):
        begin = time.process_time()
        try:
            return call(*args, **options)
        finally:
            spent[call.__name__] = spent.get(call.__name__, 0.0) + time.process_time() - begin
    return run

spent = {}
begin = time.process_time()
import numpy
numpy_s = time.process_time() - begin
import onnxruntime, numba
from numba.core.caching import Cache
spent["imports"] = time.process_time() - begin - numpy_s
Cache.load_overload = timed(Cache.load_overload)
onnxruntime.InferenceSession.run = timed(onnxruntime.InferenceSession.run)
from geoseg.cli import main
try:
    main()
finally:
    print(json.dumps(spent))
"""


def time_command(*command: str) -> tuple[float, str]:
    """Processor seconds of a Python process from its start to its end, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def main(rounds: int = 7) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make = f"from geoseg.run.demo import Path, make_demo_scene; make_demo_scene(Path({folder!r}), size_px=512)"
        time_command("-c", make)
        arguments = ["segment", str(Path(folder, "demo_scene.tif")), "-o", str(Path(folder, "map.gpkg"))]
        options = ["--device", "cpu", "--overwrite", "--fresh", "--quiet"]
        columns: list[tuple[float, ...]] = []
        for _ in range(rounds + 1):
            nothing, _ = time_command("-c", "pass")
            help_s, _ = time_command("-m", "geoseg", "--help")
            whole, said = time_command("-c", SEGMENT, *arguments, *options)
            spent = json.loads(said)
            columns.append(
                (nothing, help_s, help_s / nothing, whole, spent["imports"], spent["load_overload"], spent["run"])
            )
    nothing, help_s, ratio, whole, imports, kernels, network = map(statistics.median, zip(*columns[1:], strict=True))
    print(f"python -c pass {nothing:.3f} s; geoseg --help {help_s:.3f} s, {ratio:.1f} x")
    print(
        f"segment of 512 x 512 px {whole:.2f} s: engine and numba {imports:.2f}, kernels {kernels:.2f}, "
        f"network {network:.2f}, all else {whole - imports - kernels - network:.2f}"
    )
    print(f"median of {rounds}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
