"""The rules that make one number of a map."""

from __future__ import annotations

import numpy as np
import pytest

from monai_cavga.metrics.score import check_rule, map_score, rule_words


def lesions(*heights: float, side: tuple[int, int] = (64, 96)) -> np.ndarray:
    """A flat map with a cone of each height, far apart, in the rows' order."""
    values = np.zeros((1, *side), np.float32)
    rows, columns = np.mgrid[: side[0], : side[1]]
    for number, height in enumerate(heights):
        centre = (10 + 20 * (number // 4), 10 + 22 * (number % 4))
        distance = np.hypot(rows - centre[0], columns - centre[1])
        values[0] = np.maximum(values[0], height - 0.2 * distance)
    return values


def test_the_five_highest_peaks_are_averaged() -> None:
    """hand: (6 + 5 + 4 + 3 + 2) / 5; the lowest two do not count, whatever the area."""
    assert map_score(lesions(2, 6, 1, 5, 1.5, 4, 3), rule="peaks") == pytest.approx(4)


def test_a_peak_is_the_highest_of_its_window() -> None:
    """hand: windows of 3 x 3 on 64 x 96, so 7 at (10, 12) is another peak and 8 at (10, 11) is not."""
    values = np.zeros((1, 64, 96), np.float32)
    values[0, 10, 10:14] = 9, 8, 0, 7
    assert map_score(values, rule="peaks") == pytest.approx((9 + 7 + 0) / 3)  # the flat rest is one plateau


def test_a_window_grows_with_the_map() -> None:
    """hand: 7 x 7 on 160 x 224: 8 lies three columns from 9, 7 four."""
    values = np.zeros((1, 160, 224), np.float32)
    values[0, 80, [100, 103]] = 9, 8
    assert map_score(values, rule="peaks") == pytest.approx((9 + 0) / 2)
    values[0, 80, [103, 104]] = 0, 7
    assert map_score(values, rule="peaks") == pytest.approx((9 + 7 + 0) / 3)


def test_a_plateau_is_one_peak() -> None:
    values = lesions(1.5, 1.2)
    saturated = np.minimum(values, 1)
    assert map_score(saturated, rule="peaks") == pytest.approx((1 + 1 + 0) / 3)
    assert map_score(np.full((1, 20, 30), 0.25, np.float32), rule="peaks") == 0.25


def test_where_peaks_are_fewer_than_five_those_there_are_count() -> None:
    """hand: one lesion on a flat ground is two peaks, 1.5 and 0; with three ripples beside it there are five."""
    assert map_score(lesions(1.5), rule="peaks") == pytest.approx(1.5 / 2)
    assert map_score(lesions(1.5, 0.01, 0.01, 0.01), rule="peaks") == pytest.approx((1.5 + 3 * 0.01 + 0) / 5)


def test_outside_the_field_of_view_nothing_peaks() -> None:
    values = lesions(1.5, 1)
    fov = np.ones_like(values, bool)
    fov[0, :, :21] = False  # the first cone
    assert map_score(values, fov=fov, rule="peaks") == pytest.approx((1 + 0) / 2)
    lone = np.zeros_like(fov)
    lone[0, 10, 32] = True
    assert map_score(values, fov=lone, rule="peaks") == 1


def test_other_axes_of_length_one_do_not_matter() -> None:
    values = lesions(2, 1)
    assert (
        map_score(values[0], rule="peaks") == map_score(values[None], rule="peaks") == map_score(values, rule="peaks")
    )


def test_rules_in_words() -> None:
    assert [rule_words(rule) for rule in (0.995, "peaks", None)] == [
        "0.995 quantile of the map",
        "mean of the map's 5 highest peaks",
        "mean of the map",
    ]


@pytest.mark.parametrize("rule", ["mean", -0.1, 1.01, True, False, float("nan"), [0.5]])
def test_unknown_rules_are_refused(rule: object) -> None:
    with pytest.raises(ValueError, match=r"score_rule is .*, expected a quantile from 0 to 1, e\.g\. 0\.995, 'peaks'"):
        check_rule(rule, name="score_rule")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rule is "):
        map_score(np.zeros((1, 4, 6), np.float32), rule=rule)  # type: ignore[arg-type]


def test_a_quantile_may_be_of_any_kind_of_number() -> None:
    values = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    for rule, expected in ((0, 0), (1, 23), (np.float32(0.5), 11.5)):
        assert map_score(values, rule=rule) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (24,), (2, 4, 6), (2, 1, 4, 6)])
def test_peaks_are_looked_for_in_one_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"anomaly map has shape \(.*\), expected \(H, W\), .*: score one image at a"):
        map_score(np.zeros(shape, np.float32), rule="peaks")


def test_the_field_of_view_has_the_maps_shape() -> None:
    values = np.zeros((1, 4, 6), np.float32)
    for rule in ("peaks", 0.5, None):
        with pytest.raises(ValueError, match=r"fov has shape \(4, 6\), the anomaly map \(1, 4, 6\): bring both"):
            map_score(values, fov=np.ones((4, 6)), rule=rule)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="fov has 0 pixels inside, expected at least one"):
            map_score(values, fov=np.zeros((1, 4, 6)), rule=rule)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="anomaly map is NaN or infinite inside the field of view"):
            map_score(values + np.inf, rule=rule)  # type: ignore[arg-type]
