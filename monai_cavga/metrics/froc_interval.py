"""Bootstrap of FROC: what each image adds to the curve, summed anew for every resample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_cavga.metrics.curves import check_max_fpr
from monai_cavga.metrics.froc import FROC_RATES, FrocHistogram
from monai_cavga.metrics.interval import resample_weights

__all__ = ["compact_froc", "resampled_froc", "resampled_sensitivities"]

_AT_ONCE = 100  # resamples
_Array = NDArray[np.float64]


def compact_froc(image: FrocHistogram) -> Tensor:
    """The bins of one image that hold normal pixels, or at which its part of the FROC curve changes.

    Args:
        image: that has seen one image.

    Returns:
        ``(k, 4)`` float32 on the CPU, bins ascending: bin, normal pixels, lesions whose highest score it holds, and
        false positives that come (or, below 0, go) when the threshold falls to its edge. 16 bytes a row, about one
        for each occupied bin; none without a labelled pixel.
    """
    normal, found, false, _ = image.tensors()
    rows = torch.stack([normal, found, false - torch.cat([false[1:], false.new_zeros(1)])])
    bins = rows.any(0).nonzero()[:, 0]
    return torch.cat([bins[None], rows[:, bins]]).T.float().contiguous()


def resampled_froc(
    images: Sequence[Tensor],
    *,
    groups: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    max_fpr: float = 0.3,
) -> _Array:
    """:meth:`FrocHistogram.score` of bootstrap resamples of the images.

    Each is exactly the score of a histogram filled with the images drawn, as often as each was drawn.

    Memory: 24 bytes per image for each bin at which a lesion is found or a false positive comes or goes in any of
    them, ``8 * n_resamples`` bytes per image, and 4 KiB for each such bin.

    Args:
        images: one :func:`compact_froc` for each image with a labelled pixel.
        groups: one for each image; equal values belong to one patient.
        n_resamples: at least 1.
        seed: of the bootstrap, see :func:`monai_cavga.metrics.interval.resample_weights`.
        max_fpr: where the curve ends, in (0, 1].

    Returns:
        ``(n_resamples,)`` in [0, 1], ``nan`` where a resample has no lesion.

    Raises:
        ValueError: if there are no images, ``n_resamples`` is below 1, ``groups`` has another length or ``max_fpr`` is
            outside (0, 1].
    """
    found = resampled_sensitivities(
        images, FROC_RATES, groups=groups, n_resamples=n_resamples, seed=seed, max_fpr=max_fpr
    )
    return np.asarray(found.mean(axis=1))


def resampled_sensitivities(
    images: Sequence[Tensor],
    rates: Sequence[float],
    *,
    groups: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    max_fpr: float = 0.3,
) -> _Array:
    """:meth:`FrocHistogram.sensitivities` of the same resamples: the FROC curve's own interval, rate by rate.

    Args:
        images: as for :func:`resampled_froc`, and so are the options.
        rates: mean false positives per image, >= 0.

    Returns:
        ``(n_resamples, n_rates)`` in [0, 1], ``nan`` where a resample has no lesion.

    Raises:
        ValueError: as :func:`resampled_froc`.
    """
    check_max_fpr(max_fpr)
    weights = resample_weights(len(images), groups=groups, n_resamples=n_resamples, seed=seed)
    steps = _steps([image.numpy() for image in images])
    parts = np.split(weights, range(_AT_ONCE, n_resamples, _AT_ONCE))
    return np.concatenate([_sensitivities(drawn, steps, rates, max_fpr) for drawn in parts])


def _steps(images: Sequence[NDArray[np.float32]]) -> _Array:
    """Normal pixels, lesions, false positives ``(3, images, operating points + 1)``, thresholds descending.

    Operating points are the bins at which a lesion or false positive comes or goes in any image. Normal pixels of
    other bins go with the next point below; those below all points have the last place.
    """
    rows = np.concatenate(images).astype(np.float64)
    image = np.repeat(np.arange(len(images)), [len(each) for each in images])
    points = np.unique(rows[(rows[:, 2:] != 0).any(1), 0])
    place = points.size - np.searchsorted(points, rows[:, 0], side="right")  # 0 for the highest point and above
    steps = np.zeros((3, len(images), points.size + 1))
    for column in range(3):
        np.add.at(steps[column], (image, place), rows[:, 1 + column])
    return steps


def _sensitivities(drawn: _Array, steps: _Array, rates: Sequence[float], max_fpr: float) -> _Array:
    """As :meth:`FrocHistogram.sensitivities`, for ``(resamples, images)`` weights: ``(resamples, rates)``."""
    normal, found, false = (drawn @ each for each in steps)  # (resamples, points + 1)
    above = np.cumsum(normal, 1)
    inside = above <= max_fpr * np.maximum(above[:, -1:], 1)
    worst = np.maximum.accumulate(np.cumsum(false, 1) / drawn.sum(1, keepdims=True), axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan: no lesion in this resample
        sensitivity = np.cumsum(found, 1) / found.sum(1, keepdims=True)
    sensitivity = np.pad(sensitivity, ((0, 0), (1, 0)))
    reached = np.stack([(inside & (worst <= rate)).sum(1) for rate in rates], axis=1)
    return np.where(found.sum(1, keepdims=True) > 0, np.take_along_axis(sensitivity, reached, axis=1), np.nan)
