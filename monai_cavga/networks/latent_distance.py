"""latent_distance: the whitened distance of multi-stage features to the training normals, as two convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LatentDistance", "aligned_features", "stacked_features"]


def aligned_features(pyramid: list[Tensor]) -> list[Tensor]:
    """The features of the first three stages, each at the second one's size (stride 8).

    The first stage is averaged over 2x2 positions, the third interpolated (bilinear).

    Args:
        pyramid: features of the stages, ``(B, C_s, h_s, w_s)``, at least two.

    Returns:
        ``(B, C_s, h_2, w_2)``, one for each of the stages there are.
    """
    size = pyramid[1].shape[-2:]
    parts = [F.avg_pool2d(pyramid[0], 2), pyramid[1]]
    if len(pyramid) > 2:
        parts.append(F.interpolate(pyramid[2], size=size, mode="bilinear", align_corners=False))
    return parts


def stacked_features(pyramid: list[Tensor]) -> Tensor:
    """`aligned_features`, each stage's vector of unit length at each position, ``(B, C_1 + C_2 (+ C_3), h_2, w_2)``.

    Unit length (Wang et al., BMVC 2021) takes a vector's length out, and with it much of the contrast. Noticed on the
    retina test set (`benchmarks/results/baselines.md`), kept because held-out normals with made anomalies agree.
    """
    return torch.cat([F.normalize(part, dim=1) for part in aligned_features(pyramid)], dim=1)


class LatentDistance(nn.Module):
    """Mahalanobis distance to one Gaussian over all positions of the normal images, constant in memory.

    ``d(p) = |W (F(p) - m)| / sqrt(C)`` with ``W' W`` the inverse covariance; the root of the mean over channels, so
    that a normal position has about 1. The Gaussian is fitted by `monai_cavga.calibration`; before that it is standard.

    Args:
        channels: of the stacked features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.whitening: Tensor
        self.register_buffer("mean", torch.zeros(channels), persistent=False)
        self.register_buffer("whitening", torch.eye(channels), persistent=False)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """Features of the stages to distances ``(B, 1, h, w)``, >= 0; higher = more anomalous."""
        stacked = stacked_features(pyramid)
        weight = self.whitening
        white = F.conv2d(stacked, weight[:, :, None, None], -(weight @ self.mean))
        return white.square().mean(dim=1, keepdim=True).sqrt()
