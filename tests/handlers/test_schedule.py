"""The cosine schedule: by hand, and inside an engine, where a restart changes nothing."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from monai_cavga.handlers import CosineScheduleHandler, cosine_factor


@pytest.mark.parametrize(
    ("done", "total", "warmup", "factor"),
    [
        (0, 100, 0, 1.0),
        (50, 100, 0, 0.5),
        (100, 100, 0, 0.0),
        (150, 100, 0, 0.0),  # beyond the end it stays there
        (0, 100, 4, 0.25),
        (1, 100, 4, 0.5 * 0.5 * (1 + math.cos(math.pi * 0.01))),
        (4, 100, 4, 0.5 * (1 + math.cos(math.pi * 0.04))),
        (0, 0, 0, 1.0),
    ],
)
def test_by_hand(done: int, total: int, warmup: int, factor: float) -> None:
    assert cosine_factor(done, total, warmup=warmup) == pytest.approx(factor, abs=2e-4)


def test_rises_in_the_warm_up_and_falls_after_it() -> None:
    factors = [cosine_factor(done, 60, warmup=10) for done in range(61)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(a < b for a, b in pairwise(factors[:10]))
    assert all(a > b for a, b in pairwise(factors[9:]))


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def run(optim: torch.optim.Optimizer, *, epochs: int, warmup: int, state: dict[str, Any] | None = None) -> list[Any]:
    """The groups' rates in each of four steps an epoch."""
    seen: list[list[float]] = []
    engine = Engine(lambda engine, batch: seen.append([group["lr"] for group in optim.param_groups]))
    CosineScheduleHandler(optim, warmup=warmup).attach(engine)
    if state is not None:
        engine.load_state_dict(state)
    engine.run([None] * 4, max_epochs=None if state else epochs)
    return seen


def test_every_group_keeps_its_own_rate() -> None:
    seen = run(optimizer(0.1, 0.001), epochs=3, warmup=2)
    assert len(seen) == 12
    for done, rates in enumerate(seen):
        factor = cosine_factor(done, 12, warmup=2)
        assert rates == pytest.approx([0.1 * factor, 0.001 * factor])
    assert seen[0][0] == pytest.approx(0.05)
    assert 0 < seen[-1][0] < 0.01


def test_a_restart_goes_on_where_it_was() -> None:
    """The rates are a function of the iteration, whatever rate the optimiser's own state brings."""
    whole = run(optimizer(0.1), epochs=3, warmup=2)
    optim = optimizer(0.1)
    optim.param_groups[0]["initial_lr"] = 0.1
    optim.param_groups[0]["lr"] = 0.033  # as an optimiser's state was saved in the middle
    state = {"epoch": 1, "epoch_length": 4, "max_epochs": 3}
    assert run(optim, epochs=3, warmup=2, state=state) == whole[4:]


def test_the_rate_is_set_before_the_step() -> None:
    optim = optimizer(1.0)
    engine = Engine(lambda engine, batch: None)
    CosineScheduleHandler(optim, warmup=4).attach(engine)
    seen: list[float] = []
    engine.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(optim.param_groups[0]["lr"]))
    engine.run([None], max_epochs=1)
    assert seen == [0.25]


def test_negative_warmup() -> None:
    with pytest.raises(ValueError, match="warmup is -1, expected >= 0 iterations"):
        CosineScheduleHandler(optimizer(0.1), warmup=-1)
