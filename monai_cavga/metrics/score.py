"""One number from an anomaly map, on NumPy arrays: no torch."""

from __future__ import annotations

from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["PEAKS", "ScoreRule", "check_rule", "map_score", "rule_words", "values_inside"]

ScoreRule = float | Literal["peaks"] | None
PEAKS = 5  # chosen on held-out normals with painted lesions
_SHARE = 32  # of the map's longer side is the window in which a peak is the highest


def map_score(anomaly_map: NDArray[np.float32], *, fov: NDArray[Any] | None = None, rule: ScoreRule = 0.995) -> float:
    """One number from an anomaly map inside the field of view: `monai_cavga.metrics.image_score` on arrays.

    Args:
        anomaly_map: any shape, any range; higher = more anomalous. With ``"peaks"`` its last two axes are the image's,
            and others have length 1.
        fov: same shape; above 0 inside the field of view. ``None`` = everywhere.
        rule: a quantile in [0, 1], interpolated linearly; ``"peaks"``: the mean of the `PEAKS` highest local maxima,
            each the highest inside a window of 1/32 of the longer side; ``None``: the mean. A plateau is one peak, a
            flat ground too. Where there are fewer than five, the mean is of those: one lesion of height h on a flat
            ground of 0 scores h / 2, and h / 5 where three ripples of next to nothing stand beside it.

    Returns:
        In the range of ``anomaly_map``; higher = more anomalous.

    Raises:
        ValueError: if ``rule`` is none of these, the shapes differ, no pixel is inside, one inside is not finite, or
            with ``"peaks"`` the map is not that of one image.
    """
    check_rule(rule)
    inside = values_inside(anomaly_map, fov)
    if rule is None:
        return float(inside.mean(dtype=np.float64))
    if rule == "peaks":
        return _mean_peak(anomaly_map, fov)
    return float(np.quantile(inside, rule))


def check_rule(rule: ScoreRule, *, name: str = "rule") -> None:
    """Refuse what is no rule of an image score.

    Raises:
        ValueError: if it is neither a number in [0, 1], nor "peaks", nor ``None``.
    """
    quantile = isinstance(rule, Real) and not isinstance(rule, bool) and 0 <= rule <= 1
    if not (quantile or rule is None or (isinstance(rule, str) and rule == "peaks")):
        raise ValueError(
            f"{name} is {rule!r}, expected a quantile from 0 to 1, e.g. 0.995, 'peaks', or None for the mean"
        )


def rule_words(rule: ScoreRule) -> str:
    """The rule as a phrase for a report."""
    if rule is None:
        return "mean of the map"
    return f"mean of the map's {PEAKS} highest peaks" if rule == "peaks" else f"{rule:g} quantile of the map"


def _mean_peak(anomaly_map: NDArray[np.float32], fov: NDArray[Any] | None) -> float:
    if anomaly_map.ndim < 2 or anomaly_map.size != np.prod(anomaly_map.shape[-2:]):
        raise ValueError(
            f"anomaly map has shape {anomaly_map.shape}, expected (H, W), or (1, H, W) and the like, for the rule "
            "'peaks': score one image at a time"
        )
    values = anomaly_map.reshape(anomaly_map.shape[-2:])
    if fov is not None:
        values = np.where(fov.reshape(values.shape) > 0, values, -np.inf)
    highest = ndimage.maximum_filter(values, size=max(3, max(values.shape) // _SHARE | 1), mode="nearest")
    top = (values == highest) & (values > -np.inf)
    places, count = ndimage.label(top, structure=np.ones((3, 3)))
    peaks = np.empty(count, np.float64)
    peaks[places[top] - 1] = values[top]  # all of a plateau have one value
    return float(np.sort(peaks)[-PEAKS:].mean(dtype=np.float64))


def values_inside(anomaly_map: NDArray[np.float32], fov: NDArray[Any] | None) -> NDArray[np.float32]:
    """Finite values inside the field of view, at least one, ``(n,)``.

    Raises:
        ValueError: if the shapes differ, no pixel is inside, or one inside is not finite.
    """
    if fov is not None and fov.shape != anomaly_map.shape:
        raise ValueError(
            f"fov has shape {fov.shape}, the anomaly map {anomaly_map.shape}: "
            "bring both to one size (Invertd) before scoring"
        )
    inside = anomaly_map.reshape(-1) if fov is None else anomaly_map[fov > 0]
    if inside.size == 0:
        raise ValueError("fov has 0 pixels inside, expected at least one: the image may be black or the crop empty")
    if not np.isfinite(inside).all():
        raise ValueError("anomaly map is NaN or infinite inside the field of view, expected finite scores")
    return inside
