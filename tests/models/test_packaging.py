"""From a checkpoint to a package."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.errors import ModelError, OptionError, OutputError
from geoseg.legend import LAND_COVER
from geoseg.models.card import write_card
from geoseg.models.finishing import PNG, draft_folder, finish_package
from geoseg.models.manifest import MANIFEST, ModelPackage
from geoseg.models.networks import build_network, load_weights
from geoseg.models.onnx_engine import OnnxEngine
from geoseg.models.packaging import check_agreement, make_package
from tests.models.conftest import PATCH_PX, SPEC
from tests.models.test_package import CopyPackage


def test_the_package_holds_what_was_measured(package: ModelPackage) -> None:
    assert package.legend == LAND_COVER
    assert package.metrics["mean_iou"] == 0.5
    assert package.metrics["export"]["same_class"] > 0.9999
    assert package.metrics["export"]["max_difference"] < 1e-4
    errors = package.metrics["halo"]["seam_error_by_halo_px"]
    assert package.seam_error == errors[str(package.halo_px)] == min(errors[h] for h in ("0", "32"))
    assert 3 + 4 * 4 <= package.workspace_bytes_per_px < 5000
    assert package.provenance["licences"] == {"scenes": "CC0-1.0"}
    assert [f.name for f in package.path.parent.iterdir()] == [package.path.name], "drafts are left behind"


def test_the_card_tells_it(package: ModelPackage) -> None:
    card = (package.path / "README.md").read_text()
    for text in ("# small-1 1", "A model for tests.", "CC0-1.0", "0.4 m", "vegetation", "geoseg train job.toml"):
        assert text in card


def test_the_card_counts_long_lists(package: ModelPackage) -> None:
    card = write_card(replace(package, provenance={"data": list(range(9))}), summary="", limits="")
    assert "- data: 9 entries" in card


def test_a_network_that_differs_is_noticed(
    package: ModelPackage, checkpoint: Path, scenery: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network(SPEC)
    load_weights(network, checkpoint / "weights.safetensors")
    image = scenery[:, :PATCH_PX, :PATCH_PX]
    assert check_agreement(package, network.eval(), image).same_class_unrounded > 0.9
    monkeypatch.setattr("geoseg.models.packaging.MAX_DIFFERENCE", 0.0)
    with pytest.raises(ModelError, match="small-1"):
        check_agreement(package, network, image)


@pytest.mark.parametrize("field", ["network", "normalisation", "legend", "sources"])
def test_damaged_checkpoints_are_refused(
    checkpoint: Path, scenery: NDArray[np.uint8], tmp_path: Path, field: str
) -> None:
    damaged = shutil.copytree(checkpoint, tmp_path / "best")
    table = json.loads((damaged / "checkpoint.json").read_text())
    del table[field]
    (damaged / "checkpoint.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match=field):
        make_package(
            damaged, tmp_path / "out", name="x", version="1", images=[scenery], summary="", licences={}, patch_px=128
        )
    assert not (tmp_path / "out").exists()


def test_images_below_a_patch_are_refused_first(checkpoint: Path, scenery: NDArray[np.uint8], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="images of"):
        make_package(
            checkpoint, tmp_path / "out", name="x", version="1", images=[scenery], summary="", licences={}, patch_px=512
        )


def test_seams_that_no_halo_hides_are_warned_of(
    copy_package: CopyPackage,
    scenery: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("geoseg.models.finishing.measure_workspace", lambda *_: 1000.0)
    finished = finish_package(copy_package(), [scenery], summary="", seam_limit=0.0)
    assert "no affordable halo hides the seams" in caplog.text
    errors = finished.metrics["halo"]["seam_error_by_halo_px"]
    assert finished.seam_error == min(errors["0"], errors["32"])


@pytest.mark.parametrize(
    ("name", "data"), [("a.png", b"no picture"), ("a.gif", b"GIF89a"), ("A b.png", PNG), ("b.png", PNG * 2**18)]
)
def test_pictures_of_another_kind_are_refused(
    copy_package: CopyPackage, scenery: NDArray[np.uint8], tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    copy = copy_package()
    with pytest.raises(ModelError, match="picture"):
        finish_package(copy, [scenery], summary="", pictures={tmp_path / name: "x"})
    with pytest.raises(ModelError, match=r"missing\.png"):
        finish_package(copy, [scenery], summary="", pictures={tmp_path / "missing.png": "x"})


def test_probabilities_that_are_no_numbers_do_not_agree(
    package: ModelPackage, checkpoint: Path, scenery: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = OnnxEngine.predict_probabilities

    def spoil(self: OnnxEngine, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = predict(self, images)
        found[0, :, 5, 7] = np.nan
        return found

    monkeypatch.setattr(OnnxEngine, "predict_probabilities", spoil)
    network = build_network(SPEC)
    load_weights(network, checkpoint / "weights.safetensors")
    with pytest.raises(ModelError, match="small-1"):
        check_agreement(package, network.eval(), scenery[:, :PATCH_PX, :PATCH_PX])


def test_a_folder_that_is_no_package_is_left_alone(
    checkpoint: Path, scenery: NDArray[np.uint8], tmp_path: Path
) -> None:
    output = tmp_path / "photos"
    output.mkdir()
    (output / "cat.png").write_bytes(PNG)
    with pytest.raises(OutputError, match="no model package"):
        make_package(
            checkpoint, output, name="x-1", version="1", images=[scenery], summary="", licences={}, patch_px=PATCH_PX
        )
    assert [(p.name, p.read_bytes()) for p in tmp_path.rglob("*.*")] == [("cat.png", PNG)]


@pytest.mark.parametrize("output", [".", "..", "/"])
def test_a_draft_needs_a_name_to_become(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="output"), draft_folder(Path(output)):
        pass
    assert tmp_path.is_dir()


def test_a_draft_takes_the_packages_place_at_once(tmp_path: Path) -> None:
    output, usual = tmp_path / "library" / "one", tmp_path / "usual"
    usual.mkdir()
    for content in ("old", "new"):
        with draft_folder(output) as first, draft_folder(output) as second:
            assert first != second, "two runs do not share a draft"
            (second / MANIFEST).write_text("other")
            (first / MANIFEST).write_text(content)
        assert (output / MANIFEST).read_text() == content
        assert output.stat().st_mode == usual.stat().st_mode
    with pytest.raises(OutputError), draft_folder(output) as draft:
        (draft / "no folder" / MANIFEST).write_text("unfinished")
    assert (output / MANIFEST).read_text() == "new"
    assert [p.name for p in output.parent.iterdir()] == ["one"], "drafts are left behind"


def test_the_old_package_stays_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "one"
    with draft_folder(output) as draft:
        (draft / MANIFEST).write_text("old")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise PermissionError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="one"), draft_folder(output) as draft:
        (draft / MANIFEST).write_text("new")
    assert (output / MANIFEST).read_text() == "old"
