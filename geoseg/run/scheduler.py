"""One graph, every scheduler: threads here, processes here, or workers anywhere that see the same files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from dask.base import compute
from dask.delayed import Delayed

from geoseg.errors import OptionError
from geoseg.tiles.store import TileReceipt

OnReceipt = Callable[[TileReceipt], None]
Compute = Callable[[list[Delayed], OnReceipt], list[TileReceipt]]
CONNECT_TIMEOUT_S = 10
WORKERS_TIMEOUT_S = 60


def default_workers() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def open_scheduler(scheduler: str = "threads", workers: int | None = None) -> Iterator[Compute]:
    """Give what runs graphs; processes and connections last until it is left.

    Args:
        scheduler: "threads", "local" (processes on this machine) or the tcp:// address of a dask scheduler.
        workers: threads or processes to use; default: one a processor. A remote scheduler has its own.

    Yields:
        A function of the nodes that `run.graph` makes and of what is told each receipt of every finished tile of every
        stage, in this process. It gives the receipts of the nodes, in their order.

    Raises:
        OptionError: the scheduler is unknown or does not answer.
    """
    count = workers or default_workers()
    if scheduler == "threads":
        # Leaving the pool waits for the tiles at work: once an error is out, nothing writes into the work directory.
        with ThreadPoolExecutor(count) as pool:
            yield partial(_compute_in_threads, pool)
    else:
        with _connect(scheduler, count) as client:
            yield partial(_gather, client)


def _compute_in_threads(pool: ThreadPoolExecutor, nodes: list[Delayed], on_receipt: OnReceipt) -> list[TileReceipt]:
    # Handed over, not registered: a registered callback would also hear of another thread's run.
    hear = (None, None, None, lambda _key, result, *_: _report(result, on_receipt), None)
    return list(compute(*nodes, scheduler="threads", pool=pool, callbacks=[hear])) if nodes else []


def _report(result: object, on_receipt: OnReceipt) -> None:
    if isinstance(result, TileReceipt):
        on_receipt(result)


def _gather(client: Any, nodes: list[Delayed], on_receipt: OnReceipt) -> list[TileReceipt]:
    from distributed import as_completed  # noqa: PLC0415  (distributed costs a second that threads need not pay)

    futures = client.compute(nodes, optimize_graph=False)
    place = {future.key: i for i, future in enumerate(futures)}
    receipts: list[TileReceipt | None] = [None] * len(nodes)
    for future, receipt in as_completed(futures, with_results=True):
        receipts[place[future.key]] = receipt
        on_receipt(receipt)
    return [r for r in receipts if r is not None]


@contextmanager
def _connect(scheduler: str, workers: int) -> Iterator[Any]:
    from distributed import Client, LocalCluster  # noqa: PLC0415

    if scheduler == "local":
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
    elif _is_address(scheduler):
        try:
            client = Client(scheduler, timeout=CONNECT_TIMEOUT_S)
        except OSError as error:
            raise OptionError(
                f"no dask scheduler answers at {scheduler}",
                expected="the address that `dask scheduler` printed",
                remedy="start one, or leave --scheduler out to use threads",
            ) from error
        with client:
            _await_workers(client, scheduler)
            yield client
    else:
        raise OptionError(
            f"--scheduler {scheduler}",
            expected="threads, local or tcp://HOST:PORT",
            remedy="leave it out to use threads",
        )


def _is_address(scheduler: str) -> bool:
    try:
        parts = urlsplit(scheduler)
        return parts.scheme == "tcp" and bool(parts.hostname) and parts.port is not None
    except ValueError:  # a port that is no number, or too large a one
        return False


def _await_workers(client: Any, scheduler: str) -> None:
    """Without a single worker a run would wait for ever, and say nothing."""
    try:
        client.wait_for_workers(1, timeout=WORKERS_TIMEOUT_S)
    except TimeoutError as error:
        raise OptionError(
            f"no worker is at the dask scheduler {scheduler}",
            expected=f"at least one within {WORKERS_TIMEOUT_S} s",
            remedy=f"start some: dask worker {scheduler}",
        ) from error
