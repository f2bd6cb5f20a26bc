"""Bootstrap intervals: how far a number would move with other images, or other patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cavga.metrics.errors import UndefinedMetricError

__all__ = ["Interval", "bootstrap_interval"]


class Interval(NamedTuple):
    """Ends of an interval, and the number of resamples that had a value."""

    low: float
    high: float
    n_resamples: int


def bootstrap_interval(
    statistic: Callable[..., float],
    arrays: Sequence[ArrayLike],
    *,
    groups: ArrayLike | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic of per-image values.

    Images are drawn with replacement; with ``groups`` whole patients are, because the two eyes of a patient are not
    two independent observations. Resamples without a value (one class only) are left out and the number kept tells.

    Args:
        statistic: called with the resampled arrays, in order.
        arrays: one or more ``(n,)`` arrays, one value per image, e.g. scores and labels.
        groups: ``(n,)``; equal values belong to one patient.
        n_resamples: at least 1.
        level: in (0, 1).
        seed: of a NumPy generator; the same seed and data give the same interval.

    Returns:
        The interval.

    Raises:
        ValueError: if there are no values, lengths differ, ``n_resamples`` is below 1 or ``level`` outside (0, 1).
        UndefinedMetricError: if fewer than half of the resamples have a value.

    Example:
        >>> bootstrap_interval(np.mean, [[0.0, 1.0, 1.0, 1.0]], n_resamples=200).high
        1.0
    """
    columns = [np.asarray(a) for a in arrays]
    n_images = _common_length([*columns, *([] if groups is None else [np.asarray(groups)])])
    if n_resamples < 1:
        raise ValueError(f"n_resamples is {n_resamples}, expected at least 1, e.g. 1000")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a share between 0 and 1, e.g. 0.95")
    members = _members(groups, n_images)
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(n_resamples):
        drawn = generator.integers(len(members), size=len(members))
        rows = np.concatenate([members[i] for i in drawn]) if groups is not None else drawn
        try:
            values.append(statistic(*(column[rows] for column in columns)))
        except UndefinedMetricError:
            continue
    if 2 * len(values) < n_resamples:
        raise UndefinedMetricError(
            f"interval is undefined: {len(values)} of {n_resamples} resamples have a value, expected at least half: "
            "use more images of the rarer class"
        )
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), len(values))


def _common_length(columns: Sequence[NDArray[Any]]) -> int:
    shapes = [column.shape for column in columns]
    if not shapes or len(shapes[0]) != 1 or shapes[0] == (0,) or any(s != shapes[0] for s in shapes):
        raise ValueError(f"arrays and groups have shapes {shapes}, expected vectors of one length, at least one value")
    return int(shapes[0][0])


def _members(groups: ArrayLike | None, n_images: int) -> Sequence[NDArray[np.int64]]:
    """Rows of each unit that is drawn."""
    if groups is None:
        return [np.array([i]) for i in range(n_images)]
    _, unit = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(unit, kind="stable")
    return np.split(order, np.cumsum(np.bincount(unit))[:-1])
