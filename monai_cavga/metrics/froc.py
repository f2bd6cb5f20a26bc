"""Free-response ROC: how many lesions are found at how many false alarms per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label
from torch import Tensor

from monai_cavga.metrics.accumulation import SummedState
from monai_cavga.metrics.binning import bin_lower_edge, item_histograms, score_bins
from monai_cavga.metrics.curves import check_max_fpr
from monai_cavga.metrics.errors import UndefinedMetricError
from monai_cavga.metrics.region import label_regions
from monai_cavga.metrics.shell import StreamingMetric

__all__ = ["FROC", "FROC_RATES", "FrocCurve", "FrocHistogram"]

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives per image, as in LUNA16 and CAMELYON16
_BITS = 16  # thresholds 0.8 % apart
_Bins = NDArray[np.int64]


class FrocCurve(NamedTuple):
    """Operating points, thresholds descending; each array ``(n,)``."""

    thresholds: NDArray[np.float64]
    false_positives: NDArray[np.float64]  # mean per image; not monotone, for candidates merge as the threshold falls
    sensitivity: NDArray[np.float64]  # share of all lesions found, in [0, 1], ascending


class FrocHistogram(SummedState):
    """What the FROC curve needs, in memory that does not grow (1.5 MiB).

    A candidate is an 8-connected component of the labelled pixels at or above the threshold; a lesion one of the
    mask. A lesion is found when at least one of its pixels is in a candidate. A candidate that touches no lesion is
    one false positive, however large; they are averaged over all images with a labelled pixel, normal and anomalous.

    Thresholds are bin edges 0.8 % apart, whatever the range of the scores, and where a lesion is found is exact to the
    bin. Candidates are counted at ``n_levels`` of each image's own bins, evenly spaced in the logarithm of the area
    above; between two of them the larger count holds. So false positives are exact in images of at most ``n_levels``
    occupied bins, and else rarely too low (only where the count peaks between two levels): on 30 images of 425 x 640
    the score was 0.001 to 0.005 below the one with all bins for 64 levels, 0.015 for 32.

    A threshold below all scores joins everything to one candidate, which finds every lesion and is at most one false
    positive per image. The curve therefore ends where more than ``max_fpr`` of the normal pixels are above.

    Args:
        n_levels: at which an image's candidates are counted, in [2, 256]; time is proportional to it.
        max_fpr: in (0, 1]; 0.3 is AUPRO's.

    Raises:
        ValueError: if ``n_levels`` is outside [2, 256] or ``max_fpr`` outside (0, 1].
    """

    def __init__(self, *, n_levels: int = 64, max_fpr: float = 0.3) -> None:
        if not 2 <= n_levels <= 256:
            raise ValueError(f"n_levels is {n_levels}, expected 2 to 256, e.g. 64: each costs a labelling")
        self.n_levels = n_levels
        self.max_fpr = check_max_fpr(max_fpr)
        self._normal = torch.zeros(1 << _BITS, dtype=torch.int64)
        self._found = torch.zeros(1 << _BITS, dtype=torch.int64)  # lesions by their highest bin
        self._false = torch.zeros(1 << _BITS, dtype=torch.int64)  # false positives with a bin's edge as the threshold
        self._numbers = torch.zeros(2, dtype=torch.int64)  # lesions, images with a labelled pixel

    def tensors(self) -> list[Tensor]:
        return [self._normal, self._found, self._false, self._numbers]

    @property
    def n_lesions(self) -> int:
        return int(self._numbers[0])

    @property
    def n_images(self) -> int:
        """Images with at least one labelled pixel."""
        return int(self._numbers[1])

    def update(self, anomaly_map: Tensor, mask: Tensor) -> int:
        """Count one image. A refused image leaves the state as it was.

        Args:
            anomaly_map: ``(1, H, W)`` float, any range; higher = more anomalous.
            mask: ``(1, H, W)``; 1 anomalous, 0 normal, below 0 ignored, e.g. outside the field of view: candidates end
                there.

        Returns:
            Number of lesions in the image.

        Raises:
            ValueError: if the shape is not ``(1, H, W)``, the shapes differ, a label is neither 0, 1 nor negative, or
                a counted score is not finite.
        """
        if anomaly_map.ndim != 3 or anomaly_map.shape[0] != 1:
            raise ValueError(
                f"item {self.n_images}: anomaly map has shape {tuple(anomaly_map.shape)}, expected (1, H, W): "
                "lesions are looked for in one image at a time"
            )
        counts = item_histograms(anomaly_map, mask, bits=_BITS, item=self.n_images).cpu()
        if not counts.any():
            return 0
        labels = mask.detach().as_subclass(Tensor).cpu()[0]
        scores = anomaly_map.detach().as_subclass(Tensor).cpu()[0]
        bins = torch.where(labels < 0, -1, score_bins(scores, bits=_BITS)).int().numpy()
        lesions, n_lesions = label_regions(labels == 1)
        if n_lesions:
            highest = np.full(n_lesions + 1, -1)
            np.maximum.at(highest, lesions[lesions > 0], bins[lesions > 0])
            self._found += torch.from_numpy(np.bincount(highest[1:], minlength=1 << _BITS))
        per_bin = counts.sum(0).numpy()
        levels = _levels(per_bin, self.n_levels)
        lesion_pixels = np.flatnonzero(lesions)
        false = np.array([_false_positives(bins >= level, lesion_pixels) for level in levels])
        self._false += torch.from_numpy(_by_bin(levels, false, np.flatnonzero(per_bin)))
        self._normal += counts[0]
        self._numbers += torch.tensor([n_lesions, 1])
        return n_lesions

    def curve(self) -> FrocCurve:
        """The operating points, without thresholds at which nothing happens.

        Empty where even the highest threshold lets more than ``max_fpr`` pass.

        Raises:
            UndefinedMetricError: if there is no lesion.
        """
        if self.n_lesions == 0:
            raise UndefinedMetricError(
                f"FROC is undefined: 0 lesions in {self.n_images} images, expected at least one: "
                "evaluate on data with anomalies and their masks"
            )
        normal, found, false = (t.numpy() for t in (self._normal, self._found, self._false))
        occupied = np.flatnonzero((normal > 0) | (found > 0) | (false != np.append(false[1:], 0)))[::-1]
        above, hits = (np.cumsum(h[::-1])[::-1][occupied] for h in (normal, found))
        kept = occupied[above <= self.max_fpr * max(int(normal.sum()), 1)]
        return FrocCurve(
            np.array([bin_lower_edge(int(b), bits=_BITS) for b in kept], dtype=np.float64),
            false[kept] / self.n_images,
            hits[: kept.size] / self.n_lesions,
        )

    def sensitivities(self, rates: Sequence[float] = FROC_RATES) -> tuple[float, ...]:
        """Sensitivity at given false positives per image.

        The threshold falls until the rate is exceeded for the first time: that there are fewer again later, when
        candidates have merged, counts for nothing. A curve that ends below a rate keeps its last sensitivity; where
        it starts above the rate, the value is 0.

        Args:
            rates: mean false positives per image, >= 0.

        Returns:
            In [0, 1], one for each rate.

        Raises:
            ValueError: if ``rates`` is empty or one is negative or not finite.
            UndefinedMetricError: if there is no lesion.
        """
        if not len(rates) or not all(np.isfinite(rate) and rate >= 0 for rate in rates):
            raise ValueError(f"rates is {rates!r}, expected false positives per image, 0 or more, e.g. (0.5, 1, 2)")
        curve = self.curve()
        worst = np.maximum.accumulate(curve.false_positives)
        reached = np.searchsorted(worst, np.asarray(rates), side="right")
        return tuple(float(s) for s in np.append(0.0, curve.sensitivity)[reached])

    def score(self) -> float:
        """Mean of :meth:`sensitivities` at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per image, in [0, 1].

        Raises:
            UndefinedMetricError: if there is no lesion.
        """
        return float(np.mean(self.sensitivities()))


class FROC(StreamingMetric):
    """Mean sensitivity at 1/8 to 8 false positives per image, for MONAI engines; see :class:`FrocHistogram`.

    Args:
        n_levels: in [2, 256].
        max_fpr: in (0, 1].

    Raises:
        ValueError: if ``n_levels`` is outside [2, 256] or ``max_fpr`` outside (0, 1].
    """

    def __init__(self, *, n_levels: int = 64, max_fpr: float = 0.3) -> None:
        self._histogram = FrocHistogram(n_levels=n_levels, max_fpr=max_fpr)
        super().__init__()

    def reset(self) -> None:
        """Forget everything."""
        self._histogram.reset()

    def aggregate(self) -> Tensor:
        """Scalar float64 in [0, 1].

        Raises:
            UndefinedMetricError: if there is no lesion.
        """
        return torch.tensor(self._histogram.synced().score(), dtype=torch.float64)

    def _add(self, prediction: Tensor, target: Tensor) -> int:
        return self._histogram.update(prediction, target)


def _levels(per_bin: _Bins, n_levels: int) -> _Bins:
    """At most ``n_levels`` occupied bins, descending, highest and lowest among them, by area above on a log scale."""
    occupied = np.flatnonzero(per_bin)[::-1]
    if occupied.size <= n_levels:
        return occupied
    area = np.log(np.cumsum(per_bin[occupied]))
    wanted = np.linspace(area[0], area[-1], n_levels)
    return occupied[np.unique(np.clip(np.searchsorted(area, wanted), 0, occupied.size - 1))]


def _false_positives(above: NDArray[np.bool_], lesion_pixels: _Bins) -> int:
    """Components of ``above`` ``(H, W)`` without any of ``lesion_pixels``, which are places in the flat image."""
    candidates: NDArray[Any]
    candidates, n_candidates = label(above, connectivity=2, return_num=True)  # type: ignore[no-untyped-call]
    touching = np.bincount(candidates.ravel()[lesion_pixels], minlength=1)[1:]
    return int(n_candidates - np.count_nonzero(touching))


def _by_bin(levels: _Bins, false: _Bins, occupied: _Bins) -> _Bins:
    """False positives with every bin's lower edge as the threshold, from those at some levels (descending).

    Down to the next occupied bin nothing changes; from there to the next level the larger of both counts holds.
    """
    by_bin = np.zeros(1 << _BITS, dtype=np.int64)
    by_bin[: levels[-1] + 1] = false[-1]
    for above, below, n_above, n_below in zip(levels, levels[1:], false, false[1:], strict=False):
        unchanged = occupied[np.searchsorted(occupied, above) - 1]
        by_bin[unchanged + 1 : above + 1] = n_above
        by_bin[below + 1 : unchanged + 1] = max(n_above, n_below)
    return by_bin
