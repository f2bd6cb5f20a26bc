"""L_adv of eq. 2, from the discriminator's and from the generator's side."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["discriminator_loss", "generator_loss", "generator_loss_literal"]


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What D minimises: ``-mean(log D(x)) - mean(log(1 - D(x^)))``, eq. 2.

    Args:
        real_logits: ``(B,)``, D on images, before the sigmoid.
        fake_logits: ``(B,)``, D on *detached* reconstructions.

    Returns:
        Scalar >= 0; 2 log 2 when D cannot tell them apart.
    """
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """What encoder and decoder minimise: ``-mean(log D(x^))``, the non-saturating form of Goodfellow et al. 2014.

    Deviation: eq. 2 read literally gives `generator_loss_literal`, whose gradient vanishes while D wins.

    Args:
        fake_logits: ``(B,)``, D on reconstructions that carry gradient.

    Returns:
        Scalar >= 0; log 2 when D cannot tell.
    """
    return F.softplus(-fake_logits).mean()


def generator_loss_literal(fake_logits: Tensor) -> Tensor:
    """Eq. 2's part in the reconstruction, for the min-max game: ``mean(log(1 - D(x^)))``, which is minimised.

    Args:
        fake_logits: ``(B,)``, D on reconstructions that carry gradient.

    Returns:
        Scalar <= 0; -log 2 when D cannot tell.
    """
    return -F.softplus(fake_logits).mean()
