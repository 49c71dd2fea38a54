"""Real dask clusters on this machine: each part a process of its own, what the scheduler hears and says counted."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from distributed import Client

ROOT = Path(__file__).parents[2]
DASK = [sys.executable, "-m", "dask"]
START_S = 120


class CountingProxy:
    """Stands before a scheduler and counts every byte in either direction."""

    def __init__(self, target: str) -> None:
        self._target = split_address(target)
        self._count = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.bytes = 0
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
                two = socket.create_connection(self._target)
            except OSError:
                return
            for ends in ((one, two), (two, one)):
                threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                with self._count:
                    self.bytes += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            target.close()


@dataclass
class Cluster:
    """A scheduler and its workers; `address` and the scheduler file lead to it."""

    address: str
    file: Path
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, *options: str, preload: str = "", at: str = "") -> subprocess.Popen[bytes]:
        """Start a worker of one thread; `at` is another address that leads to the scheduler."""
        command = [*DASK, "worker", at or self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny", *options]
        self.workers.append(start_quietly([*command, *(["--preload", preload] if preload else [])]))
        return self.workers[-1]

    def await_workers(self) -> None:
        with Client(self.address) as client:
            client.wait_for_workers(len(self.workers), timeout=START_S)


@contextmanager
def open_cluster(folder: Path, *, workers: int, preload: str = "") -> Iterator[Cluster]:
    """Start a scheduler and workers of one thread each, and end them all."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    arguments = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with ExitStack() as stack:
        scheduler = start_quietly([*DASK, "scheduler", *arguments])
        stack.callback(end, scheduler)
        while not (file.exists() and file.read_text().endswith("}")):
            assert scheduler.poll() is None
            time.sleep(0.05)
        cluster = Cluster(json.loads(file.read_text())["address"], file, scheduler)
        stack.callback(lambda: [end(worker) for worker in cluster.workers])
        for _ in range(workers):
            cluster.add_worker(preload=preload)
        yield cluster


def start_quietly(command: list[str]) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    silence = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, **silence)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host, int(port)
