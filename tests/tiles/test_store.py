"""A work directory is geoseg's own, and only what geoseg put there is ever removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from geoseg.errors import OutputError
from geoseg.files import replace_file
from geoseg.tiles.plan import Tile, TilePlan
from geoseg.tiles.store import STAGES, TileStore, hold_store
from tests.tiles.test_plan import make_grid


@pytest.fixture
def tile() -> Tile:
    return TilePlan(make_grid(10, 10), (5, 5)).tile(1, 0)


def put(store: TileStore, tile: Tile, content: bytes = b"x") -> Path:
    path = store.path("classes", tile, ".tif")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_tiles_of_the_same_job_stay(tmp_path: Path, tile: Tile) -> None:
    with hold_store(tmp_path / "work", "a") as store:
        put(store, tile)
    with hold_store(tmp_path / "work", "a") as store:
        receipt = store.finished("classes", tile, ".tif")
    assert receipt is not None
    assert not receipt.computed


@pytest.mark.parametrize(("job", "fresh"), [("b", False), ("a", True)])
def test_other_tiles_go_and_what_is_not_ours_stays(tmp_path: Path, tile: Tile, job: str, fresh: bool) -> None:
    work = tmp_path / "work"
    with hold_store(work, "a") as store:
        put(store, tile)
    (work / "photos").mkdir()
    (work / "photos" / "me.jpg").write_text("precious")
    with hold_store(work, job, fresh=fresh) as store:
        assert store.finished("classes", tile, ".tif") is None
    assert (work / "photos" / "me.jpg").read_text() == "precious"


def test_a_tile_that_a_power_cut_emptied_is_not_finished(tmp_path: Path, tile: Tile) -> None:
    with hold_store(tmp_path, "a") as store:
        put(store, tile, b"")
        assert store.finished("classes", tile, ".tif") is None


@pytest.mark.parametrize("content", [{}, {"lr": 0.1}, {"fingerprint": "a"}])
def test_a_directory_with_a_state_of_others_is_refused(tmp_path: Path, content: dict[str, object]) -> None:
    for stage in STAGES:
        (tmp_path / stage).mkdir()
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(OutputError, match="not a work directory"), hold_store(tmp_path, "a"):
        pass
    assert all((tmp_path / stage).is_dir() for stage in STAGES)


def test_a_second_run_is_refused(tmp_path: Path) -> None:
    with (
        hold_store(tmp_path, "a"),
        pytest.raises(OutputError, match="another run"),
        hold_store(tmp_path, "a"),
    ):
        pass


class TestReplaceFile:
    def test_the_old_file_stays_until_the_new_one_is_complete(self, tmp_path: Path) -> None:
        path = tmp_path / "map.gpkg"
        path.write_text("old")

        def write_half() -> None:
            with replace_file(path) as temporary:
                temporary.write_text("half")
                assert path.read_text() == "old"
                raise ValueError("stop")

        with pytest.raises(ValueError, match="stop"):
            write_half()
        assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]

    def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "map.gpkg"
        code = (
            "import sys, os, signal; from pathlib import Path; from geoseg.files import replace_file\n"
            "with replace_file(Path(sys.argv[1])) as temporary:\n"
            "    temporary.write_text('half'); Path(f'{temporary}-journal').write_text('half')\n"
            "    sys.stdout.write('ready'); sys.stdout.flush(); sys.stdin.read()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.read(5) == b"ready"
        with replace_file(path) as temporary:
            temporary.write_text("new")
        assert len(list(tmp_path.iterdir())) == 3
        process.kill()
        process.wait()
        with replace_file(path) as temporary:
            temporary.write_text("newer")
        assert [p.read_text() for p in tmp_path.iterdir()] == ["newer"]


@pytest.mark.parametrize("forget", [lambda s: s.keep_stage("traces", "b"), lambda s: s.empty_folder("traces")])
def test_tiles_that_cannot_be_removed_are_not_taken_for_new_ones(
    tmp_path: Path, tile: Tile, monkeypatch: pytest.MonkeyPatch, forget: Callable[[TileStore], object]
) -> None:
    with hold_store(tmp_path, "job") as store:
        store.keep_stage("traces", "a")
        path = store.path("traces", tile, ".safetensors")
        path.parent.mkdir()
        path.write_bytes(b"of a")

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", refuse)
            with pytest.raises(OutputError, match="traces cannot be removed"):
                forget(store)
        store.keep_stage("traces", "a")
        assert path.read_bytes() == b"of a"
        forget(store)
        assert not path.exists()
