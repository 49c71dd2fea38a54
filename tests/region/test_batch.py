"""A region run does what is missing, and only that."""

from __future__ import annotations

import errno
import json
import os
import shutil
from base64 import b64decode
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import distributed
import pystac
import pytest
import rasterio
from PIL import Image
from rasterio.warp import transform_bounds

import geoseg
from geoseg.errors import BudgetError, GeosegError, InputError, OptionError, OutputError
from geoseg.layers.postgis import LoadedLayer
from geoseg.progress import Silence
from geoseg.region import making
from geoseg.region.batch import batch
from geoseg.region.result import BatchResult
from geoseg.run.scheduler import UnreachableError
from tests.region.running import MODEL, SIDE_PX, read_json, read_outputs, write_bad, write_scene

pytestmark = pytest.mark.usefixtures("light_model")

OUTSIDE = "10.0,50.0,10.1,50.1"


def run(scenes: Path, directory: Path, **options: Any) -> BatchResult:
    return batch([scenes], directory, **({"model": MODEL, "format": ".fgb", "roads": True} | options))


class Notes(Silence):
    """Keeps what is told besides stages and steps."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Make predictions raise something so many times; gives the list of the images that were asked for."""

    def install(*faults: BaseException | Callable[[Path], None], scene: str = "b") -> list[str]:
        real, waiting, asked = making.predict_classes, list(faults), []

        def predict(image: str, *arguments: Any, **options: Any) -> Any:
            asked.append(Path(image).stem)
            if waiting and Path(image).stem == scene:
                fault = waiting.pop(0)
                if isinstance(fault, BaseException):
                    raise fault
                fault(Path(image))
            return real(image, *arguments, **options)

        monkeypatch.setattr(making, "predict_classes", predict)
        monkeypatch.setattr(making, "BACKOFF_S", 0.0)
        return asked

    return install


class Texts(HTMLParser):
    """The texts of a page, its pictures, and whether every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attributes))
        elif tag not in ("meta", "link", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


class TestFirstRun:
    def test_says_what_it_made(self, scenes: Path, tmp_path: Path) -> None:
        result = geoseg.batch([scenes], tmp_path / "out", model=MODEL, format=".fgb", roads=True)
        assert result.done == result.computed == ("a", "b", "c")
        assert not result.failed
        assert not result.skipped
        assert result.pixels == result.pixels_computed == 3 * SIDE_PX**2
        assert [path.name for path in result.layers] == ["region.fgb", "region_roads.fgb"]
        layer = geoseg.open_layer(result.layers[0])
        assert len(layer) == sum(result.polygons.values()) > 5
        assert set(layer["source"]) <= {"a.tif", "b.tif", "c.tif"}
        assert layer["area_m2"].sum() == pytest.approx(sum(result.area_m2.values()), rel=1e-6)
        roads = geoseg.open_layer(result.layers[1])
        assert result.road_segments == len(roads) > 0
        assert result.road_length_m == pytest.approx(roads["length_m"].sum(), abs=0.001 * len(roads))
        told = read_json(result.report)
        assert (told["road_segments"], told["road_length_m"]) == (result.road_segments, result.road_length_m)
        assert f"{len(roads):,} segments" in " ".join(result.format().split())
        for name in "abc":
            report = read_json(tmp_path / "out/scenes" / name / "report.json")
            assert (report["id"], report["pixels"], report["attempts"]) == (name, SIDE_PX**2, 1)
            kept = {path.name for path in (tmp_path / "out/scenes" / name).iterdir()}
            assert {"classes.tif", "confidence.tif", "thumbnail.png", "report.json", "state.json"} <= kept
        report = read_json(result.report)
        assert [scene["id"] for scene in report["scenes"]] == ["a", "b", "c"]
        assert report["asked"]["model"] == MODEL
        assert not list((tmp_path / "out/.geoseg").rglob("*.npz"))
        assert not list((tmp_path / "out/.geoseg/scenes").iterdir())

    def test_the_page_shows_all_scenes_and_faults(self, scenes: Path, tmp_path: Path) -> None:
        write_bad(scenes / "bad<script>.tif", scenes / "a.tif")
        result = run(scenes, tmp_path / "out")
        page = Texts(result.page.read_text())
        assert not page.open
        assert {"a", "b", "c", "bad_script", "failed", "building", "hectares"} <= set(page.texts)
        assert any("not readable as a raster" in text for text in page.texts)
        assert [picture["alt"] for picture in page.pictures] == ["a", "b", "c"]
        assert all((picture["src"] or "").startswith("data:image/") for picture in page.pictures)
        assert "<script" not in result.page.read_text()

    def test_the_outputs_are_a_catalogue(self, scenes: Path, tmp_path: Path) -> None:
        result = run(scenes, tmp_path / "out", classes_raster=True)
        collection = pystac.Collection.from_file(str(result.catalog))
        items = {item.id: item for item in collection.get_items(recursive=True)}
        assert set(items) == {"a", "b", "c", "region"}
        for item in items.values():
            for asset in item.assets.values():
                assert Path(str(asset.get_absolute_href())).is_file()
        again = batch([result.catalog], tmp_path / "from catalogue", asset="classes", model=MODEL, split="none")
        assert set(again.done) == {"a", "b", "c", "scene_region"}  # a class raster is a picture of few colours

    def test_the_item_of_the_region_tells_its_grid(self, scenes: Path, tmp_path: Path) -> None:
        with rasterio.open(scenes / "b.tif") as dataset:
            west, south, east, north = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
        area = f"{west},{south},{(west + east) / 2},{(south + north) / 2}"
        run(scenes, tmp_path / "out", classes_raster=True, resolution_m=1.0, aoi=area)
        item = read_json(tmp_path / "out/items/region.json")
        with rasterio.open(tmp_path / "out/region_classes.tif") as raster:
            assert item["properties"]["proj:shape"] == [*raster.shape]
            assert item["properties"]["proj:transform"] == list(raster.transform)[:6]
            inside = transform_bounds(raster.crs, "EPSG:4326", *raster.bounds)
        assert item["bbox"] == pytest.approx(inside, abs=1e-6)

    def test_many_pictures_are_small_ones(self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geoseg.region.report.PICTURES_PX", 3 * 60**2)
        page = Texts(run(scenes, tmp_path / "out").page.read_text())
        sizes = [Image.open(BytesIO(b64decode(str(one["src"]).partition(",")[2]))).size for one in page.pictures]
        assert sizes == [(60, 60)] * 3

    @pytest.mark.cluster
    def test_all_scenes_and_the_map_share_their_processes(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[distributed.LocalCluster] = []

        class Counted(distributed.LocalCluster):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                started.append(self)

        monkeypatch.setattr(distributed, "LocalCluster", Counted)
        (scenes / "c.tif").unlink()
        assert run(scenes, tmp_path / "out", scheduler="local", workers=1, min_unit_m2=0.0).done == ("a", "b")
        assert [str(cluster.status) for cluster in started] == ["Status.closed"]

    def test_one_bar_of_megapixels(self, tmp_path: Path) -> None:
        told: list[tuple[str, int | None]] = []
        steps = {"scenes, Mpx": 0}

        class Told:
            def start(self, stage: str, total: int | None) -> None:
                told.append((stage, total))

            def advance(self, count: int = 1) -> None:
                if told[-1][0] in steps:
                    steps[told[-1][0]] += count

            def note(self, text: str) -> None:
                pass

        for number, name in enumerate("ab"):
            write_scene(tmp_path / f"scenes/{name}.tif", number, side_px=800)
        run(tmp_path / "scenes", tmp_path / "out", progress=Told(), exact=True)
        assert ("scenes, Mpx", 2) in told  # 2 * 800² pixels, rounded up
        assert steps == {"scenes, Mpx": 2}

    @pytest.mark.parametrize("split", ["none", pytest.param("scene", marks=pytest.mark.slow)])
    def test_the_layers_go_to_a_database(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
    ) -> None:
        loads: list[tuple[str, bool, str]] = []
        inserted = 5

        def load(path: Path, url: str, *, progress: object) -> list[LoadedLayer]:
            loads.append((path.name, path.exists(), url))
            return [LoadedLayer("city.polygons", 5, inserted), LoadedLayer("city.roads", 2, 0)]

        monkeypatch.setattr("geoseg.region.outputs.load_layer", load)
        monkeypatch.setattr("geoseg.region.outputs.check_database", lambda url, layers, crs: None)
        url = "postgresql://me:hush@127.0.0.1:9/gis?schema=city"
        said = Notes()
        result = run(scenes, tmp_path / "out", postgis=url, split=split, progress=said)
        assert not said.notes
        names = ["region.fgb"] if split == "none" else [f"region_{name}.fgb" for name in "abc"]
        assert loads == [(name, True, url) for name in names]
        assert result.tables == ("city.polygons", "city.roads")
        assert not any(b"hush" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
        inserted = 0
        run(scenes, tmp_path / "out", postgis=url, split=split, progress=said)
        assert not said.notes
        inserted = 1
        again = {"split": split, "min_area_m2": 50.0, "progress": said}
        run(scenes, tmp_path / "out", postgis=url, **again)
        assert len(said.notes) == 1
        assert "an earlier run loaded" in said.notes[0]
        assert "hush" not in said.notes[0]
        if split == "none":
            run(scenes, tmp_path / "out", postgis=f"{url}&replace=source", **again | {"min_area_m2": 60.0})
            assert len(said.notes) == 1

    @pytest.mark.postgis
    @pytest.mark.parametrize("format", [".gpkg", pytest.param(".geojson", marks=pytest.mark.slow)])
    def test_the_tables_of_a_real_database_follow_the_region(
        self, scenes: Path, tmp_path: Path, postgres: Any, format: str
    ) -> None:
        url = postgres.url(postgres.create_database(), "&replace=all")
        hidden = shutil.move(scenes / "b.tif", tmp_path / "b.tif")
        for _ in range(2):
            result = run(scenes, tmp_path / "out", postgis=url, format=format)
            assert result.tables == ("public.polygons", "public.roads")
            layer = geoseg.open_layer(result.layers[0])
            ids = postgres.run(url.partition("@/")[2].partition("?")[0], "SELECT id, source FROM polygons")
            assert set(ids) == set(zip(layer["id"], layer["source"], strict=True))
            if hidden.exists():
                shutil.move(hidden, scenes / "b.tif")

    @pytest.mark.postgis
    def test_a_database_that_would_not_take_the_map_is_told_before_the_work(
        self, scenes: Path, tmp_path: Path, postgres: Any, once: Callable[..., list[str]]
    ) -> None:
        asked = once()
        with pytest.raises(OutputError, match="no schema 'city'"):
            run(scenes, tmp_path / "out", postgis=postgres.url(query="&schema=city"))
        assert not asked

    @pytest.mark.postgis
    @pytest.mark.slow
    @pytest.mark.parametrize("split", ["scene", "sheet:40"])
    def test_parts_fill_the_tables_of_the_whole(self, scenes: Path, tmp_path: Path, postgres: Any, split: str) -> None:
        name = postgres.create_database()
        run(scenes, tmp_path / "out", postgis=postgres.url(name), split=split)
        whole = geoseg.open_layer(run(scenes, tmp_path / "whole").layers[0])
        assert {row[0] for row in postgres.run(name, "SELECT id FROM polygons")} == set(whole["id"])

    def test_a_directory_among_the_sources_is_no_source(self, scenes: Path, tmp_path: Path) -> None:
        assert run(scenes, scenes / "out").done == ("a", "b", "c")
        second = run(scenes, scenes / "out")
        assert (second.done, second.layers_made) == (("a", "b", "c"), False)


class TestSecondRun:
    def test_does_nothing(self, scenes: Path, tmp_path: Path) -> None:
        first = run(scenes, tmp_path / "out")
        first_page = first.page.read_text()
        before = {path: path.stat().st_mtime_ns for path in first.layers}
        second = run(scenes, tmp_path / "out")
        assert (second.done, second.computed, second.layers_made) == (first.done, (), False)
        assert (second.polygons, second.area_m2, second.layers) == (first.polygons, first.area_m2, first.layers)
        assert {path: path.stat().st_mtime_ns for path in second.layers} == before
        assert (second.road_segments, second.road_length_m) == (first.road_segments, first.road_length_m)
        assert "Mpx of this run" in Texts(first_page).texts
        assert not {"Mpx of this run", "Mpx/s", "seconds of this run"} & set(Texts(second.page.read_text()).texts)
        assert any("none of them by the run" in text for text in Texts(second.page.read_text()).texts)

    def test_new_scenes_only_and_the_same_map(self, scenes: Path, tmp_path: Path) -> None:
        hidden = shutil.move(scenes / "b.tif", tmp_path / "b.tif")
        assert run(scenes, tmp_path / "out").done == ("a", "c")
        shutil.move(hidden, scenes / "b.tif")
        result = run(scenes, tmp_path / "out")
        assert (result.done, result.computed, result.layers_made) == (("a", "b", "c"), ("b",), True)
        run(scenes, tmp_path / "calm")
        assert read_outputs(tmp_path / "out") == {
            name: data.replace(b"Map of calm", b"Map of out") for name, data in read_outputs(tmp_path / "calm").items()
        }

    def test_a_changed_source_is_done_again(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, tmp_path / "out")
        write_scene(scenes / "b.tif", 1, side_px=120)
        result = run(scenes, tmp_path / "out")
        assert (result.computed, result.layers_made) == (("b",), True)
        assert result.pixels == 2 * SIDE_PX**2 + 120**2

    @pytest.mark.parametrize(
        "fault",
        [
            "cut off",
            *(
                pytest.param(fault, marks=pytest.mark.slow)
                for fault in ("gone", "state is no JSON", "state of another kind")
            ),
        ],
    )
    def test_what_was_damaged_is_done_again(self, scenes: Path, tmp_path: Path, fault: str) -> None:
        run(scenes, tmp_path / "out")
        before = read_outputs(tmp_path / "out")
        place = tmp_path / "out/scenes/b"
        if fault == "cut off":
            os.truncate(place / "classes.tif", 1000)
        elif fault == "gone":
            (place / "confidence.tif").unlink()
        else:
            (place / "state.json").write_text("{" if "JSON" in fault else '{"colour": 1}')
        result = run(scenes, tmp_path / "out")
        assert (result.computed, result.layers_made) == (("b",), False)  # what came out is the same
        assert read_outputs(tmp_path / "out") == before

    @pytest.mark.slow
    def test_a_lost_layer_is_written_again(self, scenes: Path, tmp_path: Path) -> None:
        first = run(scenes, tmp_path / "out")
        before = read_outputs(tmp_path / "out")
        first.layers[0].unlink()
        second = run(scenes, tmp_path / "out")
        assert (second.computed, second.layers_made) == ((), True)
        assert read_outputs(tmp_path / "out") == before

    def test_what_cannot_be_read_for_a_while_is_not_lost(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, tmp_path / "out")
        content, facts = (scenes / "b.tif").read_bytes(), (scenes / "b.tif").stat()
        write_bad(scenes / "b.tif", scenes / "b.tif")
        assert list(run(scenes, tmp_path / "out").failed) == ["b"]
        (scenes / "b.tif").write_bytes(content)
        os.utime(scenes / "b.tif", ns=(facts.st_atime_ns, facts.st_mtime_ns))
        result = run(scenes, tmp_path / "out")
        assert (result.done, result.computed) == (("a", "b", "c"), ())
        assert read_json(tmp_path / "out/scenes/b/state.json")["state"] == "done"

    @pytest.mark.slow
    def test_what_can_be_looked_at_only_later_is_not_done_again(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(scenes, tmp_path / "out")
        write_scene(scenes / "far.tif", 100)
        with rasterio.open(scenes / "c.tif") as dataset:
            bounds = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
        run(scenes, tmp_path / "area", aoi=",".join(map(str, bounds)))

        def fail(ref: object, setting: object) -> None:
            raise InputError("the server takes a nap")

        monkeypatch.setattr("geoseg.region.scenes.look_at_scene", fail)
        # Otherwise the search would have left it out.
        monkeypatch.setattr("geoseg.catalog.area.SearchArea.select_files", lambda _, names: [True] * len(names))
        assert run(scenes, tmp_path / "out").computed == ("far",)
        result = run(scenes, tmp_path / "area", aoi=",".join(map(str, bounds)))
        assert (result.computed, result.failed) == ((), {})
        assert {"a", "far"} <= set(result.skipped)

    def test_roads_beside_an_earlier_layer_are_no_hindrance(self, scenes: Path, tmp_path: Path) -> None:
        assert len(run(scenes, tmp_path / "out").layers) == 2
        assert [path.name for path in run(scenes, tmp_path / "out", roads=False).layers] == ["region.fgb"]
        assert not (tmp_path / "out/region_roads.fgb").exists()

    @pytest.mark.slow
    def test_another_split_after_one_that_was_cut_short(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*arguments: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("geoseg.run.execute.write_map", stop)
            with pytest.raises(KeyboardInterrupt):
                run(scenes, tmp_path / "out", split="utm")
        assert run(scenes, tmp_path / "out").layers_made
        assert not (tmp_path / "out/.geoseg/region").exists()

    @pytest.mark.slow
    def test_a_copied_directory_goes_on(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, tmp_path / "out")
        shutil.copytree(tmp_path / "out", tmp_path / "copy", copy_function=shutil.copyfile)
        result = run(scenes, tmp_path / "copy")
        assert (result.computed, result.layers_made) == ((), False)

    def test_a_scene_that_is_gone_is_kept_out_and_told(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, tmp_path / "out")
        (scenes / "c.tif").unlink()
        result = run(scenes, tmp_path / "out")
        assert (result.done, result.layers_made) == (("a", "b"), True)
        assert "no longer" in result.skipped["c"]
        assert (tmp_path / "out/scenes/c/classes.tif").exists()
        assert not (tmp_path / "out/items/c.json").exists()
        run(scenes, tmp_path / "calm")
        assert (tmp_path / "out/region.fgb").read_bytes() == (tmp_path / "calm/region.fgb").read_bytes()

    def test_another_finish_draws_the_map_anew(self, scenes: Path, tmp_path: Path) -> None:
        first = run(scenes, tmp_path / "out")
        result = run(scenes, tmp_path / "out", min_area_m2=50.0)
        assert (result.computed, result.layers_made) == ((), True)
        assert sum(result.polygons.values()) < sum(first.polygons.values())

    @pytest.mark.slow
    def test_another_format_keeps_its_style(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, tmp_path / "out", roads=False)
        run(scenes, tmp_path / "out", format=".parquet", roads=False)
        run(scenes, tmp_path / "calm", format=".parquet", roads=False)
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
            p.name for p in (tmp_path / "calm").iterdir()
        )

    def test_another_format_takes_the_place_of_the_first(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, tmp_path / "out", classes_raster=True)
        result = run(scenes, tmp_path / "out", format=".parquet", split="scene", roads=False)
        assert {path.name for path in result.layers} == {f"region_{name}.parquet" for name in "abc"}
        assert {path.parent.name for path in result.layers} == {"layers"}
        assert not list((tmp_path / "out").glob("region*"))

    @pytest.mark.slow
    def test_fresh(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, tmp_path / "out")
        result = run(scenes, tmp_path / "out", fresh=True)
        assert (result.computed, result.layers_made) == (("a", "b", "c"), True)

    @pytest.mark.slow
    def test_another_model_option_does_all_again(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, tmp_path / "out")
        assert run(scenes, tmp_path / "out", patch_px=512).computed == ("a", "b", "c")


class TestFaults:
    def test_a_bad_scene_among_good_ones(self, scenes: Path, tmp_path: Path) -> None:
        run(scenes, tmp_path / "calm")
        write_bad(scenes / "aa.tif", scenes / "a.tif")
        result = run(scenes, tmp_path / "out")
        assert result.done == ("a", "b", "c")
        assert list(result.failed) == ["aa"]
        assert "not readable" in result.failed["aa"]
        assert (tmp_path / "out/region.fgb").read_bytes() == (tmp_path / "calm/region.fgb").read_bytes()
        state = read_json(tmp_path / "out/scenes/aa/state.json")
        assert (state["state"], state["attempts"]) == ("failed", 2)

    @pytest.mark.slow
    def test_a_scene_that_was_mended(self, scenes: Path, tmp_path: Path) -> None:
        write_bad(scenes / "b.tif", scenes / "a.tif")
        assert list(run(scenes, tmp_path / "out").failed) == ["b"]
        write_scene(scenes / "b.tif", 1)
        result = run(scenes, tmp_path / "out")
        assert (result.computed, dict(result.failed)) == (("b",), {})

    def test_no_good_scene(self, scenes: Path, tmp_path: Path) -> None:
        for path in scenes.iterdir():
            write_bad(path, path)
        with pytest.raises(InputError, match=r"no scene could be done(.|\n)*a: (.|\n)*not readable"):
            run(scenes, tmp_path / "out")
        assert set(read_json(tmp_path / "out/report.json")["failed"]) == {"a", "b", "c"}
        assert (tmp_path / "out/report.html").exists()

    @pytest.mark.slow
    def test_an_area_with_some_of_the_scenes(self, scenes: Path, tmp_path: Path) -> None:
        write_scene(scenes / "far.tif", 100)
        with pytest.raises(InputError):
            run(scenes, tmp_path / "none", aoi=OUTSIDE)
        with rasterio.open(scenes / "a.tif") as dataset:
            west, south, east, north = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
        result = run(scenes, tmp_path / "out", aoi=f"{west},{south},{(west + east) / 2},{north}")
        assert result.done[0] == "a"
        assert "far" not in result.done

    @pytest.mark.parametrize(
        "fault",
        [OSError(errno.EIO, "the cable"), pytest.param(ValueError("of a library"), marks=pytest.mark.slow)],
        ids=repr,
    )
    def test_what_may_pass_is_tried_again(
        self, scenes: Path, tmp_path: Path, once: Callable[..., list[str]], fault: Exception
    ) -> None:
        asked = once(fault, fault)
        assert run(scenes, tmp_path / "out", retries=2).done == ("a", "b", "c")
        assert asked == ["a", "b", "b", "b", "c"]
        assert read_json(tmp_path / "out/scenes/b/report.json")["attempts"] == 3

    @pytest.mark.parametrize(
        "fault",
        [BudgetError("memory"), *(pytest.param(e, marks=pytest.mark.slow) for e in (OptionError("no"), MemoryError()))],
        ids=repr,
    )
    def test_what_was_decided_is_not(
        self, scenes: Path, tmp_path: Path, once: Callable[..., list[str]], fault: Exception
    ) -> None:
        asked = once(*[fault] * 9)
        result = run(scenes, tmp_path / "out", retries=5)
        assert (result.done, list(result.failed)) == (("a", "c"), ["b"])
        assert asked == ["a", "b", "c"]

    @pytest.mark.slow
    def test_retries_come_to_an_end(self, scenes: Path, tmp_path: Path, once: Callable[..., list[str]]) -> None:
        asked = once(*[OSError(errno.EIO, "the cable")] * 9)
        assert "the cable" in run(scenes, tmp_path / "out", retries=3).failed["b"]
        assert asked.count("b") == 4

    def test_a_file_replaced_while_it_is_read(
        self, scenes: Path, tmp_path: Path, once: Callable[..., list[str]]
    ) -> None:
        once(lambda path: None, lambda path: None)
        real = making.predict_classes

        def replace_later(image: str, *arguments: Any, **options: Any) -> Any:
            result = real(image, *arguments, **options)
            if not (tmp_path / "mark").exists():
                (tmp_path / "mark").touch()
                write_scene(Path(image), 7)
            return result

        making.predict_classes = replace_later  # type: ignore[assignment]  # put back by `once`
        result = run(scenes, tmp_path / "out")
        assert result.computed == ("a", "b", "c")
        assert read_json(tmp_path / "out/scenes/a/report.json")["attempts"] == 2
        assert run(scenes, tmp_path / "out").computed == ()

    def test_a_change_that_is_noticed_while_reading_is_tried_again(
        self, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = iter([False])
        monkeypatch.setattr("geoseg.run.execute.is_unchanged", lambda source: next(answers, True))
        monkeypatch.setattr(making, "BACKOFF_S", 0.0)
        assert run(scenes, tmp_path / "out").done == ("a", "b", "c")
        assert read_json(tmp_path / "out/scenes/a/report.json")["attempts"] == 2

    @pytest.mark.parametrize(
        "fault",
        [OSError(errno.ENOSPC, "No space left on device"), OutputError("classes.tif cannot be written: full")],
        ids=repr,
    )
    def test_a_full_disk_stops_the_run_which_goes_on_later(
        self, scenes: Path, tmp_path: Path, once: Callable[..., list[str]], fault: Exception
    ) -> None:
        asked = once(fault)
        with pytest.raises(OutputError, match=r"cannot be written(.|\n)*the same command goes on from here"):
            run(scenes, tmp_path / "out")
        assert asked == ["a", "b"]
        result = run(scenes, tmp_path / "out")
        assert (result.done, result.computed) == (("a", "b", "c"), ("b", "c"))

    @pytest.mark.parametrize(
        "fault",
        [
            UnreachableError("the dask scheduler is gone"),
            pytest.param(GeosegError("the dask scheduler is gone"), marks=pytest.mark.slow),
        ],
        ids=repr,
    )
    def test_a_lost_scheduler_stops_the_run(
        self, scenes: Path, tmp_path: Path, once: Callable[..., list[str]], fault: Exception
    ) -> None:
        once(fault)
        with pytest.raises(GeosegError, match="gone"):
            run(scenes, tmp_path / "out")
        assert read_json(tmp_path / "out/scenes/b/state.json")["state"] == "running"
        assert run(scenes, tmp_path / "out").computed == ("b", "c")

    def test_a_scene_without_a_place_on_the_map_stops_no_other(self, scenes: Path, tmp_path: Path) -> None:
        with rasterio.open(scenes / "a.tif") as dataset:
            profile, values = dataset.profile | {"crs": "EPSG:32607"}, dataset.read()
        with rasterio.open(scenes / "far.tif", "w", **profile) as dataset:
            dataset.write(values)
        result = run(scenes, tmp_path / "out", crs="EPSG:21037")
        assert (result.done, list(result.failed)) == (("a", "b", "c"), ["far"])
        assert "cannot be brought into the region's CRS" in result.failed["far"]

    def test_a_map_that_would_be_too_large_is_refused_before_the_work(
        self, scenes: Path, tmp_path: Path, once: Callable[..., list[str]]
    ) -> None:
        write_scene(scenes / "far.tif", 50_000)
        asked = once()
        with pytest.raises(
            OptionError, match=r"to be simplified in a raster .* far and [abc] lie 2,437 km apart"
        ) as told:
            run(scenes, tmp_path / "out")
        assert not asked
        assert "--split utm" in told.value.remedy
        assert "--tile-px" not in told.value.remedy

    def test_scenes_on_two_continents_are_refused_in_words(self, scenes: Path, tmp_path: Path) -> None:
        with rasterio.open(scenes / "a.tif") as dataset:
            profile, values = dataset.profile | {"crs": "EPSG:32633"}, dataset.read()
        with rasterio.open(scenes / "far.tif", "w", **profile) as dataset:
            dataset.write(values)
        with pytest.raises(OptionError, match=r"\d+ x \d+ tiles.* at 0\.5 m; far and [abc] lie .* km apart") as told:
            run(scenes, tmp_path / "out", crs="EPSG:4087", simplify_m=0)
        assert "a batch for each place" in told.value.remedy

    def test_items_without_an_image_stop_no_other(self, scenes: Path, tmp_path: Path) -> None:
        def make_item(name: str, assets: dict[str, Any]) -> dict[str, Any]:
            return {"type": "Feature", "id": name, "geometry": None, "properties": {}, "assets": assets}

        good = [make_item(name, {"visual": {"href": str(scenes / f"{name}.tif")}}) for name in "ab"]
        poor = [make_item(name, {"notes": {"href": "x.json"}}) for name in ("c", "d")]
        listed = tmp_path / "items.json"
        listed.write_text(json.dumps({"type": "FeatureCollection", "features": [good[0], *poor, good[1]]}))
        result = run(listed, tmp_path / "out")
        assert (result.done, list(result.failed)) == (("a", "b"), ["c", "d"])
        assert "item c has no image" in result.failed["c"]
        listed.write_text(json.dumps({"type": "FeatureCollection", "features": poor}))
        with pytest.raises(InputError, match="item c has no image"):
            run(listed, tmp_path / "none")

    def test_no_credential_in_any_file(self, scenes: Path, tmp_path: Path) -> None:
        listed = tmp_path / "list.txt"
        listed.write_text(f"{scenes}\nhttp://me:hush1@127.0.0.1:9/x.tif?sig=hush2\n")
        result = batch([listed], tmp_path / "out", model=MODEL, retries=0)
        assert list(result.failed) == ["x"]
        texts = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
        assert len(texts) > 5
        assert not any(b"hush" in text for text in texts)
        assert "hush" not in repr(result)

    def test_a_directory_of_somebody_else(self, scenes: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/thesis.doc").write_text("years")
        with pytest.raises(OutputError, match="no region's directory"):
            run(scenes, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.doc"]

    @pytest.mark.parametrize(
        ("option", "word"),
        [
            ({"split": "sheet:0"}, "split"),
            ({"split": "country"}, "split"),
            ({"format": ".shp"}, "format"),
            ({"retries": -1}, "retries"),
            ({"resolution_m": 0.0}, "resolution"),
            ({"precedence": "oldest"}, "precedence"),
            ({"min_unit_m2": {"castle": 1.0}}, "castle"),
            ({"memory": "lots"}, "memory"),
            ({"device": "abacus"}, "device"),
            ({"model": "landcover-rbg"}, "landcover-rbg"),
            ({"aoi": "nowhere.gpkg"}, "nowhere"),
            ({"postgis": "postgresql://h/d?replace=all", "split": "scene"}, "tables"),
            ({"postgis": "postgresql://h/d", "split": "utm"}, "tables"),
            ({"postgis": "postgresql://h/d", "format": ".pmtiles"}, "pmtiles"),
            ({"crs": "EPSG:1"}, "EPSG:1"),
            ({"crs": "EPSG:32737", "split": "utm"}, "UTM zone"),
            ({"crs": "EPSG:4326", "split": "sheet:50"}, "WGS 84"),
            ({"split": "sheet:0.5"}, "split"),
            ({"scheduler": "tcp://127.0.0.1:9"}, "127.0.0.1:9"),
        ],
        ids=str,
    )
    def test_a_wrong_call_writes_nothing(
        self, scenes: Path, tmp_path: Path, option: dict[str, Any], word: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("geoseg.run.scheduler.CONNECT_TIMEOUT_S", 1)
        with pytest.raises(GeosegError, match=word):
            run(scenes, tmp_path / "out", **option)
        assert not (tmp_path / "out").exists()
