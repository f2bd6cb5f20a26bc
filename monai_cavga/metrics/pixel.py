"""Pixel metrics for MONAI engines: bounded memory, maps of any size and range."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_cavga.metrics.binning import DEFAULT_BITS
from monai_cavga.metrics.histogram import PixelHistogram
from monai_cavga.metrics.shell import StreamingMetric

__all__ = ["PixelAUROC", "PixelAveragePrecision", "PixelIoU"]

_AVERAGES = ("images", "pooled")


class _PixelMetric(StreamingMetric):
    """A shell round one :class:`PixelHistogram`."""

    def __init__(self, *, bits: int = DEFAULT_BITS, threshold: float = 0.5) -> None:
        self._histogram = PixelHistogram(bits=bits, threshold=threshold)
        super().__init__()

    @property
    def histogram(self) -> PixelHistogram:
        """What this process has counted since the last reset."""
        return self._histogram

    def reset(self) -> None:
        """Forget everything."""
        self._histogram.reset()

    def _add(self, prediction: Tensor, target: Tensor) -> int:
        return self._histogram.update(prediction, target).n_labelled


class PixelAUROC(_PixelMetric):
    """Area under the ROC curve over the labelled pixels of all images in one pool.

    Memory: two histograms of ``2**bits`` counts (4.5 MiB), whatever the number of images. The error of the binning
    is at most ``metric.histogram.auroc_error()``.

    Args:
        bits: bins are ``2**bits``, of relative width ``2**-(bits - 9)``; in [10, 24].

    Raises:
        ValueError: if ``bits`` is outside [10, 24].
    """

    def __init__(self, *, bits: int = DEFAULT_BITS) -> None:
        super().__init__(bits=bits)

    def aggregate(self) -> Tensor:
        """Scalar float64 in [0, 1]; 0.5 = chance.

        Raises:
            UndefinedMetricError: if only one class has been seen.
        """
        return torch.tensor(self._histogram.synced().auroc(), dtype=torch.float64)


class PixelAveragePrecision(_PixelMetric):
    """Average precision over the labelled pixels of all images in one pool (scikit-learn's definition).

    Memory and binning as in :class:`PixelAUROC`; error at most ``metric.histogram.average_precision_error()``.

    Args:
        bits: bins are ``2**bits``, of relative width ``2**-(bits - 9)``; in [10, 24].

    Raises:
        ValueError: if ``bits`` is outside [10, 24].
    """

    def __init__(self, *, bits: int = DEFAULT_BITS) -> None:
        super().__init__(bits=bits)

    def aggregate(self) -> Tensor:
        """Scalar float64 in [0, 1]; the share of anomalous pixels = chance.

        Raises:
            UndefinedMetricError: if only one class has been seen.
        """
        return torch.tensor(self._histogram.synced().average_precision(), dtype=torch.float64)


class PixelIoU(_PixelMetric):
    """Intersection over union of the anomalous pixels.

    At a fixed threshold it is exact. ``oracle`` takes the best threshold for the data it is measured on: say so
    wherever the number is shown. The paper does not state which average it uses.

    Args:
        threshold: a pixel is predicted anomalous at ``score >= threshold``; unused with ``oracle``.
            0.5 as in Sec. 3.1, arXiv:1911.08616.
        oracle: the highest IoU over the bins' edges; with ``average="images"``, one threshold for all images.
        average: ``"pooled"``, all pixels in one pool, normal images included; or ``"images"``, the mean over the
            images that have an anomalous pixel.
        bits: bins of the oracle's thresholds; in [10, 24].

    Raises:
        ValueError: if ``average`` is another word, ``bits`` is outside [10, 24] or ``threshold`` is not finite.
    """

    def __init__(
        self, *, threshold: float = 0.5, oracle: bool = False, average: str = "pooled", bits: int = DEFAULT_BITS
    ) -> None:
        if average not in _AVERAGES:
            raise ValueError(f"average is {average!r}, expected one of {_AVERAGES}")
        self.oracle = oracle
        self.average = average
        super().__init__(bits=bits, threshold=threshold)

    def aggregate(self) -> Tensor:
        """Scalar float64 in [0, 1].

        Raises:
            UndefinedMetricError: if no anomalous pixel has been seen.
        """
        total = self._histogram.synced()
        if self.oracle:
            best = total.iou_oracle_pooled() if self.average == "pooled" else total.iou_oracle_images()
            value = best.value
        else:
            value = total.iou_pooled() if self.average == "pooled" else total.iou_images()
        return torch.tensor(value, dtype=torch.float64)
