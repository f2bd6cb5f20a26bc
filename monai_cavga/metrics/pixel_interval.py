"""Bootstrap of the pixel metrics: a small histogram of each image, summed anew for every resample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_cavga.metrics.curves import check_max_fpr
from monai_cavga.metrics.interval import resample_weights

__all__ = ["RESAMPLED", "compact_histogram", "resampled_pixel_metrics"]

RESAMPLED = ("pixel_auroc", "iou_oracle_pooled", "aupro")
_BITS = 16  # of the bins that are kept, 0.8 % wide
_N_CELLS = 2048  # into which they are put together
_AT_ONCE = 100  # resamples: 2 MiB for each array of them
_Array = NDArray[np.float64]


def compact_histogram(counts: Tensor, region_mass: Tensor) -> Tensor:
    """The occupied bins of one image's histograms, 0.8 % wide at the finest.

    Args:
        counts: ``(2, 2**bits)``, of normal and anomalous pixels, as of
            :func:`monai_cavga.metrics.binning.item_histograms`.
        region_mass: ``(2**bits,)``, as of :func:`monai_cavga.metrics.region.item_region_mass`.

    Returns:
        ``(k, 4)`` float32 on the CPU: bin, normal pixels, anomalous pixels, region mass. Typically 500 to 3000 rows,
        8 to 48 KiB.
    """
    rows = torch.cat([counts.cpu().double(), region_mass.cpu()[None]])
    rows = rows.view(3, min(rows.shape[1], 1 << _BITS), -1).sum(2)
    occupied = rows[:2].sum(0).nonzero()[:, 0]
    return torch.cat([occupied[None], rows[:, occupied]]).T.float().contiguous()


def resampled_pixel_metrics(
    images: Sequence[Tensor],
    *,
    groups: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    max_fpr: float = 0.3,
) -> dict[str, _Array]:
    """Pixel AUROC, pooled oracle IoU and AUPRO of bootstrap resamples of the images.

    A resample's histograms are the images' own, weighted by how often each was drawn. Neighbouring bins are put
    together into at most 2048 cells, so that a cell holds little of the normal pixels, of the anomalous ones, and of
    all that are above it: good for the width of an interval, not for the value itself, which the finer histograms give.
    The oracle chooses its threshold anew in each resample.

    Memory: 24 KiB per image at most, ``8 * n_resamples`` bytes per image, and 20 MiB.

    Args:
        images: one ``compact_histogram`` for each image, all of the same bits; may have no rows.
        groups: one for each image; equal values belong to one patient.
        n_resamples: at least 1.
        seed: of the bootstrap, see :func:`monai_cavga.metrics.interval.resample_weights`.
        max_fpr: of AUPRO, in (0, 1].

    Returns:
        ``pixel_auroc``, ``iou_oracle_pooled``, ``aupro``: each ``(n_resamples,)`` in [0, 1], ``nan`` where a resample
        lacks the pixels.

    Raises:
        ValueError: if there are no images, ``n_resamples`` is below 1, ``groups`` has another length or ``max_fpr`` is
            outside (0, 1].
    """
    check_max_fpr(max_fpr)
    weights = resample_weights(len(images), groups=groups, n_resamples=n_resamples, seed=seed)
    cells = _cells([image.numpy() for image in images])
    found: dict[str, list[_Array]] = {name: [] for name in RESAMPLED}
    for drawn in np.split(weights, range(_AT_ONCE, n_resamples, _AT_ONCE)):
        normal, anomalous, mass = (drawn @ histogram for histogram in cells)
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is nan: no such pixel in this resample
            found["pixel_auroc"].append(_auroc(normal, anomalous))
            found["iou_oracle_pooled"].append(_best_iou(normal, anomalous))
            found["aupro"].append(_aupro(normal, mass, max_fpr))
    return {name: np.concatenate(values) for name, values in found.items()}


def _cells(images: Sequence[NDArray[np.float32]]) -> _Array:
    """``(3, images, cells)``, cells from the lowest score to the highest."""
    rows = np.concatenate(images).astype(np.float64)
    bins, place = np.unique(rows[:, 0], return_inverse=True)
    if bins.size == 0:
        return np.zeros((3, len(images), 1))
    pooled = np.stack([np.bincount(place, weights=rows[:, column], minlength=bins.size) for column in (1, 2)])
    shares = pooled / np.maximum(pooled.sum(1, keepdims=True), 1)
    area = np.cumsum(pooled.sum(0)[::-1])[::-1]
    steps = shares.sum(0) + np.diff(-np.log(area), append=0) / max(float(np.log(area[0])), 1.0)
    position = np.cumsum(steps) - steps  # in [0, 3]
    cell = np.minimum(np.floor(position / max(float(steps.sum()), 1e-12) * _N_CELLS), _N_CELLS - 1)
    cell = np.arange(bins.size) if bins.size <= _N_CELLS else np.unique(cell, return_inverse=True)[1]
    image = np.repeat(np.arange(len(images)), [len(each) for each in images])
    histograms = np.zeros((3, len(images), int(cell.max()) + 1))
    for column in range(3):
        np.add.at(histograms[column], (image, cell[place]), rows[:, 1 + column])
    return histograms


def _auroc(normal: _Array, anomalous: _Array) -> _Array:
    """As :func:`monai_cavga.metrics.curves.roc_auc`, for ``(resamples, cells)``."""
    below = np.cumsum(normal, 1) - normal
    area: _Array = (anomalous * (below + normal / 2)).sum(1) / (normal.sum(1) * anomalous.sum(1))
    return area


def _best_iou(normal: _Array, anomalous: _Array) -> _Array:
    """As :func:`monai_cavga.metrics.curves.best_iou`, for ``(resamples, cells)``."""
    alarms, hits = (np.cumsum(each[:, ::-1], 1) for each in (normal, anomalous))
    n_anomalous = anomalous.sum(1, keepdims=True)
    best: _Array = np.where(n_anomalous > 0, hits / (n_anomalous + alarms), np.nan).max(1)
    return best


def _aupro(normal: _Array, mass: _Array, max_fpr: float) -> _Array:
    """As :func:`monai_cavga.metrics.curves.per_region_overlap`, for ``(resamples, cells)``."""
    rate, overlap = (np.cumsum(each[:, ::-1], 1) / each.sum(1, keepdims=True) for each in (normal, mass))
    rates, overlaps = (np.pad(each, ((0, 0), (1, 0))) for each in (rate, overlap))
    width = np.diff(rates)
    inside = np.clip(max_fpr - rates[:, :-1], 0, width)  # of each straight piece, the part below the limit
    slope = np.divide(np.diff(overlaps), width, out=np.zeros_like(width), where=width > 0)
    area: _Array = (inside * (overlaps[:, :-1] + slope * inside / 2)).sum(1) / max_fpr
    # a resample without a region must not pass for one with overlap 0
    return np.where((normal.sum(1) > 0) & (mass.sum(1) > 0), np.clip(area, 0, 1), np.nan)
