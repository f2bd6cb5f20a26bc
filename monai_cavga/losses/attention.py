"""The paper's two losses on attention: L_ae (eq. 3) and L_cga (eq. 5)."""

from __future__ import annotations

from torch import Tensor

__all__ = ["attention_expansion_loss", "complementary_guided_attention_loss"]

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
    if attention.ndim != 4 or attention.shape[1] != 1:
        raise ValueError(f"attention has shape {tuple(attention.shape)}, expected (B, 1, h, w): pass one map an image")
    return (1 - attention).mean()


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
