"""The best model on disk, inside MONAI's evaluator and across a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.metrics import Metric
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn

from monai_cavga.handlers import BestModelHandler
from monai_cavga.networks import load_model


class _Scripted(Metric):
    """A key metric whose values are known beforehand."""

    def __init__(self, values: list[float]) -> None:
        self.values: Iterator[float] = iter(values)
        super().__init__()

    def reset(self) -> None:
        pass

    def update(self, output: object) -> None:
        pass

    def compute(self) -> float:
        return next(self.values)


def _evaluator(model: nn.Module, path: Path, *values: float) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{"image": torch.ones(1, 1)}],
        network=model,
        key_val_metric={"metric": _Scripted(list(values))},
        val_handlers=[BestModelHandler(model, path)],
    )


def _validate(evaluator: SupervisedEvaluator, model: nn.Linear, *, epoch: int) -> None:
    """Validate a model whose one weight is the number of the epoch."""
    with torch.no_grad():
        model.weight.fill_(float(epoch))
    evaluator.run(epoch)


def _saved_epoch(path: Path) -> int:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["model"]
    return int(state["weight"])


@pytest.fixture
def model() -> nn.Linear:
    return nn.Linear(1, 1)


def test_keeps_the_best_of_a_training(model: nn.Linear, tmp_path: Path) -> None:
    path = tmp_path / "models" / "model.pt"  # the folder is made
    evaluator = _evaluator(model, path, 0.5, 0.3, 0.7, 0.7)
    for epoch, best in ((1, 1), (2, 1), (3, 3), (4, 3)):
        _validate(evaluator, model, epoch=epoch)
        assert _saved_epoch(path) == best
    assert [file.name for file in path.parent.iterdir()] == ["model.pt"]


def test_a_restart_does_not_overwrite_a_better_model(model: nn.Linear, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    _validate(_evaluator(model, path, 0.7), model, epoch=3)
    evaluator = _evaluator(model, path, 0.6, 0.8)
    evaluator.state.best_metric, evaluator.state.best_metric_epoch = 0.7, 3  # as TrainingStateHandler restores them
    _validate(evaluator, model, epoch=4)
    assert _saved_epoch(path) == 3
    _validate(evaluator, model, epoch=5)
    assert _saved_epoch(path) == 5


def test_only_the_first_process_writes(model: nn.Linear, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    evaluator = _evaluator(model, path, 0.5)
    evaluator.state.rank = 1
    _validate(evaluator, model, epoch=1)
    assert not path.exists()


def test_a_metric_that_is_no_number_saves_nothing(model: nn.Linear, tmp_path: Path) -> None:
    handler = BestModelHandler(model, tmp_path / "model.pt")
    handler._save_if_best(SimpleNamespace(state=SimpleNamespace(rank=0, best_metric_epoch=-1, epoch=1)))
    assert list(tmp_path.iterdir()) == []


def test_round_trip_by_load_model(model: nn.Linear, tmp_path: Path) -> None:
    _validate(_evaluator(model, tmp_path / "model.pt", 0.5), model, epoch=7)
    other = nn.Linear(1, 1)
    load_model(other, tmp_path / "model.pt")
    assert other.weight.item() == 7
    assert torch.equal(other.bias, model.bias)
