"""A learning rate that is a function of the iteration alone, so that nothing of it has to be saved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ignite.engine import Engine
    from torch.optim import Optimizer

__all__ = ["CosineScheduleHandler", "cosine_factor"]


def cosine_factor(done: int, total: int, *, warmup: int = 0) -> float:
    """Linear warm-up to 1, then half a cosine down to 0, after ``done`` of ``total`` iterations."""
    return min(1.0, (done + 1) / max(warmup, 1)) * 0.5 * (1 + math.cos(math.pi * min(done, total) / max(total, 1)))


class CosineScheduleHandler:
    """Set every group's learning rate to its first value times `cosine_factor`, before each iteration.

    Args:
        optimizer: its groups' ``initial_lr`` are taken, or their ``lr`` when the handler is made.
        warmup: iterations of the linear warm-up.

    Raises:
        ValueError: if ``warmup`` is negative.
    """

    def __init__(self, optimizer: Optimizer, *, warmup: int = 50) -> None:
        if warmup < 0:
            raise ValueError(f"warmup is {warmup}, expected >= 0 iterations")
        self.optimizer = optimizer
        self.warmup = warmup
        self.rates = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.ITERATION_STARTED, self._set)

    def _set(self, engine: Any) -> None:
        state = engine.state
        total = state.max_epochs * state.epoch_length
        factor = cosine_factor(state.iteration - 1, total, warmup=self.warmup)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
