"""The paper's two losses on attention, L_ae (eq. 3) and L_cga (eq. 5), and two others' in place of L_ae."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = [
    "ATTENTION_LOSSES",
    "attention_barrier_loss",
    "attention_entropy_loss",
    "attention_expansion_loss",
    "complementary_guided_attention_loss",
]

NORMAL, ANOMALOUS = 0, 1


def attention_expansion_loss(attention: Tensor) -> Tensor:
    """L_ae: push the attention of normal images over the whole image.

    Mean of ``1 - A`` over positions and images; eq. 3, arXiv:1911.08616.

    Args:
        attention: ``(B, 1, h, w)``, in [0, 1], of normal images; must carry gradient to train anything.

    Returns:
        Scalar in [0, 1]; 0 = attention covers everything.

    Raises:
        ValueError: if ``attention`` is not ``(B, 1, h, w)``.
    """
    _check_map(attention)
    return (1 - attention).mean()


def attention_barrier_loss(attention: Tensor, *, least: float = 0.9, sharpness: float = 20.0) -> Tensor:
    """Keep each normal image's mean attention above ``least``, by an extended log-barrier (ours, in place of L_ae).

    With ``v = least - mean(A)`` and ``t`` the sharpness: ``-log(-v) / t`` where ``v <= -1 / t^2``, else its tangent
    ``t v - log(1 / t^2) / t + 1 / t``; the mean over images. After Silva-Rodriguez et al., arXiv:2203.01671 (their
    constraint is on the share of active pixels).

    Args:
        attention: ``(B, 1, h, w)``, in [0, 1], of normal images.
        least: the mean attention wanted, in (0, 1).
        sharpness: t; the larger, the closer to a hard constraint.

    Returns:
        Scalar, unbounded above 0 for a map that violates the constraint.

    Raises:
        ValueError: if ``attention`` is not ``(B, 1, h, w)``.
    """
    _check_map(attention)
    violation = least - attention.mean(dim=(1, 2, 3))  # (B,)
    inside = violation <= -1 / sharpness**2
    barrier = -(-violation).clamp(min=1 / sharpness**2).log() / sharpness
    tangent = sharpness * violation - math.log(1 / sharpness**2) / sharpness + 1 / sharpness
    return barrier.where(inside, tangent).mean()


def attention_entropy_loss(attention: Tensor) -> Tensor:
    """Spread the attention of normal images evenly: 1 less its normalised entropy (ours: in place of L_ae).

    ``1 - H(A / sum A) / log(h w)``, the mean over images. After Silva-Rodriguez et al., arXiv:2203.01671, whose
    probabilities come from a softmax; here attention is not negative and is divided by its sum.

    Args:
        attention: ``(B, 1, h, w)``, in [0, 1], of normal images.

    Returns:
        Scalar in [0, 1]; 0 = the same everywhere.

    Raises:
        ValueError: if ``attention`` is not ``(B, 1, h, w)`` or has one position only.
    """
    _check_map(attention)
    flat = attention.flatten(1)
    if flat.shape[1] < 2:
        raise ValueError(f"attention has shape {tuple(attention.shape)}, expected two positions at least")
    share = flat / flat.sum(dim=1, keepdim=True).clamp(min=1e-8)
    entropy = -(share * share.clamp(min=1e-12).log()).sum(dim=1)
    return (1 - entropy / math.log(flat.shape[1])).mean()


ATTENTION_LOSSES = {
    "expansion": attention_expansion_loss,
    "barrier": attention_barrier_loss,
    "entropy": attention_entropy_loss,
}


def complementary_guided_attention_loss(class_attention: Tensor, logits: Tensor, label: Tensor) -> Tensor:
    """L_cga: normal attention over everything, anomalous attention nowhere, on normal images that C gets right.

    ``1[p = y = c_n] / |A| sum(1 - A^{c_n} + A^{c_a})``, then the mean over *all* images of the batch; eq. 5,
    arXiv:1911.08616. An anomalous or misjudged image adds nothing but counts in the mean.

    Args:
        class_attention: ``(B, 2, h, w)``, in [0, 1]: ``A^{c_n}`` and ``A^{c_a}``.
        logits: ``(B, 2)``, C's outputs for normal and anomalous; only their order is used.
        label: ``(B,)``, 0 normal, 1 anomalous.

    Returns:
        Scalar in [0, 2]; 0 if no normal image is judged right.

    Raises:
        ValueError: if the shapes do not belong together.
    """
    batch = class_attention.shape[0]
    if class_attention.ndim != 4 or class_attention.shape[1] != 2 or logits.shape != (batch, 2):
        raise ValueError(
            f"class_attention has shape {tuple(class_attention.shape)}, logits {tuple(logits.shape)}, "
            "expected (B, 2, h, w) and (B, 2): normal first, anomalous second"
        )
    if label.shape != (batch,):
        raise ValueError(f"label has shape {tuple(label.shape)}, expected ({batch},): one label an image")
    normal, anomalous = class_attention[:, NORMAL], class_attention[:, ANOMALOUS]
    per_image = (1 - normal + anomalous).mean(dim=(1, 2))  # (B,)
    right = (label == NORMAL) & (logits.argmax(dim=1) == NORMAL)
    return (per_image * right).sum() / batch


def _check_map(attention: Tensor) -> None:
    if attention.ndim != 4 or attention.shape[1] != 1:
        raise ValueError(f"attention has shape {tuple(attention.shape)}, expected (B, 1, h, w): pass one map an image")
