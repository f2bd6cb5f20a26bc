"""From numbers to colours on a fixed scale: colour map, layer, overlay, outline. NumPy and Pillow only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]

# 17 stops, linear in CIE L* from 6 to 95, hue from indigo through blue to pale green: perceptually uniform, and
# colours that no retina has, so that an overlay is never mistaken for an exudate, a vessel or a haemorrhage
# (inferno and viridis end in the yellow of exudates).
_STOPS = np.array(
    [
        (21, 17, 35),
        (26, 28, 57),
        (28, 40, 80),
        (20, 53, 105),
        (0, 67, 131),
        (0, 82, 145),
        (0, 100, 157),
        (0, 116, 166),
        (0, 133, 173),
        (0, 150, 179),
        (0, 166, 183),
        (0, 182, 186),
        (53, 198, 188),
        (97, 213, 189),
        (148, 225, 193),
        (188, 236, 202),
        (222, 248, 218),
    ],
    dtype=np.float64,
)
_TABLE = np.stack(
    [np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(_STOPS)), _STOPS[:, c]) for c in range(3)], axis=-1
)
_TABLE = np.round(_TABLE).astype(np.uint8)  # (256, 3)
NOT_A_NUMBER = (128, 128, 128)  # a grey that the map does not hold
OUTLINE = (255, 64, 200)  # magenta: apart from the map's blues and from a retina's reds and yellows


def colour_stops() -> list[tuple[int, int, int]]:
    """The colour map's stops, evenly spaced, as red, green, blue in 0 to 255 (for a gradient in another medium)."""
    return [(int(r), int(g), int(b)) for r, g, b in _STOPS]


def as_array(values: Any) -> Array:
    """A tensor (any device, MetaTensor too) or array as float32 NumPy."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    return np.asarray(values, dtype=np.float32)


def as_map(values: Any, *, name: str = "map") -> Array:
    """A map as rows and columns.

    Args:
        values: ``(1, H, W)`` or ``(H, W)``, tensor or array.
        name: what the error calls it.

    Returns:
        ``(H, W)`` float32.

    Raises:
        ValueError: if it has another shape or no pixel.
    """
    array = as_array(values)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{name} has shape {tuple(np.shape(values))}, expected (1, H, W) or (H, W): "
            "pass one image's map, not a batch"
        )
    return array


def as_photo(image: Any) -> Array:
    """An image as it is shown.

    Args:
        image: ``(C, H, W)`` float in [0, 1], tensor or array; outside values are clipped. Three channels are red,
            green, blue; any other number is shown as the grey of their mean.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ValueError: if it is not ``(C, H, W)``.
    """
    array = as_array(image)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"image has shape {array.shape}, expected (C, H, W): pass one image, channel first")
    if array.shape[0] != 3:
        array = np.repeat(array.mean(axis=0, keepdims=True), 3, axis=0)
    shown = np.nan_to_num(np.clip(array, 0, 1), nan=0.5)
    photo: Array = np.round(255 * shown).astype(np.uint8).transpose(1, 2, 0)
    return photo


def check_scale(low: float, high: float) -> tuple[float, float]:
    """The two ends of a scale.

    Raises:
        ValueError: if they are not finite or ``low >= high``.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"scale is ({low}, {high}), expected two finite numbers, low < high")
    return float(low), float(high)


def colour_map(values: Any) -> Array:
    """Colours of numbers, by a perceptually uniform map, dark = 0, pale = 1.

    Args:
        values: ``(H, W)`` or ``(1, H, W)`` in [0, 1]; outside values take the colour of the nearer end, NaN is grey.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ValueError: if ``values`` has another shape.
    """
    array = as_map(values, name="values")
    index = np.round(255 * np.clip(np.nan_to_num(array, nan=0.0), 0, 1)).astype(np.uint8)
    rgb: Array = _TABLE[index]
    rgb[np.isnan(array)] = NOT_A_NUMBER
    return rgb


def map_layer(anomaly_map: Any, *, low: float, high: float) -> Array:
    """A map as a layer to lay over its image: the higher, the paler and the less transparent.

    With ``t = clip((value - low) / (high - low), 0, 1)``, colour is ``colour_map(t)`` and alpha is ``t``: at ``low``
    the photograph is untouched. NaN is opaque grey.

    Args:
        anomaly_map: ``(1, H, W)`` or ``(H, W)``, higher = more anomalous.
        low: the value of the scale's dark, transparent end.
        high: the value of its pale, opaque end.

    Returns:
        ``(H, W, 4)`` uint8, red, green, blue, alpha (not premultiplied).

    Raises:
        ValueError: if the map's shape or the scale is wrong.
    """
    low, high = check_scale(low, high)
    share = np.clip((as_map(anomaly_map, name="anomaly_map") - low) / (high - low), 0, 1)
    alpha = np.round(255 * np.nan_to_num(share, nan=1.0)).astype(np.uint8)
    return np.dstack([colour_map(share), alpha])


def overlay(image: Any, anomaly_map: Any, *, low: float, high: float, opacity: float = 0.75) -> Array:
    """An image under its anomaly map, on a fixed scale.

    The scale is the caller's, never the image's own minimum and maximum: two images' colours compare.

    Args:
        image: ``(C, H, W)`` float in [0, 1].
        anomaly_map: ``(1, h, w)`` or ``(h, w)``; brought to ``(H, W)`` for display.
        low: the value that leaves the photograph untouched.
        high: the value that shows the map's pale end with ``opacity``.
        opacity: in [0, 1], of the layer at ``high``.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ValueError: if a shape, the scale or the opacity is wrong.
    """
    photo = as_photo(image)
    values = resize_map(as_map(anomaly_map, name="anomaly_map"), (photo.shape[0], photo.shape[1]))
    return blend(photo, map_layer(values, low=low, high=high), opacity)


def blend(photo: Array, layer: Array, opacity: float) -> Array:
    """``(H, W, 3)`` uint8 under ``(H, W, 4)`` uint8 whose alpha is multiplied by ``opacity`` in [0, 1].

    Raises:
        ValueError: if ``opacity`` is outside [0, 1].
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}, expected a number in [0, 1]")
    alpha = layer[..., 3:].astype(np.float32) / 255 * opacity
    mixed = photo.astype(np.float32) * (1 - alpha) + layer[..., :3].astype(np.float32) * alpha
    return np.round(mixed).astype(np.uint8)


def contour(mask: Any) -> Array:
    """The ring of pixels just outside a mask, so that what it encloses stays visible, however small.

    Args:
        mask: ``(1, H, W)`` or ``(H, W)``; values above 0 are inside (0 is normal, -1 ignored).

    Returns:
        ``(H, W)`` bool: outside the mask and one of the eight neighbours inside. A mask that fills the picture
        has none.

    Raises:
        ValueError: if ``mask`` has another shape.
    """
    inside = as_map(mask, name="mask") > 0
    padded = np.pad(inside, 1)
    near = np.zeros_like(inside)
    height, width = inside.shape
    for down in range(3):
        for right in range(3):
            near |= padded[down : down + height, right : right + width]
    return near & ~inside


def resize_map(values: Array, size: tuple[int, int]) -> Array:
    """``(h, w)`` float32 to ``size = (H, W)``, bilinear (averaging where it shrinks), for display only."""
    if values.shape == tuple(size):
        return values
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))  # mode F
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR), dtype=np.float32)


def resize_photo(photo: Array, size: tuple[int, int]) -> Array:
    """``(h, w, 3)`` uint8 to ``size = (H, W)``, bicubic, for display only."""
    if photo.shape[:2] == tuple(size):
        return photo
    return np.asarray(Image.fromarray(photo).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def resize_mask(mask: Array, size: tuple[int, int]) -> Array:
    """``(h, w)`` to bool ``size = (H, W)``: True where any pixel of the area is above 0, so no small lesion is lost."""
    if mask.shape == tuple(size):
        return mask > 0
    picture = Image.fromarray((mask > 0).astype(np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BOX)) > 0


def grey16(values: Array, *, low: float, high: float) -> Array:
    """A map on a fixed scale in 16 bits: ``round(65535 * clip((value - low) / (high - low), 0, 1))``.

    Args:
        values: ``(H, W)`` float.
        low: the value of pixel 0.
        high: the value of pixel 65535.

    Returns:
        ``(H, W)`` uint16; within the scale exact to ``(high - low) / 131070``.

    Raises:
        ValueError: if a value is not finite (no pixel value means "unknown").
    """
    unknown = int((~np.isfinite(values)).sum())
    if unknown:
        raise ValueError(
            f"{unknown} of {values.size} values are not finite, expected numbers: check the network's weights"
        )
    share = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return np.round(65535 * share).astype(np.uint16)
