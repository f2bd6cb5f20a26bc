"""All numbers of a test set at once: what is kept per image, and the summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_cavga.metrics.accumulation import gather_rows, gather_texts
from monai_cavga.metrics.binning import DEFAULT_BITS, item_histograms
from monai_cavga.metrics.errors import UndefinedMetricError
from monai_cavga.metrics.histogram import PixelHistogram
from monai_cavga.metrics.image import (
    balanced_accuracy,
    image_auroc,
    image_score,
    paper_accuracy,
    sensitivity_at_specificity,
)
from monai_cavga.metrics.interval import bootstrap_interval
from monai_cavga.metrics.region import RegionHistogram

__all__ = ["Evaluation", "accumulate", "summarise"]

_UNLABELLED = -1.0


class Evaluation:
    """What has been seen of a test set: 9 MiB per map, and per image its name, label, and two numbers per map.

    Args:
        maps: keys of the anomaly maps; an item need not have all of them.
        image_quantile: of the image score, in [0, 1]; see :func:`monai_cavga.metrics.image.image_score`.
        threshold: of the fixed-threshold IoU, the paper's 0.5.
        bits: bins of the pixel scores are ``2**bits``; in [10, 24].

    Raises:
        ValueError: if ``maps`` is empty or names a map twice, ``image_quantile`` is outside [0, 1], ``threshold`` is
            not finite or ``bits`` outside [10, 24].
    """

    def __init__(
        self,
        maps: Sequence[str],
        *,
        image_quantile: float = 0.995,
        threshold: float = 0.5,
        bits: int = DEFAULT_BITS,
    ) -> None:
        if isinstance(maps, str) or not maps or len(set(maps)) != len(maps):
            raise ValueError(f"maps is {maps!r}, expected a list of different keys, e.g. ['attention', 'residual']")
        if not 0 <= image_quantile <= 1:
            raise ValueError(f"image_quantile is {image_quantile}, expected 0 to 1, e.g. 0.995")
        self.maps = tuple(maps)
        self.image_quantile = image_quantile
        self.threshold = threshold
        self.bits = bits
        self.pixels = {key: PixelHistogram(bits=bits, threshold=threshold) for key in self.maps}
        self.regions = {key: RegionHistogram(bits=bits) for key in self.maps}
        self.names: list[str] = []
        self.rows: list[list[float]] = []  # per image: label, scores by map, IoUs by map

    @property
    def labels(self) -> NDArray[np.float64]:
        """``(n,)``; 1 anomalous, 0 normal, -1 unknown."""
        return self._table()[:, 0]

    @property
    def scores(self) -> NDArray[np.float64]:
        """``(n, maps)`` image scores; ``nan`` where an item had no such map."""
        return self._table()[:, 1 : 1 + len(self.maps)]

    @property
    def ious(self) -> NDArray[np.float64]:
        """``(n, maps)`` in [0, 1], at the fixed threshold; ``nan`` without an anomalous pixel."""
        return self._table()[:, 1 + len(self.maps) :]

    def emptied(self) -> Evaluation:
        """A new one with the same settings."""
        return Evaluation(self.maps, image_quantile=self.image_quantile, threshold=self.threshold, bits=self.bits)

    def synced(self) -> Evaluation:
        """What all processes have seen, images in order of rank; every process must call it."""
        total = self.emptied()
        total.pixels = {key: state.synced() for key, state in self.pixels.items()}
        total.regions = {key: state.synced() for key, state in self.regions.items()}
        total.names = gather_texts(self.names)
        # nan survives the sum over processes: every row comes from one of them, the others add zero
        total.rows = gather_rows(torch.from_numpy(self._table())).tolist()
        return total

    def _table(self) -> NDArray[np.float64]:
        return np.array(self.rows, dtype=np.float64).reshape(-1, 1 + 2 * len(self.maps))


def accumulate(evaluation: Evaluation, item: Mapping[str, Any], *, name: str) -> None:
    """Add one image to ``evaluation``.

    Args:
        evaluation: added to in place.
        item: the maps ``(1, H, W)`` float, higher = more anomalous; optionally ``mask`` ``(1, H, W)`` with 1 anomalous,
            0 normal, below 0 ignored; ``fov`` ``(1, H, W)``, above 0 inside the field of view; ``label``, one number,
            1 anomalous, 0 normal, -1 or absent = unknown.
        name: of the image; goes into the table of scores and nowhere else.

    Raises:
        ValueError: if a label, mask, field of view or map is not as described; the message names image and map.
    """
    number = len(evaluation.names)
    label = float(item["label"]) if item.get("label") is not None else _UNLABELLED
    if label not in (0.0, 1.0, _UNLABELLED):
        raise ValueError(f"image {number}: label is {label:g}, expected 1 anomalous, 0 normal or -1 unknown")
    scores, ious = [], []
    for key in evaluation.maps:
        scores.append(float("nan"))
        ious.append(float("nan"))
        if item.get(key) is None:
            continue
        anomaly_map: Tensor = item[key]
        mask = item.get("mask")
        mask = torch.full(anomaly_map.shape, -1, dtype=torch.int8) if mask is None else mask
        try:
            scores[-1] = image_score(anomaly_map, fov=item.get("fov"), quantile=evaluation.image_quantile)
            counts = item_histograms(anomaly_map, mask, bits=evaluation.bits, item=number)
            evaluation.regions[key].update(anomaly_map, mask, counts=counts)
            ious[-1] = evaluation.pixels[key].update(anomaly_map, mask, counts=counts).iou
        except ValueError as err:
            raise ValueError(f"image {number}, map {key!r}: {err}") from err
    evaluation.names.append(name)
    evaluation.rows.append([label, *scores, *ious])


def summarise(
    evaluation: Evaluation,
    *,
    image_thresholds: Mapping[str, float] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every metric of every map that was seen; a metric without a value is ``None`` and its reason is told.

    Names with ``oracle`` mark what was chosen on this very data; ``paper`` what uses its range.

    Args:
        evaluation: what has been seen; with several processes, ``evaluation.synced()``.
        image_thresholds: by map, a threshold of the image score fixed beforehand on held-out normals; adds
            ``accuracy_calibrated``.
        n_resamples: of the 95 % bootstrap intervals, over images.
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
            for name, value in (("normal", 0), ("anomalous", 1), ("unlabelled", _UNLABELLED))
        },
        "settings": {
            "image_quantile": evaluation.image_quantile,
            "threshold": evaluation.threshold,
            "bits": evaluation.bits,
            "interval_level": 0.95,
            "n_resamples": n_resamples,
            "seed": seed,
        },
        "maps_absent": [key for key in evaluation.maps if key not in present],
        "maps": {
            key: _one_map(evaluation, key, threshold=thresholds.get(key), n_resamples=n_resamples, seed=seed)
            for key in present
        },
    }


def _one_map(
    evaluation: Evaluation, key: str, *, threshold: float | None, n_resamples: int, seed: int
) -> dict[str, Any]:
    pixels, regions = evaluation.pixels[key], evaluation.regions[key]
    column = evaluation.maps.index(key)
    known = (evaluation.labels != _UNLABELLED) & np.isfinite(evaluation.scores[:, column])
    scores, labels = evaluation.scores[known, column], evaluation.labels[known]
    ious = evaluation.ious[:, column]
    ious = ious[np.isfinite(ious)]
    reasons: dict[str, str] = {}

    def value(name: str, statistic: Callable[[], Any]) -> Any:
        try:
            return statistic()
        except UndefinedMetricError as err:
            reasons[name] = str(err)
            return None

    def interval(statistic: Callable[..., float], arrays: Sequence[NDArray[np.float64]]) -> list[float]:
        found = bootstrap_interval(statistic, arrays, n_resamples=n_resamples, seed=seed)
        return [found.low, found.high]

    fixed = f"iou@{evaluation.threshold:g}"
    metrics: dict[str, Any] = {
        "pixel_auroc": value("pixel_auroc", pixels.auroc),
        "pixel_auroc_error": value("pixel_auroc", pixels.auroc_error),
        "pixel_ap": value("pixel_ap", pixels.average_precision),
        "pixel_ap_error": value("pixel_ap", pixels.average_precision_error),
        f"{fixed}_pooled": value(f"{fixed}_pooled", pixels.iou_pooled),
        f"{fixed}_images": value(f"{fixed}_images", pixels.iou_images),
        f"{fixed}_images_interval": interval(np.mean, [ious]) if ious.size else None,
    }
    for name, oracle in (("pooled", pixels.iou_oracle_pooled), ("images", pixels.iou_oracle_images)):
        best = value(f"iou_oracle_{name}", oracle)
        metrics[f"iou_oracle_{name}"] = best.value if best else None
        metrics[f"iou_oracle_{name}_threshold"] = best.threshold if best else None
    metrics["aupro"] = value("aupro", regions.aupro)
    metrics["image_auroc"] = auroc = value("image_auroc", lambda: image_auroc(scores, labels))
    metrics["image_auroc_interval"] = (
        None if auroc is None else value("image_auroc_interval", lambda: interval(image_auroc, [scores, labels]))
    )
    metrics["accuracy_paper"] = value("accuracy_paper", lambda: paper_accuracy(scores, labels))
    if threshold is not None:
        metrics["image_threshold"] = threshold
        metrics["accuracy_calibrated"] = value(
            "accuracy_calibrated", lambda: balanced_accuracy(scores, labels, threshold=threshold)
        )
    name = "sensitivity_at_95_specificity_oracle"
    metrics[name] = value(name, lambda: sensitivity_at_specificity(scores, labels))
    counts = pixels.counts
    return {
        **metrics,
        "n_images_normal": int((labels == 0).sum()),
        "n_images_anomalous": int((labels == 1).sum()),
        "n_images_with_anomalous_pixels": pixels.n_anomalous_images,
        "n_pixels_normal": counts.n_labelled - counts.n_anomalous,
        "n_pixels_anomalous": counts.n_anomalous,
        "n_regions": regions.n_regions,
        "reasons": reasons,
    }
