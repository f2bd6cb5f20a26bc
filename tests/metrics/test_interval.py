"""Bootstrap intervals: seeded, of the right width, by patient where eyes come in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from monai_cavga.metrics import UndefinedMetricError, bootstrap_interval, image_auroc
from monai_cavga.metrics.interval import percentile_interval, resample_weights

VALUES = np.random.default_rng(0).normal(3.0, 2.0, 200)


def test_width_of_the_interval_of_a_mean() -> None:
    interval = bootstrap_interval(np.mean, [VALUES], n_resamples=2000)
    half = 1.96 * VALUES.std() / np.sqrt(200)
    assert interval.low == pytest.approx(VALUES.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(VALUES.mean() + half, abs=0.1 * half)
    assert interval.n_resamples == 2000


def test_by_hand_with_one_value() -> None:
    assert bootstrap_interval(np.mean, [[4.0]], n_resamples=3) == (4.0, 4.0, 3)


def test_percentiles_by_slow_loop() -> None:
    generator = np.random.default_rng(5)
    means = [VALUES[generator.integers(200, size=200)].mean() for _ in range(50)]
    interval = bootstrap_interval(np.mean, [VALUES], n_resamples=50, level=0.8, seed=5)
    assert interval[:2] == pytest.approx(np.quantile(means, [0.1, 0.9]))


def test_the_seed_decides() -> None:
    first, same, other = (bootstrap_interval(np.mean, [VALUES], n_resamples=100, seed=s) for s in (1, 1, 2))
    assert first == same
    assert first != other


def test_rows_stay_together() -> None:
    interval = bootstrap_interval(lambda a, b: float(np.abs(a - b).max()), [VALUES, VALUES], n_resamples=20)
    assert interval == (0.0, 0.0, 20)


def test_patients_are_drawn_whole_and_widen_the_interval() -> None:
    values = np.repeat(VALUES[:40], 5)  # five equal images of each patient
    groups = np.array([f"patient {i:02d}" for i in np.repeat(np.arange(40), 5)])
    shuffled = np.random.default_rng(1).permutation(200)
    by_image = bootstrap_interval(np.mean, [values], n_resamples=500)
    by_patient = bootstrap_interval(np.mean, [values[shuffled]], groups=groups[shuffled], n_resamples=500)
    ratio = (by_patient.high - by_patient.low) / (by_image.high - by_image.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.2)


def test_patients_of_one_image_each_are_images() -> None:
    by_group = bootstrap_interval(np.mean, [VALUES], groups=np.arange(200), n_resamples=50)
    assert by_group == bootstrap_interval(np.mean, [VALUES], n_resamples=50)


def test_resamples_of_one_class_are_left_out() -> None:
    interval = bootstrap_interval(image_auroc, [[0.1, 0.2, 0.9], [0, 0, 1]], n_resamples=300)
    assert interval[:2] == (1.0, 1.0)
    assert 150 < interval.n_resamples < 300  # (2/3)^3 + (1/3)^3 = 1/3 of them have one class only


def test_too_few_resamples_with_a_value() -> None:
    labels = np.zeros(5)
    with pytest.raises(UndefinedMetricError, match="interval is undefined: 0 of 20 resamples have a value"):
        bootstrap_interval(image_auroc, [VALUES[:5], labels], n_resamples=20)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ([], {}, r"shapes \[\], expected vectors of one length"),
        ([[]], {}, "at least one value"),
        ([[1.0, 2.0], [1.0]], {}, "expected vectors of one length"),
        ([[[1.0], [2.0]]], {}, "expected vectors of one length"),
        ([[1.0, 2.0]], {"groups": [1]}, "arrays and groups have shapes"),
        ([[1.0, 2.0]], {"n_resamples": 0}, "n_resamples is 0, expected at least 1"),
        ([[1.0, 2.0]], {"level": 95}, "level is 95, expected a share between 0 and 1"),
    ],
)
def test_refusals(arrays: list[list[float]], options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(np.mean, arrays, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_groups", [None, 17])
def test_weights_are_the_draws_of_the_loop(n_groups: int | None) -> None:
    values = VALUES[:53]
    groups = None if n_groups is None else np.arange(53) * 7 % n_groups
    weights = resample_weights(53, groups=groups, n_resamples=40, seed=6)
    assert weights.shape == (40, 53)
    means = weights @ values / weights.sum(1)
    expected = bootstrap_interval(np.mean, [values], groups=groups, n_resamples=40, seed=6)
    assert percentile_interval(means) == pytest.approx(expected)


def test_weights_are_whole_and_equal_within_a_patient() -> None:
    weights = resample_weights(4, groups=["a", "b", "a", "c"], n_resamples=30)
    assert (weights == weights.round()).all()
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()


def test_resamples_without_a_value_are_left_out_of_the_percentiles() -> None:
    assert percentile_interval([1.0, float("nan"), 1.0]) == (1.0, 1.0, 2)
    for values in ([], [float("nan"), float("nan"), 1.0]):
        with pytest.raises(UndefinedMetricError, match=f"of {len(values)} resamples have a value"):
            percentile_interval(values)


def test_refusals_of_the_parts() -> None:
    with pytest.raises(ValueError, match=r"groups has shape \(2,\) for 3 images"):
        resample_weights(3, groups=[0, 1])
    with pytest.raises(ValueError, match="for 0 images, expected one for each of at least one"):
        resample_weights(0)
    with pytest.raises(ValueError, match="n_resamples is 0, expected at least 1"):
        resample_weights(3, n_resamples=0)
    with pytest.raises(ValueError, match="level is 1, expected a share between 0 and 1"):
        percentile_interval([1.0], level=1)
