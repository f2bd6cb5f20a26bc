"""FROC against a slow count on small images: every threshold, every candidate, one pixel after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cavga.metrics import FROC, FROC_RATES, FrocHistogram, UndefinedMetricError

Items = list[tuple[Tensor, Tensor]]
Points = list[tuple[float, float, float]]
Pixel = tuple[int, int]


def _items(seed: int) -> Items:
    """Scores on a grid of 1/64, so that no two share a bin; ignored columns; the last image without a lesion."""
    generator = torch.Generator().manual_seed(seed)
    items = []
    for height, width in ((7, 11), (5, 9), (6, 6)):
        mask = (torch.rand(1, height, width, generator=generator) > 0.9).to(torch.int8)
        scores = torch.rand(mask.shape, generator=generator) + 0.5 * mask * torch.rand(1, generator=generator) - 0.2
        mask[:, :, :2] = -1
        items.append(((scores * 64).round() / 64, mask))
    items[2][1].clamp_(max=0)
    return items


def _components(pixels: set[Pixel]) -> list[set[Pixel]]:
    """Flood fill over the eight neighbours."""
    left, found = set(pixels), []
    while left:
        queue = [left.pop()]
        component = set(queue)
        while queue:
            row, column = queue.pop()
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            component |= near
            queue += near
        found.append(component)
    return found


def _where(condition: Tensor) -> set[Pixel]:
    return {(int(r), int(c)) for r, c in condition[0].nonzero()}


def _slow_curve(items: Items, max_fpr: float = 0.3) -> Points:
    """Threshold, false positives per image, sensitivity."""
    thresholds = sorted({float(s) for scores, mask in items for s in scores[mask >= 0]}, reverse=True)
    n_normal = sum(int((mask == 0).sum()) for _, mask in items)
    points = []
    for threshold in thresholds:
        false, found, lesions, above = 0, 0, 0, 0
        for scores, mask in items:
            over = _where((scores >= threshold) & (mask >= 0))
            true = _components(_where(mask == 1))
            false += sum(all(not (candidate & lesion) for lesion in true) for candidate in _components(over))
            found += sum(bool(lesion & over) for lesion in true)
            lesions += len(true)
            above += int(((scores >= threshold) & (mask == 0)).sum())
        if above <= max_fpr * n_normal:
            points.append((threshold, false / len(items), found / lesions))
    return points


def _changes(points: Points) -> Points:
    """Without those that differ from the one before in nothing but the threshold."""
    return [p for before, p in zip([(0.0, 0.0, 0.0), *points], points, strict=False) if p[1:] != before[1:]]


def _filled(items: Items, *, n_levels: int = 256, max_fpr: float = 0.3) -> FrocHistogram:
    histogram = FrocHistogram(n_levels=n_levels, max_fpr=max_fpr)
    for anomaly_map, mask in items:
        histogram.update(anomaly_map, mask)
    return histogram


def _single(scores: list[list[float]], mask: list[list[int]], **options: float) -> FrocHistogram:
    return _filled([(torch.tensor([scores]), torch.tensor([mask]))], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_fpr", [0.1, 0.3, 1.0])
def test_equal_to_the_slow_count(seed: int, max_fpr: float) -> None:
    items = _items(seed)
    slow = _changes(_slow_curve(items, max_fpr))
    fast = _changes(list(zip(*_filled(items, max_fpr=max_fpr).curve(), strict=True)))
    assert len(slow) > 2
    assert [point[1:] for point in fast] == [point[1:] for point in slow]
    # the lower edge of a bin is below a negative score by 0.8 % at most
    assert [point[0] for point in fast] == pytest.approx([point[0] for point in slow], rel=0.008)


@pytest.mark.parametrize("seed", range(6))
def test_sensitivities_by_a_slow_walk(seed: int) -> None:
    items = _items(seed)
    expected = []
    for rate in FROC_RATES:
        best = 0.0
        for _, false, sensitivity in _slow_curve(items):
            if false > rate:
                break
            best = sensitivity
        expected.append(best)
    histogram = _filled(items)
    assert histogram.sensitivities() == pytest.approx(expected)
    assert histogram.score() == pytest.approx(np.mean(expected))
    assert 0 <= histogram.score() <= 1


def test_few_levels_give_nearly_the_same_on_smooth_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    items = []
    for _ in range(8):
        coarse = torch.rand(1, 1, 9, 13, generator=generator)
        anomaly_map = torch.nn.functional.interpolate(coarse, (60, 90), mode="bicubic")[0]
        mask = torch.nn.functional.interpolate(coarse.roll(1, -1) + coarse, (60, 90), mode="bicubic")[0] > 1.6
        items.append((anomaly_map, mask.to(torch.int8)))
    exact, coarse_levels = _filled(items), _filled(items, n_levels=32)
    assert exact.n_lesions > 10
    assert coarse_levels.sensitivities() == pytest.approx(exact.sensitivities(), abs=0.1)
    assert coarse_levels.score() == pytest.approx(exact.score(), abs=0.02)


def test_by_hand() -> None:
    # from above: a false alarm 0.9; the left lesion at 0.8; the false alarm's neighbour 0.7; the right lesion at 0.1
    scores = [[0.8, 0.0, 0.0, 0.9, 0.0, 0.0], [0.2, 0.0, 0.0, 0.7, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.1]]
    mask = [[1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]
    curve = _single(scores, mask).curve()
    assert curve.thresholds == pytest.approx([0.9, 0.8, 0.7, 0.1], rel=0.01)  # nothing happens at 0.2
    assert curve.false_positives.tolist() == [1.0] * 4
    assert curve.sensitivity.tolist() == [0.0, 0.5, 0.5, 1.0]
    assert _single(scores, mask).sensitivities([0.5, 1]) == (0.0, 1.0)


def test_one_pixel_in_a_candidate_finds_a_lesion_and_a_corner_joins() -> None:
    scores = [[0.9, 0.1, 0.1, 0.1], [0.1, 0.8, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]]
    mask = [[0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]]
    curve = _single(scores, mask).curve()
    assert curve.false_positives.tolist() == [1.0, 0.0]  # alone, then joined to the lesion's pixel by its corner
    assert curve.sensitivity.tolist() == [0.0, 1.0]
    # the rate was exceeded before it fell: the walk ends there
    assert _single(scores, mask).sensitivities([0.5]) == (0.0,)


def test_perfect_maps_reach_every_rate() -> None:
    histogram = _single([[0.9, 0.1, 0.0, 0.1]], [[1, 0, 0, 0]])
    assert histogram.score() == 1.0


def test_a_constant_map_has_no_operating_point() -> None:
    histogram = _single([[0.5] * 4] * 2, [[1, 0, 0, 0], [0, 0, 0, 1]])
    assert histogram.curve().thresholds.size == 0
    assert histogram.score() == 0.0
    # without the limit one threshold finds everything, for all is one candidate
    assert _single([[0.5] * 4] * 2, [[1, 0, 0, 0], [0, 0, 0, 1]], max_fpr=1.0).score() == 1.0


def test_normal_and_anomalous_images_share_the_false_positives() -> None:
    lesion = (torch.tensor([[[0.9, 0.0, 0.8, 0.0, 0.0, 0.0]]]), torch.tensor([[[1, 0, 0, 0, 0, 0]]]))
    normal = (torch.tensor([[[0.0, 0.85, 0.0]]]), torch.zeros(1, 1, 3))
    curve = _filled([lesion, normal, normal]).curve()
    assert curve.false_positives.tolist() == pytest.approx([0, 2 / 3, 1])


def test_ignored_pixels_make_no_candidates_and_may_be_nan() -> None:
    scores = torch.tensor([[[0.9, float("nan"), 5.0, 0.1, 0.1, 0.1]]])
    mask = torch.tensor([[[1, -1, -1, 0, 0, 0]]])
    assert _filled([(scores, mask)]).curve().thresholds == pytest.approx([0.9], rel=0.01)


def test_an_image_ignored_altogether_changes_nothing() -> None:
    items = _items(0)
    histogram = _filled([*items, (torch.rand(1, 4, 5), -torch.ones(1, 4, 5))])
    assert histogram.n_images == 3
    assert histogram.sensitivities() == _filled(items).sensitivities()


def test_full_masks_have_no_false_positives() -> None:
    curve = _single([[0.1, 0.2, 0.3]], [[1, 1, 1]]).curve()
    assert curve.false_positives.tolist() == [0.0]
    assert curve.sensitivity.tolist() == [1.0]


def test_empty_masks_have_no_value() -> None:
    with pytest.raises(UndefinedMetricError, match="FROC is undefined: 0 lesions in 1 images"):
        _single([[0.1, 0.2, 0.3]], [[0, 0, 0]]).score()


def test_order_and_split_do_not_matter() -> None:
    items = _items(2)
    halves = [_filled(items[:1], n_levels=5), _filled(items[1:], n_levels=5)]
    halves[1].merge(halves[0])
    whole = _filled(items, n_levels=5)
    for mine, theirs in zip(halves[1].tensors(), whole.tensors(), strict=True):
        assert torch.equal(mine, theirs)


def test_scale_does_not_matter_and_memory_does_not_grow() -> None:
    items = _items(3)
    scaled = _filled([(s * 1024, m) for s, m in items])  # a power of two keeps the bins apart
    assert scaled.sensitivities() == _filled(items).sensitivities()
    assert [t.shape for t in scaled.tensors()] == [t.shape for t in FrocHistogram().tensors()]


def test_the_monai_shell_gives_the_same() -> None:
    metric = FROC(n_levels=256)
    maps, masks = zip(*_items(4), strict=True)
    assert metric(maps, masks).tolist()[2] == 0
    assert float(metric.aggregate()) == _filled(_items(4)).score()
    metric.reset()
    with pytest.raises(UndefinedMetricError, match="0 lesions in 0 images"):
        metric.aggregate()


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5), (1, 1, 4, 5)])
def test_other_ranks_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"item 0: anomaly map has shape .*expected \(1, H, W\)"):
        FrocHistogram().update(torch.zeros(shape), torch.zeros(shape))


def test_a_refused_image_leaves_the_state() -> None:
    histogram = _filled(_items(0))
    with pytest.raises(ValueError, match="item 3: 1 counted pixels"):
        histogram.update(torch.tensor([[[float("inf"), 0.1]]]), torch.tensor([[[1, 0]]]))
    assert histogram.sensitivities() == _filled(_items(0)).sensitivities()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_levels": 1}, "n_levels is 1, expected 2 to 256"),
        ({"max_fpr": 0.0}, "max_fpr is 0.0, expected a rate above 0"),
    ],
)
def test_options_outside_the_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrocHistogram(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("rates", [(), (-1.0,), (float("nan"),)])
def test_rates_that_are_none_are_refused(rates: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected false positives per image, 0 or more"):
        _filled(_items(0)).sensitivities(rates)
