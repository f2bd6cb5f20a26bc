"""Decoders of CAVGA: latent map in, logits of the reconstructed image out."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from monai_cavga.networks.encoders import keep_channels_last

__all__ = ["DCGANDecoder", "ResidualDecoder"]


class ResidualBlock(nn.Module):
    """Up-sample by two, convolve, add the up-sampled map to the convolved one (Sec. 4, *Architecture details*)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )
        self.convolve = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, h, w)`` to ``(B, out, 2h, 2w)``, >= 0."""
        up = self.upsample(x)
        out: Tensor = self.act(up + self.convolve(up))
        return out


class ResidualDecoder(nn.Module):
    """Residual decoder of CAVGA-R.

    Each block is a transposed convolution followed by a convolution, with a skip connection from the output of the
    former to the output of the latter. The paper gives no widths; ``channels`` at full resolution, doubled towards
    the latent up to 16 times, makes decoder and discriminator together cost less than twice the encoder.

    Args:
        latent_channels: channels of the latent map.
        out_channels: channels of the image.
        stages: as the encoder's; the decoder up-samples ``stages + 1`` times.
        channels: width at full resolution.
    """

    def __init__(self, latent_channels: int, out_channels: int = 3, *, stages: int = 4, channels: int = 16) -> None:
        super().__init__()
        depth = stages + 1
        widths = [channels * min(2**level, 16) for level in reversed(range(depth))]
        ins = [widths[0], *widths[:-1]]
        self.stem = nn.Sequential(nn.Conv2d(latent_channels, widths[0], 3, padding=1), nn.ReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(i, o) for i, o in zip(ins, widths, strict=True)))
        self.head = nn.Conv2d(widths[-1], out_channels, 3, padding=1)
        keep_channels_last(self)

    def forward(self, latent: Tensor) -> Tensor:
        """``(B, latent_channels, h, w)`` to logits ``(B, out_channels, h * stride, w * stride)``."""
        logits: Tensor = self.head(self.blocks(self.stem(latent)))
        return logits


class DCGANDecoder(nn.Module):
    """DCGAN's generator from a convolutional latent (CAVGA-D): 4x4 transposed convolutions, BatchNorm, ReLU.

    Args:
        latent_channels: channels of the latent map.
        out_channels: channels of the image.
        stages: as the encoder's; the decoder up-samples ``stages + 1`` times.
        channels: width before the last layer; doubled towards the latent up to 8 times.
    """

    def __init__(self, latent_channels: int, out_channels: int = 3, *, stages: int = 4, channels: int = 64) -> None:
        super().__init__()
        widths = [channels * min(2**level, 8) for level in reversed(range(stages + 1))]
        layers: list[nn.Module] = [
            nn.Conv2d(latent_channels, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for i, o in pairwise(widths):
            layers += [nn.ConvTranspose2d(i, o, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        layers.append(nn.ConvTranspose2d(widths[-1], out_channels, 4, stride=2, padding=1))
        self.layers = nn.Sequential(*layers)
        keep_channels_last(self)

    def forward(self, latent: Tensor) -> Tensor:
        """``(B, latent_channels, h, w)`` to logits ``(B, out_channels, h * stride, w * stride)``."""
        logits: Tensor = self.layers(latent)
        return logits
