"""Numbers from two histograms, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from monai_cavga.metrics import UndefinedMetricError, curves

NORMAL = np.array([3, 1, 1, 0])
ANOMALOUS = np.array([0, 1, 1, 2])
EMPTY = np.zeros(4, dtype=np.int64)


def _raw(normal: NDArray[np.int64], anomalous: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    bins = np.arange(normal.size)
    scores = np.concatenate([np.repeat(bins, normal), np.repeat(bins, anomalous)])
    return np.repeat([0, 1], [normal.sum(), anomalous.sum()]), scores


def test_auroc_by_hand() -> None:
    # anomalous in bin 1: 3 below + half of 1 = 3.5; bin 2: 4 + half of 1 = 4.5; bin 3: twice 5 -> 18 of 20 pairs
    assert curves.roc_auc(NORMAL, ANOMALOUS) == pytest.approx(18 / 20)
    # bins 1 and 2 hold one pair each: (1 + 1) / (2 * 20)
    assert curves.roc_auc_error(NORMAL, ANOMALOUS) == pytest.approx(2 / 40)


def test_average_precision_by_hand() -> None:
    # from above: 2 of 2, 3 of 4, 4 of 6 -> (2 * 1 + 3/4 + 4/6) / 4
    assert curves.average_precision(NORMAL, ANOMALOUS) == pytest.approx((2 + 3 / 4 + 4 / 6) / 4)
    # bin 2: at most 3/3, at least 3/4; bin 1: at most 4/5, at least 4/6 -> (1/4 + (4/5 - 4/6)) / 4
    assert curves.average_precision_error(NORMAL, ANOMALOUS) == pytest.approx((1 / 4 + 4 / 5 - 4 / 6) / 4)


def test_best_iou_by_hand() -> None:
    # from above, hits / (4 + alarms): bin 3 2/4, bin 2 3/5, bin 1 4/6, bin 0 4/9
    assert curves.best_iou(NORMAL, ANOMALOUS) == curves.Optimum(pytest.approx(4 / 6), 1)


def test_best_iou_names_the_occupied_bin() -> None:
    best = curves.best_iou(np.array([5, 0, 0, 0, 0]), np.array([0, 0, 0, 2, 0]))
    assert best == curves.Optimum(1.0, 3)  # bins 1 and 2 would do as well, but they are empty


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    normal, anomalous = generator.poisson(2, 40), generator.poisson(np.linspace(0, 2, 40))
    labels, scores = _raw(normal, anomalous)
    assert curves.roc_auc(normal, anomalous) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert curves.average_precision(normal, anomalous) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )


def test_counts_of_a_large_test_set_do_not_overflow() -> None:
    huge = np.array([10**11, 10**11])
    assert curves.roc_auc(huge, huge) == pytest.approx(0.5)
    assert curves.roc_auc_error(huge, huge) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "metric", [curves.roc_auc, curves.roc_auc_error, curves.average_precision, curves.average_precision_error]
)
def test_one_class_has_no_value(metric: object) -> None:
    assert callable(metric)
    for normal, anomalous in ((NORMAL, EMPTY), (EMPTY, ANOMALOUS), (EMPTY, EMPTY)):
        with pytest.raises(UndefinedMetricError, match="expected both: evaluate on data that holds both classes"):
            metric(normal, anomalous)


def test_iou_without_anomalies_has_no_value() -> None:
    with pytest.raises(UndefinedMetricError, match="IoU is undefined: 0 anomalous pixels"):
        curves.best_iou(NORMAL, EMPTY)


def test_region_overlap_by_hand() -> None:
    # two regions, ten normal pixels; from above (rate, overlap): (0, 0) (0, 1/2) (0.2, 3/4) (1, 1)
    normal, mass = np.array([8, 2, 0]), np.array([0.5, 0.5, 1.0])
    # at rate 0.3: 3/4 + (1 - 3/4) / 8 = 0.78125; area 0.2 * (0.5 + 0.75) / 2 + 0.1 * (0.75 + 0.78125) / 2
    area = 0.2 * 0.625 + 0.1 * 0.765625
    assert curves.per_region_overlap(normal, mass, n_regions=2) == pytest.approx(area / 0.3)
    assert curves.per_region_overlap(normal, mass, n_regions=2, max_fpr=1.0) == pytest.approx(0.2 * 0.625 + 0.8 * 0.875)


def test_region_overlap_gains_nothing_from_a_step_at_the_limit() -> None:
    # from above: (0, 0) to (0.5, 0.5) in a line, then straight up to (0.5, 1): area 0.5 * 0.5 / 2, over 0.5
    normal, mass = np.array([2, 0, 2]), np.array([0.0, 0.5, 0.5])
    assert curves.per_region_overlap(normal, mass, n_regions=1, max_fpr=0.5) == pytest.approx(0.25)


@pytest.mark.parametrize("max_fpr", [0.0, -0.1, 1.1])
def test_region_overlap_refuses_a_limit_outside_the_range(max_fpr: float) -> None:
    with pytest.raises(ValueError, match="max_fpr is"):
        curves.per_region_overlap(NORMAL, ANOMALOUS, n_regions=1, max_fpr=max_fpr)


def test_region_overlap_needs_regions_and_normal_pixels() -> None:
    with pytest.raises(UndefinedMetricError, match="AUPRO is undefined: 0 anomalous pixels"):
        curves.per_region_overlap(NORMAL, EMPTY, n_regions=0)
    with pytest.raises(UndefinedMetricError, match="0 normal pixels"):
        curves.per_region_overlap(EMPTY, ANOMALOUS, n_regions=1)
