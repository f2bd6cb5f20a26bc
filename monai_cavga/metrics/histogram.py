"""Streaming pixel statistics: every pixel is counted once, then forgotten."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_cavga.metrics import curves
from monai_cavga.metrics.accumulation import SummedState
from monai_cavga.metrics.binning import DEFAULT_BITS, bin_lower_edge, check_bits, item_histograms
from monai_cavga.metrics.errors import UndefinedMetricError

__all__ = ["ItemCounts", "OracleIoU", "PixelHistogram"]

_CURVE_BITS = 16  # of the IoU curve that is kept per threshold: half a megabyte, thresholds 0.8 % apart


class ItemCounts(NamedTuple):
    """Pixels of one image at the fixed threshold; predicted anomalous = ``score >= threshold``."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def n_anomalous(self) -> int:
        return self.true_positive + self.false_negative

    @property
    def n_labelled(self) -> int:
        return sum(self)

    @property
    def iou(self) -> float:
        """In [0, 1], or ``nan`` for an image without an anomalous pixel."""
        if self.n_anomalous == 0:
            return float("nan")
        return self.true_positive / (self.n_anomalous + self.false_positive)


class OracleIoU(NamedTuple):
    """The highest IoU and the threshold that gives it; chosen on the data it is measured on."""

    value: float
    threshold: float


class PixelHistogram(SummedState):
    """Everything the pixel metrics need, in memory that does not grow (4.5 MiB with the defaults).

    Exact: counts and IoU at the fixed threshold. Binned, with an error that is reported: AUROC, average precision.
    The oracle IoUs try bin edges only, so they can fall short of the best threshold, never exceed it.

    Args:
        bits: bins are ``2**bits``, of relative width ``2**-(bits - 9)``; in [10, 24].
        threshold: of the fixed-threshold IoU; a pixel is predicted anomalous at ``score >= threshold``.
            0.5 as in Sec. 3.1, arXiv:1911.08616.

    Raises:
        ValueError: if ``bits`` is outside [10, 24] or ``threshold`` is not finite.
    """

    def __init__(self, *, bits: int = DEFAULT_BITS, threshold: float = 0.5) -> None:
        if not np.isfinite(threshold):
            raise ValueError(f"threshold is {threshold}, expected a finite score, e.g. 0.5")
        self.bits = check_bits(bits)
        self.threshold = threshold
        self._curve_bits = min(bits, _CURVE_BITS)
        self._histograms = torch.zeros(2, 1 << bits, dtype=torch.int64)
        self._iou_curve = torch.zeros(1 << self._curve_bits, dtype=torch.float64)  # summed over anomalous images
        self._iou_sum = torch.zeros(1, dtype=torch.float64)
        self._pixels = torch.zeros(4, dtype=torch.int64)  # in the order of ItemCounts
        self._images = torch.zeros(3, dtype=torch.int64)  # anomalous, normal, without a labelled pixel

    def tensors(self) -> list[Tensor]:
        return [self._histograms, self._iou_curve, self._iou_sum, self._pixels, self._images]

    def update(self, anomaly_map: Tensor, mask: Tensor, *, counts: Tensor | None = None) -> ItemCounts:
        """Count the pixels of one image. A refused image leaves the state as it was.

        Args:
            anomaly_map: ``(1, H, W)`` (any shape), float, any range; higher = more anomalous.
            mask: same shape; 1 anomalous, 0 normal, below 0 ignored.
            counts: ``item_histograms`` of this very image with the same bits, where the caller has it already.

        Raises:
            ValueError: if the shapes differ, a label is neither 0, 1 nor negative, or a counted score is not finite;
                the message names the image by its number since the last reset, from 0.
        """
        if counts is None:
            counts = item_histograms(anomaly_map, mask, bits=self.bits, item=self.n_images)
        n_normal, n_anomalous = counts.sum(1).tolist()
        predicted = anomaly_map.detach().as_subclass(Tensor) >= self.threshold
        label = mask.detach().as_subclass(Tensor).to(predicted.device)
        hits, alarms = torch.stack([(predicted & (label == value)).sum() for value in (1, 0)]).tolist()
        item = ItemCounts(hits, alarms, n_anomalous - hits, n_normal - alarms)

        self._histograms += counts.to(self._histograms.device)
        self._pixels += torch.tensor(item)
        self._images[0 if n_anomalous else 1 if n_normal else 2] += 1
        if n_anomalous:
            self._iou_sum += item.iou
            coarse = counts.view(2, 1 << self._curve_bits, -1).sum(2)
            alarms_above, hits_above = coarse.flip(1).cumsum(1).flip(1).double()
            self._iou_curve += (hits_above / (n_anomalous + alarms_above)).to(self._iou_curve.device)
        return item

    @property
    def n_images(self) -> int:
        return int(self._images.sum())

    @property
    def n_anomalous_images(self) -> int:
        """Images with at least one anomalous pixel."""
        return int(self._images[0])

    @property
    def counts(self) -> ItemCounts:
        """Pixels of all images at the fixed threshold; exact."""
        return ItemCounts(*self._pixels.tolist())

    def auroc(self) -> float:
        """Pixel AUROC in [0, 1]; see :func:`monai_cavga.metrics.curves.roc_auc`, which raises for one class only."""
        return curves.roc_auc(*self._arrays())

    def auroc_error(self) -> float:
        """Largest possible distance of :meth:`auroc` from the value without bins."""
        return curves.roc_auc_error(*self._arrays())

    def average_precision(self) -> float:
        """Pixel average precision in [0, 1]; raises ``UndefinedMetricError`` for one class only."""
        return curves.average_precision(*self._arrays())

    def average_precision_error(self) -> float:
        """Largest possible distance of :meth:`average_precision` from the value without bins."""
        return curves.average_precision_error(*self._arrays())

    def iou_pooled(self) -> float:
        """IoU at the fixed threshold, pixels of all images in one pool, normal images included; exact.

        Raises:
            UndefinedMetricError: if no pixel was anomalous.
        """
        self._need_anomalies()
        return self.counts.iou

    def iou_images(self) -> float:
        """IoU at the fixed threshold, mean over the images that have an anomalous pixel; exact.

        Raises:
            UndefinedMetricError: if no pixel was anomalous.
        """
        self._need_anomalies()
        return float(self._iou_sum) / self.n_anomalous_images

    def iou_oracle_pooled(self) -> OracleIoU:
        """Highest :meth:`iou_pooled` over all thresholds. Raises ``UndefinedMetricError`` without anomalies."""
        best = curves.best_iou(*self._arrays())
        return OracleIoU(best.value, bin_lower_edge(best.bin, bits=self.bits))

    def iou_oracle_images(self) -> OracleIoU:
        """Highest :meth:`iou_images` that ONE threshold for all images reaches.

        Raises:
            UndefinedMetricError: if no pixel was anomalous.
        """
        self._need_anomalies()
        curve = self._iou_curve.numpy() / self.n_anomalous_images
        best = curves.highest_argmax(curve)
        return OracleIoU(float(curve[best]), bin_lower_edge(best, bits=self._curve_bits))

    def _arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        normal, anomalous = self._histograms.numpy()
        return normal, anomalous

    def _need_anomalies(self) -> None:
        if self.n_anomalous_images == 0:
            raise UndefinedMetricError(
                f"IoU is undefined: 0 anomalous pixels in {self.n_images} images, expected at least one: "
                "evaluate on data with anomalies and their masks"
            )
