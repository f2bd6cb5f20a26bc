"""Losses where a made anomaly's mask is known (ours): C at every position, and the mirror of L_cga on attention."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["IGNORE", "mask_attention_loss", "mask_classification_loss"]

IGNORE = -1  # of a pixel that is outside the field of view, or of which nothing is known
_SMALL = 3.0  # a lesion that covers a third of a position is all of it: a microaneurysm covers 5 pixels of 16


def position_targets(mask: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Labels of pixels to those of positions.

    Args:
        mask: ``(B, 1, H, W)``: 1 anomalous, 0 normal, `IGNORE`.
        size: ``(h, w)`` of the positions; H and W are multiples of them.

    Returns:
        Target ``(B, 1, h, w)`` in [0, 1], min(1, 3 x the anomalous share of the known pixels), and weight in [0, 1],
        the share of pixels that are known.
    """
    known = (mask >= 0).float()
    weight = F.adaptive_avg_pool2d(known, size)
    share = F.adaptive_avg_pool2d(mask.clamp(min=0).float(), size) / weight.clamp(min=1e-6)
    return (_SMALL * share).clamp(max=1), weight


def mask_classification_loss(class_map: Tensor, mask: Tensor, *, anomalous_weight: float = 4.0) -> Tensor:
    """Binary cross entropy of C at every position against the mask, the mean over known positions.

    Args:
        class_map: ``(B, 2, h, w)``, logits of normal and anomalous.
        mask: ``(B, 1, H, W)``: 1 anomalous, 0 normal, -1 unknown or outside the field of view.
        anomalous_weight: how much more an anomalous position counts than a normal one.

    Returns:
        Scalar; 0 if nothing is known.

    Raises:
        ValueError: if the shapes do not belong together.
    """
    _check(class_map, mask)
    target, weight = position_targets(mask, (class_map.shape[2], class_map.shape[3]))
    logit = class_map[:, 1:] - class_map[:, :1]
    total = F.binary_cross_entropy_with_logits(
        logit, target, weight=weight * (1 + anomalous_weight * target), reduction="sum"
    )
    return total / weight.sum().clamp(min=1)


def mask_attention_loss(class_attention: Tensor, mask: Tensor) -> Tensor:
    """The mirror of L_cga (eq. 5): ``A^{c_a}`` covers the mask and ``A^{c_n}`` avoids it.

    ``sum_{mask}(1 - A^{c_a} + A^{c_n}) / |mask|``, the mean over all images of the batch; an image without a mask
    adds nothing but counts, as in L_cga.

    Args:
        class_attention: ``(B, 2, h, w)``, in [0, 1]: ``A^{c_n}`` and ``A^{c_a}``.
        mask: as for `mask_classification_loss`.

    Returns:
        Scalar in [0, 2].

    Raises:
        ValueError: if the shapes do not belong together.
    """
    _check(class_attention, mask)
    target, weight = position_targets(mask, (class_attention.shape[2], class_attention.shape[3]))
    inside = (target * weight)[:, 0]
    wrong = 1 - class_attention[:, 1] + class_attention[:, 0]
    per_image = (wrong * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1e-6)
    return per_image.mean()


def _check(maps: Tensor, mask: Tensor) -> None:
    if maps.ndim != 4 or maps.shape[1] != 2 or mask.ndim != 4 or mask.shape[:2] != (maps.shape[0], 1):
        raise ValueError(
            f"maps have shape {tuple(maps.shape)}, mask {tuple(mask.shape)}, expected (B, 2, h, w) and (B, 1, H, W)"
        )
