"""Jobs: every fault in the file is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import geoseg.training
from geoseg.errors import OptionError
from geoseg.training.job import read_job

GOOD = """
ground_resolution_m = 0.4
[network]
[normalisation]
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]
[schedule]
steps = 3
[[source]]
name = "a"
use = "train"
images = ["*.tif"]
kind = "classes"
labels = "{stem}_classes.tif"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "job.toml"
    path.write_text(text)
    return path


def test_defaults_and_types(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, GOOD), root=tmp_path)
    assert job.root == str(tmp_path)
    assert job.normalisation.mean == (127.5, 127.5, 127.5)
    assert job.source[0].scale == (1.0, 1.0)
    assert hash(job.schedule) == hash(job.schedule)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[schedule]", "[shedule]", "did you mean 'schedule'"),
        ("steps = 3", "steps = 3\nbach = 4", "did you mean 'batch'"),
        ("kind =", "kinds = 1\nkind =", r"source\[0\].kinds"),
        ('kind = "classes"', 'kind = "class"', "'classes' or 'colors'"),
        ("steps = 3", "", "schedule.steps is missing"),
        ("steps = 3", 'steps = "3"', "expected: int"),
        ("steps = 3", "steps = 3.5", "expected: int"),
        ("steps = 3", "steps = true", "expected: int"),
        ("steps = 3", "steps = 0", "must be positive"),
        ("ground_resolution_m = 0.4", "ground_resolution_m = -1", "must be positive"),
        ("ground_resolution_m = 0.4", "ground_resolution_m = 0.4\ncrop_px = 100", "multiple of 32"),
        ("std = [127.5, 127.5, 127.5]", "std = [127.5]", "every band"),
        ("[network]", "network = 3", "wrong kind"),
        ('kind = "classes"', 'kind = "binary"', "needs 'only'"),
        ('kind = "classes"', 'kind = "colors"', "needs 'colors'"),
        ('kind = "classes"', 'kind = "classes"\nscale = [2, 1]', "smallest, largest"),
        ('kind = "classes"', 'kind = "classes"\nscale = [2]', "2 values"),
        ('use = "train"', 'use = "validation"', "to train"),
        ('labels = "{stem}_classes.tif"', "", "needs 'labels'"),
        ("steps = 3", 'steps = 3\noptimizer = "adam"', "'AdamW' or 'Adam' or 'SGD' or 'RMSprop'"),
        ("steps = 3", "steps = 3\nnesterov = true", "SGD with momentum"),
        ("steps = 3", "steps = 3\nmomentum = 1.0", "momentum must lie"),
        ("steps = 3", "steps = 3\npatience = 2", "source to validate on"),
        ("steps = 3", 'steps = 3\nprecision = "half"', "'mixed'"),
        ("steps = 3", "steps = 3\nclip_norm = 0", "clip_norm"),
        ("[network]", '[[legend]]\nid = 1\nname = "a"\ncolor = [1, 2, 3]\nkind = "area"\n[network]', "must be 0, 1, 2"),
        ("[network]", '[[legend]]\nid = 0\nname = "a"\ncolor = [1, 2, 3]\nkind = "area"\n[network]', "two classes"),
        ("[network]", "[loss]\nfocal = -1\n[network]", "none below 0"),
        ("[network]", "[loss]\ncross_entropy = 0\ndice = 0\n[network]", "positive weight"),
        ("[network]", "[loss]\nfocal_gamma = -1\n[network]", "focal_gamma"),
        ("[network]", "[loss.class_weights]\nroad = 0\n[network]", "class_weights must be positive"),
        ("[network]", '[loss.class_weights]\nroad = "much"\n[network]', "loss.class_weights.road"),
        ("[network]", '[loss]\nclass_weights = "balance"\n[network]', "'balanced'"),
        ("[schedule]", "[schedule", "cannot be read"),
        ("[network]", '[network]\nstart = "best"\nencoder_weights = "hub:imagenet"', "its own encoder_weights"),
        ('use = "train"', 'use = "train"\nweight = 0', "used to train has a weight"),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(OptionError, match=said):
        read_job(write(tmp_path, GOOD.replace(old, new)))


def test_class_weights_are_a_table_or_a_word(tmp_path: Path) -> None:
    assert read_job(write(tmp_path, GOOD)).loss.class_weights == {}
    table = GOOD.replace("[network]", "[loss.class_weights]\nroad = 2\n[network]")
    assert read_job(write(tmp_path, table)).loss.class_weights == {"road": 2.0}
    word = GOOD.replace("[network]", '[loss]\nclass_weights = "balanced"\n[network]')
    assert read_job(write(tmp_path, word)).loss.class_weights == "balanced"


def test_networks_that_normalise_single_pixels_need_two_crops(tmp_path: Path) -> None:
    text = GOOD.replace("[network]", '[network]\narchitecture = "PSPNet"').replace("steps = 3", "steps = 3\nbatch = 1")
    with pytest.raises(OptionError, match="batch of at least 2"):
        read_job(write(tmp_path, text))


def test_a_missing_file_is_an_option_error(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no such file"):
        read_job(tmp_path / "none.toml")


def test_the_shipped_job_is_good_and_holds_places_out() -> None:
    job = read_job(Path(geoseg.training.__file__).parent / "jobs/landcover-rgb.toml")
    trained = [p for s in job.source if s.use == "train" for p in s.images]
    assert not any("banepa_np" in p or "tile2" in p for p in trained)
    assert {s.name for s in job.source if s.use == "validation"} >= {"banepa_np", "dubai tile 2", "long beach trees"}
