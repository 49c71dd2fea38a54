"""Where a region run is, read from its files alone: also while it runs, and after it died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import InputError
from geoseg.region.state import BATCH_FILE, REPORT_FILE, RegionFolder, SceneState, is_held, read_json


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """Where a region run is.

    Attributes:
        directory: of the region.
        state: "running"; "finished"; or "stopped" where it ended before it was done, in whatever way.
        stage: what it does or did last: "scenes" or "layers".
        done: number of scenes.
        running: the scene at work, with the share of it that is done.
        failed: why, by id of the scene.
        outside: number of scenes without a pixel in the area of interest.
        left: number of scenes that are neither.
        pixels: of all scenes, as far as known.
        pixels_done: of those that are done, and of the done part of the one at work.
        mpx_per_s: speed of this run so far; None where it has done nothing yet.
        seconds_left: for the scenes that are left, at that speed; None where it is not known.
    """

    directory: Path
    state: Literal["running", "stopped", "finished"]
    stage: str
    done: int
    running: Mapping[str, float]
    failed: Mapping[str, str]
    outside: int
    left: int
    pixels: int
    pixels_done: int
    mpx_per_s: float | None
    seconds_left: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON says it."""
        return asdict(self) | {"directory": str(self.directory)}

    def format(self) -> str:
        """For people."""
        working = f", {self.stage}" if self.state == "running" else ""
        speed = "" if self.mpx_per_s is None else f", {self.mpx_per_s:.2f} Mpx/s"
        left = "" if self.seconds_left is None else f", {format_duration(self.seconds_left)} left"
        outside = f", {self.outside} outside the area" if self.outside else ""
        lines = [
            f"{self.directory}: {self.state}{working}",
            f"{self.done} done, {len(self.running)} running, {len(self.failed)} failed, {self.left} left{outside}",
            f"{self.pixels_done / 1e6:.1f} of {self.pixels / 1e6:.1f} Mpx{speed}{left}",
        ]
        lines += [f"running: {name} ({share:.0%})" for name, share in self.running.items()]
        lines += [f"failed: {name}: {reason.splitlines()[0]}" for name, reason in self.failed.items()]
        if self.state == "stopped":
            lines.append("the same `geoseg batch` command goes on from here")
        return "\n".join(lines)


def read_status(directory: str | Path) -> BatchStatus:
    """Where the region run in a directory is; nothing is written.

    Raises:
        InputError: there is none.
    """
    folder = RegionFolder(Path(directory))
    # In this order: a run that ends in between has written its report.
    held = is_held(folder.directory)
    batch = read_json(folder.directory / BATCH_FILE)
    if "run" not in batch:
        if not held:
            raise InputError(
                f"{directory} is no region's directory",
                expected="one that `geoseg batch` made",
                remedy="name the directory that was given with -o",
            )
        batch = {"run": "", "scenes": {}}
    finished = read_json(folder.directory / REPORT_FILE).get("run") == batch["run"]
    found: dict[str, dict[str, Any]] = batch["scenes"]
    states = {name: folder.read_state(name) or SceneState("running", "") for name in found}
    # What an earlier run left open, failed at or did in another way is ahead of this one.
    mine = {name: s for name, s in states.items() if s.run == batch["run"] or found[name]["kept"]}
    counts = Counter(state.state for state in mine.values())
    at_work = {name: s for name, s in mine.items() if s.state == "running"} if held else {}
    pixels = {name: states[name].pixels or known["pixels"] for name, known in found.items()}
    part = {name: s.pixels_done for name, s in at_work.items()}
    done = sum(pixels[name] for name, s in mine.items() if s.state == "done") + sum(part.values())
    settled = {name for name, s in mine.items() if s.state != "running"}
    speed = _find_speed(batch["run"], list(mine.values()))
    ahead = sum(size for name, size in pixels.items() if name not in settled) - sum(part.values())
    return BatchStatus(
        directory=folder.directory,
        state="running" if held else "finished" if finished else "stopped",
        stage=str(batch.get("stage", "scenes")),
        done=counts["done"],
        running={name: s.pixels_done / max(s.pixels, 1) for name, s in at_work.items()},
        failed={name: s.reason for name, s in mine.items() if s.state == "failed"},
        outside=counts["outside"],
        left=len(found) - len(settled) - len(at_work),
        pixels=sum(size for name, size in pixels.items() if name not in mine or mine[name].state != "outside"),
        pixels_done=done,
        mpx_per_s=speed,
        seconds_left=ahead / 1e6 / speed if speed and held else None,
    )


def format_duration(seconds: float) -> str:
    """A time for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _find_speed(run: str, states: list[SceneState]) -> float | None:
    own = [(s.pixels, s.seconds) for s in states if s.run == run and s.state == "done"]
    own += [(s.pixels_done, s.seconds) for s in states if s.run == run and s.state == "running" and s.seconds]
    pixels, seconds = (sum(column) for column in zip(*own, strict=True)) if own else (0, 0.0)
    return pixels / 1e6 / seconds if pixels and seconds else None
