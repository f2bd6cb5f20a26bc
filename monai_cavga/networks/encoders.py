"""Encoders of CAVGA: image in, one feature map out, the target of Grad-CAM.

Encoders, decoders and discriminator keep weights and activations in the order of ``torch.channels_last``, the faster
one on CPUs (`benchmarks/results/did_not_help.md`); shapes are the same in either, values to rounding.
"""

from __future__ import annotations

import torch
from monai.networks.nets import resnet18
from torch import Tensor, nn

__all__ = ["DCGANEncoder", "ResNetEncoder", "encoder_stride"]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def keep_channels_last(module: nn.Module) -> None:
    """Bring a module's convolutions to the order of ``torch.channels_last``, in place."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch documents it, its types do not


def encoder_stride(stages: int) -> int:
    """Pixels of the image per position of the feature map: 8, 16 or 32 for 2, 3 or 4 stages.

    Raises:
        ValueError: for another number of stages.
    """
    if stages not in (2, 3, 4):
        raise ValueError(f"stages is {stages}, expected 2, 3 or 4 (stride 8, 16 or 32)")
    return {2: 8, 3: 16, 4: 32}[stages]


class ResNetEncoder(nn.Module):
    """The convolutions of ResNet-18 (CAVGA-R), cut after ``stages`` of its four stages.

    Parameters carry torchvision's key names (``conv1.weight``, ``layer1.0.conv1.weight``, ...), so that ImageNet
    weights load by name. Inputs in [0, 1] are standardised inside with ImageNet's mean and standard deviation (with
    their averages for another number of channels), so that no transform has to know about it.

    Args:
        in_channels: channels of the image.
        stages: 2, 3 or 4; the paper uses all 4.

    Raises:
        ValueError: for another number of stages.
    """

    def __init__(self, in_channels: int = 3, *, stages: int = 4) -> None:
        super().__init__()
        self.stride = encoder_stride(stages)
        self.pyramid_channels = [2 ** (stage + 5) for stage in range(1, stages + 1)]
        self.out_channels = self.pyramid_channels[-1]
        source = resnet18(
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_size=7,
            conv1_t_stride=2,
            shortcut_type="B",
            bias_downsample=False,
            feed_forward=False,
        )
        self.conv1 = source.conv1
        self.bn1 = source.bn1
        self.act = source.act
        self.maxpool = source.maxpool
        self.stages: int = stages
        self.layer1 = source.layer1
        self.layer2 = source.layer2
        self.layer3 = source.layer3 if stages >= 3 else nn.Identity()
        self.layer4 = source.layer4 if stages >= 4 else nn.Identity()
        mean, std = torch.tensor(_IMAGENET_MEAN), torch.tensor(_IMAGENET_STD)
        if in_channels != 3:
            mean, std = mean.mean().repeat(in_channels), std.mean().repeat(in_channels)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, -1, 1, 1), persistent=False)
        keep_channels_last(self)

    def forward(self, image: Tensor) -> Tensor:
        """Image ``(B, in_channels, H, W)`` in [0, 1] to features ``(B, out_channels, H/stride, W/stride)``, >= 0."""
        return self.pyramid(image)[-1]

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """The features of every stage, ``(B, 64, H/4, W/4)``, ``(B, 128, H/8, W/8)``, ...; the last is `forward`'s."""
        x = (image.contiguous(memory_format=torch.channels_last) - self.mean) / self.std
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        first = self.layer1(x)
        found = [first, self.layer2(first)]
        if self.stages >= 3:
            found.append(self.layer3(found[-1]))
        if self.stages >= 4:
            found.append(self.layer4(found[-1]))
        return found


class DCGANEncoder(nn.Module):
    """The convolutions of DCGAN's discriminator as an encoder (CAVGA-D).

    4x4 convolutions of stride 2, BatchNorm after all but the first, leaky ReLU 0.2; Radford et al. 2016.

    Args:
        in_channels: channels of the image.
        stages: 2, 3 or 4 for a stride of 8, 16 or 32; DCGAN's own 64-pixel network has 3.
        channels: width after the first convolution; doubled at each further one up to 8 times.

    Raises:
        ValueError: for another number of stages.
    """

    def __init__(self, in_channels: int = 3, *, stages: int = 4, channels: int = 64) -> None:
        super().__init__()
        self.stride = encoder_stride(stages)
        self.layers = dcgan_downsampling(in_channels, depth=stages + 1, channels=channels)
        self.pyramid_channels = [channels * min(2**stage, 8) for stage in range(1, stages + 1)]
        self.out_channels = self.pyramid_channels[-1]
        keep_channels_last(self)

    def forward(self, image: Tensor) -> Tensor:
        """Image ``(B, in_channels, H, W)`` in [0, 1] to features ``(B, out_channels, H/stride, W/stride)``."""
        return self.pyramid(image)[-1]

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """The features after every convolution but the first, of stride 4, 8, ...; the last is `forward`'s."""
        x = 2 * image.contiguous(memory_format=torch.channels_last) - 1  # DCGAN is trained on [-1, 1]
        found: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                found.append(x)
        return found[1:]


def dcgan_downsampling(in_channels: int, *, depth: int, channels: int) -> nn.Sequential:
    """``depth`` convolutions 4x4 of stride 2 as in DCGAN's discriminator: ``(B, in, H, W)`` to ``H / 2**depth``."""
    widths = [channels * min(2**level, 8) for level in range(depth)]
    layers: list[nn.Module] = []
    for level, width in enumerate(widths):
        layers.append(nn.Conv2d(in_channels, width, 4, stride=2, padding=1, bias=False))
        if level > 0:  # DCGAN: no normalisation on the image itself
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.LeakyReLU(0.2))
        in_channels = width
    return nn.Sequential(*layers)
