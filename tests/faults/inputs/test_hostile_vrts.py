"""VRTs: those from elsewhere are not opened, those of the user read rasters only, and no code of theirs runs."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geoseg.errors import InputError
from geoseg.raster.classes import open_class_raster
from geoseg.raster.reader import RasterSource
from geoseg.raster.source import open_raster
from tests.test_bad_input import SIDE_PX, Run

SECRET = "the secret of this machine " * 2000
PYTHON = """
import pathlib
pathlib.Path(r"{mark}").write_text("ran")
def draw(inputs, output, *others, **named):
    output[:] = 1
"""


def wrap(bands: str, *, side: int = SIDE_PX, crs: str = "EPSG:32633", more: str = "") -> str:
    """A VRT of some bands."""
    place = f"<SRS>{crs}</SRS><GeoTransform>500000,0.4,0,5600000,0,-0.4</GeoTransform>"
    return f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"{more}>{place}{bands}</VRTDataset>'


def read_from(source: str) -> str:
    """Three bands of another raster."""
    bands = (
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">{source}'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    return "".join(bands)


def read_raw(file: object) -> str:
    """Three bands that are the bytes of any file."""
    bands = (
        f'<VRTRasterBand dataType="Byte" band="{band}" subClass="VRTRawRasterBand"><SourceFilename relativeToVRT="0">'
        f"{file}</SourceFilename><PixelOffset>1</PixelOffset><LineOffset>{SIDE_PX}</LineOffset></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    return "".join(bands)


def run_python(mark: Path) -> str:
    """Three bands that a program computes."""
    bands = (
        f'<VRTRasterBand dataType="Byte" band="{band}" subClass="VRTDerivedRasterBand"><PixelFunctionType>draw'
        "</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionCode><![CDATA["
        f"{PYTHON.format(mark=mark)}]]></PixelFunctionCode></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    return "".join(bands)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text(SECRET)
    return path


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def server(tmp_path: Path, asked: list[str]) -> Iterator[str]:
    """A host that serves the folder and notes what it was asked for."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as host:
        thread = threading.Thread(target=host.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{host.server_port}"
        host.shutdown()
        thread.join()


MALFORMED = {
    "cut off": (wrap(read_from("image.tif"))[:150], "not readable"),
    "no bands": (wrap(""), "band"),
    "missing member": (wrap(read_from("none.tif")), "none.tif"),
    "itself": (wrap(read_from("scene.vrt")), "cannot be read"),
    "itself through another": (wrap(read_from("other.vrt")), "cannot be read"),
    "no rows": (wrap(read_from("image.tif"), side=0), "not readable"),
    "more pixels than numbers": (wrap(read_from("image.tif"), side=2**31 - 1), "nowhere on Earth"),
    "broken CRS": (wrap(read_from("image.tif"), crs='GEOGCS["x",BROKEN[[['), "no coordinate reference system"),
    "place that is no number": (wrap(read_from("image.tif")).replace("500000,", "nan,"), "geotransform"),
    "unknown kind of band": (wrap('<VRTRasterBand dataType="Byte" band="1" subClass="X"/>'), "not readable"),
    "processed without input": (wrap(read_from("image.tif"), more=' subClass="VRTProcessedDataset"'), "not readable"),
    "XML bomb": ('<!DOCTYPE l [<!ENTITY a "lol">]>' + wrap(read_from("&a;" * 9)), "not recognized"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed(refuse: Run, tmp_path: Path, image: Path, kind: str) -> None:
    text, expect = MALFORMED[kind]
    (tmp_path / "scene.vrt").write_text(text)
    (tmp_path / "other.vrt").write_text(wrap(read_from("scene.vrt")))
    refuse("segment", tmp_path / "scene.vrt", "-o", tmp_path / "map.gpkg", expect=expect)


def test_no_file_is_read_as_raw_bytes(refuse: Run, tmp_path: Path, secret: Path) -> None:
    (tmp_path / "scene.vrt").write_text(wrap(read_raw(secret)))
    (tmp_path / "outer.vrt").write_text(wrap(read_from("scene.vrt")))
    for name in ("scene.vrt", "outer.vrt"):
        refuse("segment", tmp_path / name, "-o", tmp_path / "map.gpkg", expect="raw bytes")
    (tmp_path / "classes.vrt").write_text(wrap(read_raw(secret).split("</VRTRasterBand>")[0] + "</VRTRasterBand>"))
    refuse("polygonize", tmp_path / "classes.vrt", "-o", tmp_path / "map.gpkg", expect="raw bytes")
    with pytest.raises(InputError, match="raw bytes"):
        open_raster(wrap(read_raw(secret)))


def test_a_vrt_under_the_name_of_a_tiff_is_not_opened(
    refuse: Run, tmp_path: Path, image: Path, server: str, asked: list[str]
) -> None:
    (tmp_path / "scene.tif").write_text(wrap(read_from(f"/vsicurl/{server}/image.tif")))
    refuse("segment", tmp_path / "scene.tif", "-o", tmp_path / "map.gpkg", expect="not recognized")
    assert not asked


@pytest.mark.parametrize("name", ["scene.vrt", "scene.tif", "scene.img"])
@pytest.mark.parametrize("target", ["image.tif", "/vsicurl/{server}/image.tif", "{folder}/image.tif", "raw"])
def test_a_vrt_from_a_host_is_not_opened(
    tmp_path: Path, image: Path, secret: Path, server: str, asked: list[str], name: str, target: str
) -> None:
    bands = read_raw(secret) if target == "raw" else read_from(target.format(server=server, folder=tmp_path))
    (tmp_path / name).write_text(wrap(bands))
    for path in (f"{server}/{name}", f"/vsicurl/{server}/{name}"):
        with pytest.raises(InputError, match="no VRT or other format"):
            open_raster(path)
        with pytest.raises(InputError, match="no VRT or other format"):
            open_class_raster(path)
    assert not [path for path in asked if "image.tif" in path]
    with pytest.raises(InputError):  # a host that sends something else the second time
        RasterSource(f"{server}/{name}", **vars_of(image)).read_values(open_raster(image).grid.window)
    assert not [path for path in asked if "image.tif" in path]


def vars_of(image: Path) -> dict[str, object]:
    return {key: value for key, value in vars(open_raster(image)).items() if key != "path"}


def test_a_raster_from_a_host_is_read(image: Path, server: str) -> None:
    near, far = open_raster(image), open_raster(f"{server}/image.tif")
    np.testing.assert_array_equal(far.read_values(far.grid.window)[0], near.read_values(near.grid.window)[0])


@pytest.mark.parametrize("target", ["image.tif", "{folder}/image.tif", "raw"])
def test_a_vrt_in_an_archive_is_not_opened(tmp_path: Path, image: Path, secret: Path, target: str) -> None:
    bands = read_raw(secret) if target == "raw" else read_from(target.format(folder=tmp_path))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("scene.vrt", wrap(bands))
        archive.write(image, "image.tif")
    for path in (f"/vsizip/{tmp_path}/a.zip/scene.vrt", f"zip://{tmp_path}/a.zip!scene.vrt"):
        with pytest.raises(InputError, match="no VRT or other format"):
            open_raster(path)


def test_masks_beside_a_member_of_an_archive_are_not_opened(tmp_path: Path, image: Path, secret: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(image, "image.tif")
        archive.writestr("image.tif.msk", wrap(read_raw(secret)))
        archive.writestr("image.tif.ovr", wrap(read_raw(secret)))
    source = open_raster(f"/vsizip/{tmp_path}/a.zip/image.tif")
    assert not source.has_mask
    assert source.read(source.grid.window)[1].all()


@pytest.mark.parametrize("setting", ["YES", "TRUSTED_MODULES", None])
def test_no_code_of_a_vrt_runs(
    refuse: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    if setting:
        monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", setting)
    (tmp_path / "scene.vrt").write_text(wrap(run_python(tmp_path / "mark")))
    refuse("segment", tmp_path / "scene.vrt", "-o", tmp_path / "map.gpkg", expect="cannot be read")
    assert not (tmp_path / "mark").exists()


def test_a_vrt_of_the_user_reads_the_rasters_that_it_names(tmp_path: Path, image: Path, server: str) -> None:
    expected = rasterio.open(image).read()
    for number, target in enumerate(["image.tif", str(image), f"/vsicurl/{server}/image.tif"]):
        path = tmp_path / f"scene{number}.vrt"
        path.write_text(wrap(read_from(target)))
        source = open_raster(path)
        np.testing.assert_array_equal(source.read_values(source.grid.window)[0], expected)
