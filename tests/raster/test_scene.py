"""What a raster says about its scene and date."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.shutil import copy as copy_raster

from geoseg.errors import InputError
from geoseg.raster.scene import SceneInfo, describe_source, find_date, name_scene

from ..conftest import MakeRaster

PIXELS = np.zeros((1, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/2024/scene one.tif", "scene one.tif"),
        ("folder\\scene.tif", "scene.tif"),
        ("https://user:secret@host.org/a/b/scene.tif?sig=secret&se=2030#top", "scene.tif"),
        ("https://host.org/a/scene%20one.tif", "scene one.tif"),
        ("/vsicurl/https://host.org/a/scene.tif", "scene.tif"),
        ("s3://bucket/key/scene.jp2", "scene.jp2"),
        ("/vsizip//data/archive.zip/scene.vrt", "scene.vrt"),
        ('NETCDF:"/data/file.nc":red', "file.nc"),
        ("NETCDF:file.nc:red", "file.nc"),
        ("GTIFF_DIR:1:/data/scene.tif", "scene.tif"),
        ("https://host.org/a/", "a"),
        ("https://host.org?token=secret", "host.org"),
        ("PG:host=my.server password=secret dbname=x", None),
        ("<VRTDataset><SourceFilename>/data/a.tif</SourceFilename></VRTDataset>", None),
        ("WMS:https://host.org/wms?key=secret", "wms"),
        ("https://user:secret@host.org", None),
        ("<VRTDataset>" + 400 * " " + "</VRTDataset>", None),
        ("", None),
    ],
)
def test_names_hold_no_folder_and_no_secret(path: str, name: str | None) -> None:
    assert name_scene(path) == name


@given(st.text(max_size=60))
def test_any_path_gives_a_bare_name_or_none(path: str) -> None:
    name = name_scene(path.replace("\0", ""))
    assert name is None or (name and not set(name) & set("/\\?&=<>"))


@pytest.mark.parametrize(
    ("tags", "date"),
    [
        ({}, None),
        ({"TIFFTAG_DATETIME": "2021:07:03 10:11:12"}, "2021-07-03"),
        ({"ACQUISITION_DATE": "2020-02-29"}, "2020-02-29"),
        ({"datetime": "2022-12-01T23:59:59Z"}, "2022-12-01"),
        ({"DATE_ACQUIRED": "20190510"}, "2019-05-10"),
        ({"ACQUISITIONDATETIME": "2018-05-06 07:08:09"}, "2018-05-06"),
        ({"TIFFTAG_DATETIME": "2024:01:01 00:00:00", "AcquisitionDate": "2023-06-07"}, "2023-06-07"),
        ({"TIFFTAG_DATETIME": "2024:01:01 00:00:00", "ACQUISITION_DATE": "unknown"}, "2024-01-01"),
        ({"TIFFTAG_DATETIME": "0000:00:00 00:00:00"}, None),
        ({"TIFFTAG_DATETIME": "2021:02:30 00:00:00"}, None),
        ({"TIFFTAG_DATETIME": "2021:07-03"}, None),
        ({"DATE_ACQUIRED": "201905101"}, None),
        ({"DATE_ACQUIRED": "yesterday"}, None),
    ],
)
def test_dates(tags: dict[str, str], date: str | None) -> None:
    assert find_date(tags) == date


def test_a_file_and_a_vrt_of_it(make_raster: MakeRaster, tmp_path: Path) -> None:
    path = make_raster(PIXELS, "scene.tif")
    assert describe_source(str(path)) == SceneInfo("scene.tif", None)
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(TIFFTAG_DATETIME="2021:07:03 10:11:12")
        raster.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2021-07-01 09:00:00")
    assert describe_source(str(path)) == SceneInfo("scene.tif", "2021-07-01")
    copy_raster(path, tmp_path / "mosaic.vrt", driver="VRT")
    assert describe_source(str(tmp_path / "mosaic.vrt")).name == "mosaic.vrt"


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        describe_source(os.fspath(tmp_path / "missing.tif"))
    assert str(tmp_path) not in str(raised.value)
