"""What a first-day user meets: words for mistakes, what is said at the end, and silence where nothing is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from geoseg import cli
from tests.conftest import Run
from tests.invariance.running import GEOSEG


def invoke(*words: object) -> str:
    return CliRunner().invoke(cli.cli, [str(word) for word in words], prog_name="geoseg").output


def start(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GEOSEG, *map(str, words)], capture_output=True, text=True, timeout=600, check=False, env={**os.environ}
    )


def test_a_group_says_in_one_line_what_each_command_does() -> None:
    for words in ((), ("models",)):
        listed = invoke(*words, "--help").partition("Commands:\n")[2]
        assert listed
        assert "..." not in listed


@pytest.mark.parametrize("option", [("--min-unit", "building=five"), ("--min-unit", "tiny"), ("--simplify", "1m")])
def test_a_measure_that_is_no_number(option: tuple[str, str]) -> None:
    told = invoke("segment", "a.tif", "-o", "a.gpkg", *option)
    assert f"{option[1].rpartition('=')[2]!r} is no" in told
    assert "or auto" in told
    assert "float range" not in told


def test_the_output_is_a_file_or_a_url() -> None:
    assert "--output FILE|URL" in invoke("segment", "--help")


def test_a_model_shows_its_card_and_as_json_its_description() -> None:
    card = invoke("models", "show", "landcover-rgb")
    assert card.startswith("# landcover-rgb")
    assert len(card.splitlines()) < 100
    assert '"geoseg:ground_resolution_m"' in invoke("models", "show", "landcover-rgb", "--json")


def test_what_is_written_is_named(tmp_path: Path) -> None:
    assert invoke("models", "export", "landcover-rgb", tmp_path / "m.zip") == f"-> {tmp_path / 'm.zip'}\n"


@pytest.mark.parametrize("command", ["train", "refine", "batch"])
def test_jobs_that_are_none(tmp_path: Path, command: str, run: Run) -> None:
    (tmp_path / "image.toml").write_bytes(b"II*\0\xc0\xff")
    ended = run(command, tmp_path / "no.toml", "-o", tmp_path / "run")
    assert ended.code == 2
    assert ended.err == f"geoseg: {tmp_path}/no.toml: no such file\n  expected: a job in TOML\n"
    ended = run(command, tmp_path / "image.toml", "-o", tmp_path / "run")
    assert ended.err == f"geoseg: {tmp_path}/image.toml: not a text in UTF-8\n  expected: a job in TOML\n"


def test_nothing_comes_after_a_message(tmp_path: Path) -> None:
    """What a library of torch leaves over when a process ends is no user's business."""
    ended = start("train", tmp_path / "no.toml", "-o", tmp_path / "run")
    assert ended.returncode == 2
    assert ended.stderr == f"geoseg: {tmp_path}/no.toml: no such file\n  expected: a job in TOML\n"


@pytest.mark.parametrize(
    ("word", "told"), [("train", "interrupted; the same command goes on from here\n"), ("view", "interrupted\n")]
)
def test_an_interrupted_training_says_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str, told: str
) -> None:
    monkeypatch.setattr(cli.cli, "main", _interrupt)
    monkeypatch.setattr(sys, "argv", ["geoseg", word])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == told


def _interrupt(**_: object) -> None:
    raise KeyboardInterrupt


def test_metadata_that_are_no_text_are_no_noise(tmp_path: Path) -> None:
    """GDAL's warnings may quote any byte of a file; rasterio fails to decode them where nobody can catch it."""
    (tmp_path / "a.vrt").write_bytes(
        b'<VRTDataset rasterXSize="9" rasterYSize="9"><SRS>EPSG:\xff\xe932737</SRS><Geo\xff></VRTDataset>'
    )
    ended = start("info", tmp_path / "a.vrt")
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"geoseg: {tmp_path}/a.vrt: not readable as a raster (text in it is not UTF-8)\n")
    assert "Exception ignored" not in ended.stderr


def test_several_rasters_are_a_batch(run: Run) -> None:
    ended = run("segment", "a.tif", "b.tif", "-o", "map.gpkg")
    assert ended.code == 2
    assert "a.tif b.tif" in ended.err
    assert "geoseg batch a.tif b.tif -o DIR" in ended.err
    assert "Usage: geoseg segment [OPTIONS] IMAGE\n" in invoke("segment", "--help")
