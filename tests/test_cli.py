"""The command line: what it prints, where, and with which exit code it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoseg
from geoseg.console import PlainProgress
from geoseg.run import graph
from geoseg.run.segment import DEFAULT_MODEL
from tests.conftest import Ended, MakeRaster, Run
from tests.faults import prepared
from tests.faults.door import close_door, wait_at
from tests.invariance.running import GEOSEG

COMMANDS = ["segment", "polygonize", "train", "refine", "evaluate", "models", "demo", "info"]
HEAVY = {"torch", "onnxruntime", "rasterio", "numpy", "geopandas", "dask", "numba", "pandas", "cv2"}


@pytest.fixture
def classes(class_raster: Callable[..., Path]) -> Path:
    """Four stripes of 10 x 40 pixels of 0.5 m: 100 m2 each."""
    return class_raster(np.arange(4, dtype=np.uint8).repeat(10)[:, None].repeat(40, axis=1))


class TestExitCodes:
    def test_done(self, run: Run, classes: Path, tmp_path: Path) -> None:
        assert run("polygonize", classes, "-o", tmp_path / "map.gpkg").code == 0

    @pytest.mark.parametrize(
        "arguments",
        [["polygonise"], ["segment"], ["info", "a", "b"], ["models", "show"], ["--turbo"], ["demo", "--size-px", 1]],
    )
    def test_a_wrong_call(self, run: Run, arguments: list[object]) -> None:
        ended = run(*arguments)
        assert ended.code == 2
        assert "Error:" in ended.err
        assert ended.out == ""

    def test_a_wrong_input(self, run: Run, tmp_path: Path) -> None:
        ended = run("polygonize", tmp_path / "no.tif", "-o", tmp_path / "map.gpkg")
        assert ended.code == 2
        assert re.fullmatch(r"geoseg: .*no\.tif.*\n  expected: .+\n  remedy: .+\n", ended.err)
        assert ended.out == ""

    @pytest.mark.parametrize("option", ["--min-area", "--simplify"])
    @pytest.mark.parametrize("value", ["nan", "inf", "-1", "much"])
    def test_limits_that_are_no_numbers(self, run: Run, classes: Path, tmp_path: Path, option: str, value: str) -> None:
        ended = run("polygonize", classes, "-o", tmp_path / "map.gpkg", option, value)
        assert ended.code == 2
        assert option in ended.err
        assert not (tmp_path / "map.gpkg").exists()

    def test_a_failure_of_the_program(
        self, run: Run, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError("by 0")

        monkeypatch.setattr("geoseg.run.polygonize.execute", fail)
        ended = run("polygonize", classes, "-o", tmp_path / "map.gpkg")
        assert ended.code == 1
        assert f"geoseg {geoseg.__version__} failed; please report this" in ended.err
        assert "ZeroDivisionError: by 0" in ended.err
        assert not (tmp_path / "map.gpkg").exists()

    def test_an_interruption(self, run: Run, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("geoseg.run.polygonize.execute", interrupt)
        ended = run("polygonize", classes, "-o", tmp_path / "map.gpkg")
        assert ended.code == 130
        assert "the same command goes on from here" in ended.err
        assert "Traceback" not in ended.err

    def test_ctrl_c_and_the_same_command_again(self, make_raster: MakeRaster, tmp_path: Path) -> None:
        """A run of 576 tiles is interrupted once some are done; the next one does the others only."""
        noise = np.random.default_rng(1).integers(0, 3, (1, 480, 480)).astype(np.uint8)
        words = ["polygonize", make_raster(noise), "-o", tmp_path / "map.fgb", "--tile-px", 20]
        traces = tmp_path / ".geoseg/map.fgb/traces"
        with close_door() as door:
            started = prepared.Run(*words, before=partial(hold_traces, door.path))
            prepared.wait_for(door.admit_until(lambda: list(traces.glob("r*"))), started)
            started.send(signal.SIGINT)
        assert started.wait() == 130, started.said
        assert "interrupted; without --fresh the same command goes on from here" in started.said
        assert "Traceback" not in started.said
        assert not (tmp_path / "map.fgb").exists()
        done = len(list(traces.glob("r*")))
        assert 0 < done < 576
        assert f"{576 - done} of 576 tiles computed" in prepared.run(*words)
        assert (tmp_path / "map.fgb").exists()

    def test_a_reader_that_leaves_early_is_no_failure(self, classes: Path) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        try:
            ended = subprocess.run(
                [*GEOSEG, "info", str(classes)],
                stdout=writing,
                stderr=subprocess.PIPE,
                text=True,
                timeout=600,
                check=False,
            )
        finally:
            os.close(writing)
        assert "Traceback" not in ended.stderr
        assert "please report" not in ended.stderr


def write_graph(path: Path) -> None:
    """A model of one convolution, from an image to scores of four classes."""
    kernels = np.random.default_rng(2).normal(0, 0.4, (4, 3, 3, 3)).astype(np.float32)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", bands, "h", "w"])
        for name, bands in (("images", 3), ("classes", 4))
    ]
    node = helper.make_node("Conv", ["images", "kernels"], ["classes"], pads=[1, 1, 1, 1])
    graph = helper.make_graph([node], "small", ends[:1], ends[1:], [numpy_helper.from_array(kernels, "kernels")])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)


def hold_traces(door: Path) -> None:
    trace_tile = graph.trace_tile

    def trace_later(*given: Any, **named: Any) -> object:
        wait_at(door)
        return trace_tile(*given, **named)

    graph.trace_tile = trace_later


class TestHelp:
    @pytest.mark.parametrize("command", [*([c] for c in COMMANDS), ["models", "show"], ["models", "import"], []])
    @pytest.mark.parametrize("option", ["--help", "-h"])
    def test_of_every_command(self, run: Run, command: list[str], option: str) -> None:
        ended = run(*command, option)
        assert ended.code == 0
        assert ended.out.startswith("Usage: ")
        assert ended.err == ""
        if not command:
            assert set(COMMANDS) <= set(ended.out.split())

    def test_names_every_option(self, run: Run) -> None:
        """Those of the contract."""
        shared = (
            "-o --scheduler --workers --memory --tile-px --work-dir --fresh --overwrite --min-unit --min-area "
            "--simplify --regularize --smooth --roads"
        )
        own = {
            "segment": "--model --classes-raster --confidence-raster --aoi --device --exact --patch-px",
            "polygonize": "--connectivity",
        }
        for command, options in own.items():
            text = run(command, "--help").out
            assert not [o for o in f"{shared} --quiet {options}".split() if o not in text]

    def test_version(self, run: Run) -> None:
        assert run("--version").out == f"geoseg {geoseg.__version__}\n"

    def test_is_light(self) -> None:
        """No library that takes a while to load."""
        code = "import sys, geoseg.cli\ntry: geoseg.cli.cli(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
        ).stdout
        assert not HEAVY & set(out.splitlines()[-1].split())


def read_terminal(file: int) -> bytes:
    """The next piece; nothing once all writers are gone."""
    try:
        return os.read(file, 1 << 16)
    except OSError:
        return b""


class TestOutput:
    def test_summary_and_plain_lines(self, run: Run, classes: Path, tmp_path: Path) -> None:
        out = tmp_path / "map.gpkg"
        ended = run("polygonize", classes, "-o", out, "--tile-px", 20)
        lines = ended.out.splitlines()
        for line, name in zip(lines, ["background", "building", "road", "vegetation"], strict=False):
            assert re.fullmatch(rf"{name} +1 polygons +100 m2", line)
        assert re.fullmatch(r"0\.0 Mpx in [\d.]+ s, [\d.]+ Mpx/s, peak memory \d+ MiB, 4 of 4 tiles computed", lines[4])
        assert lines[5:] == [f"-> {out}"]
        stages = [re.fullmatch(r"([a-z ]+):( \d+)? in [\d.]+ s", line) for line in ended.err.splitlines()]
        assert [(m[1], m[2]) for m in stages if m] == [("trace", " 4"), ("write polygons", " 4")]
        assert all(stages)

    def test_the_network_is_summed_up(self, run: Run, classes: Path, tmp_path: Path) -> None:
        ended = run("polygonize", classes, "-o", tmp_path / "map.gpkg", "--roads")
        said = [line for line in ended.out.splitlines() if "segments" in line]
        assert len(said) == 1
        assert re.fullmatch(r"roads +\d+ segments +[\d.]+ km", said[0])

    def test_of_a_run_that_was_done(self, run: Run, classes: Path, tmp_path: Path) -> None:
        arguments = ["polygonize", classes, "-o", tmp_path / "map.gpkg", "--overwrite"]
        run(*arguments)
        assert "all 1 tiles had been computed by an earlier run" in run(*arguments).out

    def test_without_polygons(self, run: Run, class_raster: Callable[..., Path], tmp_path: Path) -> None:
        unknown = class_raster(np.full((5, 5), 255, np.uint8))
        ended = run("polygonize", unknown, "-o", tmp_path / "map.gpkg")
        assert (ended.code, ended.out.splitlines()[0]) == (0, "no polygons")

    def test_quiet(self, run: Run, classes: Path, tmp_path: Path) -> None:
        assert run("polygonize", classes, "-o", tmp_path / "map.gpkg", "--quiet") == Ended(0, "", "")

    def test_a_bar_on_a_terminal(self, classes: Path, tmp_path: Path) -> None:
        ours, theirs = pty.openpty()
        command = [*GEOSEG, "polygonize", str(classes), "-o", str(tmp_path / "map.gpkg")]
        env = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=env, text=True) as process:
            os.close(theirs)
            # A terminal holds and gives a few kilobytes at a time.
            shown = b"".join(iter(partial(read_terminal, ours), b"")).decode()
            os.close(ours)
            said, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        assert "trace" in shown
        assert "write polygons" in shown
        assert "1/1" in shown
        assert "map.gpkg" in said

    def test_plain_progress_counts_from_any_thread(self, capsys: pytest.CaptureFixture[str]) -> None:
        plain = PlainProgress()
        plain.start("one", 3)
        plain.advance(2)
        plain.advance()
        plain.start("two", None)
        plain.stop()
        plain.stop()
        assert re.fullmatch(r"one: 3 in 0\.\d s\ntwo in 0\.\d s\n", capsys.readouterr().err)

    def test_options_reach_the_run(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        told: dict[str, object] = {}

        def record(image: str, **options: object) -> SimpleNamespace:
            told.update(options, image=image)
            return SimpleNamespace()

        monkeypatch.setattr("geoseg.run.segment.segment", record)
        line = (
            "segment a.tif -o b.fgb --model m --classes-raster c.tif --confidence-raster d.tif --aoi 1,2,3,4 "
            "--device cpu --scheduler local --workers 3 --memory 4GiB --tile-px 77 --work-dir w --fresh "
            "--overwrite --min-area 5 --simplify 0.5 --min-unit building=4,road=9 --no-smooth --roads --separate "
            "--quiet"
        )
        ended = run(*line.split())
        assert ended.code == 0, ended.err
        del told["progress"]
        assert told == {
            "image": "a.tif",
            "output": Path("b.fgb"),
            "model": "m",
            "classes_raster": Path("c.tif"),
            "confidence_raster": Path("d.tif"),
            "aoi": "1,2,3,4",
            "device": "cpu",
            "scheduler": "local",
            "workers": 3,
            "memory": "4GiB",
            "tile_px": 77,
            "refine": True,
            "work_dir": Path("w"),
            "fresh": True,
            "overwrite": True,
            "min_area_m2": 5.0,
            "simplify_m": 0.5,
            "min_unit_m2": {"building": 4.0, "road": 9.0},
            "exact": False,
            "regularize": True,
            "smooth": False,
            "roads": True,
            "separate": True,
        }


class TestOtherCommands:
    def test_models(self, run: Run) -> None:
        ended = run("models")
        assert ended.code == 0
        assert re.search(r"^landcover-rgb  \S+  [\d.]+ m  building, road, vegetation$", ended.out, re.MULTILINE)

    def test_models_reads_descriptions_only(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise AssertionError("weights are read")

        monkeypatch.setattr("geoseg.models.package.check_file", fail)
        assert run("models").code == 0

    def test_models_show(self, run: Run) -> None:
        ended = run("models", "show", "landcover-rgb")
        assert ended.code == 0
        for word in ("# landcover-rgb", "0.4 m per pixel", "halo of", "Seam error", "provenance"):
            assert word in ended.out

    def test_models_travel(self, run: Run, tmp_path: Path) -> None:
        assert run("models", "list").out == run("models").out
        assert run("models", "export", "landcover-rgb", tmp_path / "m.zip").code == 0
        sound = run("models", "verify", tmp_path / "m.zip")
        assert sound.code == 0, sound.err
        assert "wrong" not in sound.out
        folder = tmp_path / "m"
        shutil.unpack_archive(tmp_path / "m.zip", folder)
        weights = bytearray((folder / "weights.safetensors").read_bytes())
        weights[-1] ^= 1
        (folder / "weights.safetensors").write_bytes(weights)
        wrong = run("models", "verify", folder)
        assert wrong.code == 2
        assert "FAULT  checksum of weights.safetensors" in wrong.out
        content = bytearray((tmp_path / "m.zip").read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / "bad.zip").write_bytes(content)
        assert run("models", "verify", tmp_path / "bad.zip").code == 2

    @pytest.mark.parametrize("of", ["elsewhere", pytest.param("landcover-rgb", marks=pytest.mark.slow)])
    def test_models_import_and_its_faults(self, run: Run, tmp_path: Path, of: str) -> None:
        assert run("models", "export", DEFAULT_MODEL, tmp_path / "m.onnx", "--onnx").code == 0
        if of == "elsewhere":
            write_graph(tmp_path / "m.onnx")
        given = ["models", "import", tmp_path / "m.onnx", tmp_path / "again", "--name", "again", "--resolution", 0.4]
        ended = run(*given, "--class", "building:house:112233")
        assert ended.code == 2
        assert "KIND is background, building, network, area" in ended.err
        classes = ["background:background:000000", "building:building:d64541", "road:network:f5d76e"]
        listed = [word for text in [*classes, "vegetation:area:3f9954"] for word in ("--class", text)]
        ended = run(*given, *listed, "--activation", "softmax" if of == "elsewhere" else "none", "--patch-px", 256)
        assert ended.code == 0, ended.err
        assert run("models", "show", tmp_path / "again").out.startswith("# again")

    def test_models_show_unknown(self, run: Run) -> None:
        ended = run("models", "show", "landcover-rbg")
        assert ended.code == 2
        assert "did you mean 'landcover-rgb'?" in ended.err

    def test_info(self, run: Run, make_raster: MakeRaster, rgb_values: np.ndarray) -> None:
        ended = run("info", make_raster(rgb_values))
        assert ended.code == 0
        for words in (
            "scene.tif (GTiff)",
            "70 rows x 90 columns",
            "EPSG:32737",
            "0.500 m",
            "3 of uint8, used: 1, 2, 3",
        ):
            assert words in ended.out

    def test_evaluate(self, run: Run, classes: Path, class_raster: Callable[..., Path]) -> None:
        ended = run("evaluate", classes, classes)
        assert ended.code == 0
        table = {line.split()[0]: line.split()[1:] for line in ended.out.splitlines()}
        for name in ("building", "road", "vegetation"):
            assert table[name] == ["1.0000"] * 6
        half = np.arange(4, dtype=np.uint8).repeat(10)[:, None].repeat(40, axis=1)
        half[10:15] = 0
        scores = run("evaluate", class_raster(half, "half.tif"), classes).out
        assert re.search(r"^building +0\.5000 +1\.0000 +0\.5000", scores, re.MULTILINE)

    def test_evaluate_for_programs_and_as_a_page(self, run: Run, classes: Path, tmp_path: Path) -> None:
        ended = run("evaluate", classes, classes, "--json", "--report", tmp_path / "page", "--slack-px", 1)
        assert ended.code == 0, ended.err
        table = json.loads(ended.out)
        assert table["classes"]["road"]["iou"] == table["slack"]["road"]["iou"] == 1.0
        assert "vegetation" in (tmp_path / "page/report.html").read_text()

    def test_a_page_of_lines_has_no_picture_of_pixels(self, run: Run, tmp_path: Path) -> None:
        path = [[39.2, -6.1], [39.201, -6.1]]
        feature = {"type": "Feature", "properties": {}, "geometry": {"type": "LineString", "coordinates": path}}
        (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
        ended = run("evaluate", tmp_path / "a.geojson", tmp_path / "a.geojson", "--report", tmp_path / "page")
        assert ended.code == 0, ended.err
        assert "share of wrong pixels" not in (tmp_path / "page/report.html").read_text()

    def test_evaluate_missing(self, run: Run, classes: Path, tmp_path: Path) -> None:
        ended = run("evaluate", tmp_path / "no.tif", classes)
        assert ended.code == 2
        assert "no.tif" in ended.err

    @pytest.mark.parametrize(
        ("text", "words"), [(None, "job.toml"), ("network = [", "job.toml"), ("colour = 1", "colour")]
    )
    def test_train_with_a_bad_job(self, run: Run, tmp_path: Path, text: str | None, words: str) -> None:
        job = tmp_path / "job.toml"
        if text is not None:
            job.write_text(text)
        ended = run("train", job)
        assert ended.code == 2, ended.err
        assert words in ended.err
        assert not (tmp_path / "job").exists()
