"""Resampled pixel metrics against metrics of resampled images, filled in one image after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cavga.metrics import PixelHistogram, RegionHistogram
from monai_cavga.metrics.binning import item_histograms
from monai_cavga.metrics.interval import resample_weights
from monai_cavga.metrics.pixel_interval import compact_histogram, resampled_pixel_metrics
from monai_cavga.metrics.region import item_region_mass

Items = list[tuple[Tensor, Tensor]]
NAMES = {"pixel_auroc", "iou_oracle_pooled", "aupro"}


def _items(n: int = 7, size: tuple[int, int] = (20, 33), *, grid: int = 0) -> Items:
    """Every second image has lesions, which stand out more in some images than in others."""
    generator = torch.Generator().manual_seed(0)
    items = []
    for number in range(n):
        mask = torch.zeros(1, size[0] + number, size[1], dtype=torch.int8)
        if number % 2:
            mask[:, 3:7, 6 : 12 + number] = 1
            mask[:, 12:14, 20:23] = 1
        scores = torch.rand(mask.shape, generator=generator) + mask * torch.rand(1, generator=generator)
        mask[:, :, -2:] = -1
        items.append(((scores * grid).round() / grid if grid else scores, mask))
    return items


def _compact(items: Items, bits: int = 18) -> list[Tensor]:
    return [compact_histogram(item_histograms(s, m, bits=bits), item_region_mass(s, m, bits=bits)) for s, m in items]


def _slow(items: Items, drawn: np.ndarray) -> dict[str, float]:
    pixels, regions = PixelHistogram(), RegionHistogram()
    for (anomaly_map, mask), times in zip(items, drawn, strict=True):
        for _ in range(int(times)):
            pixels.update(anomaly_map, mask)
            regions.update(anomaly_map, mask)
    return {
        "pixel_auroc": pixels.auroc(),
        "iou_oracle_pooled": pixels.iou_oracle_pooled().value,
        "aupro": regions.aupro(),
    }


@pytest.mark.parametrize("groups", [None, [0, 0, 1, 1, 2, 3, 3]])
@pytest.mark.parametrize(
    ("grid", "size", "tolerance"),
    [(64, (20, 33), 1e-6), (0, (90, 120), 4e-3)],  # no two scores in a bin; more bins than cells
)
def test_equal_to_metrics_of_resampled_images(
    grid: int, size: tuple[int, int], tolerance: float, groups: list[int] | None
) -> None:
    items = _items(grid=grid, size=size)
    found = resampled_pixel_metrics(_compact(items), groups=groups, n_resamples=6, seed=1)
    weights = resample_weights(7, groups=groups, n_resamples=6, seed=1)
    assert set(found) == NAMES
    for number, drawn in enumerate(weights):
        assert drawn[1::2].any()
        for name, value in _slow(items, drawn).items():
            assert 0 <= found[name][number] <= 1
            assert found[name][number] == pytest.approx(value, abs=tolerance), name


def test_scale_changes_nothing_but_the_bins() -> None:
    items = _items(size=(90, 120))
    found = resampled_pixel_metrics(_compact(items), n_resamples=20)
    scaled = resampled_pixel_metrics(_compact([(1e4 * s - 77, m) for s, m in items]), n_resamples=20)
    for name in NAMES:
        assert scaled[name] == pytest.approx(found[name], abs=0.03, nan_ok=True)


def test_more_resamples_than_are_done_at_once() -> None:
    found = resampled_pixel_metrics(_compact(_items()), n_resamples=230, seed=3)
    assert all(values.shape == (230,) for values in found.values())


def test_resamples_without_anomalies_have_no_value() -> None:
    found = resampled_pixel_metrics(_compact(_items(2)), n_resamples=50)
    for values in found.values():
        assert 5 < np.isnan(values).sum() < 25  # the normal image twice: a quarter of them
    normal = resampled_pixel_metrics(_compact(_items(1)), n_resamples=5)
    assert all(np.isnan(values).all() for values in normal.values())


def test_images_without_labelled_pixels() -> None:
    ignored = compact_histogram(torch.zeros(2, 1 << 18), torch.zeros(1 << 18))
    assert ignored.shape == (0, 4)
    found = resampled_pixel_metrics([ignored, ignored], n_resamples=3)
    assert all(np.isnan(values).all() for values in found.values())


@pytest.mark.parametrize("bits", [12, 16, 20])
def test_a_compact_histogram_adds_up(bits: int) -> None:
    anomaly_map, mask = _items()[1]
    (compact,) = _compact([(anomaly_map, mask)], bits)
    assert compact.dtype == torch.float32
    assert compact[:, 1].sum() == (mask == 0).sum()
    assert compact[:, 2].sum() == (mask == 1).sum()
    assert float(compact[:, 3].sum()) == pytest.approx(2)
    assert (compact[:, 0].diff() > 0).all()


def test_a_limit_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="max_fpr is 30"):
        resampled_pixel_metrics(_compact(_items(1)), max_fpr=30)


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="for 0 images"):
        resampled_pixel_metrics([])
