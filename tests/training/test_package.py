"""From a job file to a model package that segments, by the command line alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import rasterio

import geoseg
from geoseg import cli
from tests.training.scenery import write_scene

JOB = """
root = "{root}"
ground_resolution_m = 0.4
crop_px = 64

[network]
architecture = "Unet"
encoder = "mobilenet_v2"
encoder_depth = 3
decoder_channels = [16, 8, 8]

[normalisation]
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]

[schedule]
steps = 4
batch = 2
validate_steps = 2
checkpoint_steps = 2
threads = 1

[[source]]
name = "squares"
use = "train"
images = ["train.tif"]
kind = "classes"
labels = "{{stem}}_classes.tif"
attribution = "made by code"

[[source]]
name = "other squares"
use = "validation"
images = ["held_out.tif"]
kind = "classes"
labels = "{{stem}}_classes.tif"

[package]
name = "squares"
version = "0.1"
summary = "Squares of four colours."
halo_images = ["held_out.tif"]
patch_px = 128
"""


def test_a_job_becomes_a_package_that_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, stem in enumerate(("train", "held_out")):
        write_scene(tmp_path, stem, seed=seed, size=192)
    job = tmp_path / "job.toml"
    job.write_text(JOB.format(root=tmp_path))
    monkeypatch.setattr(sys, "argv", ["geoseg", "train", str(job), "-o", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert str(tmp_path / "run" / "squares") in capsys.readouterr().out

    package = geoseg.load_model(tmp_path / "run" / "squares")
    assert (package.ground_resolution_m, package.patch_px) == (0.4, 128)
    assert package.provenance["attribution"] == ["made by code"]
    result = geoseg.segment(
        tmp_path / "held_out.tif", tmp_path / "map.gpkg", model=package.path, classes_raster=tmp_path / "classes.tif"
    )
    with rasterio.open(tmp_path / "classes.tif") as classes:
        assert set(classes.read(1).ravel()) <= set(package.legend.names)
    assert set(result.polygons) <= set(package.legend.names.values())
