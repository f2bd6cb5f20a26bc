"""Whether a photograph can be assessed at all: measures of it, and the rule that stops it before the network.

The thresholds were chosen on the 413 training photographs of IDRiD (part B, every grade) and on degraded copies of
them, so that the measures of all 413 lie inside with room to spare; ``benchmarks/quality.py`` measures what passes and
what is refused there, on the 103 test photographs, and on pictures of other things, into ``benchmarks/results``. They
come from one camera and one clinic: on another's photographs, count the refusals first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from monai_cavga.fundus import field_of_view

__all__ = ["Quality", "measure", "problem"]

SIDE = 512  # longer side, in pixels, at which everything is measured; smaller images stay as they are
LEAST_SIDE = 32

# In the training photographs: field 0.69 to 0.71, roundness from 0.979, brightness from 0.23, burnt to 0.27,
# warm from 0.92, sharpness from 0.497, detail from 0.576.
LEAST_FIELD = 0.25
LEAST_ROUNDNESS = 0.95
LEAST_BRIGHTNESS = 0.15
MOST_BURNT = 0.5
LEAST_WARM = 0.85
LEAST_SHARPNESS = 0.42
LEAST_DETAIL = 0.52
_GREY = 0.02  # channels that differ by less everywhere are one: a red-free or 16-bit photograph
_BURNT = 0.98

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What is measured on one photograph, at 512 pixels, inside the field of view.

    Attributes:
        border: whether there is a dark border around something lit.
        field: share of the image inside the field of view.
        roundness: overlap (intersection over union) of the field of view and the circle fitted to its edge.
        brightness: median of the brightest channel.
        burnt: share of pixels whose brightest channel is above 0.98.
        warm: share of pixels with red >= green >= blue, the order of a retina's colours; 1 for grey images.
        sharpness: contrast of the finest details (1 to 1.4 pixels) over that of vessels (2 to 4).
        detail: the same one octave coarser: 1 to 2 pixels over 4 to 8.
    """

    border: bool
    field: float
    roundness: float
    brightness: float
    burnt: float
    warm: float
    sharpness: float
    detail: float


def measure(pixels: npt.NDArray[np.float32]) -> Quality:
    """Measure one photograph; some 50 ms.

    Args:
        pixels: ``(H, W, 3)`` in [0, 1], rows as displayed.

    Raises:
        ValueError: if the shape is another or a side is below 32 pixels.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < LEAST_SIDE:
        raise ValueError(f"pixels are {pixels.shape}, expected (H, W, 3) with sides of at least {LEAST_SIDE}")
    small = _shrink(pixels)
    inside = field_of_view(small.transpose(2, 0, 1))
    # away from the edge of the field, whose contrast is no detail of the retina
    margin = max(1, round(max(inside.shape) / 43))
    core = ndimage.binary_erosion(inside, iterations=margin, border_value=1)
    core = core if core.any() else inside
    values = small[core]  # (n, 3)
    brightest = values.max(axis=1)
    red, green, blue = values.T
    grey = bool((np.ptp(values, axis=1) < _GREY).all())
    sharpness, detail = _focus(small[..., 1], core)
    return Quality(
        border=not bool(inside.all()),
        field=float(inside.mean()),
        roundness=_roundness(inside),
        brightness=float(np.median(brightest)),
        burnt=float((brightest > _BURNT).mean()),
        warm=1.0 if grey else float(((red >= green) & (green >= blue)).mean()),
        sharpness=sharpness,
        detail=detail,
    )


def problem(quality: Quality) -> str:
    """Why a photograph cannot be assessed, "" if it can: the first of the rules that it breaks."""
    if quality.brightness < LEAST_BRIGHTNESS:
        return f"too dark: median brightness {quality.brightness:.2f}, expected at least {LEAST_BRIGHTNESS}"
    if not quality.border:
        return "no field of view: no dark border around a lit disc"
    if quality.burnt > MOST_BURNT:
        return f"too bright: {quality.burnt:.0%} of the field of view is burnt out, expected at most {MOST_BURNT:.0%}"
    if quality.field < LEAST_FIELD:
        return f"no field of view: {quality.field:.0%} of the image is lit, expected at least {LEAST_FIELD:.0%}"
    if quality.roundness < LEAST_ROUNDNESS:
        return (
            "not a fundus photograph: the lit part is no disc "
            f"(overlap with a circle {quality.roundness:.2f}, expected at least {LEAST_ROUNDNESS})"
        )
    if quality.warm < LEAST_WARM:
        return (
            f"not a fundus photograph: red >= green >= blue in {quality.warm:.0%} of the field of view, "
            f"expected at least {LEAST_WARM:.0%}"
        )
    if quality.sharpness < LEAST_SHARPNESS or quality.detail < LEAST_DETAIL:
        return (
            f"out of focus: fine detail {quality.sharpness:.2f} and {quality.detail:.2f} of the coarser, "
            f"expected at least {LEAST_SHARPNESS} and {LEAST_DETAIL}"
        )
    return ""


def _shrink(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Area means, so that a large photograph's noise does not count as detail."""
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    planes = [Image.fromarray(np.ascontiguousarray(pixels[..., channel])) for channel in range(3)]
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BOX)) for plane in planes], axis=-1)


def _roundness(inside: Mask) -> float:
    """Overlap of a mask with the circle through its edge, 0 where it has none; the image's frame may cut both."""
    height, width = inside.shape
    rows, columns = np.nonzero(inside & ~ndimage.binary_erosion(inside))
    free = (rows > 1) & (rows < height - 2) & (columns > 1) & (columns < width - 2)  # what the frame cut is no edge
    y, x = rows[free].astype(np.float64), columns[free].astype(np.float64)
    if y.size < 20:
        return 0.0
    centre_x = centre_y = radius = 0.0
    for _ in range(3):  # each time without the tenth that lies farthest from the circle: notches, printed text
        terms = np.stack([2 * x, 2 * y, np.ones_like(x)], axis=1)
        centre_x, centre_y, rest = np.linalg.lstsq(terms, x**2 + y**2, rcond=None)[0]
        radius = float(np.sqrt(max(rest + centre_x**2 + centre_y**2, 0)))
        distance = np.abs(np.hypot(x - centre_x, y - centre_y) - radius)
        near = distance <= np.quantile(distance, 0.9)
        y, x = y[near], x[near]
    grid_y, grid_x = np.ogrid[:height, :width]
    disc = (grid_y - centre_y) ** 2 + (grid_x - centre_x) ** 2 <= radius**2
    return float((disc & inside).sum() / max(int((disc | inside).sum()), 1))


def _focus(green: Plane, core: Mask) -> tuple[float, float]:
    """Contrast of fine over coarse detail, twice; a blur takes the fine first, a change of exposure neither."""
    weight = ndimage.gaussian_filter(core.astype(np.float32), 8) + 1e-3
    local = ndimage.gaussian_filter(green * core, 8) / weight
    flat = np.where(core, green / np.maximum(local, 0.02), 1).astype(np.float32)

    def contrast(low: float, high: float) -> float:
        band = ndimage.gaussian_filter(flat, low) - ndimage.gaussian_filter(flat, high)
        return float(band[core].std())

    return contrast(0.7, 1.4) / (contrast(2, 4) + 1e-6), contrast(1, 2) / (contrast(4, 8) + 1e-6)
