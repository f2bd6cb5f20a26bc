"""The discriminator D of eq. 2."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_cavga.networks.encoders import dcgan_downsampling, keep_channels_last

__all__ = ["DCGANDiscriminator"]


class DCGANDiscriminator(nn.Module):
    """DCGAN's discriminator for images of any size.

    Four 4x4 convolutions of stride 2, then one 4x4 convolution to a single value. At 64 x 64 pixels this is DCGAN's
    own network with one logit an image; larger images give a map of logits, whose mean is the image's logit.

    Args:
        in_channels: channels of the image.
        channels: width after the first convolution (DCGAN: 64), doubled at each further one up to 8 times.
        depth: convolutions of stride 2 (DCGAN: 4); 3 takes images from 32 pixels on.
    """

    def __init__(self, in_channels: int = 3, *, channels: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.minimum_size = 4 * 2**depth
        self.layers = dcgan_downsampling(in_channels, depth=depth, channels=channels)
        self.head = nn.Conv2d(channels * min(2 ** (depth - 1), 8), 1, 4, bias=False)
        keep_channels_last(self)

    def forward(self, image: Tensor) -> Tensor:
        """Image ``(B, in_channels, H, W)`` in [0, 1] to one logit an image ``(B,)``; higher = more likely real.

        Raises:
            ValueError: if a side of the image is below ``4 * 2**depth`` pixels.
        """
        if min(image.shape[-2:]) < self.minimum_size:
            raise ValueError(
                f"image is {image.shape[-2]} x {image.shape[-1]}, expected sides of at least {self.minimum_size} "
                "pixels: resize it (Resized)"
            )
        image = image.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(self.layers(2 * image - 1)).mean(dim=(1, 2, 3))
        return logits
