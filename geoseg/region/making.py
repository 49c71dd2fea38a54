"""One scene of a region: predicted, drawn, noted, and tried again where that may help."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass, replace
from itertools import count

from geoseg.catalog.find import renew_scene
from geoseg.catalog.scene import SceneRef
from geoseg.errors import BudgetError, GeosegError, ModelError, OptionError, OutputError
from geoseg.layers.overlay import render_overlay
from geoseg.redact import redact
from geoseg.region.progress import RegionProgress, SceneProgress
from geoseg.region.scenes import Look, SceneSetting, find_done, look_at_scene
from geoseg.region.state import (
    CLASSES,
    CONFIDENCE,
    REPORT_FILE,
    THUMBNAIL,
    SceneState,
    remove_folder,
    stamp_file,
    write_json,
)
from geoseg.run.classes import predict_classes
from geoseg.run.execute import ChangedError
from geoseg.run.scheduler import UnreachableError

THUMBNAIL_PX = 512
BACKOFF_S, LONGEST_PAUSE_S = 0.5, 30.0
DISK_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


@dataclass(frozen=True, slots=True)
class MadeScene:
    """A scene and what became of it; `look` is None where it could not be opened."""

    ref: SceneRef
    look: Look | None
    state: SceneState
    computed: bool = False

    @property
    def date(self) -> str | None:
        """Of the acquisition, as far as known; ISO 8601."""
        return self.look.date if self.look else self.ref.datetime


def make_scene(ref: SceneRef, look: Look | None, setting: SceneSetting, region: RegionProgress) -> MadeScene:
    """Predict a scene, as often as the job says; what is wrong with it is told in its state and nowhere else.

    Raises:
        OutputError: nothing can be written any more.
        GeosegError: the dask scheduler is gone.
    """
    known, tell = None if setting.fresh else setting.folder.read_state(ref.id), _Teller(setting, ref.id)
    # What an earlier run made stays known: it is of use once the scene can be read again.
    kept = SceneState("running", setting.run)
    kept = kept if known is None else replace(kept, key=known.key, files=known.files)
    shown = SceneProgress(region, look.pixels if look else 0, tell)
    try:
        for attempt in count(1):
            began = time.perf_counter()
            state = replace(kept, attempts=attempt, pixels=look.pixels if look else 0)
            tell.begin(state)
            shown.begin()
            try:
                if look is None or attempt > 1:
                    # At a second attempt the file may be another one, or its address have run out.
                    ref = renew_scene(ref, setting.job.image) if attempt > 1 else ref
                    look = look_at_scene(ref, setting)
                    done = find_done(look, known, setting)
                    if done is not None:
                        return MadeScene(ref, look, done)
                if look.outside:
                    outside = replace(state, state="outside", reason=look.outside, pixels=look.pixels)
                    return MadeScene(ref, look, setting.folder.write_state(ref.id, outside))
                return MadeScene(ref, look, _make(look, state, setting, shown, began=began), computed=True)
            except OutputError:
                raise
            except Exception as error:  # of whatever kind: it is this scene's, and the others go on
                _refuse_to_go_on(error)
                reason = explain(error)
                if attempt > setting.job.retries or not may_pass(error):
                    failed = replace(state, state="failed", reason=reason, seconds=time.perf_counter() - began)
                    region.note(f"{ref.id} failed: {reason.splitlines()[0]}")
                    return MadeScene(ref, look, setting.folder.write_state(ref.id, failed))
                region.note(f"{ref.id}: {reason.splitlines()[0]}; trying again")
                time.sleep(min(BACKOFF_S * 2 ** (attempt - 1), LONGEST_PAUSE_S))
    finally:
        shown.finish()
    raise RuntimeError  # count has no end


def may_pass(error: Exception) -> bool:
    """Whether the same may succeed a moment later: what a file or a server brought about, not what was decided."""
    if isinstance(error, OptionError | ModelError | BudgetError | MemoryError):
        return False
    return not isinstance(error, GeosegError) or isinstance(error, ChangedError) or error.__cause__ is not None


def explain(error: Exception) -> str:
    """What is wrong, without credentials."""
    if isinstance(error, MemoryError):
        return "out of memory"
    return redact(str(error) if isinstance(error, GeosegError) else f"{type(error).__name__}: {error}")


def _refuse_to_go_on(error: Exception) -> None:
    if type(error) is GeosegError or isinstance(error, UnreachableError):  # the scheduler's, which all scenes need
        raise error
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        raise OutputError(
            f"a file cannot be written: {error.strerror}",
            expected="room for the outputs",
            remedy="free some space",
        ) from error


def _make(look: Look, state: SceneState, setting: SceneSetting, shown: SceneProgress, *, began: float) -> SceneState:
    job, path, place = setting.job, look.ref.path, setting.folder.scene(look.ref.id)
    predict_classes(
        path,
        place / CLASSES,
        place / CONFIDENCE,
        model=setting.package.path,
        aoi=job.aoi,
        refine=job.refine,
        device=setting.device,
        scheduler=job.scheduler,
        workers=job.workers,
        memory=job.memory,
        tile_px=job.tile_px,
        patch_px=job.patch_px,
        work_dir=setting.folder.scene_work(look.ref.id),
        fresh=setting.fresh,
        overwrite=True,
        progress=shown,
    )
    if look_at_scene(look.ref, setting).key != look.key:
        raise ChangedError(f"{path} was replaced while it was read", expected="a file that stays", remedy="try again")
    render_overlay(path, place / CLASSES, place / THUMBNAIL, legend=setting.package.legend, max_px=THUMBNAIL_PX)
    made = replace(
        state,
        state="done",
        key=look.key,
        pixels=look.pixels,
        seconds=time.perf_counter() - began,
        files={name: stamp_file(place / name) for name in (CLASSES, CONFIDENCE)},
    )
    _report(look, made, setting)
    # Later than all that it speaks of.
    setting.folder.write_state(look.ref.id, made)
    remove_folder(setting.folder.scene_work(look.ref.id))
    return made


class _Teller:
    """Notes from time to time how far a scene is, for those who ask."""

    def __init__(self, setting: SceneSetting, scene_id: str) -> None:
        self._folder, self._id = setting.folder, scene_id

    def begin(self, state: SceneState) -> None:
        self._state, self._began = self._folder.write_state(self._id, state), time.perf_counter()

    def __call__(self, pixels_done: int) -> None:
        seconds = time.perf_counter() - self._began
        self._folder.write_state(self._id, replace(self._state, pixels_done=pixels_done, seconds=seconds))


def _report(look: Look, made: SceneState, setting: SceneSetting) -> None:
    facts = {
        "id": look.ref.id,
        "name": look.name,
        "datetime": look.date,
        **look.facts,
        "model": setting.package.name,
        "model_checksum": setting.package.fingerprint,
        "device": setting.device,
        "pixels": made.pixels,
        "seconds": made.seconds,
        "mpx_per_s": made.pixels / 1e6 / max(made.seconds, 1e-9),
        "attempts": made.attempts,
        "files": {name: {"bytes": size, "sha256": checksum} for name, (size, _, checksum) in made.files.items()},
    }
    write_json(setting.folder.scene(look.ref.id) / REPORT_FILE, facts)
