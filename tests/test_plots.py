"""What is drawn: the points of each line and band, bar heights, pixels and texts, not only that it runs."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

from monai_cavga.handlers.colour import OUTLINE, as_photo
from monai_cavga.metrics import FrocHistogram, UndefinedMetricError, bootstrap_interval, image_auroc
from monai_cavga.metrics.interval import resample_weights
from monai_cavga.plots import plot_froc, plot_gallery, plot_roc, plot_scores

SCORES, LABELS = np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1])


def _axes(figure: Any) -> Any:
    (axes,) = figure.axes
    return axes


def _texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def _band(axes: Any) -> dict[float, tuple[float, float]]:
    """Lowest and highest y of the filled band at each of its x."""
    (path,) = axes.collections[0].get_paths()
    found: dict[float, list[float]] = {}
    for x, y in path.vertices:
        found.setdefault(round(float(x), 9), []).append(float(y))
    return {x: (min(ys), max(ys)) for x, ys in found.items()}


def _froc_images() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """hand: lesions that score 0.9 and 0.3 in the first image, a false alarm of 0.6 in the second, nothing beside."""
    maps, masks = np.zeros((2, 12, 17)), np.zeros((2, 12, 17), np.int8)
    for rows, columns, score in ((slice(1, 3), slice(2, 6), 0.9), (slice(7, 10), slice(10, 12), 0.3)):
        maps[0, rows, columns], masks[0, rows, columns] = score, 1
    maps[1, 4:6, 3:8] = 0.6
    return list(maps), list(masks)


def test_roc_by_hand() -> None:
    """hand: of four pairs two and one are in order, one is tied: 3.5 / 4."""
    axes = _axes(plot_roc(SCORES, LABELS, threshold=0.5, n_resamples=50))
    curve, chance, point = axes.lines
    assert curve.get_xydata().tolist() == [[0, 0], [0, 0.5], [0.5, 1], [1, 1]]
    assert chance.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert point.get_xydata().tolist() == [[0, 0.5]]  # no normal and one of two anomalies at or above 0.5
    low, high, _ = bootstrap_interval(image_auroc, [SCORES, LABELS], n_resamples=50)
    assert _texts(axes) == ["95 % interval", f"AUROC 0.875 [{low:.3f}, {high:.3f}]", "chance", "threshold 0.5"]
    assert axes.get_title() == "2 normal, 2 anomalous images"


@pytest.mark.parametrize("groups", [None, [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 7]])
def test_roc_band_is_that_of_resampled_images(groups: list[int] | None) -> None:
    """reference: scikit-learn's curve of every resample."""
    random = np.random.default_rng(0)
    labels = np.array([0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1])
    scores = np.round(random.normal(size=11) + labels, 1)
    curves = []
    for weights in resample_weights(11, groups=groups, n_resamples=40, seed=3):
        if len(set(labels[weights > 0])) == 2:
            false, true, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
            curves.append(np.interp(np.linspace(0, 1, 101), false, true))
    low, high = np.quantile(curves, (0.025, 0.975), axis=0)
    band = _band(_axes(plot_roc(scores, labels, groups=groups, n_resamples=40, seed=3)))
    assert len(band) == 101
    for number, x in enumerate(sorted(band)):
        assert band[x] == pytest.approx((low[number], high[number]))


def test_froc_by_hand() -> None:
    """hand: half of the lesions below 0.5 false positives an image, all from there on; the mean of 7 rates is 6 / 7."""
    maps, masks = _froc_images()
    axes = _axes(plot_froc(maps, masks, n_resamples=60))
    (curve,) = axes.lines
    rates, sensitivity = curve.get_data()
    assert (rates[0], rates[-1]) == pytest.approx((0.125, 8.0))
    assert sensitivity.tolist() == [0.5 if rate < 0.5 - 1e-9 else 1.0 for rate in rates]
    assert _texts(axes)[1].startswith("FROC 0.857 [")
    assert axes.get_title() == "2 lesions in 2 images"
    assert axes.get_xscale() == "log"


def test_froc_band_is_that_of_resampled_images() -> None:
    """reference: the histogram filled with each resample's images."""
    maps, masks = _froc_images()
    maps, masks = [*maps, maps[0][::-1].copy() / 2], [*masks, masks[0][::-1].copy()]
    values = []
    for weights in resample_weights(3, n_resamples=25, seed=2):
        histogram = FrocHistogram()
        for anomaly_map, mask, times in zip(maps, masks, weights, strict=True):
            for _ in range(int(times)):
                histogram.update(torch.from_numpy(anomaly_map)[None], torch.from_numpy(mask)[None])
        if histogram.n_lesions:
            values.append(histogram.sensitivities([0.125, 4.0]))
    low, high = np.quantile(values, (0.025, 0.975), axis=0)
    axes = _axes(plot_froc(maps, masks, n_resamples=25, seed=2, max_false_positives=4))
    band = _band(axes)
    assert band[0.125] == pytest.approx((low[0], high[0]))
    assert band[4.0] == pytest.approx((low[1], high[1]))
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.125", "0.25", "0.5", "1", "2", "4"]


def test_histograms_by_hand() -> None:
    axes = _axes(plot_scores([0.0, 0.1, 0.3, 0.9], [0.6, 0.8, 1.0], threshold=0.8, bins=4))
    normal, anomalous = axes.patches
    assert normal.get_data().edges == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert normal.get_data().values.tolist() == [2, 1, 0, 1]
    assert anomalous.get_data().values.tolist() == [0, 0, 1, 2]
    (line,) = axes.lines
    assert list(line.get_xdata()) == [0.8, 0.8]
    assert _texts(axes) == ["normal: 4, 1 at or above", "anomalous: 3, 2 at or above", "threshold 0.8"]


def test_histograms_of_normals_alone_reach_to_the_threshold() -> None:
    axes = _axes(plot_scores([0.1, 0.2], threshold=0.5, bins=2))
    (normal,) = axes.patches
    assert normal.get_data().edges == pytest.approx([0.1, 0.3, 0.5])
    assert _texts(axes) == ["normal: 2, 0 at or above", "threshold 0.5"]
    assert _texts(_axes(plot_scores([0.1, 0.2], [0.3], names=("own", "new")))) == ["own: 2", "new: 1"]


def test_gallery_is_sorted_by_score_and_on_one_scale() -> None:
    random = np.random.default_rng(1)
    images = [random.random((3, 9, 14)) for _ in range(3)]
    maps, masks = np.zeros((3, 9, 14)), np.zeros((3, 9, 14))
    maps[0] = 0.49  # all below the threshold: the image is bare
    maps[2, 2:5, 3:8] = 1.0
    masks[2, 6:8, 10:13] = 1
    figure = plot_gallery(images, list(maps), [0.2, 0.1, 0.7], masks=list(masks), names=["a", "b", "c"], columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["c  0.700", "a  0.200", "b  0.100"]
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert (shown[1] == as_photo(images[0])).all()
    assert tuple(shown[0][1, 2]) == OUTLINE
    assert tuple(shown[0][5, 9]) == (255, 255, 255)
    assert (shown[0][3, 5] != as_photo(images[2])[3, 5]).any()
    assert (shown[0][8, 0] == as_photo(images[2])[8, 0]).all()


def test_nothing_is_left_with_pyplot() -> None:
    import matplotlib.pyplot as plt

    plot_scores([0.1, 0.2])
    assert plt.get_fignums() == []


IMAGE, MAP = np.zeros((3, 9, 14)), np.zeros((9, 14))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_roc([0.1], [0, 1]), "expected two vectors of one length"),
        (lambda: plot_froc([MAP], []), "got 1 maps and 0 masks, expected one mask"),
        (lambda: plot_froc([MAP], [MAP], max_false_positives=0.125), "max_false_positives is 0.125, expected more"),
        (lambda: plot_scores([]), "got 0 normal scores, expected at least one"),
        (lambda: plot_scores([0.1, np.nan]), "all scores finite"),
        (lambda: plot_scores([0.1], bins=0), "bins is 0, expected at least 1"),
        (lambda: plot_gallery([IMAGE], [MAP], [0.1, 0.2]), r"got \[1, 1\] images, maps, masks, names"),
        (lambda: plot_gallery([], [], []), "expected as many of each"),
        (lambda: plot_gallery([IMAGE], [MAP], [np.inf]), "all scores finite"),
        (lambda: plot_gallery([IMAGE], [MAP], [0.1], columns=0), "columns is 0, expected at least 1"),
        (lambda: plot_gallery([IMAGE], [MAP], [0.1], masks=[MAP[1:]]), r"a mask has shape \(8, 14\) and its image"),
    ],
)
def test_refusals(draw: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


def test_one_class_or_no_lesion_has_no_curve() -> None:
    with pytest.raises(UndefinedMetricError, match="image AUROC is undefined"):
        plot_roc([0.1, 0.2], [0, 0])
    with pytest.raises(UndefinedMetricError, match="FROC is undefined"):
        plot_froc([MAP], [MAP])


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"plots need matplotlib: pip install matplotlib"):
        plot_scores([0.1])
