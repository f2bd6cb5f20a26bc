"""Losses: eq. 1 to 6 of arXiv:1911.08616, each under the paper's name."""

from __future__ import annotations

from monai_cavga.losses.adversarial import discriminator_loss, generator_loss, generator_loss_literal
from monai_cavga.losses.attention import (
    attention_barrier_loss,
    attention_entropy_loss,
    attention_expansion_loss,
    complementary_guided_attention_loss,
)
from monai_cavga.losses.elbo import kl_divergence, reconstruction_loss
from monai_cavga.losses.mask import mask_attention_loss, mask_classification_loss
from monai_cavga.losses.objective import CAVGAObjective

__all__ = [
    "CAVGAObjective",
    "attention_barrier_loss",
    "attention_entropy_loss",
    "attention_expansion_loss",
    "complementary_guided_attention_loss",
    "discriminator_loss",
    "generator_loss",
    "generator_loss_literal",
    "kl_divergence",
    "mask_attention_loss",
    "mask_classification_loss",
    "reconstruction_loss",
]
