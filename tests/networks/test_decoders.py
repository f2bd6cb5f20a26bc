"""The two decoders: sizes, the paper's skip connection, and that space stays space."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_cavga.networks import DCGANDecoder, ResidualDecoder
from monai_cavga.networks.decoders import ResidualBlock

DECODERS = [ResidualDecoder, DCGANDecoder]


def _decoder(kind: type[nn.Module], *, stages: int = 2, out_channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return kind(5, out_channels, stages=stages, channels=4).eval()


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize(("stages", "stride"), [(2, 8), (3, 16), (4, 32)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@torch.no_grad()
def test_sizes(kind: type[nn.Module], stages: int, stride: int, channels: int) -> None:
    logits = _decoder(kind, stages=stages, out_channels=channels)(torch.randn(2, 5, 2, 3))
    assert logits.shape == (2, channels, 2 * stride, 3 * stride)


@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_logits_are_not_squashed(kind: type[nn.Module]) -> None:
    decoder = _decoder(kind)
    last = decoder.head if kind is ResidualDecoder else decoder.layers[-1]
    last.bias.copy_(torch.tensor([-50.0, 0.0, 50.0]))
    logits = decoder(torch.randn(1, 5, 2, 3))
    assert logits[:, 0].max() < -10
    assert logits[:, 2].min() > 10


@torch.no_grad()
def test_the_skip_joins_both_convolutions_outputs() -> None:
    """The up-sampled map is added to the convolved one: with nothing convolved it passes unchanged."""
    torch.manual_seed(1)
    block = ResidualBlock(3, 4).eval()
    x = torch.randn(2, 3, 2, 5)
    up, convolved = block.upsample(x), block.convolve(block.upsample(x))
    torch.testing.assert_close(block(x), (up + convolved).relu())
    block.convolve[0].weight.zero_()
    assert torch.equal(block(x), up)
    assert up.shape == (2, 4, 4, 10)


@torch.no_grad()
def test_widths() -> None:
    # 16 at full resolution, doubled towards the latent, 16 times at most: 16 * 16, * 8, * 4, * 2, * 1
    blocks = ResidualDecoder(100).blocks
    assert [block.upsample[0].out_channels for block in blocks] == [256, 128, 64, 32, 16]
    assert blocks[0].upsample[0].in_channels == 256
    ups = [layer for layer in DCGANDecoder(100).layers if isinstance(layer, nn.ConvTranspose2d)]
    assert [up.in_channels for up in ups] == [512, 512, 256, 128, 64]  # 8 times at most


@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_a_position_of_the_latent_is_a_place_in_the_image(kind: type[nn.Module]) -> None:
    decoder = _decoder(kind)
    latent = torch.randn(1, 5, 8, 20, generator=torch.Generator().manual_seed(2))
    marked = latent.clone()
    marked[:, :, 7, 0] += 5  # bottom left
    change = (decoder(marked) - decoder(latent)).abs().sum(dim=1)[0]  # (64, 160)
    row, column = divmod(int(change.argmax()), 160)
    assert row >= 48
    assert column < 16
    assert change[:16].max() == 0
    assert change[:, 80:].max() == 0
