"""Per-region overlap against brute force on small images, and the cases that break it elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.measure import label
from torch import Tensor

from monai_cavga.metrics import AUPRO, RegionHistogram, UndefinedMetricError
from monai_cavga.metrics.binning import item_histograms
from monai_cavga.metrics.region import item_region_mass

Items = list[tuple[Tensor, Tensor]]


def _items(seed: int) -> Items:
    generator = torch.Generator().manual_seed(seed)
    items = []
    for height, width in ((12, 19), (8, 15), (10, 10)):
        mask = (torch.rand(1, height, width, generator=generator) > 0.85).to(torch.int8)
        scores = torch.rand(mask.shape, generator=generator) + 0.4 * mask * torch.rand(1, generator=generator)
        mask[:, :, -2:] = -1
        items.append((scores, mask))
    items[2][1].clamp_(max=0)  # one image without anomalies
    return items


def _brute_force(items: Items, max_fpr: float = 0.3) -> float:
    """Each region, each threshold, one after the other."""
    images = [(s[0].numpy(), m[0].numpy()) for s, m in items]
    normal = np.concatenate([s[m == 0] for s, m in images])
    regions: list[NDArray[np.float32]] = []
    for scores, mask in images:
        components = label(mask == 1, connectivity=2)
        regions += [scores[components == c] for c in range(1, components.max() + 1)]
    thresholds = np.unique(np.concatenate([s.ravel() for s, _ in images]))[::-1]
    rate = [0.0, *((normal >= t).mean() for t in thresholds)]
    overlap = [0.0, *(float(np.mean([(r >= t).mean() for r in regions])) for t in thresholds)]
    area = 0.0
    for i in range(1, len(rate)):
        left, right = rate[i - 1], min(rate[i], max_fpr)
        if right > left:
            slope = (overlap[i] - overlap[i - 1]) / (rate[i] - rate[i - 1])
            area += (right - left) * (overlap[i - 1] + slope * (right - left) / 2)
    return area / max_fpr


def _filled(items: Items, bits: int = 18) -> RegionHistogram:
    histogram = RegionHistogram(bits=bits)
    for anomaly_map, mask in items:
        histogram.update(anomaly_map, mask)
    return histogram


def _single(anomaly_map: list[list[float]], mask: list[list[int]], max_fpr: float = 0.3) -> float:
    return _filled([(torch.tensor([anomaly_map]), torch.tensor([mask]))]).aupro(max_fpr=max_fpr)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_equal_to_brute_force(seed: int, max_fpr: float) -> None:
    items = _items(seed)
    value = _filled(items, bits=22).aupro(max_fpr=max_fpr)
    assert 0 <= value <= 1
    assert value == pytest.approx(_brute_force(items, max_fpr), abs=2e-3)


def test_equal_to_brute_force_where_no_two_scores_share_a_bin() -> None:
    items = [((s * 64).round() / 64, m) for s, m in _items(1)]
    assert _filled(items).aupro() == pytest.approx(_brute_force(items), abs=1e-12)


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    # found: the region of one pixel, missed: that of four -> overlap 1/2 up to the rate where all falls, 6/6
    scores = [[0.9, 0.1, 0.1, 0.1], [0.1, 0.1, 0.0, 0.0], [0.1, 0.1, 0.0, 0.0]]
    mask = [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert _single(scores, mask) == pytest.approx(0.5)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    histogram = RegionHistogram()
    assert histogram.update(torch.zeros(1, 2, 5), torch.tensor([[[1, 0, 0, 0, 1], [0, 1, 0, 0, 1]]])) == 2
    assert histogram.n_regions == 2


def test_perfect_map_is_one() -> None:
    assert _single([[0.9, 0.8, 0.1], [0.0, 0.2, 0.3]], [[1, 1, 0], [0, 0, 0]]) == 1.0


def test_worst_map_is_zero() -> None:
    assert _single([[0.1, 0.1, 0.9], [0.8, 0.7, 0.6]], [[1, 1, 0], [0, 0, 0]]) == 0.0


def test_constant_map_is_half_the_limit() -> None:
    # one straight line from (0, 0) to (1, 1): area 0.3 * 0.3 / 2, over 0.3
    assert _single([[0.5] * 4, [0.5] * 4], [[1, 0, 0, 0], [0, 0, 1, 1]]) == pytest.approx(0.15)


def test_one_pixel_region() -> None:
    # one of five normal pixels lies above: overlap 0 up to rate 0.2, then 1
    assert _single([[0.8, 0.9, 0.1], [0.1, 0.1, 0.1]], [[1, 0, 0], [0, 0, 0]]) == pytest.approx(0.1 / 0.3)


def test_one_pixel_image() -> None:
    histogram = RegionHistogram()
    histogram.update(torch.tensor([[[0.4]]]), torch.tensor([[[1]]]))
    histogram.update(torch.tensor([[[0.2]]]), torch.tensor([[[0]]]))
    assert histogram.aupro() == 1.0


def test_empty_masks_have_no_value() -> None:
    with pytest.raises(UndefinedMetricError, match="AUPRO is undefined: 0 anomalous pixels"):
        _single([[0.1, 0.2, 0.3]], [[0, 0, 0]])


def test_full_masks_have_no_value() -> None:
    with pytest.raises(UndefinedMetricError, match="AUPRO has no false-positive rate: 0 normal pixels"):
        _single([[0.1, 0.2, 0.3]], [[1, 1, 1]])


def test_an_image_ignored_altogether_changes_nothing() -> None:
    items = _items(0)
    ignored = (torch.rand(1, 4, 5), -torch.ones(1, 4, 5))
    assert _filled([*items, ignored]).aupro() == _filled(items).aupro()


def test_order_and_split_do_not_matter() -> None:
    items = _items(2)
    halves = [_filled(items[:1]), _filled(items[1:])]
    halves[1].merge(halves[0])
    assert halves[1].aupro() == pytest.approx(_filled(items).aupro(), abs=1e-12)
    assert _filled(items[::-1]).aupro() == pytest.approx(_filled(items).aupro(), abs=1e-12)


def test_an_ascending_transform_changes_nothing_but_the_bins() -> None:
    items = _items(4)
    assert _filled([(s.exp(), m) for s, m in items], bits=22).aupro() == pytest.approx(
        _filled(items, bits=22).aupro(), abs=2e-3
    )


def test_counts_at_hand_give_the_same() -> None:
    histogram = RegionHistogram()
    for anomaly_map, mask in _items(5):
        mass = item_region_mass(anomaly_map, mask)
        histogram.update(anomaly_map, mask, counts=item_histograms(anomaly_map, mask), mass=mass)
    assert histogram.aupro() == _filled(_items(5)).aupro()


def test_memory_does_not_grow_with_images() -> None:
    histogram = _filled(_items(0) * 3)
    assert [t.shape for t in histogram.tensors()] == [t.shape for t in RegionHistogram().tensors()]
    assert set(vars(histogram)) == set(vars(RegionHistogram()))


def test_the_monai_shell_gives_the_same() -> None:
    metric = AUPRO(max_fpr=0.1)
    maps, masks = zip(*_items(3), strict=True)
    regions = metric(maps, masks)
    assert regions.tolist()[2] == 0
    assert float(metric.aggregate()) == _filled(_items(3)).aupro(max_fpr=0.1)


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5), (1, 1, 4, 5)])
def test_other_ranks_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"item 0: anomaly map has shape .*expected \(1, H, W\)"):
        RegionHistogram().update(torch.zeros(shape), torch.zeros(shape))


def test_a_limit_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="max_fpr is 30"):
        AUPRO(max_fpr=30)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="item 0: 1 counted pixels"):
        _single([[float("inf"), 0.1]], [[1, 0]])
