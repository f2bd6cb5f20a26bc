"""Training engines."""

from __future__ import annotations

from monai_cavga.engines.distributed import distribute, local_device, start_process_group, stop_process_group
from monai_cavga.engines.randomness import step_generator
from monai_cavga.engines.trainer import CAVGATrainer, loss_terms, unwrap

__all__ = [
    "CAVGATrainer",
    "distribute",
    "local_device",
    "loss_terms",
    "start_process_group",
    "step_generator",
    "stop_process_group",
    "unwrap",
]
