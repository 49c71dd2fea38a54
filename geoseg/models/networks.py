"""The networks geoseg knows how to build, and how their weights are loaded."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from geoseg.errors import ModelError, OptionError
from geoseg.models.fcn import FCN8s
from geoseg.models.pooling import replace_pyramid
from geoseg.models.refiner import RefinedNetwork

STRIDE_PX: Final = 32
"""Input heights and widths must be multiples of this."""

FAR_PX: Final = 1024
"""Farther than any local network looks."""

DEPTHS: Final = (3, 4, 5)


@dataclass(frozen=True, slots=True)
class _Architecture:
    """How a network is built: its class, and the arguments that `decoder_channels` stands for (None: one a stage)."""

    build: type[nn.Module]
    channels: tuple[str, ...] | None = ()
    depths: tuple[int, ...] = DEPTHS


_ARCHITECTURES: Final[Mapping[str, _Architecture]] = {
    "Unet": _Architecture(smp.Unet, None),
    "UnetPlusPlus": _Architecture(smp.UnetPlusPlus, None),
    "Linknet": _Architecture(smp.Linknet),
    "FPN": _Architecture(smp.FPN, ("decoder_pyramid_channels", "decoder_segmentation_channels")),
    "DeepLabV3Plus": _Architecture(smp.DeepLabV3Plus, ("decoder_channels",)),
    "PSPNet": _Architecture(smp.PSPNet, ("psp_out_channels",)),
    "Segformer": _Architecture(smp.Segformer, ("decoder_segmentation_channels",)),
    "FCN8s": _Architecture(FCN8s, depths=(5,)),
}


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Everything needed to build a network of the right shape, without its weights.

    Args:
        architecture: "Unet", "UnetPlusPlus", "Linknet", "FPN", "DeepLabV3Plus", "PSPNet", "Segformer" or "FCN8s".
        encoder: name of an encoder of segmentation_models_pytorch, for example "mobilenet_v2".
        bands: bands of the input image.
        classes: classes of the output.
        decoder_channels: channels of the decoder, empty for the architecture's own. Unet and UnetPlusPlus: one for
            each stage of the encoder, deepest first; FPN: of the pyramid and of the segmentation blocks;
            DeepLabV3Plus, PSPNet and Segformer: one; Linknet and FCN8s have none to choose.
        encoder_depth: stages of the encoder, 3 to 5; each halves the resolution. Fewer look less far. FCN8s needs 5,
            PSPNet is at its best with 3.
        refiner_width: channels of the refiner after the network (see `geoseg.models.refiner`); 0 for none.
    """

    architecture: str
    encoder: str
    bands: int
    classes: int
    decoder_channels: tuple[int, ...] = ()
    encoder_depth: int = 5
    refiner_width: int = 0


def build_network(spec: NetworkSpec) -> nn.Module:
    """A network with random weights: normalised float32 (N, bands, H, W) -> logits float32 (N, classes, H, W).

    H and W are multiples of `STRIDE_PX`. Not every network is local (see `is_local`): FPN normalises groups of
    channels over the whole image, DeepLabV3Plus and PSPNet pool it, and so do encoders with squeeze-and-excitation
    ("efficientnet-b0") or attention ("mit_b0") behind any architecture. What that costs at the seams between patches is
    measured when a model is packaged. Unet, UnetPlusPlus, Linknet, Segformer and FCN8s are local with a local encoder,
    such as "mobilenet_v2" or "resnet34".

    Raises:
        OptionError: the architecture or encoder is unknown, or the options do not fit them.
    """
    if spec.architecture not in _ARCHITECTURES:
        raise OptionError(
            f"unknown architecture {spec.architecture!r}", expected=f"one of {', '.join(sorted(_ARCHITECTURES))}"
        )
    options = _list_options(spec)
    try:
        network = _ARCHITECTURES[spec.architecture].build(
            encoder_name=spec.encoder, encoder_weights=None, in_channels=spec.bands, classes=spec.classes, **options
        )
        replace_pyramid(network)
        _drop_unused_layers(network, spec.bands)
    except (KeyError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        raise OptionError(
            f"no network can be built from {spec}: {error}",
            expected="an encoder of segmentation_models_pytorch that goes with the architecture, and positive sizes",
            remedy='"mobilenet_v2" and "resnet34" go with every architecture',
        ) from error
    if not spec.refiner_width:
        return network
    return RefinedNetwork(network, bands=spec.bands, classes=spec.classes, width=spec.refiner_width)


def _list_options(spec: NetworkSpec) -> dict[str, object]:
    """The options of a network beyond its encoder, its bands and its classes, by their names there."""
    architecture, given = _ARCHITECTURES[spec.architecture], spec.decoder_channels
    if spec.encoder_depth not in architecture.depths:
        raise OptionError(
            f"encoder_depth {spec.encoder_depth} for {spec.architecture}",
            expected=" or ".join(map(str, architecture.depths)),
        )
    names = architecture.channels
    wanted = spec.encoder_depth if names is None else len(names)
    # A U-Net's own channels are those of five stages.
    may_be_empty = names is not None or wanted == max(DEPTHS)
    if len(given) != wanted and (given or not may_be_empty):
        meaning = "one a stage of the encoder" if names is None else ", ".join(names) or "this decoder has none"
        raise OptionError(
            f"{len(given)} decoder_channels for {spec.architecture} with encoder_depth {spec.encoder_depth}",
            expected=f"{wanted} ({meaning})" + (", or none" if may_be_empty and wanted else ""),
        )
    options: dict[str, object] = {}
    if given:
        options = {"decoder_channels": list(given)} if names is None else dict(zip(names, given, strict=True))
    if len(architecture.depths) > 1:
        options["encoder_depth"] = spec.encoder_depth
    # The decoders of these two end at a stride that depends on the depth.
    if spec.architecture == "FPN":
        options["upsampling"] = 2 ** (spec.encoder_depth - 3)
    if spec.architecture == "PSPNet":
        options["upsampling"] = 2**spec.encoder_depth
    return options


def _drop_unused_layers(network: nn.Module, bands: int) -> None:
    """Take out layers without a say in the logits: encoders keep the stages beyond their depth, and some pass them."""
    was_training = network.training
    network.eval()(torch.zeros(1, bands, 2 * STRIDE_PX, 2 * STRIDE_PX)).sum().backward()
    network.train(was_training)
    for name, module in list(network.named_modules()):
        own = list(module.parameters(recurse=False))
        if own and all(parameter.grad is None for parameter in own):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, nn.Identity())
    network.zero_grad(set_to_none=True)


def is_local(network: nn.Module) -> bool:
    """Whether pixels more than `FAR_PX` away have no say in a logit, in evaluation mode.

    Measured on noise in double precision, where no influence is lost to rounding. Only for a local network is there a
    halo that makes the seams between patches vanish.
    """
    probe = copy.deepcopy(network).cpu().eval().double()
    bands = next(m.in_channels for m in probe.modules() if isinstance(m, nn.Conv2d))
    image = torch.randn(
        1, bands, STRIDE_PX, FAR_PX + 2 * STRIDE_PX, generator=torch.Generator().manual_seed(0)
    ).double()
    changed = image.clone()
    changed[..., FAR_PX + STRIDE_PX :] += 100
    with torch.inference_mode():
        before, after = (probe(x)[..., :STRIDE_PX] for x in (image, changed))
    return torch.equal(before, after)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a safetensors file.

    Raises:
        ModelError: the file is missing, damaged or of another kind.
    """
    if path.suffix != ".safetensors":
        raise ModelError(
            f"{path} is not a safetensors file",
            expected="weights as .safetensors: files that hold Python objects are never loaded",
            remedy="convert it once, where it is trusted, with safetensors.torch.save_file",
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"weights {path} cannot be read: {error}", expected="a readable safetensors file") from error


def load_weights(module: nn.Module, path: Path, *, allow_surplus: bool = False) -> None:
    """Put the tensors of a safetensors file into a module, by name; every name and shape must match.

    Args:
        module: receives them.
        path: a safetensors file.
        allow_surplus: whether the file may hold more, such as the deeper stages of an encoder.

    Raises:
        ModelError: the file cannot be read, or a tensor is missing, left over or of another shape.
    """
    weights, wanted = read_weights(path), module.state_dict()
    missing = sorted(wanted.keys() - weights.keys())
    surplus = [] if allow_surplus else sorted(weights.keys() - wanted.keys())
    reshaped = sorted(k for k in wanted.keys() & weights.keys() if wanted[k].shape != weights[k].shape)
    if missing or surplus or reshaped:
        faults = {"missing": missing, "not of this network": surplus, "of another shape": reshaped}
        said = "; ".join(f"{len(names)} {what}, first {names[0]}" for what, names in faults.items() if names)
        raise ModelError(
            f"weights {path} do not fit the network: {said}",
            expected="the tensors of the network that the specification describes",
        )
    # Encoders of segmentation_models_pytorch have a load_state_dict of their own.
    nn.Module.load_state_dict(module, {name: weights[name] for name in wanted})
