"""One graph, every scheduler: threads here, processes here, or workers anywhere that see the same files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dask.base import annotate, compute
from dask.delayed import Delayed
from dask.threaded import get as get_in_threads

from geoseg.errors import BudgetError, GeosegError, OptionError
from geoseg.raster import noise
from geoseg.run.machine import default_workers
from geoseg.tiles.store import CLASSES, TileReceipt

OnReceipt = Callable[[TileReceipt], None]
Compute = Callable[[list[Delayed], OnReceipt], list[TileReceipt]]
CONNECT_TIMEOUT_S = 10
WORKERS_TIMEOUT_S = 60
ON_THIS_MACHINE = THREADS, LOCAL = "threads", "local"
GPU = "GPU"
"""The dask resource that a worker with a GPU offers: `dask worker --resources GPU=1`."""


class UnreachableError(OptionError):
    """A dask scheduler that does not answer, or has no workers."""


class _Kept:
    """The processes of the last run on this machine, and how many there are."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._workers, self._cluster = stack, 0, None

    def open(self, workers: int) -> Any:
        """A cluster of so many processes: that of the run before, if it is one."""
        if self._cluster is None or workers != self._workers:
            self._stack.close()
            self._cluster, self._workers = self._stack.enter_context(_start_cluster(workers)), workers
        return self._cluster


_KEPT: ContextVar[_Kept | None] = ContextVar("processes", default=None)


@contextmanager
def keep_processes() -> Iterator[None]:
    """Let runs on processes of this machine share them: starting them anew takes longer than a small raster."""
    with ExitStack() as stack:
        token = _KEPT.set(_Kept(stack))
        try:
            yield
        finally:
            _KEPT.reset(token)


@contextmanager
def open_scheduler(scheduler: str = THREADS, workers: int | None = None, *, gpu: bool = False) -> Iterator[Compute]:
    """Give what runs graphs; processes and connections last until it is left.

    Args:
        scheduler: "threads", "local" (processes on this machine), the tcp:// address of a dask scheduler, or the path
            of the file that `dask scheduler --scheduler-file` writes.
        workers: threads or processes to use; default: one a processor. A remote scheduler has its own.
        gpu: whether predictions need a GPU: they go to workers that offer the resource GPU, where there are any.

    Yields:
        A function of the nodes that `run.graph` makes and of what is told each receipt of every finished tile of every
        stage, in this process. It gives the receipts of the nodes, in their order.

    Raises:
        OptionError: the scheduler is unknown, does not answer, or has no workers.
        BudgetError: while computing, one task ended several workers.
        GeosegError: while computing, the scheduler was lost.
    """
    count = workers or default_workers()
    if scheduler == THREADS:
        # Leaving the pool waits for the tiles at work: once an error is out, nothing writes into the work directory.
        with ThreadPoolExecutor(count) as pool:
            yield partial(_compute_in_threads, pool)
    else:
        with _connect(scheduler, count) as client:
            yield partial(_gather, client, gpu)


def _compute_in_threads(pool: ThreadPoolExecutor, nodes: list[Delayed], on_receipt: OnReceipt) -> list[TileReceipt]:
    # Handed over, not registered: a registered callback would also hear of another thread's run.
    hear = (None, None, None, lambda _key, result, *_: _report(result, on_receipt), None)
    # The function, not its name: looking for a name, dask imports distributed, which takes a third of a second.
    return list(compute(*nodes, scheduler=get_in_threads, pool=pool, callbacks=[hear])) if nodes else []


def _report(result: object, on_receipt: OnReceipt) -> None:
    if isinstance(result, TileReceipt):
        on_receipt(result)


def _gather(client: Any, gpu: bool, nodes: list[Delayed], on_receipt: OnReceipt) -> list[TileReceipt]:
    from distributed import KilledWorker, as_completed  # noqa: PLC0415  (a second, which threads save)

    offers = (worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
    with annotate(**{"resources": _need_gpu} if gpu and any(GPU in offer for offer in offers) else {}):
        futures = client.compute(nodes, optimize_graph=False)
    place = {future.key: i for i, future in enumerate(futures)}
    receipts: list[TileReceipt | None] = [None] * len(nodes)
    try:
        for future, receipt in as_completed(futures, with_results=True):
            # What was cancelled, as all that a lost scheduler had, comes as an exception that is not raised.
            if not isinstance(receipt, TileReceipt):
                break
            receipts[place[future.key]] = receipt
            on_receipt(receipt)
    except KilledWorker as error:
        raise BudgetError(
            f"{error.task} ended {error.allowed_failures + 1} workers, one after the other",
            expected="workers with enough memory for a tile on each of their threads",
            remedy="more memory or fewer threads a worker, or a smaller --tile-px; the same command goes on",
        ) from error
    found = [r for r in receipts if r is not None]
    if len(found) < len(nodes):
        raise GeosegError(
            "the dask scheduler is gone",
            expected="one that lasts as long as the run",
            remedy="start it again; the same command goes on",
        )
    return found


def _need_gpu(key: object) -> dict[str, float]:
    return {GPU: 1.0} if isinstance(key, tuple) and str(key[0]).startswith(CLASSES) else {}


@contextmanager
def _connect(scheduler: str, workers: int) -> Iterator[Any]:
    from distributed import Client  # noqa: PLC0415

    if scheduler == LOCAL:
        kept = _KEPT.get()
        with nullcontext(kept.open(workers)) if kept else _start_cluster(workers) as cluster, Client(cluster) as client:
            yield client
    else:
        address = _find_address(scheduler)
        _check_answer(scheduler, address)
        with Client(address, timeout=CONNECT_TIMEOUT_S) as client:
            _await_workers(client, scheduler)
            yield client


def _start_cluster(workers: int) -> Any:
    from distributed import LocalCluster  # noqa: PLC0415

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        preload=[noise.__name__],
    )


def _find_address(scheduler: str) -> str:
    address = scheduler
    if Path(scheduler).is_file():
        try:
            address = json.loads(Path(scheduler).read_text())["address"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OptionError(
                f"--scheduler {scheduler} names no address",
                expected="a file that `dask scheduler --scheduler-file FILE` wrote",
            ) from error
    if not _is_address(address):
        raise OptionError(
            f"--scheduler {scheduler}" + f" with the address {address}" * (address != scheduler),
            expected="threads, local, tcp://HOST:PORT or a scheduler file",
            remedy="leave it out to use threads",
        )
    return address


def _is_address(address: object) -> bool:
    try:
        parts = urlsplit(str(address))
        return parts.scheme == "tcp" and bool(parts.hostname) and parts.port is not None
    except ValueError:  # a port that is no number, or too large a one
        return False


def _check_answer(scheduler: str, address: str) -> None:
    """A client would wait for ever for the first word of what listens there, if that is no scheduler."""
    from distributed.core import rpc  # noqa: PLC0415

    async def ask() -> str:
        async with rpc(address) as listener:
            return str((await asyncio.wait_for(listener.identity(), CONNECT_TIMEOUT_S))["type"])

    try:
        # A thread of its own: the caller's may have an event loop at work, as in a notebook.
        with ThreadPoolExecutor(1) as pool:
            kind = pool.submit(lambda: asyncio.run(ask())).result()
    # Whatever else may listen there answers as it likes.
    except Exception as error:
        raise UnreachableError(
            f"no dask scheduler answers at {scheduler}",
            expected="the address that `dask scheduler` printed, or the file that it wrote",
            remedy="start one, or leave --scheduler out to use threads",
        ) from error
    if kind != "Scheduler":
        raise OptionError(f"a dask {kind.lower()} answers at {scheduler}", expected="a dask scheduler")


def _await_workers(client: Any, scheduler: str) -> None:
    """Without a single worker a run would wait for ever, and say nothing."""
    try:
        client.wait_for_workers(1, timeout=WORKERS_TIMEOUT_S)
    except TimeoutError as error:
        raise UnreachableError(
            f"no worker is at the dask scheduler {scheduler}",
            expected=f"at least one within {WORKERS_TIMEOUT_S} s",
            remedy=f"start some: dask worker {scheduler}",
        ) from error
