"""Whatever is wrong with the input or the call: exit code 2, one clear message, nothing half-written, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.transform import from_origin

import geoseg
from geoseg import cli
from geoseg.run.segment import DEFAULT_MODEL

PLACE = {"crs": "EPSG:32633", "transform": from_origin(500000, 5600000, 0.4, 0.4)}
SIDE_PX = 96

Run = Callable[..., str]


def write_image(
    path: Path, *, bands: int = 3, dtype: str = "uint8", values: np.ndarray | None = None, **profile: object
) -> Path:
    if values is None:
        values = np.random.default_rng(1).integers(1, 200, (bands, SIDE_PX, SIDE_PX)).astype(dtype)
    options = {"driver": "GTiff", "count": len(values), "dtype": dtype, **PLACE, **profile}
    with rasterio.open(path, "w", height=values.shape[1], width=values.shape[2], **options) as target:
        target.write(values)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process; gives stderr."""

    def run_command(*arguments: object, code: int) -> str:
        monkeypatch.setattr(sys, "argv", ["geoseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        stderr = capsys.readouterr().err
        assert end.value.code == code, stderr
        return stderr

    return run_command


@pytest.fixture
def refuse(run: Run, tmp_path: Path) -> Run:
    """Run a command that must be refused: exit code 2, one message without traceback, no new file."""

    def refuse_command(*arguments: object, expect: str) -> str:
        before = {p for p in tmp_path.rglob("*") if p.is_file()}
        message = run(*arguments, code=2)
        assert "Traceback" not in message
        assert expect.lower() in message.lower(), message
        left = {p for p in tmp_path.rglob("*") if p.is_file() and ".geoseg" not in p.parts}
        assert left == {p for p in before if ".geoseg" not in p.parts}
        return message

    return refuse_command


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_image(tmp_path / "image.tif")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    copy = tmp_path / "package"
    shutil.copytree(geoseg.load_model(DEFAULT_MODEL).path, copy)
    return copy


def make_missing(folder: Path) -> Path:
    return folder / "missing.tif"


def make_text(folder: Path) -> Path:
    path = folder / "text.tif"
    path.write_text("no raster at all")
    return path


def make_truncated(folder: Path) -> Path:
    path = write_image(folder / "whole.tif")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


BAD_IMAGES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (make_missing, "missing.tif"),
    "directory": (lambda folder: folder, str),  # type: ignore[dict-item]
    "not a raster": (make_text, "not readable as a raster"),
    "truncated": (make_truncated, "cannot be read"),
    "no CRS": (lambda f: write_image(f / "a.tif", crs=None), "no coordinate reference system"),
    "no georeference": (lambda f: write_image(f / "a.tif", transform=Affine.identity()), "geotransform"),
    "nothing at all": (lambda f: write_image(f / "a.tif", crs=None, transform=Affine.identity()), "reference"),
    "one band": (lambda f: write_image(f / "a.tif", bands=1), "1 band"),
    "two bands": (lambda f: write_image(f / "a.tif", bands=2), "2 band"),
    "all nodata": (lambda f: write_image(f / "a.tif", values=np.zeros((3, 9, 9), np.uint8), nodata=0), "nodata"),
    "all NaN": (lambda f: write_image(f / "a.tif", values=np.full((3, 9, 9), np.nan, "f4"), dtype="float32"), "nodata"),
    "far too coarse": (lambda f: write_image(f / "a.tif", transform=from_origin(5e5, 5e6, 90, 90)), "resolution"),
    "nowhere on Earth": (lambda f: write_image(f / "a.tif", transform=from_origin(5e99, 5e99, 1, 1)), "earth"),
}
BAD_IMAGES.pop("directory")


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_image(refuse: Run, tmp_path: Path, kind: str) -> None:
    make, expect = BAD_IMAGES[kind]
    refuse("segment", make(tmp_path), "-o", tmp_path / "map.gpkg", expect=expect)


def test_a_directory_is_no_image(refuse: Run, tmp_path: Path) -> None:
    refuse("segment", tmp_path, "-o", tmp_path / "map.gpkg", expect="directory")


BAD_AREAS = {
    "outside": ("-70,-30,-69,-29", "no pixel of the raster"),
    "zero area": ("15.0,50.5,15.0,50.6", "area"),
    "malformed": ("1,2,three,4", "W,S,E,N"),
    "too few numbers": ("1,2,3", "W,S,E,N"),
    "south above north": ("15,51,16,50", "S < N"),
}


@pytest.mark.parametrize("kind", BAD_AREAS)
def test_bad_area(refuse: Run, tmp_path: Path, image: Path, kind: str) -> None:
    area, expect = BAD_AREAS[kind]
    refuse("segment", image, "-o", tmp_path / "map.gpkg", "--aoi", area, expect=expect)


def test_missing_area_file(refuse: Run, tmp_path: Path, image: Path) -> None:
    refuse("segment", image, "-o", tmp_path / "map.gpkg", "--aoi", tmp_path / "no.geojson", expect="no.geojson")


class TestOutputs:
    def test_exists(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        layer = tmp_path / "map.gpkg"
        layer.write_text("precious")
        refuse("segment", image, "-o", layer, expect="--overwrite")
        assert layer.read_text() == "precious"

    def test_raster_exists(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        raster = tmp_path / "classes.tif"
        raster.write_text("precious")
        refuse("segment", image, "-o", tmp_path / "map.gpkg", "--classes-raster", raster, expect="--overwrite")
        assert raster.read_text() == "precious"

    def test_unknown_format(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        refuse("segment", image, "-o", tmp_path / "map.dwg", expect=".geojson")

    def test_a_directory_in_the_way(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        (tmp_path / "map.gpkg").mkdir()
        refuse("segment", image, "-o", tmp_path / "map.gpkg", "--overwrite", expect="is a directory")

    def test_a_file_where_the_folder_should_be(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        refuse("segment", image, "-o", image / "map.gpkg", expect="cannot be written")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_unwritable(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        refuse("segment", image, "-o", locked / "map.gpkg", expect="cannot be written")

    def test_read_only_file_system(self, refuse: Run, image: Path) -> None:
        refuse("segment", image, "-o", "/proc/map.gpkg", expect="cannot be written")

    def test_foreign_work_directory(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "me.jpg").write_text("precious")
        refuse(
            "segment", image, "-o", tmp_path / "map.gpkg", "--work-dir", tmp_path / "photos", expect="work directory"
        )

    @pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet"])
    def test_full_disk(self, run: Run, tmp_path: Path, small_disk: Path, suffix: str) -> None:
        values = np.random.default_rng(3).integers(0, 4, (1, 700, 700)).astype(np.uint8)
        classes = write_image(tmp_path / "classes.tif", values=values)
        message = run("polygonize", classes, "-o", small_disk / f"map{suffix}", "--work-dir", tmp_path / "work", code=2)
        assert "Traceback" not in message
        assert "cannot be written" in message
        assert not [p for p in small_disk.iterdir() if p.name != ".geoseg"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


class TestModels:
    def refuse_model(self, refuse: Run, image: Path, model: object, expect: str) -> None:
        refuse("segment", image, "-o", image.with_name("map.gpkg"), "--model", model, expect=expect)

    def test_unknown(self, refuse: Run, image: Path) -> None:
        self.refuse_model(refuse, image, "landcover-rgv", DEFAULT_MODEL)

    @pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pkl"])
    def test_pickle(self, refuse: Run, image: Path, suffix: str) -> None:
        weights = image.with_name(f"weights{suffix}")
        weights.write_bytes(b"\x80\x04.")
        self.refuse_model(refuse, image, weights, "safetensors")

    def test_tampered_weights(self, refuse: Run, image: Path, package: Path) -> None:
        weights = package / "weights.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        self.refuse_model(refuse, image, package, "checksum")

    def test_missing_weights(self, refuse: Run, image: Path, package: Path) -> None:
        (package / "weights.safetensors").unlink()
        self.refuse_model(refuse, image, package, "weights.safetensors")

    def test_broken_description(self, refuse: Run, image: Path, package: Path) -> None:
        (package / "model.json").write_text("{")
        self.refuse_model(refuse, image, package, "model.json")

    def test_missing_field(self, refuse: Run, image: Path, package: Path) -> None:
        description = json.loads((package / "model.json").read_text())
        del description["properties"]["geoseg:halo_px"]
        (package / "model.json").write_text(json.dumps(description))
        self.refuse_model(refuse, image, package, "halo_px")


class TestOptions:
    def test_memory_too_small(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        message = refuse("segment", image, "-o", tmp_path / "map.gpkg", "--memory", "100MiB", expect="--memory")
        assert "remedy" in message

    def test_memory_is_no_size(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        refuse("segment", image, "-o", tmp_path / "map.gpkg", "--memory", "lots", expect="4GiB")

    def test_unknown_scheduler(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        refuse("segment", image, "-o", tmp_path / "map.gpkg", "--scheduler", "slurm", expect="threads, local, tcp")

    def test_exact_and_simplify(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        refuse("segment", image, "-o", tmp_path / "m.gpkg", "--exact", "--simplify", "1", expect="one of them")

    def test_unknown_option(self, run: Run, image: Path) -> None:
        assert "--layer" in run("segment", image, "--layer", "x", code=2)

    def test_no_output(self, run: Run, image: Path) -> None:
        assert "--output" in run("segment", image, code=2)


class TestClassRasters:
    def test_imagery(self, refuse: Run, tmp_path: Path, image: Path) -> None:
        refuse("polygonize", image, "-o", tmp_path / "map.gpkg", expect="one band")

    def test_real_numbers(self, refuse: Run, tmp_path: Path) -> None:
        classes = write_image(tmp_path / "c.tif", bands=1, dtype="float32")
        refuse("polygonize", classes, "-o", tmp_path / "map.gpkg", expect="integer")

    def test_large_ids(self, refuse: Run, tmp_path: Path) -> None:
        classes = write_image(tmp_path / "c.tif", values=np.full((1, 5, 5), 1000, np.int16), dtype="int16")
        refuse("polygonize", classes, "-o", tmp_path / "map.gpkg", expect="1000")

    def test_missing(self, refuse: Run, tmp_path: Path) -> None:
        refuse("polygonize", tmp_path / "no.tif", "-o", tmp_path / "map.gpkg", expect="no.tif")
