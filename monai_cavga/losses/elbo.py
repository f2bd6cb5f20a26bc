"""L of eq. 1: the negative evidence lower bound, reconstruction and KL divergence, per value of the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["kl_divergence", "reconstruction_loss"]


def reconstruction_loss(logits: Tensor, image: Tensor) -> Tensor:
    """L_R: binary cross entropy between image and reconstruction, a mean over values and images; eq. 1.

    Eq. 1 sums over an image's values; here that sum is divided by their number, and `kl_divergence` by the same
    number, so that the ratio of the two is eq. 1's while the size does not depend on the image's.

    Args:
        logits: ``(B, C, H, W)``, the reconstruction before its sigmoid.
        image: ``(B, C, H, W)``, in [0, 1].

    Returns:
        Scalar >= 0, in nats per value; an image of values other than 0 and 1 has its own entropy as minimum.

    Raises:
        ValueError: if the shapes differ.
    """
    if logits.shape != image.shape:
        raise ValueError(
            f"logits has shape {tuple(logits.shape)}, image {tuple(image.shape)}: "
            "the decoder must give the image's size"
        )
    return F.binary_cross_entropy_with_logits(logits, image)


def kl_divergence(mean: Tensor, log_variance: Tensor, *, values: int) -> Tensor:
    """KL of the posterior ``N(mu, sigma^2)`` from ``N(0, 1)``, per value of the image, a mean over images; eq. 1.

    ``1/2 sum(mu^2 + sigma^2 - log sigma^2 - 1) / values``; the paper writes ``p(z|x)`` and means the prior ``p(z)``.

    Args:
        mean: ``(B, n, h, w)`` or ``(B, n)``.
        log_variance: as ``mean``.
        values: number of values ``C * H * W`` of one image.

    Returns:
        Scalar >= 0, in nats per value.

    Raises:
        ValueError: if the shapes differ or ``values`` is not positive.
    """
    if mean.shape != log_variance.shape:
        raise ValueError(
            f"mean has shape {tuple(mean.shape)}, log_variance {tuple(log_variance.shape)}: pass one latent's two maps"
        )
    if values < 1:
        raise ValueError(f"values is {values}, expected the number of values of an image, C * H * W")
    divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)
    return torch.sum(divergence) / (values * mean.shape[0])
