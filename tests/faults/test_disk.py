"""Disks that are full, closed, or taken away while a run is at work; tiles that are not what was written."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import rasterio

from geoseg.errors import GeosegError
from geoseg.run import execute
from geoseg.run.polygonize import polygonize
from tests.faults.prepared import (
    WORK,
    Run,
    become_nobody,
    hold_midway,
    list_leavings,
    mount_small,
    open_folder_of_nobody,
    read_files,
    refuse,
    run,
    segment_words,
)
from tests.region.running import write_scene

DISK_BYTES = 4 * 2**20


class TestFull:
    @pytest.mark.parametrize("times", [4, pytest.param(40, marks=pytest.mark.slow)])
    def test_at_random_points(self, scene: Path, calm: dict[str, bytes], tmp_path: Path, times: int) -> None:
        """Every output stays the old one or is the new one; with room, the same command goes on."""
        chance = random.Random(os.environ.get("GEOSEG_TEST_SEED", "8"))
        refused = 0
        with mount_small(tmp_path / "disk", DISK_BYTES) as disk:
            words = segment_words(scene, disk, "--overwrite")
            run(*words)
            used = sum(path.stat().st_size for path in disk.rglob("*") if path.is_file())
            for _ in range(times):
                for path in disk.iterdir():
                    # A style that is there is somebody's own, and stays.
                    if path.is_dir():
                        shutil.rmtree(path)
                    elif path.suffix == ".qml":
                        path.unlink()
                    else:
                        path.write_bytes(b"old")
                room = chance.randrange(4096, 2 * used)
                fill(disk / "filler", room)
                started = Run(*words)
                code = started.wait()
                assert code in (0, 2), started.said
                if code:
                    refused += 1
                    assert "cannot be" in started.said
                    assert "remedy: " in started.said
                    assert "Traceback" not in started.said
                    files = read_files(disk)
                    del files["filler"]
                    assert all(content in (b"old", calm[name]) for name, content in files.items())
                    assert not list_leavings(disk)
                (disk / "filler").unlink()
                run(*words)
                assert read_files(disk) == calm
        assert refused >= times // 3

    def test_while_the_layer_is_written(self, scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
        """Tiles have a disk of their own."""
        with mount_small(tmp_path / "disk", 64 * 1024) as disk:
            (disk / "map.fgb").write_bytes(b"old")
            words = segment_words(scene, disk, "--overwrite", "--work-dir", tmp_path / "work")
            said = refuse(*words)
            assert "cannot be written" in said
            assert read_files(disk) == {"map.fgb": b"old"}
            enlarge(disk)
            run(*words)
            assert read_files(disk) == calm


def fill(path: Path, room: int) -> None:
    """Leave so many bytes of the file system."""
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    path.write_bytes(bytes(max(0, free - room)))


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,size={DISK_BYTES}", str(disk)], check=True)


class TestClosed:
    @pytest.mark.parametrize("closed", ["out", "work"])
    def test_a_folder_that_cannot_be_written(self, scene: Path, calm: dict[str, bytes], closed: str) -> None:
        with open_folder_of_nobody() as place:
            image = place / "scene.tif"
            shutil.copy(scene, image)
            folders = {name: place / name for name in ("out", "work")}
            for name, folder in folders.items():
                folder.mkdir(mode=0o755)
                if name != closed:
                    os.chown(folder, 65_534, 65_534)
            words = segment_words(image, folders["out"], "--work-dir", folders["work"])
            said = refuse(*words, before=become_nobody)
            assert "Permission denied" in said
            assert str(folders[closed]) in said
            assert not list(folders["out"].iterdir())
            os.chown(folders[closed], 65_534, 65_534)
            run(*words, before=become_nobody)
            assert read_files(folders["out"]) == calm

    def test_a_folder_that_is_closed_in_the_middle(self, scene: Path, calm: dict[str, bytes]) -> None:
        with open_folder_of_nobody() as place:
            image, out = place / "scene.tif", place / "out"
            shutil.copy(scene, image)
            out.mkdir()
            os.chown(out, 65_534, 65_534)
            words = segment_words(image, out, "--work-dir", place / WORK)
            with hold_midway(words, place / WORK, before=become_nobody) as started:
                os.chown(out, 0, 0)
            assert started.wait() == 2, started.said
            assert "Permission denied" in started.said
            assert "Traceback" not in started.said
            assert not list(out.iterdir())
            os.chown(out, 65_534, 65_534)
            run(*words, before=become_nobody)
            assert read_files(out) == calm


class TestTakenAway:
    @pytest.mark.parametrize("what", ["", "classes"])
    def test_the_work_directory(self, scene: Path, calm: dict[str, bytes], tmp_path: Path, what: str) -> None:
        words = segment_words(scene, tmp_path)
        with hold_midway(words, tmp_path / WORK) as started:
            shutil.rmtree(tmp_path / WORK / what, ignore_errors=True)
        code = started.wait()
        assert code == 2, started.said
        assert "Traceback" not in started.said
        assert str(tmp_path / WORK) in started.said
        assert not read_files(tmp_path)
        run(*words)
        assert read_files(tmp_path) == calm

    @pytest.mark.parametrize("how", ["replaced", "truncated", "written to", "removed"])
    def test_the_image(self, scene: Path, calm: dict[str, bytes], tmp_path: Path, how: str) -> None:
        image = tmp_path / "scene.tif"
        shutil.copy(scene, image)
        (tmp_path / "out").mkdir()
        words = segment_words(image, tmp_path / "out")
        with hold_midway(words, tmp_path / "out" / WORK) as started:
            match how:
                case "replaced":
                    os.replace(write_scene(tmp_path / "other.tif", 5, side_px=400), image)
                case "truncated":
                    os.truncate(image, image.stat().st_size // 2)
                case "written to":
                    with rasterio.open(image, "r+") as raster:
                        raster.write(255 - raster.read())
                case "removed":
                    image.unlink()
        code = started.wait()
        assert code == 2, started.said
        assert str(image) in started.said
        assert "Traceback" not in started.said
        assert not read_files(tmp_path / "out")
        shutil.copy(scene, image)
        run(*words)
        assert read_files(tmp_path / "out") == calm

    def test_a_class_raster(self, classes: Path, tmp_path: Path) -> None:
        path = tmp_path / "classes.tif"
        shutil.copy(classes, path)

        class Replacer:
            def start(self, stage: str, total: int | None) -> None:
                if stage == "write polygons":
                    os.utime(path, ns=(1, 1))

            def advance(self, steps: int = 1) -> None:
                os.utime(path)

            def note(self, text: str) -> None:
                pass

        with pytest.raises(GeosegError, match="changed while it was read"):
            polygonize(path, tmp_path / "map.fgb", tile_px=100, progress=Replacer())
        assert not (tmp_path / "map.fgb").exists()


def stop_before_the_layer() -> None:
    """All tiles are done."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    execute.write_map = stop  # type: ignore[assignment]


class TestDamaged:
    def test_a_tile_of_every_stage(self, scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
        """One bit of a finished tile is another one: that is named, and the same command makes the tile anew."""
        words, work = segment_words(scene, tmp_path), tmp_path / WORK
        run(*words, before=stop_before_the_layer, code=130)
        shutil.copytree(work, tmp_path / "kept")
        chance = random.Random(os.environ.get("GEOSEG_TEST_SEED", "9"))
        for stage in ("classes", "components", "traces", "roads"):
            shutil.rmtree(work)
            shutil.copytree(tmp_path / "kept", work)
            tile = chance.choice(sorted(path for path in (work / stage).rglob("r*") if path.is_file()))
            content = bytearray(tile.read_bytes())
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            tile.write_bytes(content)
            said = refuse(*words)
            assert f"the finished tile {tile} was damaged on the disk" in said
            assert not list_leavings(tmp_path)
            run(*words)
            assert read_files(tmp_path) == calm
            for path in tmp_path.iterdir():
                if path.is_file():
                    path.unlink()

    @pytest.mark.parametrize("content", [b"\0" * 300, b'{"geoseg job": 5}'])
    def test_the_state(self, scene: Path, calm: dict[str, bytes], tmp_path: Path, content: bytes) -> None:
        words = segment_words(scene, tmp_path)
        run(*words, before=stop_before_the_layer, code=130)
        (tmp_path / WORK / "run.json").write_bytes(content)
        started = Run(*words)
        if started.wait():
            assert started.process.exitcode == 2
            assert "is not a work directory" in started.said
            assert not read_files(tmp_path)
            shutil.rmtree(tmp_path / ".geoseg")
            run(*words)
        assert read_files(tmp_path) == calm


def test_two_runs_on_one_output(scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    words = segment_words(scene, tmp_path)
    with hold_midway(words, tmp_path / WORK) as first:
        assert "another run is at work in" in refuse(*words)
    assert first.wait() == 0, first.said
    assert read_files(tmp_path) == calm


def test_two_runs_on_one_output_with_work_of_their_own(scene: Path, calm: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    both = [Run(*segment_words(scene, out, "--overwrite", "--work-dir", tmp_path / str(i))) for i in range(2)]
    assert [one.wait() for one in both] == [0, 0], [one.said for one in both]
    assert read_files(out) == calm
