"""Bins of float scores: ascending, finite ones apart from the rest, labels checked."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_cavga.metrics.binning import bin_lower_edge, check_bits, finite_bins, item_histograms, score_bins

LARGEST = torch.finfo(torch.float32).max


def test_bins_ascend_with_the_score_over_the_whole_range_of_float32() -> None:
    scores = torch.tensor([-LARGEST, -3.0, -0.5, -1e-40, 0.0, 1e-40, 1e-3, 0.5, 0.50391, 1.0, 7e8, LARGEST])
    for bits in (10, 18, 24):
        bins = score_bins(scores, bits=bits)
        assert bool((bins.diff() >= 0).all())
        low, high = finite_bins(bits)
        assert low <= int(bins[0])
        assert int(bins[-1]) == high - 1
    assert score_bins(scores).unique().numel() > 8


def test_bins_ascend_for_random_scores_of_both_signs() -> None:
    scores = (torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * 50).sort().values
    assert bool((score_bins(scores).diff() >= 0).all())


def test_one_half_by_hand() -> None:
    # 0.5 = 0x3F000000; its leading 10 bits are 0x3F000000 >> 22 = 252, and positive scores start at 2**9 = 512
    assert score_bins(torch.tensor([0.5]), bits=10).tolist() == [764]
    assert bin_lower_edge(764, bits=10) == 0.5


def test_both_zeros_share_a_bin() -> None:
    negative, positive = score_bins(torch.tensor([-0.0, 0.0])).tolist()
    assert negative == positive


@pytest.mark.parametrize("bits", [10, 14, 18, 24])
def test_scores_further_apart_than_the_stated_width_have_bins_of_their_own(bits: int) -> None:
    width = 2.0 ** -(bits - 9)
    for score in (0.011, 0.5, 0.73, 1.0, 91.0, -0.2, -8.0):
        pair = score_bins(torch.tensor([score, score + abs(score) * width * 1.01]), bits=bits)
        assert pair[0] < pair[1]


def test_edge_is_the_lowest_score_of_its_bin() -> None:
    for score in (0.3, 0.5, 1.7, -0.3, -1.7, 0.0):
        index = int(score_bins(torch.tensor([score])))
        edge = torch.tensor(bin_lower_edge(index), dtype=torch.float32)
        below = torch.nextafter(edge, torch.tensor(float("-inf")))
        assert float(edge) <= score
        assert int(score_bins(edge[None])) == index
        assert int(score_bins(below[None])) == index - 1


def test_scores_are_not_changed() -> None:
    scores = torch.tensor([0.25, -0.5])
    score_bins(scores)
    assert scores.tolist() == [0.25, -0.5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_have_the_bins_of_float32(dtype: torch.dtype) -> None:
    scores = torch.tensor([-2.0, 0.0, 0.125, 3.5])
    assert torch.equal(score_bins(scores.to(dtype)), score_bins(scores))


@pytest.mark.parametrize("bits", [9, 25])
def test_bits_outside_the_range_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"bits is {bits}, expected 10 to 24"):
        check_bits(bits)


@pytest.mark.parametrize("index", [0, 2**10 - 1])
def test_bins_of_infinities_have_no_edge(index: int) -> None:
    with pytest.raises(ValueError, match="holds no finite score"):
        bin_lower_edge(index, bits=10)


def test_histograms_by_hand() -> None:
    anomaly_map = torch.tensor([[[0.5, 0.5, 2.0], [1.0, 0.5, float("nan")]]])
    mask = torch.tensor([[[0, 1, 1], [0, 0, -1]]], dtype=torch.int8)
    normal, anomalous = item_histograms(anomaly_map, mask)
    half, one, two = score_bins(torch.tensor([0.5, 1.0, 2.0])).tolist()
    assert [int(normal[b]) for b in (half, one, two)] == [2, 1, 0]
    assert [int(anomalous[b]) for b in (half, one, two)] == [1, 0, 1]
    assert int(normal.sum()) + int(anomalous.sum()) == 5  # the ignored pixel may be NaN


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_histograms_do_not_depend_on_the_type_of_the_mask(dtype: torch.dtype) -> None:
    anomaly_map = torch.rand(1, 5, 7, generator=torch.Generator().manual_seed(1))
    mask = (anomaly_map > 0.6).to(torch.int8)
    assert torch.equal(item_histograms(anomaly_map, mask.to(dtype)), item_histograms(anomaly_map, mask))


def test_a_meta_tensor_is_counted_like_a_tensor() -> None:
    anomaly_map = torch.rand(1, 5, 7, generator=torch.Generator().manual_seed(1))
    mask = (anomaly_map > 0.6).to(torch.int8)
    counts = item_histograms(MetaTensor(anomaly_map), MetaTensor(mask))
    assert type(counts) is torch.Tensor
    assert torch.equal(counts, item_histograms(anomaly_map, mask))


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"item 3: mask has shape \(1, 4, 4\), the anomaly map \(1, 4, 5\).*Invertd"):
        item_histograms(torch.zeros(1, 4, 5), torch.zeros(1, 4, 4), item=3)


@pytest.mark.parametrize(("value", "dtype"), [(255, torch.uint8), (2, torch.int64), (0.5, torch.float32)])
def test_other_labels_are_refused(value: float, dtype: torch.dtype) -> None:
    mask = torch.tensor([[[0, 1, value]]], dtype=dtype)
    with pytest.raises(ValueError, match=rf"item 2: mask holds {value:g}, expected 1 anomalous.*binarise"):
        item_histograms(torch.zeros(1, 1, 3), mask, item=2)


def test_a_nan_label_is_refused() -> None:
    with pytest.raises(ValueError, match="mask holds nan"):
        item_histograms(torch.zeros(1, 1, 2), torch.tensor([[[0.0, float("nan")]]]))


@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="item 4: 1 counted pixels of the anomaly map are NaN or infinite"):
        item_histograms(torch.tensor([[[0.1, value]]]), torch.zeros(1, 1, 2), item=4)


def test_the_largest_floats_are_finite() -> None:
    counts = item_histograms(torch.tensor([[[-LARGEST, LARGEST]]]), torch.zeros(1, 1, 2))
    assert int(counts.sum()) == 2
