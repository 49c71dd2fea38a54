"""What the command line shows while it works and when it is done."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from geoseg.progress import Progress
    from geoseg.run.execute import SegmentResult


def _say(text: str) -> None:
    # Who reads a log may leave; hours of work go on.
    with suppress(OSError):
        click.echo(text, err=True)


class PlainProgress:
    """One line a stage, for logs."""

    def __init__(self) -> None:
        self._stage, self._done, self._begun = "", 0, 0.0
        self._lock = threading.Lock()

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins; the one before is done."""
        self.stop()
        self._stage, self._done, self._begun = stage, 0, time.perf_counter()

    def advance(self, steps: int = 1) -> None:
        """Steps are done."""
        with self._lock:
            self._done += steps

    def note(self, text: str) -> None:
        """One line more."""
        _say(text)

    def stop(self) -> None:
        """The last stage is done."""
        if self._stage:
            count = f": {self._done}" if self._done else ""
            _say(f"{self._stage}{count} in {time.perf_counter() - self._begun:.1f} s")
            self._stage = ""


class BarProgress:
    """A bar a stage, for people."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins; the one before is done."""
        if self._task is not None:
            done = self._bar.tasks[self._task].completed or 1
            self._bar.update(self._task, total=done, completed=done)
        self._task = self._bar.add_task(stage, total=total)

    def advance(self, steps: int = 1) -> None:
        """Steps are done."""
        if self._task is not None:
            self._bar.advance(self._task, steps)

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._bar.console.print(text)


@contextmanager
def open_progress(quiet: bool) -> Iterator[Progress]:
    """A bar on a terminal, plain lines otherwise, nothing where quiet is asked for."""
    if quiet:
        from geoseg.progress import Silence  # noqa: PLC0415  (keeps `geoseg --help` light)

        yield Silence()
    elif sys.stderr is not None and sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
        from rich.progress import Progress as Bar  # noqa: PLC0415

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bar(*columns, console=Console(stderr=True)) as bar:
            yield BarProgress(bar)
    else:
        plain = PlainProgress()
        yield plain
        plain.stop()


def echo_summary(result: SegmentResult) -> None:
    """Polygons and area per class, the network, speed, memory, and where the files are."""
    width = max((len(name) for name in result.polygons), default=0)
    for name, count in sorted(result.polygons.items()):
        click.echo(f"{name:<{width}}  {count:>9,} polygons  {result.area_m2[name]:>14,.0f} m2")
    if not result.polygons:
        click.echo("no polygons")
    if result.road_segments:
        click.echo(f"{'roads':<{width}}  {result.road_segments:>9,} segments  {result.road_length_m / 1e3:>14,.2f} km")
    if result.tiles_computed:
        click.echo(
            f"{result.pixels_computed / 1e6:.1f} Mpx in {result.seconds:.1f} s, {result.mpx_per_s:.2f} Mpx/s, "
            f"peak memory {result.peak_bytes / 2**20:.0f} MiB, "
            f"{result.tiles_computed} of {result.tiles} tiles computed"
        )
    else:
        click.echo(f"{result.seconds:.1f} s; all {result.tiles} tiles had been computed by an earlier run")
    for path in (result.output, result.roads, result.classes_raster, result.confidence_raster):
        if path is not None:
            click.echo(f"-> {path}")
