"""A blur that sees only a part of the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["blur_inside"]


def blur_inside(
    image: npt.NDArray[np.floating], inside: npt.NDArray[np.bool_], sigma: float
) -> npt.NDArray[np.floating]:
    """Gaussian mean of the pixels inside, so that what is outside does not darken the edge.

    Args:
        image: ``(C, H, W)``.
        inside: ``(H, W)``.
        sigma: in pixels.

    Returns:
        ``(C, H, W)``; near 0 far outside.
    """
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma) + 1e-3
    return np.stack([ndimage.gaussian_filter(channel * inside, sigma) / weight for channel in image])
