"""`geoseg batch`: what it prints, with which code it ends, and what a job file may say."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geoseg.errors import OptionError
from geoseg.region.settings import BatchJob, read_batch_job
from tests.conftest import Ended, Run
from tests.region.running import MODEL, batch_words, read_json, write_bad


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks for, without doing it."""
    said: dict[str, Any] = {}

    def record(job: BatchJob, directory: Path, **options: Any) -> SimpleNamespace:
        said.update(options, job=job, directory=directory)
        return SimpleNamespace(failed={}, format=lambda: "done")

    monkeypatch.setattr("geoseg.region.batch.run_batch", record)
    return said


@pytest.mark.usefixtures("light_model")
class TestRuns:
    def test_done_and_done_already(self, run: Run, scenes: Path, tmp_path: Path) -> None:
        ended = run(*batch_words(scenes, tmp_path / "out"))
        assert ended.code == 0, ended.err
        assert "3 scenes done (3 by this run), 0 failed, 0 left out" in ended.out
        for name in ("region.fgb", "region_roads.fgb", "report.html", "collection.json"):
            assert f"-> {tmp_path / 'out' / name}" in ended.out
        assert "scenes, Mpx: 1 in" in ended.err
        again = run(*batch_words(scenes, tmp_path / "out"))
        assert (again.code, "all scenes had been done by an earlier run" in again.out) == (0, True)
        status = run("batch", "--status", tmp_path / "out")
        assert (status.code, status.err) == (0, "")
        assert "finished\n3 done, 0 running, 0 failed, 0 left" in status.out
        assert json.loads(run("batch", "--status", tmp_path / "out", "--json").out)["done"] == 3

    def test_some_failed(self, run: Run, scenes: Path, tmp_path: Path) -> None:
        write_bad(scenes / "bad.tif", scenes / "a.tif")
        ended = run(*batch_words(scenes, tmp_path / "out", "--quiet", "--json", "--retries", 0))
        assert ended.code == 3, ended.err
        result = json.loads(ended.out)
        assert result["done"] == ["a", "b", "c"]
        assert "not readable" in result["failed"]["bad"]
        assert result["layers"] == ["region.fgb", "region_roads.fgb"]
        assert result == {key: value for key, value in read_json(tmp_path / "out/report.json").items() if key in result}

    def test_all_failed(self, run: Run, scenes: Path, tmp_path: Path) -> None:
        for path in scenes.iterdir():
            write_bad(path, path)
        ended = run(*batch_words(scenes, tmp_path / "out", "--retries", 0))
        assert (ended.code, ended.out) == (2, "")
        told = ended.err.partition("geoseg: no scene could be done:\n")[2].splitlines()
        assert told[0].startswith("    a: ")
        assert [line.split()[0] for line in told if line[:3] == "  e" or line[:3] == "  r"] == [
            "expected:",
            "remedy:",
        ]

    def test_a_job_file(self, run: Run, scenes: Path, tmp_path: Path) -> None:
        text = f'sources = ["scenes/*.tif"]\noutput = "out"\nmodel = "{MODEL}"\nformat = ".geojson"\nroads = false\n'
        (tmp_path / "job.toml").write_text(text)
        ended = run("batch", tmp_path / "job.toml", "--quiet")
        assert ended == Ended(0, "", "")
        assert (tmp_path / "out/region.geojson").exists()

    def test_interrupted(self, run: Run, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("geoseg.region.making.predict_classes", interrupt)
        ended = run(*batch_words(scenes, tmp_path / "out"))
        assert ended.code == 130
        assert "the same command goes on from here" in ended.err
        assert "stopped" in run("batch", "--status", tmp_path / "out").out


class TestCalls:
    def test_options_reach_the_run(self, run: Run, told: dict[str, Any]) -> None:
        line = (
            "batch a.tif b/ -o out --model m --aoi 1,2,3,4 --crs EPSG:32737 --resolution 0.5 --precedence confidence "
            "--split sheet:500 --format .parquet --stac https://h/stac --collection c --collection d --bbox 1,2,3,4 "
            "--datetime 2024-05-01/.. --asset visual --limit 9 --retries 3 --device cpu --scheduler local --workers 3 "
            "--memory 4GiB --tile-px 77 --patch-px 512 --fresh --min-area 5 --simplify 0.5 --min-unit building=4 "
            "--no-smooth --no-regularize --no-roads --no-refine --classes-raster --confidence-raster "
            "--postgis postgresql://h/d --quiet"
        )
        ended = run(*line.split())
        assert ended.code == 0, ended.err
        assert (told["fresh"], told["directory"]) == (True, Path("out"))
        stac = told["job"].stac
        assert (stac.url, stac.collections, stac.bbox, stac.datetime, stac.limit) == (
            "https://h/stac",
            ("c", "d"),
            (1.0, 2.0, 3.0, 4.0),
            "2024-05-01/..",
            9,
        )
        expected = {
            "sources": ("a.tif", "b/"),
            "output": "out",
            "asset": "visual",
            "model": "m",
            "aoi": "1,2,3,4",
            "crs": "EPSG:32737",
            "resolution_m": 0.5,
            "precedence": "confidence",
            "split": "sheet:500",
            "format": ".parquet",
            "classes_raster": True,
            "confidence_raster": True,
            "postgis": "postgresql://h/d",
            "retries": 3,
            "refine": False,
            "device": "cpu",
            "scheduler": "local",
            "workers": 3,
            "memory": "4GiB",
            "tile_px": 77,
            "patch_px": 512,
            "exact": False,
            "min_unit_m2": {"building": 4.0},
            "simplify_m": 0.5,
            "regularize": False,
            "smooth": False,
            "roads": False,
            "min_area_m2": 5.0,
        }
        assert {name: getattr(told["job"], name) for name in expected} == expected

    def test_defaults_are_those_of_python(self, run: Run, told: dict[str, Any]) -> None:
        assert run("batch", "a.tif", "-o", "out", "--quiet").code == 0
        assert told["job"] == BatchJob(sources=("a.tif",), output="out")

    def test_what_is_said_goes_before_the_job(self, run: Run, told: dict[str, Any], tmp_path: Path) -> None:
        text = (
            'sources = ["a.tif"]\noutput = "out"\nretries = 5\nsmooth = false\n[stac]\nurl = "https://h"\nlimit = 3\n'
        )
        (tmp_path / "job.toml").write_text(text)
        ended = run("batch", tmp_path / "job.toml", "-o", "other", "--retries", 1, "--limit", 7, "--quiet")
        assert ended.code == 0, ended.err
        job = told["job"]
        assert (job.output, job.retries, job.smooth, job.stac.url, job.stac.limit) == (
            "other",
            1,
            False,
            "https://h",
            7,
        )

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("batch", "no scenes"),
            ("batch a.tif", "-o DIR"),
            ("batch a.tif -o out --bbox 1,2,3", "W,S,E,N"),
            ("batch a.tif -o out --limit 3", "without --stac"),
            ("batch a.tif -o out --split country", "country"),
            ("batch a.tif -o out --exact --simplify 1", "--exact"),
            ("batch a.tif -o out --retries -1", "--retries"),
            ("batch a.tif --status out", "one of them"),
            ("batch job.toml a.tif -o out", "one job"),
            ("batch no.toml -o out", "no.toml"),
            ("batch no.tif -o out", "no.tif"),
        ],
    )
    def test_wrong_ones(self, run: Run, tmp_path: Path, words: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        ended = run(*words.split())
        assert ended.code == 2, ended.err
        assert said in ended.err
        assert not list((tmp_path / "out").glob("*.json"))

    def test_help_has_examples(self, run: Run) -> None:
        ended = run("batch", "--help")
        assert "geoseg batch --status region" in ended.out
        assert "3 some scenes failed" in ended.out


class TestJobFiles:
    def read(self, tmp_path: Path, text: str) -> BatchJob:
        (tmp_path / "job.toml").write_text(text)
        return read_batch_job(tmp_path / "job.toml")

    def test_paths_are_relative_to_the_file(self, tmp_path: Path) -> None:
        urls = ["https://h/a.tif", "s3://b/a.tif", "/vsizip/a.zip/a.tif", "NETCDF:a.nc:red"]
        job = self.read(tmp_path, f'sources = {["a.tif", "b/*.tif", *urls]}\naoi = "aoi.gpkg"\nmodel = "m.zip"\n')
        assert job.sources == (str(tmp_path / "a.tif"), str(tmp_path / "b/*.tif"), *urls)
        assert (job.aoi, job.model) == (str(tmp_path / "aoi.gpkg"), str(tmp_path / "m.zip"))
        assert job.output is None

    def test_names_and_boxes_are_no_paths(self, tmp_path: Path) -> None:
        job = self.read(tmp_path, f'sources = ["a"]\naoi = "39.1,-6.3,39.4,-6.0"\nmodel = "{MODEL}"\n')
        assert (job.aoi, job.model) == ("39.1,-6.3,39.4,-6.0", MODEL)

    @pytest.mark.parametrize(
        ("line", "attribute", "value"),
        [
            ("resolution_m = 2", "resolution_m", 2.0),
            ('min_unit_m2 = "auto"', "min_unit_m2", "auto"),
            ("min_unit_m2 = 3", "min_unit_m2", 3.0),
            ("min_unit_m2 = {building = 4}", "min_unit_m2", {"building": 4.0}),
            ("simplify_m = 0.5", "simplify_m", 0.5),
            ("roads = true", "roads", True),
            ("memory = 4000000000", "memory", 4_000_000_000),
            ('memory = "4GiB"', "memory", "4GiB"),
        ],
    )
    def test_values(self, tmp_path: Path, line: str, attribute: str, value: object) -> None:
        assert getattr(self.read(tmp_path, f'sources = ["a"]\n{line}\n'), attribute) == value

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('sources = "a.tif"', "sources = 'a.tif' is of the wrong kind"),
            ("sources = [1]", r"sources\[0\] = 1 is of the wrong kind"),
            ('sources = ["a"]\nretries = "3"', "retries = '3' is of the wrong kind"),
            ('sources = ["a"]\nretries = 1.5', "retries = 1.5 is of the wrong kind"),
            ('sources = ["a"]\nretries = true', "retries = True is of the wrong kind"),
            ('sources = ["a"]\nworkers = "all"', "workers = 'all' is of the wrong kind"),
            ('sources = ["a"]\nroads = "yes"', "roads = 'yes' is of the wrong kind"),
            ('sources = ["a"]\nresolution_m = "fine"', "resolution_m = 'fine' is of the wrong kind"),
            ('sources = ["a"]\nsimplify_m = "much"', "simplify_m = 'much' is of the wrong kind(.|\n)*'auto'"),
            ('sources = ["a"]\nsimplify_m = true', "simplify_m = True is of the wrong kind"),
            ('sources = ["a"]\nmin_unit_m2 = [1]', "min_unit_m2"),
            ('sources = ["a"]\nmin_unit_m2 = {building = "4"}', "min_unit_m2.building = '4' is of the wrong kind"),
            ('sources = ["a"]\nprecedence = "oldest"', "precedence = 'oldest' is of the wrong kind"),
            ('sources = ["a"]\ndevice = "abacus"', "device = 'abacus' is of the wrong kind"),
            ('sources = ["a"]\nsplit = "country"', "split country"),
            ('sources = ["a"]\nmin_unit = 4', "unknown key min_unit(.|\n)*did you mean 'min_unit_m2'"),
            ("[stac]\nlimit = 3", "stac.url is missing"),
            ('[stac]\nurl = "https://h"\nbbox = [1.0, 2.0]', "stac.bbox has 2 values"),
            ('[stac]\nurl = "https://h"\ncollections = "c"', "stac.collections = 'c' is of the wrong kind"),
            ('stac = "https://h"', "stac = 'https://h' is of the wrong kind"),
            ("retries = 1", "no scenes"),
            ("sources = [", "cannot be read"),
            ('postgis = "postgresql://me:hush@h/d"\nsources = [1]', "sources"),
            ('postgis = ["postgresql://me:hush@h/d"]', r"postgis = \['postgresql://\*\*\*@h/d'\]"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, text: str, words: str) -> None:
        with pytest.raises(OptionError, match=words) as error:
            self.read(tmp_path, text)
        assert "hush" not in str(error.value)
