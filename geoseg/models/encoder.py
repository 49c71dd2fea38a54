"""Where an encoder starts from: a file of weights, or those that its authors published."""

from __future__ import annotations

from pathlib import Path

import segmentation_models_pytorch as smp
from torch import nn

from geoseg.errors import ModelError, OptionError
from geoseg.models.networks import NetworkSpec, load_weights

HUB = "hub:"


def load_encoder(network: nn.Module, spec: NetworkSpec, weights: str, *, root: Path) -> None:
    """Give the encoder of a network trained weights.

    Args:
        network: as `build_network` makes it of `spec`, without a refiner.
        spec: of the network.
        weights: a safetensors file below `root` that holds at least the encoder's tensors, or "hub:NAME" for the
            weights called NAME that segmentation_models_pytorch downloads, for example "hub:imagenet".
        root: folder that the file's path starts from.

    Raises:
        ModelError: the file cannot be read or does not fit, or the download failed.
        OptionError: the encoder has no published weights of that name.
    """
    encoder = network.get_submodule("encoder")
    if not weights.startswith(HUB):
        load_weights(encoder, root / weights, allow_surplus=True)
        return
    published = _download_encoder(spec, weights.removeprefix(HUB)).state_dict()
    nn.Module.load_state_dict(encoder, {name: published[name] for name in encoder.state_dict()})


def _download_encoder(spec: NetworkSpec, name: str) -> nn.Module:
    try:
        encoder: nn.Module = smp.encoders.get_encoder(
            spec.encoder, in_channels=spec.bands, depth=spec.encoder_depth, weights=name
        )
    # Every failure of the hub, from a closed port to its own offline mode, is an OSError as well.
    except OSError as error:
        raise ModelError(
            f"the weights {name!r} of {spec.encoder} cannot be downloaded: {error}",
            expected="a connection to the hub, or weights that were downloaded before",
            remedy="give encoder_weights a safetensors file with the encoder's tensors",
        ) from error
    except (KeyError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"no weights {name!r} for {spec.encoder}: {error}", remedy="give encoder_weights a safetensors file"
        ) from error
    return encoder
