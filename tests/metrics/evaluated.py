"""Evaluated images for the tests of the evaluation and of its summary."""

from __future__ import annotations

from typing import Any

import torch

from monai_cavga.metrics.evaluation import Evaluation, accumulate

Item = dict[str, Any]


def items_of_two_maps(n: int = 12, seed: int = 0) -> list[Item]:
    """Every third image anomalous; two maps of different ranges; a field of view; sizes differ."""
    generator = torch.Generator().manual_seed(seed)
    items = []
    for number in range(n):
        size = (1, 16 + number, 30)
        fov = torch.ones(size)
        fov[:, :, :4] = 0
        mask = torch.zeros(size, dtype=torch.int8)
        label = int(number % 3 == 0)
        if label:
            mask[:, 3:7, 6:14] = 1
            mask[:, 12:14, 20:23] = 1
        attention = torch.rand(size, generator=generator) * 0.8 + 0.15 * mask
        mask[fov == 0] = -1
        items.append(
            {
                "attention": attention,
                "residual": 5 * torch.rand(size, generator=generator) - 1,
                "mask": mask,
                "fov": fov,
                "label": torch.tensor(label),
            }
        )
    return items


def evaluated(items: list[Item], maps: tuple[str, ...] = ("attention", "residual")) -> Evaluation:
    evaluation = Evaluation(maps, score_rule=0.9)
    for number, item in enumerate(items):
        accumulate(evaluation, item, name=f"eye {number}")
    return evaluation
