"""Networks: one contract for all of them, locality, strict weights, the start of the encoder."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import segmentation_models_pytorch as smp
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from geoseg.errors import ModelError, OptionError
from geoseg.models.encoder import load_encoder
from geoseg.models.export import export_network
from geoseg.models.networks import NetworkSpec, build_network, is_local, load_weights, read_weights
from geoseg.models.pooling import CellMeans, replace_pyramid
from geoseg.models.torch_engine import Segmenter

SLIM = NetworkSpec("Unet", "mobilenet_v2", bands=3, classes=4, decoder_channels=(32, 16, 16, 8, 8))
SHALLOW = {"decoder_channels": (32, 16, 8), "encoder_depth": 3}
NETWORKS = [
    SLIM,
    NetworkSpec("Unet", "resnet18", 4, 2),
    NetworkSpec("Unet", "mobilenet_v2", 3, 4, **SHALLOW),
    NetworkSpec("UnetPlusPlus", "mobilenet_v2", 3, 4, (32, 16, 16, 8, 8)),
    NetworkSpec("Linknet", "mobilenet_v2", 3, 4),
    NetworkSpec("Linknet", "mobilenet_v2", 3, 4, encoder_depth=4),
    NetworkSpec("FPN", "mobilenet_v2", 3, 4, (32, 32)),
    NetworkSpec("FPN", "mobilenet_v2", 3, 4, (32, 32), encoder_depth=3),
    NetworkSpec("DeepLabV3Plus", "mobilenet_v2", 3, 4, (32,)),
    NetworkSpec("DeepLabV3Plus", "mobilenet_v2", 3, 4, (32,), encoder_depth=4),
    NetworkSpec("PSPNet", "mobilenet_v2", 3, 4, (32,), encoder_depth=3),
    NetworkSpec("PSPNet", "resnet18", 4, 2, encoder_depth=5),
    NetworkSpec("Segformer", "mobilenet_v2", 3, 4, (32,)),
    NetworkSpec("Segformer", "mit_b0", 3, 4),
    NetworkSpec("FCN8s", "mobilenet_v2", 3, 4),
    NetworkSpec("FCN8s", "resnet18", 4, 2),
    NetworkSpec("Unet", "efficientnet-b0", 3, 4, **SHALLOW),
    NetworkSpec("Unet", "resnet18", 3, 4, **SHALLOW),
    NetworkSpec("Unet", "tu-mobilenetv3_small_100", 3, 4, **SHALLOW),
]


def name_spec(spec: NetworkSpec) -> str:
    return f"{spec.architecture}-{spec.encoder}-{spec.bands}-{spec.encoder_depth}"


@pytest.fixture(params=NETWORKS, ids=name_spec)
def spec(request: pytest.FixtureRequest) -> NetworkSpec:
    found: NetworkSpec = request.param
    return found


def make_network(spec: NetworkSpec) -> nn.Module:
    torch.manual_seed(0)
    return build_network(spec)


def test_every_network_keeps_the_contract(spec: NetworkSpec, tmp_path: Path) -> None:
    network = make_network(spec)
    images = torch.randn(2, spec.bands, 64, 96)
    logits = network.train()(images)
    assert logits.shape == (2, spec.classes, 64, 96)
    assert logits.dtype == torch.float32
    logits.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    network.eval()
    with torch.inference_mode():
        both, again, second = network(images), network(images), network(images[1:])
    assert torch.equal(both, again)
    torch.testing.assert_close(both[1:], second, rtol=1e-4, atol=1e-5)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    torch.manual_seed(1)
    other = build_network(spec).eval()
    load_weights(other, tmp_path / "w.safetensors")
    with torch.inference_mode():
        assert torch.equal(other(images), both)


@pytest.mark.parametrize(
    ("spec", "is_it"),
    [
        (SLIM, True),
        (NetworkSpec("Linknet", "mobilenet_v2", 3, 4), True),
        (NetworkSpec("FCN8s", "mobilenet_v2", 3, 4), True),
        (NetworkSpec("Segformer", "mobilenet_v2", 3, 4, (32,)), True),
        (dataclasses.replace(SLIM, refiner_width=8), True),
        (NetworkSpec("FPN", "mobilenet_v2", 3, 4, (32, 32)), False),
        (NetworkSpec("DeepLabV3Plus", "mobilenet_v2", 3, 4, (32,)), False),
        (NetworkSpec("PSPNet", "mobilenet_v2", 3, 4, (32,), encoder_depth=3), False),
        (NetworkSpec("Unet", "efficientnet-b0", 3, 4, **SHALLOW), False),
        (NetworkSpec("FCN8s", "mit_b0", 3, 4), False),
    ],
    ids=lambda value: name_spec(value) if isinstance(value, NetworkSpec) else "",
)
def test_pooling_group_normalisation_and_attention_are_not_local(spec: NetworkSpec, is_it: bool) -> None:
    assert is_local(make_network(spec)) is is_it


def test_asking_whether_a_network_is_local_leaves_it_alone() -> None:
    network = make_network(SLIM).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    is_local(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert next(network.parameters()).dtype == torch.float32


def test_fcn_sums_scores_from_coarse_to_fine() -> None:
    network = make_network(NetworkSpec("FCN8s", "mobilenet_v2", 3, 4)).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        features = network.encoder(images)  # type: ignore[operator]
        coarse, middle, fine = (
            score(f)
            for score, f in zip(network.scores, reversed(features[-3:]), strict=True)  # type: ignore[arg-type]
        )
        assert [images.shape[-1] // x.shape[-1] for x in (coarse, middle, fine)] == [32, 16, 8]
        middle = middle + functional.interpolate(coarse, scale_factor=2, mode="bilinear")
        fine = fine + functional.interpolate(middle, scale_factor=2, mode="bilinear")
        expected = functional.interpolate(fine, scale_factor=8, mode="bilinear")
        torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("size", [(3, 9), (6, 12), (17, 31)])
@pytest.mark.parametrize("cells", [1, 2, 3, 6])
def test_cells_have_the_means_of_adaptive_pooling(cells: int, size: tuple[int, int]) -> None:
    features = torch.randn(2, 5, *size)
    torch.testing.assert_close(CellMeans(cells)(features), nn.AdaptiveAvgPool2d(cells)(features))


def test_a_pyramid_in_other_operations_is_the_same() -> None:
    given = smp.PSPNet("mobilenet_v2", encoder_weights=None, psp_out_channels=32, classes=4).eval()
    network = copy.deepcopy(given)
    replace_pyramid(network)
    assert network.state_dict().keys() == given.state_dict().keys()
    images = torch.randn(1, 3, 96, 160)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), given(images))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (NetworkSpec("Unet3", "mobilenet_v2", 3, 4), "DeepLabV3Plus, FCN8s, FPN"),
        (NetworkSpec("Unet", "mobilenet_v9", 3, 4), "mobilenet_v2"),
        (NetworkSpec("Unet", "mobilenet_v2", 3, 4, (8, 8)), "expected: 5 .one a stage of the encoder., or none"),
        (NetworkSpec("Unet", "mobilenet_v2", 3, 4, encoder_depth=3), "expected: 3 .one a stage of the encoder.$"),
        (NetworkSpec("Unet", "mobilenet_v2", 3, 4, (8, 8, 8, 8, -8)), "positive sizes"),
        (NetworkSpec("Unet", "mobilenet_v2", 3, 4, encoder_depth=2), "expected: 3 or 4 or 5"),
        (NetworkSpec("Linknet", "mobilenet_v2", 3, 4, (8, 8, 8, 8, 8)), "expected: 0 .this decoder has none"),
        (NetworkSpec("FPN", "mobilenet_v2", 3, 4, (32,)), "decoder_pyramid_channels, decoder_segmentation_channels"),
        (NetworkSpec("FPN", "mobilenet_v2", 3, 4, (32, 33)), "divisible"),
        (NetworkSpec("DeepLabV3Plus", "mobilenet_v2", 3, 4, (32, 32)), "expected: 1"),
        (NetworkSpec("FCN8s", "mobilenet_v2", 3, 4, encoder_depth=4), "expected: 5"),
        (NetworkSpec("FCN8s", "mobilenet_v2", 3, 4, (8,)), "expected: 0"),
        (NetworkSpec("Linknet", "mit_b0", 3, 4), "not supported for Linknet"),
    ],
)
def test_what_cannot_be_built_is_refused(spec: NetworkSpec, said: str) -> None:
    with pytest.raises(OptionError, match=said) as found:
        build_network(spec)
    assert found.value.expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        s
        for s in NETWORKS
        if s.encoder in ("mobilenet_v2", "mit_b0") and (s.encoder_depth == 5 or s.architecture == "PSPNet")
    ],
    ids=name_spec,
)
def test_every_network_is_exported(spec: NetworkSpec, tmp_path: Path) -> None:
    network = make_network(spec).eval()
    mean, std = (127.5,) * 3, (64.0,) * 3
    # The stored weights are those of float16.
    network.load_state_dict({k: v.half().float() if v.ndim > 1 else v for k, v in network.state_dict().items()})
    export_network(network, tmp_path, mean=mean, std=std)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for shape in ((1, 3, 64, 96), (2, 3, 160, 96)):
        images = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        (found,) = session.run(None, {"images": images})
        expected = Segmenter(network, mean, std).predict(images)
        np.testing.assert_allclose(found, expected, atol=1e-4)


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


SOME = NetworkSpec("Unet", "mobilenet_v2", bands=3, classes=4, **SHALLOW)


def write_encoder(path: Path, depth: int = 5) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    weights: dict[str, torch.Tensor] = smp.encoders.get_encoder("mobilenet_v2", depth=depth, weights=None).state_dict()
    save_file(weights, path)
    return weights


@pytest.mark.parametrize("source", ["file", "hub"])
def test_an_encoder_starts_from_a_file_or_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    weights = write_encoder(tmp_path / "model.safetensors")
    monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda _, filename, **__: str(tmp_path / filename))
    network = make_network(SOME)
    load_encoder(network, SOME, "model.safetensors" if source == "file" else "hub:imagenet", root=tmp_path)
    found = network.get_submodule("encoder").state_dict()
    assert len(found) > 20
    assert all(torch.equal(value, weights[name]) for name, value in found.items())


def test_the_hub_out_of_reach_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network(SOME)
    for error in (LocalEntryNotFoundError("no cache"), OfflineModeIsEnabled("offline"), ConnectionError("no route")):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(smp.encoders, "hf_hub_download", fail)
        with pytest.raises(ModelError, match="safetensors file"):
            load_encoder(network, SOME, "hub:imagenet", root=tmp_path)
    with pytest.raises(OptionError, match="imagenet"):
        load_encoder(network, SOME, "hub:imagenot", root=tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_encoder(network, SOME, "none.safetensors", root=tmp_path)
