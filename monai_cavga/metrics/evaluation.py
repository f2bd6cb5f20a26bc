"""All numbers of a test set at once: what is kept of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_cavga.metrics.accumulation import gather_rows, gather_texts
from monai_cavga.metrics.binning import DEFAULT_BITS, item_histograms
from monai_cavga.metrics.froc import FrocHistogram
from monai_cavga.metrics.froc_interval import compact_froc
from monai_cavga.metrics.histogram import PixelHistogram
from monai_cavga.metrics.image import false_positive_area, image_score
from monai_cavga.metrics.pixel_interval import compact_histogram
from monai_cavga.metrics.region import RegionHistogram, item_region_mass
from monai_cavga.metrics.score import ScoreRule, check_rule

__all__ = ["UNLABELLED", "Evaluation", "accumulate"]

UNLABELLED = -1.0


class Evaluation:
    """What has been seen of a test set.

    Memory: 10 MiB per map; per image its name, patient and label, and for each map three numbers and two small
    histograms for the bootstrap, 8 to 48 KiB each.

    Args:
        maps: keys of the anomaly maps; an item need not have all of them.
        score_rule: of the image score, see :func:`monai_cavga.metrics.image.image_score`.
        threshold: of the fixed-threshold IoU, the paper's 0.5.
        area_thresholds: by map, of the false-positive area of normal images; ``threshold`` for the maps it lacks.
        bits: bins of the pixel scores are ``2**bits``; in [10, 24].

    Raises:
        ValueError: if ``maps`` is empty or names a map twice, ``score_rule`` is none, a threshold is
            not finite, ``area_thresholds`` names another map or ``bits`` is outside [10, 24].
    """

    def __init__(
        self,
        maps: Sequence[str],
        *,
        score_rule: ScoreRule = 0.995,
        threshold: float = 0.5,
        area_thresholds: Mapping[str, float] | None = None,
        bits: int = DEFAULT_BITS,
    ) -> None:
        if isinstance(maps, str) or not maps or len(set(maps)) != len(maps):
            raise ValueError(f"maps is {maps!r}, expected a list of different keys, e.g. ['attention', 'residual']")
        check_rule(score_rule, name="score_rule")
        given = dict(area_thresholds or {})
        if not set(given) <= set(maps) or not all(np.isfinite(each) for each in given.values()):
            raise ValueError(f"area_thresholds is {given}, expected finite scores for maps of {list(maps)} only")
        self.maps = tuple(maps)
        self.score_rule = score_rule
        self.threshold = threshold
        self.area_thresholds = {key: float(given.get(key, threshold)) for key in self.maps}
        self.bits = bits
        self.pixels = {key: PixelHistogram(bits=bits, threshold=threshold) for key in self.maps}
        self.regions = {key: RegionHistogram(bits=bits) for key in self.maps}
        self.frocs = {key: FrocHistogram() for key in self.maps}
        self.compact: dict[str, list[Tensor]] = {key: [] for key in self.maps}  # per image; no rows: no such map
        self.compact_frocs: dict[str, list[Tensor]] = {key: [] for key in self.maps}
        self.names: list[str] = []
        self.patients: list[str] = []  # empty = unknown
        self.rows: list[list[float]] = []  # per image: label, scores by map, IoUs by map, false-positive areas by map

    @property
    def labels(self) -> NDArray[np.float64]:
        """``(n,)``; 1 anomalous, 0 normal, -1 unknown."""
        return self._table()[:, 0]

    @property
    def scores(self) -> NDArray[np.float64]:
        """``(n, maps)`` image scores; ``nan`` where an item had no such map."""
        return self._numbers(0)

    @property
    def ious(self) -> NDArray[np.float64]:
        """``(n, maps)`` in [0, 1], at the fixed threshold; ``nan`` without an anomalous pixel."""
        return self._numbers(1)

    @property
    def areas(self) -> NDArray[np.float64]:
        """``(n, maps)`` in [0, 1], share of a normal image at or above ``area_thresholds``; ``nan`` for others."""
        return self._numbers(2)

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """``(n,)``, equal for images of one patient; ``None`` where no image names one."""
        if not any(self.patients):
            return None
        first: dict[str | int, int] = {}  # by order of appearance, so that the names do not change what is drawn
        return np.array([first.setdefault(each or number, len(first)) for number, each in enumerate(self.patients)])

    def emptied(self) -> Evaluation:
        """A new one with the same settings."""
        return Evaluation(
            self.maps,
            score_rule=self.score_rule,
            threshold=self.threshold,
            area_thresholds=self.area_thresholds,
            bits=self.bits,
        )

    def synced(self) -> Evaluation:
        """What all processes have seen, images in order of rank; every process must call it."""
        total = self.emptied()
        total.pixels = {key: state.synced() for key, state in self.pixels.items()}
        total.regions = {key: state.synced() for key, state in self.regions.items()}
        total.frocs = {key: state.synced() for key, state in self.frocs.items()}
        total.compact = {key: _gather_each(images) for key, images in self.compact.items()}
        total.compact_frocs = {key: _gather_each(images) for key, images in self.compact_frocs.items()}
        total.names = gather_texts(self.names)
        total.patients = gather_texts(self.patients)
        # nan survives the sum over processes: every row comes from one of them, the others add zero
        total.rows = gather_rows(torch.from_numpy(self._table())).tolist()
        return total

    def _table(self) -> NDArray[np.float64]:
        return np.array(self.rows, dtype=np.float64).reshape(-1, 1 + 3 * len(self.maps))

    def _numbers(self, place: int) -> NDArray[np.float64]:
        start = 1 + place * len(self.maps)
        return self._table()[:, start : start + len(self.maps)]


def accumulate(evaluation: Evaluation, item: Mapping[str, Any], *, name: str) -> None:
    """Add one image to ``evaluation``.

    Args:
        evaluation: added to in place.
        item: the maps ``(1, H, W)`` float, higher = more anomalous; optionally ``mask`` ``(1, H, W)`` with 1 anomalous,
            0 normal, below 0 ignored; ``fov`` ``(1, H, W)``, above 0 inside the field of view; ``label``, one number,
            1 anomalous, 0 normal, -1 or absent = unknown; ``patient``, text or number, equal for images of one patient,
            which the bootstrap then draws together.
        name: of the image; goes into the table of scores and nowhere else.

    Raises:
        ValueError: if a label, mask, field of view or map is not as described; the message names image and map.
    """
    number = len(evaluation.names)
    label = float(item["label"]) if item.get("label") is not None else UNLABELLED
    if label not in (0.0, 1.0, UNLABELLED):
        raise ValueError(f"image {number}: label is {label:g}, expected 1 anomalous, 0 normal or -1 unknown")
    seen = []
    for key in evaluation.maps:
        try:
            seen.append(_one_map(evaluation, key, item, label=label))
        except ValueError as err:
            raise ValueError(f"image {number}, map {key!r}: {err}") from err
    evaluation.names.append(name)
    evaluation.patients.append("" if item.get("patient") is None else str(item["patient"]))
    evaluation.rows.append([label, *(value for column in zip(*seen, strict=True) for value in column)])


def _one_map(evaluation: Evaluation, key: str, item: Mapping[str, Any], *, label: float) -> tuple[float, float, float]:
    """Count one map of an image; its score, IoU and false-positive area, ``nan`` where there is none."""
    nan = float("nan")
    if item.get(key) is None:
        evaluation.compact[key].append(torch.zeros(0, 4))
        evaluation.compact_frocs[key].append(torch.zeros(0, 4))
        return nan, nan, nan
    anomaly_map: Tensor = item[key]
    fov = item.get("fov")
    given = item.get("mask")
    mask = torch.full(anomaly_map.shape, -1, dtype=torch.int8) if given is None else given
    score = image_score(anomaly_map, fov=fov, rule=evaluation.score_rule)
    counts = item_histograms(anomaly_map, mask, bits=evaluation.bits, item=len(evaluation.names))
    mass = item_region_mass(anomaly_map, mask, bits=evaluation.bits)
    evaluation.regions[key].update(anomaly_map, mask, counts=counts, mass=mass)
    iou = evaluation.pixels[key].update(anomaly_map, mask, counts=counts).iou
    evaluation.compact[key].append(compact_histogram(counts, mass))
    inside = torch.ones(anomaly_map.shape, dtype=torch.bool) if fov is None else _plain(fov) > 0
    froc = FrocHistogram()
    froc.update(anomaly_map, torch.where(inside, _plain(mask), -1))
    evaluation.frocs[key].merge(froc)
    evaluation.compact_frocs[key].append(compact_froc(froc))
    n_normal, n_anomalous = counts.sum(1).tolist()
    inside &= (_plain(mask) >= 0) | (n_normal == 0)  # a normal image needs no mask
    is_normal = n_anomalous == 0 and (label == 0 or (label == UNLABELLED and n_normal > 0)) and bool(inside.any())
    threshold = evaluation.area_thresholds[key]
    return score, iou, false_positive_area(anomaly_map, threshold=threshold, fov=inside) if is_normal else nan


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU; signed, so that -1 has a place in it."""
    plain = tensor.detach().as_subclass(Tensor).cpu()
    return plain.to(torch.int8) if plain.dtype in (torch.bool, torch.uint8) else plain


def _gather_each(images: Sequence[Tensor]) -> list[Tensor]:
    """Tables ``(k, 4)`` of all processes, one for each image, in order of rank."""
    sizes = gather_rows(torch.tensor([[len(image)] for image in images], dtype=torch.int64).reshape(-1, 1))
    rows = gather_rows(torch.cat([torch.zeros(0, 4), *images]))
    return list(torch.split(rows, sizes[:, 0].tolist()))
