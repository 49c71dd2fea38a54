"""Networks: shape, locality, strict weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from geoseg.errors import ModelError, OptionError
from geoseg.models.networks import NetworkSpec, build_network, load_weights, read_weights

SLIM = NetworkSpec("Unet", "mobilenet_v2", bands=3, classes=4, decoder_channels=(32, 16, 16, 8, 8))


@pytest.mark.parametrize(
    "spec",
    [
        SLIM,
        NetworkSpec("Unet", "resnet18", bands=4, classes=2),
        NetworkSpec("UnetPlusPlus", "mobilenet_v2", bands=3, classes=4, decoder_channels=(32, 16, 16, 8, 8)),
        NetworkSpec("Linknet", "mobilenet_v2", bands=3, classes=4),
    ],
    ids=lambda s: f"{s.architecture}-{s.encoder}-{s.bands}",
)
def test_logits_lie_on_the_pixels_of_the_image(spec: NetworkSpec) -> None:
    network = build_network(spec).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(1, spec.bands, 64, 96))
    assert logits.shape == (1, spec.classes, 64, 96)
    assert logits.dtype == torch.float32


def test_far_pixels_have_no_say() -> None:
    torch.manual_seed(0)
    network = build_network(SLIM).eval()
    image = torch.randn(1, 3, 64, 1024)
    changed = image.clone()
    changed[..., 992:] += 3
    with torch.inference_mode():
        before, after = network(image), network(changed)
    assert not torch.equal(before[..., 992:], after[..., 992:])
    assert torch.equal(before[..., :256], after[..., :256])


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec("FPN", "mobilenet_v2", 3, 4),
        NetworkSpec("Unet", "mobilenet_v9", 3, 4),
        NetworkSpec("Unet", "mobilenet_v2", 3, 4, (8, 8)),
        NetworkSpec("Linknet", "mobilenet_v2", 3, 4, (8, 8, 8, 8, 8)),
    ],
)
def test_what_cannot_be_built_is_refused(spec: NetworkSpec) -> None:
    with pytest.raises(OptionError, match="expected"):
        build_network(spec)


def test_weights_come_back_exactly(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network, other = build_network(SLIM), build_network(SLIM)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("fault", ["missing", "surplus", "shape"])
def test_weights_must_fit(tmp_path: Path, fault: str) -> None:
    network = build_network(SLIM)
    weights = {k: v.clone() for k, v in network.state_dict().items()}
    name = "segmentation_head.0.bias"
    if fault == "missing":
        del weights[name]
    elif fault == "surplus":
        weights["discriminator.weight"] = torch.zeros(1)
    else:
        weights[name] = torch.zeros(5)
    save_file(weights, tmp_path / "w.safetensors")
    before = network.state_dict()[name].clone()
    with pytest.raises(ModelError, match=r"segmentation_head\.0\.bias|discriminator"):
        load_weights(network, tmp_path / "w.safetensors")
    assert torch.equal(network.state_dict()[name], before)


def test_pickles_and_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"\x80\x04.")
    (tmp_path / "w.safetensors").write_bytes(b"nonsense" * 4)
    with pytest.raises(ModelError, match="safetensors"):
        read_weights(tmp_path / "w.pth")
    for name in ("w.safetensors", "none.safetensors"):
        with pytest.raises(ModelError, match="cannot be read"):
            read_weights(tmp_path / name)


@pytest.mark.data
def test_the_backbone_fits_the_encoder(data_dir: Path) -> None:
    load_weights(build_network(SLIM).get_submodule("encoder"), data_dir / "backbone/mobilenet_v2_imagenet.safetensors")
