"""The refiner begins as the identity, is local, and is a part of the network that packages know."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geoseg.models.networks import NetworkSpec, build_network
from geoseg.models.refiner import FLOOR, RefinedNetwork, Refiner


@pytest.mark.parametrize("sharpness", [0.1, 1, 10])
def test_it_begins_as_the_identity(sharpness: float) -> None:
    torch.manual_seed(0)
    images, logits = torch.randn(2, 3, 32, 64), sharpness * torch.randn(2, 4, 32, 64)
    chances = logits.softmax(1)
    refined = Refiner(3, 4, 8).eval()(images, chances)
    assert torch.equal(refined.argmax(1), chances.argmax(1))
    torch.testing.assert_close(refined.softmax(1), chances, rtol=0, atol=4 * FLOOR)


def test_it_sees_a_bounded_neighbourhood() -> None:
    torch.manual_seed(0)
    refiner = Refiner(3, 4, 4).eval()
    nn.init.normal_(refiner.head.weight)
    chances = torch.full((1, 4, 192, 192), 0.25)
    image = torch.randn(1, 3, 192, 192)
    other = image.clone()
    other[..., 96, 96] += 5
    with torch.inference_mode():
        changed = (refiner(image, chances) != refiner(other, chances)).any(1)[0].nonzero()
    assert len(changed) > 0
    assert (changed - 96).abs().max() < 64


def test_a_refined_network_is_built_from_its_spec() -> None:
    spec = NetworkSpec("Unet", "mobilenet_v2", 3, 4, (16, 16, 8), 3)
    plain = build_network(spec)
    refined = build_network(NetworkSpec("Unet", "mobilenet_v2", 3, 4, (16, 16, 8), 3, refiner_width=8))
    assert isinstance(refined, RefinedNetwork)
    names = set(refined.state_dict())
    assert {n for n in names if not n.startswith("refiner.")} == {f"network.{n}" for n in plain.state_dict()}
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        alone, both = refined.network.eval()(images), refined.eval()(images)
    assert torch.equal(alone.argmax(1), both.argmax(1))
