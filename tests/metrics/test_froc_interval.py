"""Resampled FROC against the score of resampled images, filled in one image after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cavga.metrics import FrocHistogram, UndefinedMetricError, bootstrap_interval
from monai_cavga.metrics.froc_interval import compact_froc, resampled_froc, resampled_sensitivities
from monai_cavga.metrics.interval import percentile_interval, resample_weights

Items = list[tuple[Tensor, Tensor]]
GROUPS = [0, 0, 1, 1, 2, 3, 3]


def _items(n: int = 7, *, gap: float = 0.4) -> Items:
    """Every second image has lesions, which stand out more in some images than in others; blobs make candidates."""
    generator = torch.Generator().manual_seed(0)
    items = []
    for number in range(n):
        mask = torch.zeros(1, 24 + number, 35, dtype=torch.int8)
        if number % 2:
            mask[:, 3:7, 6 : 12 + number] = 1
            mask[:, 14:16, 20:23] = 1
        coarse = torch.rand(1, 1, 9, 13, generator=generator)
        noise = torch.nn.functional.interpolate(coarse, mask.shape[1:], mode="bicubic")[0]
        scores = noise + mask * gap * torch.rand(1, generator=generator) - 0.2
        mask[:, :, -2:] = -1
        items.append((scores, mask))
    return items


def _filled(items: Items) -> FrocHistogram:
    histogram = FrocHistogram()
    for anomaly_map, mask in items:
        histogram.update(anomaly_map, mask)
    return histogram


def _compact(items: Items) -> list[Tensor]:
    return [compact_froc(_filled([item])) for item in items]


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("gap", [0.0, 0.4, 2.0])
def test_equal_to_the_score_of_resampled_images(gap: float, groups: list[int] | None) -> None:
    items = _items(gap=gap)
    found = resampled_froc(_compact(items), groups=groups, n_resamples=8, seed=1)
    weights = resample_weights(7, groups=groups, n_resamples=8, seed=1)
    slow = []
    for drawn in weights:
        assert drawn[1::2].any()
        slow.append(
            _filled([item for item, times in zip(items, drawn, strict=True) for _ in range(int(times))]).score()
        )
    assert found == pytest.approx(slow, abs=1e-12)
    assert len(set(slow)) > 1


def test_sensitivities_are_those_of_resampled_images() -> None:
    items, rates = _items(), (0.0, 0.3, 1.5)
    found = resampled_sensitivities(_compact(items), rates, n_resamples=8, seed=1)
    assert found.shape == (8, 3)
    for values, drawn in zip(found, resample_weights(7, n_resamples=8, seed=1), strict=True):
        again = [item for item, times in zip(items, drawn, strict=True) for _ in range(int(times))]
        assert values == pytest.approx(_filled(again).sensitivities(rates), abs=1e-12)


@pytest.mark.parametrize("max_fpr", [0.02, 1.0])
def test_the_curve_ends_with_the_resamples_own_normal_pixels(max_fpr: float) -> None:
    items = _items()
    found = resampled_froc(_compact(items), n_resamples=8, seed=1, max_fpr=max_fpr)
    for value, drawn in zip(found, resample_weights(7, n_resamples=8, seed=1), strict=True):
        histogram = FrocHistogram(max_fpr=max_fpr)
        for (anomaly_map, mask), times in zip(items, drawn, strict=True):
            for _ in range(int(times)):
                histogram.update(anomaly_map, mask)
        assert value == pytest.approx(histogram.score(), abs=1e-12)


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_the_interval_is_that_of_a_bootstrap_of_the_images(groups: list[int] | None) -> None:
    items = _items()
    histograms = [_filled([item]) for item in items]

    def score(numbers: np.ndarray) -> float:
        total = FrocHistogram()
        for number in numbers:
            total.merge(histograms[number])
        return total.score()

    expected = bootstrap_interval(score, [np.arange(7)], groups=groups, n_resamples=60, seed=2)
    found = percentile_interval(resampled_froc(_compact(items), groups=groups, n_resamples=60, seed=2))
    assert found == pytest.approx(expected, abs=1e-12)
    assert found.low < _filled(items).score() < found.high


def test_each_image_once_is_the_score_itself() -> None:
    items = _items()
    drawn = resampled_froc(_compact(items), groups=[0] * 7, n_resamples=3)  # one patient: always all images
    assert drawn == pytest.approx([_filled(items).score()] * 3, abs=1e-12)


def test_more_resamples_than_are_done_at_once() -> None:
    found = resampled_froc(_compact(_items()), n_resamples=230, seed=3)
    assert found.shape == (230,)
    assert found[:100] != pytest.approx(found[100:200], nan_ok=True)


def test_resamples_without_lesions_have_no_value() -> None:
    found = resampled_froc(_compact(_items(2)), n_resamples=50)
    assert 5 < np.isnan(found).sum() < 25  # the normal image twice: a quarter of them
    assert np.isnan(resampled_froc(_compact(_items(1)), n_resamples=5)).all()
    with pytest.raises(UndefinedMetricError):
        _filled(_items(1)).score()


def test_a_compact_froc_adds_up() -> None:
    anomaly_map, mask = _items()[1]
    (compact,) = _compact([(anomaly_map, mask)])
    assert compact.dtype == torch.float32
    assert compact[:, 1].sum() == (mask == 0).sum()
    assert compact[:, 2].sum() == 2
    assert (compact[:, 0].diff() > 0).all()
    # at the lowest score everything is one candidate, which finds a lesion: all false positives that came have gone
    assert compact[:, 3].sum() == 0
    assert compact[:, 3].abs().sum() > 2


def test_an_image_without_labelled_pixels_has_no_rows() -> None:
    assert compact_froc(FrocHistogram()).shape == (0, 4)
    assert np.isnan(resampled_froc([torch.zeros(0, 4)] * 2, n_resamples=3)).all()


def test_a_limit_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="max_fpr is 30"):
        resampled_froc(_compact(_items(1)), max_fpr=30)


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="for 0 images"):
        resampled_froc([])
