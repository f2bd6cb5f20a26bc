"""Encoders, decoders and discriminator keep the order of ``torch.channels_last``, and compute the same in the other."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from monai_cavga.networks import DCGANDecoder, DCGANDiscriminator, DCGANEncoder, ResidualDecoder, ResNetEncoder

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {  # and the shape of what it takes
    "ResNetEncoder": (lambda: ResNetEncoder(stages=3), (2, 3, 32, 48)),
    "DCGANEncoder": (lambda: DCGANEncoder(stages=3, channels=16), (2, 3, 32, 48)),
    "ResidualDecoder": (lambda: ResidualDecoder(24, stages=2, channels=8), (2, 24, 4, 6)),
    "DCGANDecoder": (lambda: DCGANDecoder(24, stages=2, channels=8), (2, 24, 4, 6)),
    "DCGANDiscriminator": (lambda: DCGANDiscriminator(channels=8, depth=3), (2, 3, 40, 56)),
}


def is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture(params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    """A network of random weights, and an input of it in the usual order."""
    torch.manual_seed(0)
    build, shape = NETWORKS[request.param]
    return build().eval(), torch.rand(shape)


def test_parameters_are_channels_last(network: tuple[nn.Module, Tensor]) -> None:
    weights = [each for each in network[0].parameters() if each.ndim == 4]
    assert all(is_channels_last(each) for each in weights)
    assert any(not each.is_contiguous() for each in weights)  # one of a single position or channel is in both orders


@torch.no_grad()
def test_outputs_are_channels_last(network: tuple[nn.Module, Tensor]) -> None:
    module, given = network
    seen: list[Tensor] = []
    if isinstance(module, DCGANDiscriminator):  # its own output is one number an image
        module.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    output = module(given)
    (found,) = seen or [output]
    assert is_channels_last(found)
    assert not found.is_contiguous()


@torch.no_grad()
def test_no_order_in_memory_changes_the_output(network: tuple[nn.Module, Tensor]) -> None:
    module, given = network
    plain = copy.deepcopy(module).to(memory_format=torch.contiguous_format)
    assert all(each.is_contiguous() for each in plain.parameters())
    output = module(given)
    assert output.abs().max() > 1e-3  # far above the tolerance
    torch.testing.assert_close(output, plain(given))
    torch.testing.assert_close(output, module(given.contiguous(memory_format=torch.channels_last)))
