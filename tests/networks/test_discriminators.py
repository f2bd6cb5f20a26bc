"""D: one logit an image at any size, DCGAN's own network at 64 x 64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_cavga.networks import DCGANDiscriminator


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (112, 72)])
@torch.no_grad()
def test_one_logit_an_image(channels: int, size: tuple[int, int]) -> None:
    discriminator = DCGANDiscriminator(channels, channels=8).eval()
    assert discriminator(torch.rand(3, channels, *size)).shape == (3,)


@torch.no_grad()
def test_dcgans_own_network_at_64() -> None:
    discriminator = DCGANDiscriminator().eval()
    convolutions = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1]
    image = torch.rand(2, 3, 64, 64)
    logits = discriminator.head(discriminator.layers(2 * image - 1))
    assert logits.shape == (2, 1, 1, 1)
    assert torch.equal(discriminator(image), logits[:, 0, 0, 0])


@torch.no_grad()
def test_a_larger_image_has_the_mean_of_its_logits() -> None:
    discriminator = DCGANDiscriminator(channels=8).eval()
    image = torch.rand(2, 3, 64, 96)
    logits = discriminator.head(discriminator.layers(2 * image - 1))
    assert logits.shape == (2, 1, 1, 3)
    torch.testing.assert_close(discriminator(image), logits.mean(dim=(1, 2, 3)))


@torch.no_grad()
def test_images_do_not_talk_to_each_other() -> None:
    discriminator = DCGANDiscriminator(channels=8).eval()
    image = torch.rand(3, 3, 64, 96)
    torch.testing.assert_close(discriminator(image)[1:2], discriminator(image[1:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("depth", "least"), [(3, 32), (4, 64)])
def test_least_size(depth: int, least: int) -> None:
    discriminator = DCGANDiscriminator(channels=4, depth=depth).eval()
    assert discriminator(torch.rand(1, 3, least, least + 8)).shape == (1,)
    message = rf"image is {least + 8} x {least - 8}, expected sides of at least {least} pixels: resize it \(Resized\)"
    with pytest.raises(ValueError, match=message):
        discriminator(torch.rand(1, 3, least + 8, least - 8))
