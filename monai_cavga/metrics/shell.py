"""What the MONAI shells of this package have in common: pairs of items go into a state of fixed size."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from monai.metrics.metric import CumulativeIterationMetric
from torch import Tensor

__all__ = ["StreamingMetric"]


class StreamingMetric(CumulativeIterationMetric):
    """A MONAI metric without MONAI's buffers, which keep one tensor per value.

    Called as ``metric(y_pred, y)`` by ``monai.handlers.IgniteMetricHandler(metric, output_transform=
    from_engine(["attention", "mask"]), save_details=False)``; usable as a ``key_val_metric``. With a process group,
    ``aggregate`` gives every process the value over all of them. A value that does not exist is an
    ``UndefinedMetricError``, never ``nan``: MONAI would keep a first ``nan`` as the best metric for ever.
    """

    def __call__(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Tensor:
        """Add a batch.

        Args:
            y_pred: list of B items, or one tensor with B in front; higher = more anomalous.
            y: the labels or masks, alike.
            kwargs: none; the parameter is there because MONAI's base class has it.

        Returns:
            ``(B,)`` int64; what was counted of each item.

        Raises:
            ValueError: if ``y`` is missing, the numbers of items differ, or an item is refused.
            TypeError: if a keyword is given.
        """
        if kwargs:
            raise TypeError(f"{type(self).__name__} got {sorted(kwargs)}, expected only y_pred and y")
        if y is None:
            raise ValueError(f"{type(self).__name__} got no y, expected the masks or labels: metric(y_pred, y)")
        if len(y_pred) != len(y):
            raise ValueError(
                f"{type(self).__name__} got {len(y_pred)} predictions and {len(y)} targets, expected as many: "
                "give one mask or label for every item of the batch"
            )
        added = [self._add(torch.as_tensor(p), torch.as_tensor(t)) for p, t in zip(y_pred, y, strict=True)]
        return torch.tensor(added, dtype=torch.int64)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        return self(y_pred, y, **kwargs)

    @abstractmethod
    def reset(self) -> None:
        """Forget everything; MONAI's buffers stay empty and need no reset."""

    @abstractmethod
    def _add(self, prediction: Tensor, target: Tensor) -> int:
        """Add one item; the number of values counted."""
