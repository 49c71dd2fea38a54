"""Rasters that no one should have sent: exit code 2, one message, nothing left; or read as if nothing were wrong."""

from __future__ import annotations

import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from geoseg.errors import BudgetError, InputError
from geoseg.raster.classes import open_class_raster
from geoseg.raster.opening import MAX_BLOCK_BYTES
from geoseg.raster.source import MAX_SCANS, open_raster
from geoseg.run.polygonize import polygonize
from tests.test_bad_input import SIDE_PX, Run, write_image

XML_BOMB = (
    '<!DOCTYPE l [<!ENTITY a0 "lol">'
    + "".join(f'<!ENTITY a{i} "{10 * f"&a{i - 1};"}">' for i in range(1, 10))
    + "]><PAMDataset><Metadata><MDI key='DATETIME'>&a9;</MDI></Metadata></PAMDataset>"
)
XML_ENTITY = (
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    "<PAMDataset><Metadata><MDI key='DATETIME'>&e;</MDI></Metadata></PAMDataset>"
)


def write_sparse(path: Path, *, bands: int = 3, side: int = SIDE_PX, **profile: object) -> Path:
    """A file that declares pixels and holds none of them."""
    options = {"driver": "GTiff", "crs": "EPSG:32633", "transform": Affine(0.5, 0, 5e5, 0, -0.5, 5.6e6)} | profile
    options |= {"dtype": "uint8", "sparse_ok": True, "bigtiff": "yes"}
    rasterio.open(path, "w", count=bands, height=side, width=side, **options).close()
    return path


def write_one_block(path: Path, side: int) -> Path:
    """A file of a few MB, all of whose pixels are one deflated tile of zeros."""
    profile = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    write_image(path, values=np.ones((3, 16, 16), np.uint8), **profile)
    content = bytearray(path.read_bytes())
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(3 * side * 64)) for _ in range(side // 64)) + packer.flush()
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    values = {256: side, 257: side, 322: side, 323: side, 324: len(content), 325: len(data)}
    for at in range(start + 2, start + 2 + 12 * entries, 12):
        (tag,) = struct.unpack_from("<H", content, at)
        if tag in values:
            struct.pack_into("<HII", content, at + 2, 4, 1, values[tag])
    path.write_bytes(content + data)
    return path


def beside(path: Path, suffix: str, text: str | bytes) -> Path:
    Path(f"{path}{suffix}").write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def make_fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def make_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(write_image(path.with_suffix(".tif")), "scene.tif")
    return path


def cut(path: Path, size: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * size)])
    return path


def place(path: Path, *transform: float) -> Path:
    return write_image(path, transform=Affine(*transform))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty file": (lambda f: beside(f / "empty.tif", "", ""), "an empty file"),
    "pipe": (lambda f: make_fifo(f / "a.tif"), "a pipe or a device"),
    "device": (lambda f: "/dev/zero", "a pipe or a device"),
    "zip as such": (lambda f: make_zip(f / "a.zip"), "not recognized"),
    "no such member of a zip": (lambda f: f"/vsizip/{make_zip(f / 'a.zip')}/b.tif", "does not exist"),
    "truncated zip": (lambda f: f"/vsizip/{cut(make_zip(f / 'a.zip'), 0.5)}/scene.tif", "not readable"),
    "NetCDF that is not there": (lambda f: f'NETCDF:"{f}/a.nc":red', "not readable"),
    "text as NetCDF": (lambda f: f'NETCDF:"{beside(f / "a.nc", "", "text")}":red', "not readable"),
    "HDF5 of 8 bytes": (lambda f: beside(f / "a.h5", "", b"\x89HDF\r\n\x1a\n"), "not readable"),
    "JPEG 2000 of a few bytes": (lambda f: beside(f / "a.jp2", "", b"\0\0\0\x0cjP  \r\n\x87\n\0\0"), "not readable"),
    "text as GeoPackage": (lambda f: beside(f / "a.gpkg", "", "text"), "not readable"),
    "very long name": (lambda f: "x" * 5000, "too long"),
    "name with a line end": (lambda f: f / "a\nb.tif", "no such file"),
    "name that is no UTF-8": (lambda f: os.fsdecode(b"\xff\xfe.tif"), "not UTF-8"),
    "pixel of no width": (lambda f: place(f / "a.tif", 0.5, 0, 5e5, 0, 0, 9e6), "geotransform"),
    "infinite corner": (lambda f: place(f / "a.tif", 0.5, 0, np.inf, 0, -0.5, 9e6), "geotransform"),
    "pixels of nothing": (lambda f: place(f / "a.tif", 1e-300, 0, 5e5, 0, -1e-300, 9e6), "geotransform"),
    "pixels larger than the Earth": (lambda f: place(f / "a.tif", 1e300, 0, 5e5, 0, -1e300, 9e6), "nowhere"),
    "CRS of another planet": (lambda f: write_image(f / "a.tif", crs='LOCAL_CS["x",UNIT["metre",1]]'), "nowhere"),
    "bomb in one block": (lambda f: write_one_block(f / "a.tif", 12_800), "MiB"),
    "declared blocks of 1 GB": (
        lambda f: write_sparse(f / "a.tif", bands=60, side=8192, tiled=True, blockxsize=4096, blockysize=4096),
        "MiB",
    ),
    "broken mask file": (lambda f: beside(write_image(f / "a.tif"), ".msk", b"II*\0broken"), "a.tif.msk"),
    "complex values": (lambda f: write_image(f / "a.tif", dtype="complex64"), "complex"),
    "a petapixel without pixels": (
        lambda f: write_sparse(f / "a.tif", side=2**20, nodata=0, tiled=True, blockxsize=4096, blockysize=4096),
        "nodata",
    ),
    "corrupt JPEG": (lambda f: spoil_jpeg(f / "a.tif"), "jpeg"),
    "BigTIFF cut off": (lambda f: cut(write_image(f / "a.tif", bigtiff="yes"), 0.9), "read"),
}


def spoil_jpeg(path: Path) -> Path:
    """A JPEG whose data GDAL decodes with a mere warning."""
    write_image(path, compress="jpeg", photometric="ycbcr", tiled=True, blockxsize=64, blockysize=64)
    content = bytearray(path.read_bytes())
    for at in range(len(content) - 3000, len(content) - 2000, 7):
        content[at] ^= 0x55
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", BAD)
def test_refused(refuse: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    make, expect = BAD[kind]
    monkeypatch.setattr("geoseg.raster.source.MAX_SCANS", 20)
    refuse("segment", make(tmp_path), "-o", tmp_path / "map.gpkg", expect=expect)


BAD_CLASSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "complex": (lambda f: write_image(f / "a.tif", bands=1, dtype="complex64"), "integer"),
    "NaN and real numbers": (
        lambda f: write_image(f / "a.tif", values=np.full((1, 9, 9), np.nan), dtype="float64"),
        "integer",
    ),
    "below zero": (lambda f: write_image(f / "a.tif", values=np.full((1, 9, 9), -5, np.int16), dtype="int16"), "-5"),
    "beyond 255": (
        lambda f: write_image(f / "a.tif", values=np.full((1, 9, 9), 2**31, np.uint32), dtype="uint32"),
        "2",
    ),
    "60000 bands": (lambda f: write_sparse(f / "a.tif", bands=60_000, interleave="band"), "60000 band"),
    "pipe": (lambda f: make_fifo(f / "a.tif"), "a pipe or a device"),
    "bomb in one block": (lambda f: write_one_block(f / "a.tif", 12_800), "band"),
}


@pytest.mark.parametrize("kind", BAD_CLASSES)
def test_refused_as_classes(refuse: Run, tmp_path: Path, kind: str) -> None:
    make, expect = BAD_CLASSES[kind]
    refuse("polygonize", make(tmp_path), "-o", tmp_path / "map.gpkg", expect=expect)


HARMLESS: dict[str, Callable[[Path, Path], object]] = {
    "broken overviews": lambda whole, f: beside(copy(whole, f), ".ovr", b"II*\0broken"),
    "malformed side file": lambda whole, f: beside(copy(whole, f), ".aux.xml", "<PAMDataset><<<"),
    "side file that is an XML bomb": lambda whole, f: beside(copy(whole, f), ".aux.xml", XML_BOMB),
    "side file with an external entity": lambda whole, f: beside(copy(whole, f), ".aux.xml", XML_ENTITY),
    "name in other letters": lambda whole, f: copy(whole, f, "日本 ü\u202e 'quoted'\n.tif"),
    "symbolic link": lambda whole, f: link(whole, f / "link.tif"),
    "member of a zip": lambda whole, f: f"/vsizip/{make_zip(f / 'a.zip')}/scene.tif",
    "60000 bands": lambda whole, f: write_sparse(f / "b.tif", bands=60_000, interleave="band"),
    "planes": lambda whole, f: write_image(f / "b.tif", interleave="band"),
    "12 bits": lambda whole, f: write_image(f / "b.tif", dtype="uint16", nbits=12),
    "no block written": lambda whole, f: write_sparse(f / "b.tif"),
    "GeoPackage raster": lambda whole, f: write_image(f / "b.gpkg", driver="GPKG", tile_format="PNG"),
}


def copy(path: Path, folder: Path, name: str = "copy.tif") -> Path:
    return Path(shutil.copy(path, folder / name))


def link(path: Path, to: Path) -> Path:
    to.symlink_to(path)
    return to


@pytest.mark.parametrize("kind", HARMLESS)
def test_read_as_it_is(tmp_path: Path, image: Path, kind: str) -> None:
    path = HARMLESS[kind](image, tmp_path)
    source = open_raster(path)
    values, _ = source.read_values(source.grid.window)
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(values, raster.read([1, 2, 3]))
        assert raster.transform == source.grid.transform


def test_side_files_tell_no_secret(tmp_path: Path, image: Path) -> None:
    with rasterio.open(beside(image, ".aux.xml", XML_ENTITY)) as raster:
        assert "root" not in str(raster.tags())


def test_blocks_count_in_the_memory_formula(tmp_path: Path) -> None:
    side = 4096
    classes = write_sparse(tmp_path / "c.tif", bands=1, side=side, tiled=True, blockxsize=side, blockysize=side)
    assert open_class_raster(classes).source.block_bytes == side**2 <= MAX_BLOCK_BYTES
    needed = []
    for raster in (classes, write_sparse(tmp_path / "d.tif", bands=1, side=side, tiled=True)):
        with pytest.raises(BudgetError) as refusal:
            polygonize(raster, tmp_path / "map.gpkg", memory="1MiB", workers=1)
        needed.append(float(refusal.value.expected.split()[2]))
    assert needed[0] > needed[1] + 3 * side**2 / 2**20 - 2
    assert not (tmp_path / "map.gpkg").exists()


def test_the_search_for_valid_pixels_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_SCANS * 1024**2 > 4e9
    monkeypatch.setattr("geoseg.raster.source.MAX_SCANS", 10)
    path = write_sparse(tmp_path / "a.tif", side=2**20, nodata=0, tiled=True, blockxsize=4096, blockysize=4096)
    with pytest.raises(InputError, match="looked at"):
        open_raster(path)
