"""The summary of a test set: every metric of every map, with its interval or the reason why it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_cavga.metrics.errors import UndefinedMetricError
from monai_cavga.metrics.evaluation import UNLABELLED, Evaluation
from monai_cavga.metrics.froc import FROC_RATES
from monai_cavga.metrics.froc_interval import resampled_froc
from monai_cavga.metrics.image import (
    balanced_accuracy,
    image_auroc,
    paper_accuracy,
    sensitivity_at_specificity,
)
from monai_cavga.metrics.interval import Interval, bootstrap_interval, percentile_interval
from monai_cavga.metrics.pixel_interval import RESAMPLED, resampled_pixel_metrics

__all__ = ["summarise"]

_T = TypeVar("_T")


def summarise(
    evaluation: Evaluation,
    *,
    image_thresholds: Mapping[str, float] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every metric of every map that was seen; a metric without a value is ``None`` and its reason is told.

    Names with ``oracle`` mark what was chosen on this very data; ``paper`` what uses its range; ``_interval`` the 95 %
    bootstrap interval, as ``[low, high]``, of the value of that name. Images are drawn, or patients where
    ``evaluation.groups`` names them. The intervals of the pixel metrics are from coarser bins than their values, FROC's
    is not.

    Args:
        evaluation: what has been seen; with several processes, ``evaluation.synced()``.
        image_thresholds: by map, a threshold of the image score fixed beforehand on held-out normals; adds
            ``accuracy_calibrated``.
        n_resamples: of the 95 % bootstrap intervals.
        seed: of the bootstrap.

    Returns:
        Plain numbers, texts, lists and dicts: ``n_images`` by class, the settings, and ``maps``: by map the metrics
        and ``reasons``.

    Raises:
        ValueError: if ``n_resamples`` is below 1.
    """
    present = [key for key in evaluation.maps if evaluation.pixels[key].n_images]
    thresholds = image_thresholds or {}
    return {
        "n_images": {
            name: int((evaluation.labels == value).sum())
            for name, value in (("normal", 0), ("anomalous", 1), ("unlabelled", UNLABELLED))
        },
        "settings": {
            "score_rule": evaluation.score_rule,
            "threshold": evaluation.threshold,
            "bits": evaluation.bits,
            "interval_level": 0.95,
            "interval_over": "images" if evaluation.groups is None else "patients",
            "n_resamples": n_resamples,
            "seed": seed,
        },
        "maps_absent": [key for key in evaluation.maps if key not in present],
        "maps": {
            key: _one_map(evaluation, key, threshold=thresholds.get(key), n_resamples=n_resamples, seed=seed)
            for key in present
        },
    }


class _Row:
    """Metrics of one map while they are put together: a value or the reason why there is none."""

    def __init__(self, groups: NDArray[np.int64] | None, *, n_resamples: int, seed: int) -> None:
        self.groups = groups
        self.draws = {"n_resamples": n_resamples, "seed": seed}
        self.values: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def put(self, name: str, statistic: Callable[[], Any]) -> None:
        self.values[name] = None
        try:
            self.values[name] = statistic()
        except UndefinedMetricError as err:
            self.reasons[name] = str(err)

    def put_interval(self, name: str, interval: Callable[[], Interval]) -> None:
        """Of the value ``name``; none, and no further reason, where that has none."""
        self.values[f"{name}_interval"] = None
        if self.values[name] is not None:
            self.put(f"{name}_interval", lambda: list(interval()[:2]))

    def bootstrap(
        self, statistic: Callable[..., float], arrays: Sequence[NDArray[np.float64]], rows: NDArray[np.bool_]
    ) -> Interval:
        """Interval of a statistic of the images ``rows``, whose values are in ``arrays``."""
        return bootstrap_interval(statistic, arrays, groups=self.groups_of(rows), **self.draws)

    def resample(self, metric: Callable[..., _T], images: Sequence[Tensor]) -> _T:
        """A metric of every resample, from small histograms, of the images that have rows in theirs."""
        labelled = np.array([len(image) > 0 for image in images])
        return metric([image for image in images if len(image)], groups=self.groups_of(labelled), **self.draws)

    def groups_of(self, rows: NDArray[np.bool_]) -> NDArray[np.int64] | None:
        return None if self.groups is None else self.groups[rows]


def _one_map(
    evaluation: Evaluation, key: str, *, threshold: float | None, n_resamples: int, seed: int
) -> dict[str, Any]:
    row = _Row(evaluation.groups, n_resamples=n_resamples, seed=seed)
    column = evaluation.maps.index(key)
    score, iou, area = (table[:, column] for table in (evaluation.scores, evaluation.ious, evaluation.areas))
    known = (evaluation.labels != UNLABELLED) & np.isfinite(score)
    _put_pixels(row, evaluation, key, iou)
    _put_false_alarms(row, evaluation, key, area)
    _put_images(row, score, evaluation.labels, known, threshold)
    pixels = evaluation.pixels[key]
    counts = pixels.counts
    return {
        **row.values,
        "false_positive_area_threshold": evaluation.area_thresholds[key],
        "n_images_normal": int((evaluation.labels[known] == 0).sum()),
        "n_images_anomalous": int((evaluation.labels[known] == 1).sum()),
        "n_images_with_anomalous_pixels": pixels.n_anomalous_images,
        "n_pixels_normal": counts.n_labelled - counts.n_anomalous,
        "n_pixels_anomalous": counts.n_anomalous,
        "n_regions": evaluation.regions[key].n_regions,
        "reasons": row.reasons,
    }


def _put_pixels(row: _Row, evaluation: Evaluation, key: str, iou: NDArray[np.float64]) -> None:
    pixels, fixed = evaluation.pixels[key], f"iou@{evaluation.threshold:g}"
    for name, statistic, error in (
        ("pixel_auroc", pixels.auroc, pixels.auroc_error),
        ("pixel_ap", pixels.average_precision, pixels.average_precision_error),
    ):
        row.put(name, statistic)
        row.values[f"{name}_error"] = None if row.values[name] is None else error()
    row.put(f"{fixed}_pooled", pixels.iou_pooled)
    row.put(f"{fixed}_images", pixels.iou_images)
    there = np.isfinite(iou)
    row.put_interval(f"{fixed}_images", lambda: row.bootstrap(np.mean, [iou[there]], there))
    for name, oracle in (
        ("iou_oracle_pooled", pixels.iou_oracle_pooled),
        ("iou_oracle_images", pixels.iou_oracle_images),
    ):
        row.put(name, oracle)
        best = row.values[name]
        row.values[name], row.values[f"{name}_threshold"] = best or (None, None)
    row.put("aupro", evaluation.regions[key].aupro)
    resampled = {name: np.zeros(0) for name in RESAMPLED}
    if any(map(len, evaluation.compact[key])):
        resampled = row.resample(resampled_pixel_metrics, evaluation.compact[key])
    for name in RESAMPLED:
        row.put_interval(name, partial(percentile_interval, resampled[name]))


def _put_false_alarms(row: _Row, evaluation: Evaluation, key: str, area: NDArray[np.float64]) -> None:
    froc = evaluation.frocs[key]
    row.put("froc", froc.score)
    row.put_interval("froc", lambda: percentile_interval(row.resample(resampled_froc, evaluation.compact_frocs[key])))
    row.values["froc_sensitivities"] = None
    if row.values["froc"] is not None:
        row.values["froc_sensitivities"] = dict(zip(map(str, FROC_RATES), froc.sensitivities(), strict=True))
    normal = np.isfinite(area)
    row.put("false_positive_area", lambda: _mean_of_normals(area[normal]))
    row.put_interval("false_positive_area", lambda: row.bootstrap(np.mean, [area[normal]], normal))
    row.values["false_positive_area_worst"] = float(area[normal].max()) if normal.any() else None


def _put_images(
    row: _Row,
    score: NDArray[np.float64],
    label: NDArray[np.float64],
    known: NDArray[np.bool_],
    threshold: float | None,
) -> None:
    scores, labels = score[known], label[known]
    row.put("image_auroc", lambda: image_auroc(scores, labels))
    row.put_interval("image_auroc", lambda: row.bootstrap(image_auroc, [scores, labels], known))
    row.put("accuracy_paper", lambda: paper_accuracy(scores, labels))
    if threshold is not None:
        row.values["image_threshold"] = threshold
        row.put("accuracy_calibrated", lambda: balanced_accuracy(scores, labels, threshold=threshold))
    name = "sensitivity_at_95_specificity_oracle"
    row.put(name, lambda: sensitivity_at_specificity(scores, labels))
    row.put_interval(name, lambda: row.bootstrap(sensitivity_at_specificity, [scores, labels], known))


def _mean_of_normals(areas: NDArray[np.float64]) -> float:
    if areas.size == 0:
        raise UndefinedMetricError("false-positive area is undefined: 0 normal images, expected at least one")
    return float(areas.mean())
