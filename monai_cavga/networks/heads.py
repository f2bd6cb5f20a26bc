"""What stands on the features and on the latent: the two latents and the two classifiers C, each with its weights.

Every head is linear before any pooling, and says so through ``positional_weight``: the mean over positions of its
weights, from which Grad-CAM follows in closed form (`monai_cavga.attention`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["ConvClassifier", "ConvLatent", "FlatClassifier", "FlatLatent"]


class ConvLatent(nn.Module):
    """Convolutional latent variable: two 1x1 convolutions, mean and log variance at every position (Sec. 3.1)."""

    def __init__(self, in_channels: int, latent_channels: int) -> None:
        super().__init__()
        self.mean = nn.Conv2d(in_channels, latent_channels, 1)
        self.log_variance = nn.Conv2d(in_channels, latent_channels, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, h, w)`` to mean and log variance, each ``(B, n, h, w)``."""
        return self.mean(features), self.log_variance(features)

    def positional_weight(self) -> Tensor:
        """``(n, C)``: the weights of the mean, the same at every position."""
        return self.mean.weight[:, :, 0, 0]

    def to_map(self, latent: Tensor) -> Tensor:
        """The latent as the decoder's input map ``(B, n, h, w)``: itself."""
        return latent


class FlatLatent(nn.Module):
    """Flattened latent of the paper's ablation (the ``*`` of table 8): fully connected, for one image size only."""

    def __init__(self, in_channels: int, latent_channels: int, *, map_size: tuple[int, int]) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.height, self.width = map_size
        size = self.height * self.width
        self.mean = nn.Linear(in_channels * size, latent_channels)
        self.log_variance = nn.Linear(in_channels * size, latent_channels)
        self.expand = nn.Linear(latent_channels, latent_channels * size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, h, w)`` to mean and log variance, each ``(B, n)``."""
        flat = features.flatten(1)
        return self.mean(flat), self.log_variance(flat)

    def positional_weight(self) -> Tensor:
        """``(n, C)``: the mean over positions of the weights of the mean."""
        return self.mean.weight.view(-1, self.in_channels, self.height * self.width).mean(dim=2)

    def to_map(self, latent: Tensor) -> Tensor:
        """The latent as the decoder's input map, ``(B, n)`` to ``(B, n, h, w)``."""
        out: Tensor = self.expand(latent).view(latent.shape[0], -1, self.height, self.width)
        return out


class FlatClassifier(nn.Module):
    """The paper's C: flatten z, one fully connected layer with two outputs (Sec. 3.2); for one image size only."""

    def __init__(self, latent_channels: int, *, map_size: tuple[int, int]) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.linear = nn.Linear(latent_channels * map_size[0] * map_size[1], 2)

    def forward(self, latent: Tensor) -> Tensor:
        """``(B, n, h, w)`` or ``(B, n)`` to logits ``(B, 2)``: normal, anomalous."""
        logits: Tensor = self.linear(latent.flatten(1))
        return logits

    def positional_weight(self) -> Tensor:
        """``(2, n)``: the mean over positions of each class's weights."""
        return self.linear.weight.view(2, self.latent_channels, -1).mean(dim=2)


class ConvClassifier(nn.Module):
    """Ours: C as a 1x1 convolution, pooled by the log of the mean of exponentials; for images of any size.

    A small lesion is not averaged away, and every position has its own logits. Grad-CAM's weights stay the
    convolution's, since the pooling's derivatives sum to one over the positions.
    """

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(latent_channels, 2, 1)

    def forward(self, latent: Tensor) -> Tensor:
        """``(B, n, h, w)`` to logits ``(B, 2)``: normal, anomalous."""
        logits = self.conv(latent).flatten(2)  # (B, 2, h w)
        return torch.logsumexp(logits, dim=2) - math.log(logits.shape[2])

    def positional_weight(self) -> Tensor:
        """``(2, n)``: each class's weights."""
        return self.conv.weight[:, :, 0, 0]
