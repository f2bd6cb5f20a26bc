"""Grad-CAM attention as pure functions: the general route by autograd and the closed forms that cost a 1x1 convolution.

Every function works image by image (no reduction over the batch), keeps the graph of its inputs and uses neither
hooks nor ``.backward()``. Maps called *raw* are rectified but not normalised: float, >= 0, unbounded above.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["class_attention", "grad_cam", "latent_attention", "normalise_attention"]


def grad_cam(score: Tensor, features: Tensor, *, create_graph: bool = False) -> Tensor:
    """Grad-CAM of any score on any feature map, by ``torch.autograd.grad``.

    ``relu(sum_k a_k F_k)`` with ``a_k`` the mean over positions of ``d score / d F_k``; Selvaraju et al. 2017,
    as used in Sec. 3.1 of arXiv:1911.08616. The graph that leads from ``features`` to ``score`` is kept.

    Args:
        score: ``(B,)`` one value an image, or a scalar already summed over images; must depend on ``features``.
            An image's score must not depend on other images (BatchNorm in training mode breaks this).
        features: ``(B, C, h, w)``, float, part of the graph of ``score``.
        create_graph: keep the gradient differentiable, so that a loss on the map trains the network.

    Returns:
        Raw map ``(B, 1, h, w)``, >= 0.

    Raises:
        ValueError: if ``features`` is not of rank 4 or does not carry gradient.
    """
    if features.ndim != 4:
        raise ValueError(f"features has shape {tuple(features.shape)}, expected (B, C, h, w): pass a 2-D feature map")
    if not features.requires_grad:
        raise ValueError(
            "features carries no gradient: run the network under torch.enable_grad(), "
            "and call image.requires_grad_() where all of its parameters are frozen"
        )
    (gradient,) = torch.autograd.grad(score.sum(), features, create_graph=create_graph, retain_graph=True)
    weight = gradient.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
    return F.relu((weight * features).sum(dim=1, keepdim=True))


def latent_attention(features: Tensor, weight: Tensor) -> Tensor:
    """Grad-CAM of ``sum(mu)`` where ``mu`` is linear in the features: no backward pass.

    With ``mu = W F + b`` at every position, ``d sum(mu) / d F_k = sum_c W_ck``: the same at every position of every
    image. Hence ``relu(sum_k (sum_c W_ck) F_k)``, equal to `grad_cam` and differentiable as it stands.
    For a flat latent, pass the mean over positions of each latent's weights (see `CAVGA`).

    Args:
        features: ``(B, C, h, w)``, float.
        weight: ``(n, C)``, the linear map from features to the ``n`` latent channels.

    Returns:
        Raw map ``(B, 1, h, w)``, >= 0.

    Raises:
        ValueError: if the number of channels differs.
    """
    return class_attention(features, weight.sum(dim=0, keepdim=True))


def class_attention(features: Tensor, weight: Tensor) -> Tensor:
    """Grad-CAM of each class score that is linear in the target's positional mean: no backward pass.

    ``relu(sum_k a^c_k F_k)`` with ``a^c`` the mean over positions of class ``c``'s weights; the maps ``A^{c_n}`` and
    ``A^{c_a}`` of Sec. 3.2, arXiv:1911.08616, up to the positive factor that `normalise_attention` takes out.

    Args:
        features: ``(B, C, h, w)``, float: the target of Grad-CAM (CAVGA_w: the latent).
        weight: ``(K, C)``, one row a class.

    Returns:
        Raw maps ``(B, K, h, w)``, >= 0.

    Raises:
        ValueError: if the number of channels differs.
    """
    if features.shape[1] != weight.shape[1]:
        raise ValueError(
            f"features has {features.shape[1]} channels, weight {weight.shape[1]} columns: "
            "pass the weights of the layer that reads these features"
        )
    return F.relu(F.conv2d(features, weight[:, :, None, None].to(features.dtype)))


def normalise_attention(raw: Tensor) -> Tensor:
    """Divide each image's raw maps by the image's own maximum, so that ``A`` lies in [0, 1].

    The paper asks for ``A in [0, 1]`` without saying how. Dividing by the maximum keeps zero at zero; a sigmoid after
    the rectifier could never fall below 0.5. Several maps of one image (classes) share one divisor, so that they stay
    comparable. An image without any attention stays all zero.

    Args:
        raw: ``(B, K, h, w)``, >= 0.

    Returns:
        ``(B, K, h, w)``, in [0, 1]; each image's largest value is 1.
    """
    peak = raw.amax(dim=(1, 2, 3), keepdim=True)
    # 1e-8: far below any attention that a network shows, far above what a float32 division turns into infinity
    return raw / peak.clamp_min(1e-8)
