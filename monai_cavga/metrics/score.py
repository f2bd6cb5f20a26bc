"""One number from an anomaly map, on NumPy arrays: no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["map_score", "values_inside"]


def map_score(
    anomaly_map: NDArray[np.float32], *, fov: NDArray[Any] | None = None, quantile: float | None = 0.995
) -> float:
    """A high quantile of an anomaly map inside the field of view: `monai_cavga.metrics.image_score` on arrays.

    Args:
        anomaly_map: any shape, any range; higher = more anomalous.
        fov: same shape; above 0 inside the field of view. ``None`` = everywhere.
        quantile: in [0, 1], interpolated linearly. ``None`` = the mean.

    Returns:
        In the range of ``anomaly_map``; higher = more anomalous.

    Raises:
        ValueError: if ``quantile`` is outside [0, 1], the shapes differ, no pixel is inside, or one inside is
            not finite.
    """
    if quantile is None:
        return float(values_inside(anomaly_map, fov).mean(dtype=np.float64))
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile is {quantile}, expected 0 to 1, e.g. 0.995")
    return float(np.quantile(values_inside(anomaly_map, fov), quantile))


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
