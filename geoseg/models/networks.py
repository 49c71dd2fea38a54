"""The networks geoseg knows how to build, and how their weights are loaded."""

from __future__ import annotations

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
from geoseg.models.refiner import RefinedNetwork

STRIDE_PX: Final = 32
"""Input heights and widths must be multiples of this."""

# FPN, DeepLabV3, PSPNet, PAN, MAnet and Linknet's relatives with global pooling or group normalisation are left out:
# their output depends on the whole patch, so that no halo makes the seams between patches vanish.
_ARCHITECTURES: Final[Mapping[str, type[nn.Module]]] = {
    "Unet": smp.Unet,
    "UnetPlusPlus": smp.UnetPlusPlus,
    "Linknet": smp.Linknet,
}


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Everything needed to build a network of the right shape, without its weights.

    Args:
        architecture: "Unet", "UnetPlusPlus" or "Linknet".
        encoder: name of an encoder of segmentation_models_pytorch, for example "mobilenet_v2".
        bands: bands of the input image.
        classes: classes of the output.
        decoder_channels: channels of the decoder stages, one for each of the encoder's, deepest first; empty for the
            architecture's own (and for Linknet, which has none to choose).
        encoder_depth: stages of the encoder, 3 to 5; each halves the resolution. Fewer look less far.
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

    H and W are multiples of `STRIDE_PX`. The architectures are local, without global pooling and group
    normalisation; with an encoder that is local too, such as "mobilenet_v2" or "resnet34" (none with
    squeeze-and-excitation), a logit depends in evaluation mode on a bounded neighbourhood only.

    Raises:
        OptionError: the architecture or encoder is unknown, or the numbers do not fit them.
    """
    if spec.architecture not in _ARCHITECTURES:
        raise OptionError(
            f"unknown architecture {spec.architecture!r}",
            expected=f"one of {', '.join(sorted(_ARCHITECTURES))} (those without global pooling)",
        )
    if spec.architecture == "Linknet" and spec.decoder_channels:
        raise OptionError("decoder_channels given to Linknet", expected="none: its stages follow the encoder's")
    options: dict[str, object] = {"encoder_depth": spec.encoder_depth}
    if spec.decoder_channels:
        options["decoder_channels"] = list(spec.decoder_channels)
    try:
        network = _ARCHITECTURES[spec.architecture](
            encoder_name=spec.encoder,
            encoder_weights=None,
            in_channels=spec.bands,
            classes=spec.classes,
            **options,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise OptionError(
            f"no network can be built from {spec}: {error}",
            expected="an encoder of segmentation_models_pytorch and as many decoder channels as the encoder has stages",
        ) from error
    _drop_unused_layers(network, spec.bands)
    if not spec.refiner_width:
        return network
    return RefinedNetwork(network, bands=spec.bands, classes=spec.classes, width=spec.refiner_width)


def _drop_unused_layers(network: nn.Module, bands: int) -> None:
    """Take out layers that no prediction passes: encoders keep the stages beyond their depth."""
    used: set[nn.Module] = set()
    leaves = {name: m for name, m in network.named_modules() if not list(m.children())}
    hooks = [m.register_forward_pre_hook(lambda module, _: used.add(module)) for m in leaves.values()]
    was_training = network.training
    with torch.inference_mode():
        network.eval()(torch.zeros(1, bands, 2 * STRIDE_PX, 2 * STRIDE_PX))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    for name, module in leaves.items():
        if module not in used and list(module.parameters(recurse=False)):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, nn.Identity())


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
