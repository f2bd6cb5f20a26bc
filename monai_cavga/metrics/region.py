"""Overlap by region (AUPRO): a small lesion counts as much as a large one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label
from torch import Tensor

from monai_cavga.metrics import curves
from monai_cavga.metrics.accumulation import SummedState
from monai_cavga.metrics.binning import DEFAULT_BITS, check_bits, item_histograms, score_bins
from monai_cavga.metrics.shell import StreamingMetric

__all__ = ["AUPRO", "RegionHistogram", "item_region_mass", "label_regions"]


class RegionHistogram(SummedState):
    """What the area under the per-region overlap needs, in memory that does not grow (4 MiB with the defaults).

    The overlap of a region at a threshold is the share of its pixels at or above it, so the mean over regions needs
    only the sum of the regions' normalised histograms.

    Args:
        bits: bins are ``2**bits``, of relative width ``2**-(bits - 9)``; in [10, 24].

    Raises:
        ValueError: if ``bits`` is outside [10, 24].
    """

    def __init__(self, *, bits: int = DEFAULT_BITS) -> None:
        self.bits = check_bits(bits)
        self._normal = torch.zeros(1 << bits, dtype=torch.int64)
        self._region_mass = torch.zeros(1 << bits, dtype=torch.float64)
        self._numbers = torch.zeros(2, dtype=torch.int64)  # regions, images

    def tensors(self) -> list[Tensor]:
        return [self._normal, self._region_mass, self._numbers]

    @property
    def n_regions(self) -> int:
        return int(self._numbers[0])

    def update(
        self, anomaly_map: Tensor, mask: Tensor, *, counts: Tensor | None = None, mass: Tensor | None = None
    ) -> int:
        """Count one image; its regions are the 8-connected components of its anomalous pixels.

        Args:
            anomaly_map: ``(1, H, W)`` float, any range; higher = more anomalous.
            mask: ``(1, H, W)``; 1 anomalous, 0 normal, below 0 ignored.
            counts: ``item_histograms`` of this very image with the same bits, where the caller has it already.
            mass: ``item_region_mass`` likewise.

        Returns:
            Number of regions in the image.

        Raises:
            ValueError: if the shape is not ``(1, H, W)``, the shapes differ, a label is neither 0, 1 nor negative, or
                a counted score is not finite.
        """
        item = int(self._numbers[1])
        if anomaly_map.ndim != 3 or anomaly_map.shape[0] != 1:
            raise ValueError(
                f"item {item}: anomaly map has shape {tuple(anomaly_map.shape)}, expected (1, H, W): "
                "regions are looked for in one image at a time"
            )
        if counts is None:
            counts = item_histograms(anomaly_map, mask, bits=self.bits, item=item)
        mass = item_region_mass(anomaly_map, mask, bits=self.bits) if mass is None else mass
        n_regions = round(float(mass.sum()))
        self._region_mass += mass
        self._normal += counts[0].cpu()
        self._numbers += torch.tensor([n_regions, 1])
        return n_regions

    def aupro(self, *, max_fpr: float = 0.3) -> float:
        """Area under mean region overlap against pooled false-positive rate up to ``max_fpr``, over ``max_fpr``.

        Args:
            max_fpr: in (0, 1]; 0.3 is the limit of the MVTec AD papers.

        Returns:
            In [0, 1]; ``max_fpr / 2`` for a constant map.

        Raises:
            ValueError: if ``max_fpr`` is outside (0, 1].
            UndefinedMetricError: if there is no region or no normal pixel.
        """
        return curves.per_region_overlap(
            self._normal.numpy(), self._region_mass.numpy(), n_regions=self.n_regions, max_fpr=max_fpr
        )


class AUPRO(StreamingMetric):
    """Area under the per-region overlap for MONAI engines; see :class:`RegionHistogram`.

    Args:
        max_fpr: in (0, 1].
        bits: bins are ``2**bits``; in [10, 24].

    Raises:
        ValueError: if ``max_fpr`` is outside (0, 1] or ``bits`` outside [10, 24].
    """

    def __init__(self, *, max_fpr: float = 0.3, bits: int = DEFAULT_BITS) -> None:
        self.max_fpr = curves.check_max_fpr(max_fpr)
        self._histogram = RegionHistogram(bits=bits)
        super().__init__()

    def reset(self) -> None:
        """Forget everything."""
        self._histogram.reset()

    def aggregate(self) -> Tensor:
        """Scalar float64 in [0, 1].

        Raises:
            UndefinedMetricError: if there is no region or no normal pixel.
        """
        return torch.tensor(self._histogram.synced().aupro(max_fpr=self.max_fpr), dtype=torch.float64)

    def _add(self, prediction: Tensor, target: Tensor) -> int:
        return self._histogram.update(prediction, target)


def item_region_mass(anomaly_map: Tensor, mask: Tensor, *, bits: int = DEFAULT_BITS) -> Tensor:
    """Histogram of the scores of one image's anomalous pixels, each weighing its share of its region.

    Args:
        anomaly_map: ``(1, H, W)`` float, finite where ``mask`` is 1.
        mask: ``(1, H, W)``; 1 anomalous.
        bits: in [10, 24].

    Returns:
        ``(2**bits,)`` float64 on the CPU; its sum is the number of regions, up to rounding.
    """
    regions, n_regions = label_regions(mask[0] == 1)
    if n_regions == 0:
        return torch.zeros(1 << bits, dtype=torch.float64)
    region = torch.from_numpy(regions[regions > 0])
    share = 1.0 / torch.bincount(region).double()[region]
    scores = anomaly_map.detach().as_subclass(Tensor).cpu()[0]
    bins = score_bins(scores[torch.from_numpy(regions > 0)], bits=bits)
    return torch.bincount(bins, weights=share, minlength=1 << bits)


def label_regions(anomalous: Tensor) -> tuple[NDArray[np.int64], int]:
    """8-connected components.

    Args:
        anomalous: ``(H, W)`` bool.

    Returns:
        ``(H, W)`` numbers of the components from 1 on, 0 outside them; and how many there are.
    """
    regions, n_regions = label(  # type: ignore[no-untyped-call]
        anomalous.detach().as_subclass(Tensor).cpu().numpy(), connectivity=2, return_num=True
    )
    return regions.astype(np.int64), int(n_regions)
