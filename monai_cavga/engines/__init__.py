"""Training engines."""

from __future__ import annotations

from monai_cavga.engines.distributed import distribute, local_device, start_process_group, stop_process_group
from monai_cavga.engines.parameters import parameter_groups
from monai_cavga.engines.randomness import step_generator
from monai_cavga.engines.teacher import TeacherMaskd, pseudo_mask
from monai_cavga.engines.trainer import CAVGATrainer, loss_terms, unwrap

__all__ = [
    "CAVGATrainer",
    "TeacherMaskd",
    "distribute",
    "local_device",
    "loss_terms",
    "parameter_groups",
    "pseudo_mask",
    "start_process_group",
    "step_generator",
    "stop_process_group",
    "unwrap",
]
