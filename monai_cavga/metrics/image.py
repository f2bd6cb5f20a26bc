"""One number per image: its score, and how well the scores tell anomalous from normal images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from monai_cavga.metrics import curves
from monai_cavga.metrics.accumulation import gather_rows
from monai_cavga.metrics.errors import UndefinedMetricError
from monai_cavga.metrics.score import ScoreRule, map_score, values_inside
from monai_cavga.metrics.shell import StreamingMetric

__all__ = [
    "ImageAUROC",
    "PaperAccuracy",
    "balanced_accuracy",
    "false_positive_area",
    "image_auroc",
    "image_score",
    "paper_accuracy",
    "sensitivity_at_specificity",
]


def image_score(anomaly_map: Tensor, *, fov: Tensor | None = None, rule: ScoreRule = 0.995) -> float:
    """Score of an image: one number from its anomaly map inside the field of view. The mask plays no part.

    The paper takes "the pixel-wise difference" as the score and does not say how it becomes one number; a quantile
    sees a lesion that covers one pixel in two hundred, which the mean would drown, and one wild pixel does not set it.

    Args:
        anomaly_map: ``(1, H, W)`` (any shape), float, any range; higher = more anomalous.
        fov: same shape; above 0 inside the field of view. ``None`` = everywhere.
        rule: a quantile in [0, 1], interpolated linearly; ``"peaks"``, the mean of the five highest peaks, for
            anomalies that are small and several; ``None``, the mean, for anomalies that fill the image.

    Returns:
        In the range of ``anomaly_map``; higher = more anomalous.

    Raises:
        ValueError: if ``rule`` is none of these, the shapes differ, no pixel is inside, or one inside is
            not finite.
    """
    return map_score(_array(anomaly_map), fov=None if fov is None else _array(fov), rule=rule)


def false_positive_area(anomaly_map: Tensor, *, threshold: float, fov: Tensor | None = None) -> float:
    """Share of a normal image that a threshold marks: false alarms by area, where AUROC sees only their order.

    Args:
        anomaly_map: ``(1, H, W)`` (any shape) of a normal image, float, any range; higher = more anomalous.
        threshold: a pixel is marked at ``score >= threshold``.
        fov: same shape; above 0 inside the field of view. ``None`` = everywhere.

    Returns:
        In [0, 1], of the pixels inside the field of view; 0 = no false alarm.

    Raises:
        ValueError: if ``threshold`` is not finite, the shapes differ, no pixel is inside, or one inside is not finite.
    """
    if not np.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}, expected a finite score, e.g. 0.5")
    inside = values_inside(_array(anomaly_map), None if fov is None else _array(fov))
    return float((inside >= threshold).mean())


def image_auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that an anomalous image scores above a normal one, ties half; exact.

    Args:
        scores: ``(n,)`` finite, any range; higher = more anomalous.
        labels: ``(n,)``; 1 anomalous, 0 normal.

    Returns:
        In [0, 1].

    Raises:
        ValueError: if the lengths differ, a score is not finite or a label is neither 0 nor 1.
        UndefinedMetricError: if only one class is there.
    """
    value, label = _checked("image AUROC", scores, labels)
    _, place = np.unique(value, return_inverse=True)
    counts = [np.bincount(place[label == c], minlength=int(place.max()) + 1) for c in (0, 1)]
    return curves.roc_auc(*counts)


def balanced_accuracy(scores: ArrayLike, labels: ArrayLike, *, threshold: float) -> float:
    """Mean of the accuracy on anomalous and on normal images at a threshold chosen beforehand.

    Args:
        scores: ``(n,)`` finite; higher = more anomalous.
        labels: ``(n,)``; 1 anomalous, 0 normal.
        threshold: an image is called anomalous at ``score >= threshold``.

    Returns:
        In [0, 1]; 0.5 = chance.

    Raises:
        ValueError: if the lengths differ, a score is not finite or a label is neither 0 nor 1.
        UndefinedMetricError: if only one class is there.
    """
    value, label = _checked("accuracy", scores, labels)
    called = value >= threshold
    return float((called[label == 1].mean() + (~called[label == 0]).mean()) / 2)


def paper_accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """The paper's detection accuracy: scores brought to [0, 1] over the test set, threshold 0.5 (Sec. 3.1 and 4).

    It uses the test set's own lowest and highest score, so it depends on which images are tested together and is no
    estimate for a single image to come; use a calibrated threshold with :func:`balanced_accuracy` for that.
    Equal scores become 0, all normal.

    Args:
        scores: ``(n,)`` finite, any range; higher = more anomalous.
        labels: ``(n,)``; 1 anomalous, 0 normal.

    Returns:
        Mean of the accuracy on anomalous and on normal images, in [0, 1].

    Raises:
        ValueError: if the lengths differ, a score is not finite or a label is neither 0 nor 1.
        UndefinedMetricError: if only one class is there.
    """
    value, label = _checked("paper accuracy", scores, labels)
    low, high = value.min(), value.max()
    scaled = (value - low) / (high - low) if high > low else np.zeros_like(value)
    return balanced_accuracy(scaled, label, threshold=0.5)


def sensitivity_at_specificity(scores: ArrayLike, labels: ArrayLike, *, specificity: float = 0.95) -> float:
    """Share of anomalous images found when at least ``specificity`` of the normal ones are let pass.

    Oracle: the threshold is chosen on these very images. No interpolation: with 20 normal images or more, 0.95 lets
    one in twenty be wrong; with fewer, none.

    Args:
        scores: ``(n,)`` finite, any range; higher = more anomalous.
        labels: ``(n,)``; 1 anomalous, 0 normal.
        specificity: in (0, 1].

    Returns:
        In [0, 1].

    Raises:
        ValueError: if ``specificity`` is outside (0, 1], the lengths differ, a score is not finite or a label is
            neither 0 nor 1.
        UndefinedMetricError: if only one class is there.
    """
    if not 0 < specificity <= 1:
        raise ValueError(f"specificity is {specificity}, expected a rate above 0 and at most 1, e.g. 0.95")
    value, label = _checked("sensitivity", scores, labels)
    normal = np.sort(value[label == 0])[::-1]
    n_wrong = int((1 - specificity) * normal.size + 1e-9)  # 1 - 0.95 is a little below 0.05
    return float((value[label == 1] > normal[n_wrong]).mean())


class _ImageMetric(StreamingMetric):
    """Keeps one score and one label per image; called as ``metric(scores, labels)`` with lists of scalar tensors."""

    def reset(self) -> None:
        """Forget everything."""
        self._rows: list[tuple[float, float]] = []

    def _add(self, prediction: Tensor, target: Tensor) -> int:
        if prediction.numel() != 1 or target.numel() != 1:
            raise ValueError(
                f"item {len(self._rows)}: score and label have shapes {tuple(prediction.shape)} and "
                f"{tuple(target.shape)}, expected one number each: see image_score for maps"
            )
        self._rows.append((float(prediction), float(target)))
        return 1

    def _gathered(self) -> NDArray[np.float64]:
        """``(2, n)`` scores and labels of all processes."""
        rows = torch.tensor(self._rows, dtype=torch.float64).reshape(-1, 2)
        return np.asarray(gather_rows(rows).numpy().T)


class ImageAUROC(_ImageMetric):
    """Area under the ROC curve over images; exact. Memory: two floats per image."""

    def aggregate(self) -> Tensor:
        """Scalar float64 in [0, 1]; raises as :func:`image_auroc` does."""
        return torch.tensor(image_auroc(*self._gathered()), dtype=torch.float64)


class PaperAccuracy(_ImageMetric):
    """Detection accuracy as in the paper, over the test set's own range; see :func:`paper_accuracy`."""

    def aggregate(self) -> Tensor:
        """Scalar float64 in [0, 1]; raises as :func:`paper_accuracy` does."""
        return torch.tensor(paper_accuracy(*self._gathered()), dtype=torch.float64)


def _checked(metric: str, scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[Any]]:
    value, label = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if value.ndim != 1 or value.shape != label.shape:
        raise ValueError(f"{metric}: scores {value.shape} and labels {label.shape}, expected two vectors of one length")
    if not np.isfinite(value).all():
        first = int(np.flatnonzero(~np.isfinite(value))[0])
        raise ValueError(f"{metric}: score {first} is {value[first]}, expected finite scores: see how its map was made")
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"{metric}: labels {np.unique(label)}, expected 0 normal and 1 anomalous only")
    n_anomalous = int((label == 1).sum())
    if n_anomalous in (0, label.size):
        raise UndefinedMetricError(
            f"{metric} is undefined: {label.size - n_anomalous} normal and {n_anomalous} anomalous images, "
            "expected both: evaluate on data that holds both classes"
        )
    return value, label


def _array(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.detach().as_subclass(Tensor).float().cpu().numpy()
    return array
