"""What stands on the features and on the latent: the two latents and the two classifiers C, each with its weights.

Every head is linear before any pooling, and says so through ``positional_weight``: the mean over positions of its
weights, from which Grad-CAM follows in closed form (`monai_cavga.attention`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_cavga.attention import class_attention, normalise_attention

__all__ = ["ConvClassifier", "ConvLatent", "FlatClassifier", "FlatLatent", "PyramidClassifier"]


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
        return pool_logits(self.conv(latent))

    def positional_weight(self) -> Tensor:
        """``(2, n)``: each class's weights."""
        return self.conv.weight[:, :, 0, 0]


def pool_logits(class_map: Tensor) -> Tensor:
    """Logits at every position ``(B, 2, h, w)`` to those of the image ``(B, 2)``: log of the mean of exponentials."""
    flat = class_map.flatten(2)
    return torch.logsumexp(flat, dim=2) - math.log(flat.shape[2])


class PyramidClassifier(nn.Module):
    """Ours: C on a latent of all stages, at the first stage's resolution, for lesions smaller than a deep position.

    ``z = relu(sum_s up(W_s F_s))``: a 1x1 convolution of every stage's features, brought to the first stage's size
    (bilinear; a 1x1 convolution and an interpolation commute, so this is one convolution of the stacked features),
    then C's 1x1 convolution to two classes, pooled as `ConvClassifier`'s. Grad-CAM of C on z has C's own weights.

    Args:
        channels: of the stages, first to last.
        width: channels of z.
        prior: probability of the anomalous class at a position before any training; lesions are rare.
    """

    def __init__(self, channels: list[int], *, width: int = 64, prior: float = 0.02) -> None:
        super().__init__()
        self.project = nn.ModuleList([nn.Conv2d(c, width, 1) for c in channels])
        self.conv = nn.Conv2d(width, 2, 1)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.conv.bias[0] = math.log((1 - prior) / prior)  # type: ignore[index]

    def latent(self, pyramid: list[Tensor]) -> Tensor:
        """Features of the stages, each ``(B, C_s, h_s, w_s)``, to z ``(B, width, h_1, w_1)``, >= 0."""
        size = pyramid[0].shape[-2:]
        total = self.project[0](pyramid[0])
        for k, project in enumerate(self.project):  # TorchScript cannot zip a list with modules
            if k > 0:
                total = total + F.interpolate(project(pyramid[k]), size=size, mode="bilinear", align_corners=False)
        return F.relu(total)

    def forward(self, latent: Tensor) -> Tensor:
        """z ``(B, width, h, w)`` to logits at every position ``(B, 2, h, w)``: normal, anomalous."""
        logits: Tensor = self.conv(latent)
        return logits

    def anomalous(self, latent: Tensor) -> Tensor:
        """z to the logit of anomalous against normal at every position ``(B, 1, h, w)``: one convolution, not two."""
        weight, bias = self.conv.weight, self.conv.bias
        assert bias is not None  # for TorchScript and mypy
        return F.conv2d(latent, weight[1:] - weight[:1], bias[1:] - bias[:1])

    def positional_weight(self) -> Tensor:
        """``(2, width)``: each class's weights."""
        return self.conv.weight[:, :, 0, 0]

    def attention(self, latent: Tensor) -> Tensor:
        """``A^{c_n}`` and ``A^{c_a}`` ``(B, 2, h, w)`` in [0, 1], one divisor for both, from z."""
        return normalise_attention(class_attention(latent, self.positional_weight()))
