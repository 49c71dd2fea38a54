from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from numpy.typing import NDArray

from geoseg import __version__
from geoseg.errors import InputError, OutputError
from geoseg.grid import GeoGrid, Window
from geoseg.legend import LAND_COVER, ClassLegend
from geoseg.raster.cog import read_legend, write_class_raster, write_confidence_raster

Grids = Callable[..., GeoGrid]
NAMES = ["classes.qml", "classes.tif", "classes.tif.aux.xml"]


@pytest.fixture
def classes() -> NDArray[np.uint8]:
    coarse = np.random.default_rng(0).integers(0, 5, (120, 150)).astype(np.uint8)
    fine = coarse.repeat(11, 0).repeat(9, 1)
    return np.where(fine == 4, 255, fine).astype(np.uint8)


def cut(values: NDArray[np.uint8], size: tuple[int, int]) -> list[tuple[Window, NDArray[np.uint8]]]:
    whole = Window(0, 0, *values.shape)
    windows = [
        Window(row, col, *size).intersect(whole)
        for row in range(0, whole.rows, size[0])
        for col in range(0, whole.cols, size[1])
    ]
    return [(w, values[w.within(whole)]) for w in windows]


def test_bytes_do_not_depend_on_blocks_or_their_order(
    tmp_path: Path, make_grid: Grids, classes: NDArray[np.uint8]
) -> None:
    grid, seen = make_grid(*classes.shape), set()
    for size in ((512, 512), (9999, 9999), (480, 480), (700, 301), (33, 1350)):
        blocks = cut(classes, size)
        for order in (blocks, blocks[::-1], [blocks[i] for i in np.random.default_rng(1).permutation(len(blocks))]):
            path = tmp_path / "classes.tif"
            write_class_raster(path, grid, order, legend=LAND_COVER, overwrite=True)
            seen.add((path.read_bytes(), path.with_name("classes.tif.aux.xml").read_bytes()))
    assert len(seen) == 1


def test_blocks_of_nodata_may_be_left_out(tmp_path: Path, make_grid: Grids, classes: NDArray[np.uint8]) -> None:
    classes[300:700, 200:900] = 255
    grid, paths = make_grid(*classes.shape), (tmp_path / "all.tif", tmp_path / "some.tif")
    blocks = cut(classes, (100, 100))
    write_class_raster(paths[0], grid, blocks, legend=LAND_COVER)
    write_class_raster(paths[1], grid, (b for b in blocks if (b[1] != 255).any()), legend=LAND_COVER)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_a_gis_finds(tmp_path: Path, make_grid: Grids, classes: NDArray[np.uint8]) -> None:
    grid, path = make_grid(*classes.shape), tmp_path / "classes.tif"
    write_class_raster(path, grid, cut(classes, (480, 480)), legend=LAND_COVER)
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), classes)
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.nodata == 255
        assert raster.crs == rasterio.CRS.from_wkt(grid.crs)
        assert raster.transform == grid.transform
        assert raster.overviews(1)
        assert [raster.colormap(1)[c.id][:3] for c in LAND_COVER.classes] == [c.color for c in LAND_COVER.classes]
        assert raster.colormap(1)[255][3] == 0
        assert read_legend(raster) == LAND_COVER
    assert sorted(p.name for p in tmp_path.iterdir()) == NAMES


def test_provenance_is_inside_and_the_same_every_time(
    tmp_path: Path, make_grid: Grids, classes: NDArray[np.uint8]
) -> None:
    grid, provenance = make_grid(*classes.shape), {"source": 'a<b>&"ü.tif', "model": "landcover-rgb", "plan": "{}"}
    for i, facts in enumerate((provenance, dict(sorted(provenance.items())))):
        write_class_raster(tmp_path / f"{i}.tif", grid, cut(classes, (480, 480)), legend=LAND_COVER, provenance=facts)
        write_confidence_raster(tmp_path / f"c{i}.tif", grid, cut(classes, (480, 480)), provenance=facts)
    for name in ("", "c"):
        with rasterio.open(tmp_path / f"{name}0.tif") as raster:
            tags = raster.tags()
        assert {k: tags[f"GEOSEG_{k.upper()}"] for k in provenance} == provenance
        assert tags["TIFFTAG_SOFTWARE"] == f"geoseg {__version__}"
        assert (tmp_path / f"{name}0.tif").read_bytes() == (tmp_path / f"{name}1.tif").read_bytes()


def test_overviews_show_the_most_frequent_class_and_the_mean_confidence(tmp_path: Path, make_grid: Grids) -> None:
    values = np.random.default_rng(3).integers(1, 4, (600, 800)).astype(np.uint8)
    values[:100] = 255
    grid = make_grid(*values.shape)
    write_class_raster(tmp_path / "classes.tif", grid, cut(values, (512, 512)), legend=LAND_COVER)
    write_confidence_raster(tmp_path / "confidence.tif", grid, cut(values, (512, 512)))
    quads = values.reshape(300, 2, 400, 2).swapaxes(1, 2).reshape(300, 400, 4)
    votes = (quads[..., None] == np.arange(256)).sum(2)
    with rasterio.open(tmp_path / "classes.tif", overview_level=0) as raster:
        chosen = np.take_along_axis(votes, raster.read(1)[..., None].astype(int), 2)[..., 0]
        np.testing.assert_array_equal(chosen, votes.max(2))
    with rasterio.open(tmp_path / "confidence.tif", overview_level=0) as raster:
        assert abs(raster.read(1) - quads.mean(2)).max() <= 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (512, 512), (513, 1025)])
def test_rasters_of_any_size(tmp_path: Path, make_grid: Grids, shape: tuple[int, int]) -> None:
    values, path = np.full(shape, 2, np.uint8), tmp_path / "classes.tif"
    write_class_raster(path, make_grid(*shape), cut(values, (300, 300)), legend=LAND_COVER)
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), values)
        assert raster.block_shapes == [(512, 512)]
        assert bool(raster.overviews(1)) == (max(shape) > 512)


@pytest.mark.slow
def test_more_than_two_gigabytes_are_bigtiff_in_flat_memory(tmp_path: Path, make_grid: Grids) -> None:
    code = f"""
from pathlib import Path
from affine import Affine
from geoseg.grid import GeoGrid
from geoseg.legend import LAND_COVER, ClassLegend
from geoseg.raster.cog import write_class_raster
from tests.peak import peak_kib
grid = GeoGrid({make_grid(1, 1).crs!r}, Affine(0.5, 0, 530_000, 0, -0.5, 9_330_000), 50_000, 50_000)
write_class_raster(Path({str(tmp_path / "classes.tif")!r}), grid, [], legend=LAND_COVER)
print(peak_kib() // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300
    with (tmp_path / "classes.tif").open("rb") as file:
        assert file.read(4) == b"II\x2b\x00"


def test_styles_of_others_are_left_alone(tmp_path: Path, make_grid: Grids) -> None:
    grid, path, style = make_grid(5, 7), tmp_path / "classes.tif", tmp_path / "classes.qml"
    style.write_text("<qgis><renderer-v2/></qgis>")
    write_class_raster(path, grid, [], legend=LAND_COVER)
    write_confidence_raster(path, grid, [], overwrite=True)
    assert style.read_text() == "<qgis><renderer-v2/></qgis>"
    style.unlink()
    write_class_raster(path, grid, [], legend=LAND_COVER, overwrite=True)
    assert "vegetation" in style.read_text()
    write_class_raster(path, grid, [], legend=ClassLegend(LAND_COVER.classes[:2]), overwrite=True)
    assert "vegetation" not in style.read_text()


def test_a_crs_that_geotiff_cannot_hold_stays_with_the_raster(tmp_path: Path, make_grid: Grids) -> None:
    grid = make_grid(5, 7, crs="+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39 +lon_0=0 +ellps=sphere")
    write_class_raster(tmp_path / "a.tif", grid, [], legend=LAND_COVER)
    write_confidence_raster(tmp_path / "b.tif", grid, [])
    for name in ("a.tif", "b.tif"):
        with rasterio.open(tmp_path / name) as raster:
            assert raster.crs == rasterio.CRS.from_wkt(grid.crs)
            assert raster.transform == grid.transform
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.qml", "a.tif", "a.tif.aux.xml", "b.tif", "b.tif.aux.xml"]


@pytest.mark.parametrize("moment", ["given", "copied", "replaced"])
def test_a_killed_process_leaves_the_old_raster_and_nothing_that_the_next_one_keeps(
    tmp_path: Path, make_grid: Grids, moment: str
) -> None:
    grid, path = make_grid(600, 600), tmp_path / "classes.tif"
    write_class_raster(path, grid, [], legend=LAND_COVER)
    whole = path.read_bytes()
    code = f"""
import os, signal, sys
from pathlib import Path
import numpy as np, rasterio.shutil
from affine import Affine
from geoseg.grid import GeoGrid
from geoseg.legend import ClassLegend, LegendClass
from geoseg.raster.cog import write_class_raster
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
def blocks():
    if {moment!r} == "given":
        die()
    yield grid.window, np.ones(grid.window.shape, np.uint8)
copy, replace, replaced = rasterio.shutil.copy, os.replace, []
if {moment!r} == "copied":
    rasterio.shutil.copy = lambda *a, **k: (copy(*a, **k), die())
if {moment!r} == "replaced":
    os.replace = lambda *a: (replace(*a), die())
grid = GeoGrid({grid.crs!r}, Affine(0.5, 0, 530_000, 0, -0.5, 9_330_000), 600, 600)
legend = ClassLegend((LegendClass(0, "sea", (0, 0, 9), "area"), LegendClass(1, "land", (9, 0, 0), "area")))
write_class_raster(Path({str(path)!r}), grid, blocks(), legend=legend, overwrite=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    side = path.with_name("classes.tif.aux.xml")
    if moment == "replaced":
        assert not side.exists()  # names of the other legend would be wrong
    else:
        assert path.read_bytes() == whole
        assert "vegetation" in side.read_text()
    write_class_raster(path, grid, [], legend=LAND_COVER, overwrite=True)
    assert path.read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == NAMES


def test_confidence(tmp_path: Path, make_grid: Grids) -> None:
    values = np.random.default_rng(0).integers(0, 256, (600, 700)).astype(np.uint8)
    grid, path = make_grid(600, 700), tmp_path / "confidence.tif"
    write_confidence_raster(path, grid, cut(values, (99, 512)))
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), values)
        assert raster.scales == (1 / 255,)
        assert raster.nodata == 0
        assert read_legend(raster) is None
    first = path.read_bytes()
    write_confidence_raster(path, grid, cut(values, (600, 700)), overwrite=True)
    assert path.read_bytes() == first


def test_existing_files_and_failures(tmp_path: Path, make_grid: Grids, classes: NDArray[np.uint8]) -> None:
    grid, path = make_grid(*classes.shape), tmp_path / "classes.tif"
    path.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        write_class_raster(path, grid, cut(classes, (480, 480)), legend=LAND_COVER)

    def fail() -> Iterator[tuple[Window, NDArray[np.uint8]]]:
        yield from cut(classes, (480, 480))[:3]
        raise InputError("no more")

    with pytest.raises(InputError):
        write_class_raster(path, grid, fail(), legend=LAND_COVER, overwrite=True)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_class_raster(tmp_path / "file" / "a.tif", grid, [], legend=LAND_COVER)
    with pytest.raises(OutputError, match="cannot be written"):
        write_class_raster(tmp_path / ("a" * 300 + ".tif"), grid, [], legend=LAND_COVER)


@contextmanager
def mount_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_gives_an_error_or_the_whole_raster(
    tmp_path: Path, make_grid: Grids, classes: NDArray[np.uint8]
) -> None:
    grid, disk, fits = make_grid(*classes.shape), tmp_path / "disk", []
    disk.mkdir()
    write_class_raster(tmp_path / "a.tif", grid, cut(classes, (480, 480)), legend=LAND_COVER)
    whole = {path.name: path.read_bytes() for path in tmp_path.glob("a.*")}
    for kilobytes in range(16, 4096, 8):
        with mount_disk(disk, kilobytes):
            try:
                write_class_raster(disk / "a.tif", grid, cut(classes, (480, 480)), legend=LAND_COVER)
                fits.append(True)
            except OutputError:
                fits.append(False)
            found = {path.name: path.read_bytes() for path in disk.iterdir()}
            assert found == (whole if fits[-1] else {}), f"{kilobytes} KiB"
        if sum(fits) == 10:
            break
    assert not fits[0]
    assert fits[-1]


@pytest.mark.parametrize("fault", ["truncated", "another pixel", "a block lost before"])
def test_a_raster_that_reads_back_otherwise_is_refused(
    tmp_path: Path, make_grid: Grids, classes: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    copy, grid, path = rasterio.shutil.copy, make_grid(*classes.shape), tmp_path / "classes.tif"

    def spoil(source: Path, target: Path, **options: object) -> None:
        with rasterio.open(source, "r+") as raster:
            values = raster.read(1)
            if fault == "another pixel":
                values[700, 800] ^= 1
            elif fault == "a block lost before":
                values[512:1024, :512] = raster.nodata
            raster.write(values, 1)
        copy(source, target, **options)
        if fault == "truncated":
            target.write_bytes(target.read_bytes()[:-5000])

    monkeypatch.setattr(rasterio.shutil, "copy", spoil)
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_class_raster(path, grid, cut(classes, (480, 480)), legend=LAND_COVER)
    assert caught.value.expected
    assert caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_class_names_of_an_earlier_raster_go_with_it(
    tmp_path: Path, make_grid: Grids, classes: NDArray[np.uint8]
) -> None:
    grid, path = make_grid(*classes.shape), tmp_path / "raster.tif"
    write_class_raster(path, grid, cut(classes, (480, 480)), legend=LAND_COVER)
    write_confidence_raster(path, grid, cut(classes, (480, 480)), overwrite=True)
    assert list(tmp_path.iterdir()) == [path]


def test_class_names_that_cannot_be_written_leave_no_raster(
    tmp_path: Path, make_grid: Grids, classes: NDArray[np.uint8]
) -> None:
    (tmp_path / "classes.tif.aux.xml").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_class_raster(tmp_path / "classes.tif", make_grid(*classes.shape), [], legend=LAND_COVER)
    assert [p.name for p in tmp_path.iterdir()] == ["classes.tif.aux.xml"]
