"""Numbers from a normal and an anomalous histogram over the same ascending score bins; no state, no tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_cavga.metrics.errors import UndefinedMetricError

__all__ = [
    "Optimum",
    "average_precision",
    "average_precision_error",
    "best_iou",
    "check_max_fpr",
    "highest_argmax",
    "per_region_overlap",
    "roc_auc",
    "roc_auc_error",
]

Counts = NDArray[Any]


class Optimum(NamedTuple):
    """A best value and the bin whose lower edge, as the threshold, gives it."""

    value: float
    bin: int


def roc_auc(normal: Counts, anomalous: Counts) -> float:
    """Probability that an anomalous score lies above a normal one; a shared bin counts half.

    Args:
        normal: ``(n_bins,)`` counts >= 0, bins ascending in score.
        anomalous: ``(n_bins,)`` counts >= 0, same bins.

    Returns:
        In [0, 1]; off the value on the raw scores by at most :func:`roc_auc_error`.

    Raises:
        UndefinedMetricError: if one of the histograms is empty.
    """
    n_normal, n_anomalous = _both_classes("AUROC", normal, anomalous)
    below = np.cumsum(normal, dtype=np.float64) - normal
    return float(np.sum(anomalous * (below + normal / 2)) / (n_normal * n_anomalous))


def roc_auc_error(normal: Counts, anomalous: Counts) -> float:
    """Largest possible effect of the binning on :func:`roc_auc`: ``sum_b P_b N_b / (2 P N)``.

    Only pairs that share a bin are unsure, and each was counted as one half of what is 0, 1/2 or 1.

    Raises:
        UndefinedMetricError: if one of the histograms is empty.
    """
    n_normal, n_anomalous = _both_classes("AUROC", normal, anomalous)
    return float(np.sum(anomalous.astype(np.float64) * normal) / (2 * n_normal * n_anomalous))


def average_precision(normal: Counts, anomalous: Counts) -> float:
    """Precision at every anomalous score, averaged: ``sum_b (R_b - R_b+1) precision_b``, scikit-learn's definition.

    Args:
        normal: ``(n_bins,)`` counts >= 0, bins ascending in score.
        anomalous: ``(n_bins,)`` counts >= 0, same bins.

    Returns:
        In [0, 1]; off the value on the raw scores by at most :func:`average_precision_error`.

    Raises:
        UndefinedMetricError: if one of the histograms is empty.
    """
    _, n_anomalous = _both_classes("average precision", normal, anomalous)
    used = anomalous > 0
    hits, alarms = _from_above(anomalous)[used], _from_above(normal)[used]
    return float(np.sum(anomalous[used] * (hits / (hits + alarms))) / n_anomalous)


def average_precision_error(normal: Counts, anomalous: Counts) -> float:
    """Largest possible effect of the binning on :func:`average_precision`.

    Inside a bin the precision cannot exceed that of its anomalous scores put first, nor fall below that of its first
    anomalous score put last.

    Raises:
        UndefinedMetricError: if one of the histograms is empty.
    """
    _, n_anomalous = _both_classes("average precision", normal, anomalous)
    used = anomalous > 0
    hits, alarms = _from_above(anomalous)[used], _from_above(normal)[used]
    inside_hits, inside_alarms = anomalous[used], normal[used]
    precision = hits / (hits + alarms)
    highest = hits / (hits + alarms - inside_alarms)
    first = hits - inside_hits + 1
    lowest = first / (first + alarms)
    return float(np.sum(inside_hits * np.maximum(highest - precision, precision - lowest)) / n_anomalous)


def best_iou(normal: Counts, anomalous: Counts) -> Optimum:
    """Oracle: the highest IoU of the pooled pixels that any bin edge reaches as the threshold (``score >= edge``).

    Chosen on the data it is measured on, so an upper estimate of what a threshold set beforehand reaches.

    Args:
        normal: ``(n_bins,)`` counts >= 0, bins ascending in score.
        anomalous: ``(n_bins,)`` counts >= 0, same bins.

    Raises:
        UndefinedMetricError: if there is no anomalous score.
    """
    n_anomalous = int(anomalous.sum())
    if n_anomalous == 0:
        raise UndefinedMetricError(_no_anomaly("IoU"))
    curve = _from_above(anomalous) / (n_anomalous + _from_above(normal))
    index = highest_argmax(curve)
    return Optimum(float(curve[index]), index)


def per_region_overlap(normal: Counts, region_mass: Counts, *, n_regions: int, max_fpr: float = 0.3) -> float:
    """Area under mean region overlap against false-positive rate, up to ``max_fpr``, divided by ``max_fpr`` (AUPRO).

    Scores in one bin are a straight line from one end of the bin to the other, as ties are in a ROC curve.

    Args:
        normal: ``(n_bins,)`` counts of normal pixels, bins ascending in score.
        region_mass: ``(n_bins,)``; sum over regions of the share of the region's pixels in the bin, so that it adds
            up to ``n_regions``.
        n_regions: number of regions.
        max_fpr: in (0, 1].

    Returns:
        In [0, 1].

    Raises:
        ValueError: if ``max_fpr`` is outside (0, 1].
        UndefinedMetricError: if there is no region or no normal pixel.
    """
    check_max_fpr(max_fpr)
    if n_regions == 0:
        raise UndefinedMetricError(_no_anomaly("AUPRO"))
    n_normal = int(normal.sum())
    if n_normal == 0:
        raise UndefinedMetricError("AUPRO has no false-positive rate: 0 normal pixels, expected at least one")
    used = (normal > 0) | (region_mass > 0)
    rate = np.concatenate([[0.0], np.cumsum(normal[used][::-1]) / n_normal])
    overlap = np.concatenate([[0.0], np.cumsum(region_mass[used][::-1]) / n_regions])
    inside = rate <= max_fpr
    rates = np.append(rate[inside], max_fpr)
    # np.interp takes the last of several points at one rate, which is the top of a vertical step: the ROC convention
    overlaps = np.append(overlap[inside], np.interp(max_fpr, rate, overlap))
    return float(np.clip(np.trapezoid(overlaps, rates) / max_fpr, 0.0, 1.0))


def check_max_fpr(max_fpr: float) -> float:
    """Return ``max_fpr`` if it is a usable limit.

    Raises:
        ValueError: if ``max_fpr`` is outside (0, 1].
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr is {max_fpr}, expected a rate above 0 and at most 1, e.g. 0.3")
    return max_fpr


def highest_argmax(curve: Counts) -> int:
    """Last of the maxima: between occupied bins a curve is flat, and the last one is the edge of an occupied bin."""
    return int(curve.size - 1 - np.argmax(curve[::-1]))


def _from_above(histogram: Counts) -> NDArray[np.float64]:
    """Number of scores in a bin and all above it."""
    return np.cumsum(histogram[::-1], dtype=np.float64)[::-1]


def _both_classes(metric: str, normal: Counts, anomalous: Counts) -> tuple[float, float]:
    n_normal, n_anomalous = int(normal.sum()), int(anomalous.sum())
    if n_normal == 0 or n_anomalous == 0:
        raise UndefinedMetricError(
            f"{metric} is undefined: {n_normal} normal and {n_anomalous} anomalous scores, expected both: "
            "evaluate on data that holds both classes, with labels or masks"
        )
    return float(n_normal), float(n_anomalous)


def _no_anomaly(metric: str) -> str:
    return (
        f"{metric} is undefined: 0 anomalous pixels, expected at least one: "
        "evaluate on data with anomalies and their masks"
    )
