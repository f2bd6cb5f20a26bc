"""Training engines."""

from __future__ import annotations

from monai_cavga.engines.randomness import step_generator
from monai_cavga.engines.trainer import CAVGATrainer, loss_terms, unwrap

__all__ = ["CAVGATrainer", "loss_terms", "step_generator", "unwrap"]
