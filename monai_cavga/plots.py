"""Plots of an evaluation: ROC, FROC, scores of normals and anomalies, a gallery; each returns a matplotlib Figure.

Numbers are those of `monai_cavga.metrics`. Nothing is kept: no pyplot, no global state. Higher score = more anomalous.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from monai_cavga.handlers.colour import OUTLINE, as_map, as_photo, blend, contour, map_layer, resize_map
from monai_cavga.metrics import FROC_RATES, FrocHistogram, bootstrap_interval, image_auroc
from monai_cavga.metrics.froc_interval import compact_froc, resampled_sensitivities
from monai_cavga.metrics.interval import percentile_interval, resample_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_froc", "plot_gallery", "plot_roc", "plot_scores"]

NORMAL, ANOMALOUS, INK = "#0072b2", "#d55e00", "#57606a"  # blue and vermilion: apart for the colour-blind, too
_GRID = np.linspace(0, 1, 101)  # false-positive rates at which the band of a ROC curve is drawn
_TRUTH = (255, 255, 255)


def plot_roc(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    threshold: float | None = None,
    groups: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """ROC curve of image scores with its 95 % bootstrap band, drawn over images, or patients where ``groups`` says so.

    Args:
        scores: ``(n,)`` finite, any range.
        labels: ``(n,)``; 1 anomalous, 0 normal.
        threshold: marks the operating point ``score >= threshold``.
        groups: ``(n,)``; equal values belong to one patient.
        n_resamples: at least 1.
        seed: of the bootstrap.

    Raises:
        ValueError: if a length, score or label is wrong.
        UndefinedMetricError: if only one class is there, or in more than half of the resamples.
        ModuleNotFoundError: if matplotlib is not installed.
    """
    value, label = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    auroc = image_auroc(value, label)
    options: dict[str, Any] = {"groups": groups, "n_resamples": n_resamples, "seed": seed}
    low, high, _ = bootstrap_interval(image_auroc, [value, label], **options)
    figure, axes = _figure((4.6, 4.4))
    rates, found = _roc(value, label, np.ones(value.size))
    drawn = resample_weights(value.size, **options)
    both = [weights for weights in drawn if weights[label == 0].any() and weights[label == 1].any()]
    band = np.quantile([np.interp(_GRID, *_roc(value, label, each)) for each in both], (0.025, 0.975), axis=0)
    axes.fill_between(_GRID, *band, color=ANOMALOUS, alpha=0.2, linewidth=0, label="95 % interval")
    axes.plot(rates, found, color=ANOMALOUS, label=f"AUROC {auroc:.3f} [{low:.3f}, {high:.3f}]")
    axes.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1, label="chance")
    if threshold is not None:
        called = value >= threshold
        at = called[label == 0].mean(), called[label == 1].mean()
        axes.plot(*([each] for each in at), "o", color=INK, label=f"threshold {threshold:g}")
    counts = f"{(label == 0).sum()} normal, {(label == 1).sum()} anomalous images"
    axes.set(xlabel="normal images called anomalous", ylabel="anomalous images found", title=counts)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc="lower right")
    return figure


def plot_froc(
    maps: Sequence[Any],
    masks: Sequence[Any],
    *,
    groups: ArrayLike | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    max_false_positives: float = 8.0,
) -> Figure:
    """FROC curve of anomaly maps with its 95 % bootstrap band; see `monai_cavga.metrics.FrocHistogram`.

    Args:
        maps: one ``(H, W)`` or ``(1, H, W)`` for each image, array or tensor, finite.
        masks: the same shapes; 1 anomalous, 0 normal, below 0 ignored, e.g. outside the field of view.
        groups: one for each image; equal values belong to one patient.
        n_resamples: at least 1.
        seed: of the bootstrap.
        max_false_positives: per image, at the right end; above 0.125.

    Raises:
        ValueError: if there are not as many masks as maps, or a shape, score, label or option is wrong.
        UndefinedMetricError: if there is no lesion, or in more than half of the resamples.
        ModuleNotFoundError: if matplotlib is not installed.
    """
    if len(maps) != len(masks):
        raise ValueError(f"got {len(maps)} maps and {len(masks)} masks, expected one mask for each map")
    if not max_false_positives > FROC_RATES[0]:
        raise ValueError(f"max_false_positives is {max_false_positives}, expected more than {FROC_RATES[0]}, e.g. 8")
    total, compact = FrocHistogram(), []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        one = FrocHistogram()
        one.update(torch.from_numpy(as_map(anomaly_map)[None].copy()), torch.from_numpy(as_map(mask)[None].copy()))
        compact.append(compact_froc(one))
        total.merge(one)
    rates = np.geomspace(FROC_RATES[0], max_false_positives, 49)
    sensitivity = total.sensitivities(list(rates))
    options: dict[str, Any] = {"groups": groups, "n_resamples": n_resamples, "seed": seed}
    resampled = resampled_sensitivities(compact, [*rates, *FROC_RATES], **options)
    low, high, _ = percentile_interval(resampled[:, rates.size :].mean(axis=1))
    band = np.nanquantile(resampled[:, : rates.size], (0.025, 0.975), axis=0)
    figure, axes = _figure((5.2, 4.2))
    axes.fill_between(rates, *band, color=ANOMALOUS, alpha=0.2, linewidth=0, label="95 % interval")
    axes.plot(rates, sensitivity, color=ANOMALOUS, label=f"FROC {total.score():.3f} [{low:.3f}, {high:.3f}]")
    axes.set_xscale("log", base=2)
    ticks = [rate for rate in FROC_RATES if rate <= max_false_positives]
    axes.set_xticks(ticks, [f"{rate:g}" for rate in ticks])
    title = f"{total.n_lesions} lesions in {total.n_images} images"
    axes.set(xlabel="false positives per image", ylabel="lesions found", title=title, ylim=(-0.01, 1.01))
    axes.legend(loc="best")
    return figure


def plot_scores(
    normal: ArrayLike,
    anomalous: ArrayLike = (),
    *,
    threshold: float | None = None,
    names: tuple[str, str] = ("normal", "anomalous"),
    bins: int = 24,
) -> Figure:
    """Histograms of the image scores of normals and anomalies, and how many lie at or above a threshold.

    Args:
        normal: ``(n,)`` finite scores, at least one.
        anomalous: ``(m,)`` finite scores; none where there are no anomalies.
        threshold: drawn, if given.
        names: what the two are called.
        bins: equal ones from the lowest to the highest score, at least 1.

    Raises:
        ValueError: if a score is not finite, there is no normal one, or ``bins`` is below 1.
        ModuleNotFoundError: if matplotlib is not installed.
    """
    groups = [np.asarray(each, dtype=np.float64).reshape(-1) for each in (normal, anomalous)]
    together = np.concatenate(groups)
    if not groups[0].size or not np.isfinite(together).all():
        raise ValueError(f"got {groups[0].size} normal scores, expected at least one, and all scores finite")
    if bins < 1:
        raise ValueError(f"bins is {bins}, expected at least 1, e.g. 24")
    shown = together if threshold is None else np.append(together, threshold)
    edges = np.histogram_bin_edges(shown, bins=bins)
    figure, axes = _figure((5.6, 3.4))
    for name, values, colour in zip(names, groups, (NORMAL, ANOMALOUS), strict=True):
        if values.size:
            above = "" if threshold is None else f", {(values >= threshold).sum()} at or above"
            text = f"{name}: {values.size}{above}"
            axes.stairs(np.histogram(values, edges)[0], edges, color=colour, fill=True, alpha=0.55, label=text)
    if threshold is not None:
        axes.axvline(threshold, color=INK, linestyle="--", label=f"threshold {threshold:.3g}")
    axes.set(xlabel="image score (higher = more anomalous)", ylabel="images")
    axes.yaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    axes.legend()
    return figure


def plot_gallery(
    images: Sequence[Any],
    maps: Sequence[Any],
    scores: ArrayLike,
    *,
    masks: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    threshold: float = 0.5,
    columns: int = 4,
) -> Figure:
    """All images, the highest score first, each with its map from the threshold to 1 laid over it and outlined.

    The scale is the same for all, so that colours compare and an image without anything above the threshold is bare.

    Args:
        images: ``(C, H, W)`` each, float in [0, 1]; sizes may differ.
        maps: ``(h, w)`` or ``(1, h, w)`` each, in [0, 1]; brought to the image's size.
        scores: ``(n,)`` finite.
        masks: ``(H, W)`` each, above 0 inside: what is known to be anomalous, outlined in white.
        names: one for each, in the title with the score.
        threshold: of the map, in [0, 1).
        columns: at least 1.

    Raises:
        ValueError: if lengths differ, there is no image, or a score, shape or option is wrong.
        ModuleNotFoundError: if matplotlib is not installed.
    """
    value = np.asarray(scores, dtype=np.float64)
    lengths = [len(each) for each in (images, maps, masks, names) if each is not None]
    if value.ndim != 1 or not value.size or set(lengths) != {value.size}:
        raise ValueError(f"got {lengths} images, maps, masks, names for scores {value.shape}, expected as many of each")
    if not np.isfinite(value).all() or columns < 1:
        raise ValueError(f"columns is {columns}, expected at least 1, and all scores finite")
    rows = -(-value.size // columns)
    tallest = max(np.shape(each)[-2] / np.shape(each)[-1] for each in images)
    figure, first = _figure((2.4 * columns, (2.4 * tallest + 0.3) * rows))
    first.remove()
    for place, number in enumerate(np.argsort(-value, kind="stable"), start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(_laid_over(images[number], maps[number], masks[number] if masks else None, threshold))
        axes.set_title(f"{names[number]}  {value[number]:.3f}" if names else f"{value[number]:.3f}", fontsize=8)
        axes.set_axis_off()
    return figure


def _laid_over(image: Any, anomaly_map: Any, mask: Any | None, threshold: float) -> NDArray[np.uint8]:
    photo = as_photo(image)
    values = resize_map(as_map(anomaly_map), (photo.shape[0], photo.shape[1]))
    shown: NDArray[np.uint8] = blend(photo, map_layer(values, low=threshold, high=1.0), 0.75)
    shown[contour(values >= threshold)] = OUTLINE
    if mask is not None:
        ring = contour(mask)
        if ring.shape != photo.shape[:2]:
            raise ValueError(f"a mask has shape {ring.shape} and its image {photo.shape[:2]}, expected the same")
        shown[ring] = _TRUTH
    return shown


def _roc(
    scores: NDArray[np.float64], labels: NDArray[Any], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False- and true-positive rates from (0, 0) to (1, 1), thresholds descending, equal scores in one step."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    counts = [np.cumsum(np.where(labels[order] == which, weights[order], 0))[last] for which in (0, 1)]
    false, true = (np.append(0.0, each / each[-1]) for each in counts)
    return false, true


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError("plots need matplotlib: pip install matplotlib") from err
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
