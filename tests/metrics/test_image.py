"""Image scores and detection, by hand and against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from monai_cavga.metrics import (
    ImageAUROC,
    PaperAccuracy,
    UndefinedMetricError,
    balanced_accuracy,
    false_positive_area,
    image_auroc,
    image_score,
    paper_accuracy,
    sensitivity_at_specificity,
)

DETECTION: list[Callable[..., float]] = [
    image_auroc,
    paper_accuracy,
    sensitivity_at_specificity,
    lambda scores, labels: balanced_accuracy(scores, labels, threshold=0.5),
]


def _drawn(seed: int, n: int = 61) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    generator = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(int)
    return np.round(generator.normal(size=n) + labels, 1), labels  # rounded: ties


def test_score_by_hand() -> None:
    # 0, 1, ..., 10: the 0.75 quantile lies at place 7.5
    anomaly_map = torch.arange(11.0).flip(0).reshape(1, 1, 11)
    assert image_score(anomaly_map, rule=0.75) == 7.5
    assert image_score(anomaly_map, rule=1.0) == 10
    assert image_score(anomaly_map, fov=anomaly_map < 5, rule=1.0) == 4
    assert image_score(anomaly_map, fov=anomaly_map < 5, rule=None) == 2  # the mean of 0 to 4


def test_score_of_half_a_percent_of_the_field_of_view() -> None:
    anomaly_map = torch.zeros(1, 40, 60)
    anomaly_map[0, :3, :5] = 0.8  # 15 of 2400 pixels are 0.6 %
    assert image_score(anomaly_map) == pytest.approx(0.8)
    anomaly_map[0, 2, :5] = 0  # 10 of 2400 are 0.4 %
    assert image_score(anomaly_map) == 0


def test_score_of_more_pixels_than_torch_quantile_takes() -> None:
    anomaly_map = torch.zeros(1, 4100, 4100, dtype=torch.float16)
    anomaly_map[0, :41] = 1.0  # 1 %
    assert image_score(anomaly_map) == 1.0


def test_score_outside_the_field_of_view_may_be_anything() -> None:
    anomaly_map = MetaTensor(torch.tensor([[[0.2, float("nan"), 0.4]]]))
    assert image_score(anomaly_map, fov=torch.tensor([[[1, 0, 1]]]), rule=0.5) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("fov", "quantile", "message"),
    [
        (None, 1.5, "rule is 1.5, expected a quantile from 0 to 1"),
        (torch.ones(1, 3, 2), 0.5, r"fov has shape \(1, 3, 2\), the anomaly map \(1, 2, 3\)"),
        (torch.zeros(1, 2, 3), 0.5, "fov has 0 pixels inside"),
        (None, 0.5, "NaN or infinite inside the field of view"),
    ],
)
def test_score_refusals(fov: torch.Tensor | None, quantile: float, message: str) -> None:
    anomaly_map = torch.zeros(1, 2, 3)
    anomaly_map[0, 1, 2] = float("nan")
    with pytest.raises(ValueError, match=message):
        image_score(anomaly_map, fov=fov, rule=quantile)


def test_false_positive_area_by_hand() -> None:
    anomaly_map = MetaTensor(torch.tensor([[[0.2, 0.5, 0.4, 0.9, float("nan")]]]))
    fov = torch.tensor([[[1, 1, 1, 1, 0]]])
    assert false_positive_area(anomaly_map, threshold=0.5, fov=fov) == 0.5
    assert false_positive_area(anomaly_map, threshold=1.0, fov=fov) == 0.0
    assert false_positive_area(torch.ones(1, 2, 3), threshold=1.0) == 1.0


def test_false_positive_area_refusals() -> None:
    with pytest.raises(ValueError, match="threshold is inf, expected a finite score"):
        false_positive_area(torch.zeros(1, 2, 3), threshold=float("inf"))
    with pytest.raises(ValueError, match="fov has 0 pixels inside"):
        false_positive_area(torch.zeros(1, 2, 3), threshold=0.5, fov=torch.zeros(1, 2, 3))


@pytest.mark.parametrize("seed", range(4))
def test_detection_equals_scikit_learn(seed: int) -> None:
    scores, labels = _drawn(seed)
    assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    for threshold in (-0.5, 0.3, 1.0):
        assert balanced_accuracy(scores, labels, threshold=threshold) == pytest.approx(
            balanced_accuracy_score(labels, scores >= threshold)
        )
    wrong, right, _ = roc_curve(labels, scores, drop_intermediate=False)
    for specificity in (0.5, 0.9, 0.95, 1.0):
        assert sensitivity_at_specificity(scores, labels, specificity=specificity) == pytest.approx(
            right[wrong <= 1 - specificity + 1e-9].max()
        )


def test_paper_accuracy_by_hand() -> None:
    # over the test set -2..6 becomes 0, 0.25, 0.5, 0.375, 1: anomalous 2 of 3 found, normal 2 of 2 let pass
    assert paper_accuracy([-2, 0, 2, 1, 6], [0, 0, 1, 1, 1]) == pytest.approx((2 / 3 + 1) / 2)


def test_paper_accuracy_depends_on_the_other_images() -> None:
    assert paper_accuracy([0.0, 1.0, 0.6], [0, 1, 1]) == 1.0
    assert paper_accuracy([0.0, 9.0, 0.6], [0, 1, 1]) == 0.75


def test_paper_accuracy_of_equal_scores_is_chance() -> None:
    assert paper_accuracy([0.7, 0.7, 0.7], [0, 1, 1]) == 0.5


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (0.01, 5.0)])
def test_no_metric_but_the_threshold_depends_on_the_scale(scale: float, shift: float) -> None:
    scores, labels = _drawn(7)
    for metric in DETECTION[:3]:
        assert metric(scale * scores + shift, labels) == pytest.approx(metric(scores, labels))


def test_sensitivity_by_hand() -> None:
    # 20 normal images 0..19: one may be wrong, so the threshold lies just above 18
    scores, labels = [*range(20), 17.5, 18.5, 30], [0] * 20 + [1] * 3
    assert sensitivity_at_specificity(scores, labels) == pytest.approx(2 / 3)
    # 19 normal images: none may be wrong
    assert sensitivity_at_specificity(scores[1:], labels[1:]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("specificity", [0.0, 1.01])
def test_sensitivity_refuses_a_rate_outside_the_range(specificity: float) -> None:
    with pytest.raises(ValueError, match="specificity is"):
        sensitivity_at_specificity([0, 1], [0, 1], specificity=specificity)


@pytest.mark.parametrize("metric", DETECTION)
def test_detection_refusals(metric: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match=r"scores \(3,\) and labels \(2,\), expected two vectors of one length"):
        metric([0.1, 0.2, 0.3], [0, 1])
    with pytest.raises(ValueError, match="score 1 is nan, expected finite scores"):
        metric([0.1, float("nan")], [0, 1])
    with pytest.raises(ValueError, match=r"labels \[0 2\], expected 0 normal and 1 anomalous only"):
        metric([0.1, 0.2], [0, 2])
    for labels in ([0, 0], [1, 1], []):
        with pytest.raises(UndefinedMetricError, match=r"undefined: .* expected both"):
            metric([0.5] * len(labels), labels)


def test_the_monai_shells_give_the_same() -> None:
    scores, labels = _drawn(1)
    for shell, metric in ((ImageAUROC(), image_auroc), (PaperAccuracy(), paper_accuracy)):
        for part in (slice(0, 20), slice(20, None)):
            counted = shell([torch.tensor(s) for s in scores[part]], [torch.tensor([v]) for v in labels[part]])
            assert counted.tolist() == [1] * len(scores[part])
        assert float(shell.aggregate()) == metric(scores, labels)
        shell.reset()
        with pytest.raises(UndefinedMetricError, match="0 normal and 0 anomalous images"):
            shell.aggregate()


def test_the_monai_shells_take_numbers_as_the_engine_leaves_them() -> None:
    metric = ImageAUROC()
    metric([0.1, 0.9], [torch.tensor(0), torch.tensor(1)])  # `score` is a plain float in the output
    assert float(metric.aggregate()) == 1.0


def test_the_monai_shells_refuse_maps() -> None:
    with pytest.raises(ValueError, match=r"item 0: score and label have shapes \(1, 2, 3\) and \(\), expected one"):
        ImageAUROC()([torch.zeros(1, 2, 3)], [torch.tensor(1)])
