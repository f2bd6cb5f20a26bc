"""Anomalies of no particular object: pure functions that damage an image and say where.

Each takes an image ``(C, H, W)`` in [0, 1], a donor of the same shape (another normal image, or the same one turned),
the part of the image worth damaging, and a random state; each gives the damaged image and a soft mask ``(H, W)``.
After CutPaste (arXiv:2104.04015), NSA (2109.15222) and DRAEM (2108.07610); no texture data set is needed, since the
textures are made of noise and of the donor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_cavga.transforms.blur import blur_inside

__all__ = ["DEFECTS", "make_defects", "object_region", "perlin"]

Array = npt.NDArray[np.float32]
Defect = Callable[[Array, Array, npt.NDArray[np.bool_], np.random.RandomState], tuple[Array, Array]]
_VISIBLE = 0.015  # mean change of a pixel's channels below which it stays normal: nobody could see it


def perlin(shape: tuple[int, int], cells: tuple[int, int], random: np.random.RandomState) -> Array:
    """Perlin's gradient noise, ``shape`` pixels over ``cells`` of the lattice; about [-1, 1]."""
    rows, columns = (np.linspace(0, c, s, endpoint=False, dtype=np.float32) for c, s in zip(cells, shape, strict=True))
    angle = random.uniform(0, 2 * math.pi, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    y, x = rows.astype(int), columns.astype(int)
    v, u = (rows - y)[:, None], (columns - x)[None]

    def corner(dy: int, dx: int) -> Array:
        a = angle[np.ix_(y + dy, x + dx)]
        return np.asarray(np.cos(a) * (u - dx) + np.sin(a) * (v - dy), np.float32)

    fade_u, fade_v = (t * t * t * (t * (t * 6 - 15) + 10) for t in (u, v))
    top = corner(0, 0) + fade_u * (corner(0, 1) - corner(0, 0))
    bottom = corner(1, 0) + fade_u * (corner(1, 1) - corner(1, 0))
    return np.asarray(math.sqrt(2) * (top + fade_v * (bottom - top)), np.float32)


def object_region(image: Array) -> npt.NDArray[np.bool_]:
    """The object on a plain background, or everywhere if the frame of the image is not plain; ``(H, W)``."""
    height, width = image.shape[1:]
    margin = max(1, min(height, width) // 50)
    frame = np.ones((height, width), bool)
    frame[margin:-margin, margin:-margin] = False
    border = image[:, frame]
    middle = np.median(border, axis=1)
    away = np.abs(ndimage.gaussian_filter(image, (0, 1, 1)) - middle[:, None, None]).max(axis=0)
    spread = np.quantile(away[frame], 0.9)  # an object may cross a tenth of the frame
    region = away > max(2.5 * spread, 0.06)
    region = ndimage.binary_dilation(region, iterations=max(1, margin // 2))
    share = region.mean()
    if spread > 0.15 or not 0.01 < share < 0.9:
        return np.ones((height, width), bool)
    return np.asarray(region, bool)


def cut_paste(
    image: Array, donor: Array, region: npt.NDArray[np.bool_], random: np.random.RandomState
) -> tuple[Array, Array]:
    """A patch from elsewhere: any shape from a scar to a square, turned, its brightness jittered."""
    height, width = image.shape[1:]
    mask = _patch(region, random)
    shift = random.randint(0, height), random.randint(0, width)
    pasted = np.roll(donor, shift, axis=(1, 2))
    if random.rand() < 0.7:  # from the object itself: a texture that belongs to it
        places = np.argwhere(region)
        there, here = places[random.randint(len(places))], _centre(mask)
        pasted = np.roll(donor, (here[0] - there[0], here[1] - there[1]), axis=(1, 2))
    pasted = np.clip(pasted * random.uniform(0.8, 1.2) + random.uniform(-0.06, 0.06), 0, 1)
    return image + mask * (pasted - image), mask


def texture(
    image: Array, donor: Array, region: npt.NDArray[np.bool_], random: np.random.RandomState
) -> tuple[Array, Array]:
    """A Perlin-shaped area whose texture is noise or the donor's, blended."""
    mask = _clouds(region, random)
    if random.rand() < 0.5:
        grain = perlin(mask.shape, (random.randint(8, 48),) * 2, random)
        foreign = image.mean() + grain[None] * random.uniform(0.1, 0.5) * random.uniform(0.3, 1, (len(image), 1, 1))
    else:
        foreign = donor[:, ::-1] if random.rand() < 0.5 else 1 - donor
    strength = random.uniform(0.2, 0.9)
    return np.clip(image + strength * mask * (foreign - image), 0, 1), mask


def stain(
    image: Array, donor: Array, region: npt.NDArray[np.bool_], random: np.random.RandomState
) -> tuple[Array, Array]:
    """A spot, a scratch or a smear, brighter or darker than what it covers."""
    mask = _patch(region, random)
    gain = random.uniform(0.1, 0.45, (len(image), 1, 1)) * random.choice([-1, 1])
    return np.clip(image + mask * gain * np.maximum(image, 0.25), 0, 1), mask


def bend(
    image: Array, donor: Array, region: npt.NDArray[np.bool_], random: np.random.RandomState
) -> tuple[Array, Array]:
    """A part that is pushed aside or twisted."""
    height, width = image.shape[1:]
    row, column = _place(region, random)
    radius = random.uniform(0.03, 0.12) * min(height, width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    near = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * radius**2)).astype(np.float32)
    turn, push = random.uniform(-1.2, 1.2) * near, random.uniform(-0.6, 0.6, 2) * radius
    dy, dx = y - row, x - column
    source = [
        row + dy * np.cos(turn) - dx * np.sin(turn) + push[0] * near,
        column + dy * np.sin(turn) + dx * np.cos(turn) + push[1] * near,
    ]
    bent = np.stack([ndimage.map_coordinates(channel, source, order=1, mode="nearest") for channel in image])
    return bent.astype(np.float32), (near > 0.3).astype(np.float32)


def erase(
    image: Array, donor: Array, region: npt.NDArray[np.bool_], random: np.random.RandomState
) -> tuple[Array, Array]:
    """A part that is missing: filled with what surrounds it, smoothed."""
    mask = _patch(region, random)
    hard = mask > 0.5
    sigma = max(1.5, math.sqrt(float(hard.sum())) / 2)
    filled = blur_inside(image, ~hard, sigma)
    return (image + mask * (filled - image)).astype(np.float32), mask


DEFECTS: dict[str, Defect] = {
    "cut_paste": cut_paste,
    "texture": texture,
    "stain": stain,
    "bend": bend,
    "erase": erase,
}


def make_defects(
    image: Array,
    donor: Array,
    region: npt.NDArray[np.bool_],
    random: np.random.RandomState,
    *,
    kinds: tuple[str, ...] = tuple(DEFECTS),
    most: int = 3,
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Damage an image one to ``most`` times.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        donor: another normal image of that shape, or the same.
        region: ``(H, W)``, where damage makes sense, see `object_region`.
        random: source of chance.
        kinds: names in `DEFECTS`.
        most: damages an image can have.

    Returns:
        The image and the mask ``(H, W)`` of the pixels that changed visibly.

    Raises:
        ValueError: for an unknown kind or none.
    """
    unknown = [kind for kind in kinds if kind not in DEFECTS]
    if unknown or not kinds:
        raise ValueError(f"kinds is {list(kinds)}, expected some of {list(DEFECTS)}")
    if not region.any():
        region = np.ones_like(region)
    damaged, touched = image, np.zeros(image.shape[1:], bool)
    for _ in range(random.randint(1, most + 1)):
        damaged, mask = DEFECTS[kinds[random.randint(len(kinds))]](damaged, donor, region, random)
        touched |= mask > 0.3
    change = ndimage.gaussian_filter(np.abs(damaged - image).mean(axis=0), 1.0)
    return damaged.astype(np.float32), touched & (change > _VISIBLE)


def _place(region: npt.NDArray[np.bool_], random: np.random.RandomState) -> npt.NDArray[np.int64]:
    places = np.argwhere(region)
    return np.asarray(places[random.randint(len(places))])


def _centre(mask: Array) -> npt.NDArray[np.int64]:
    return np.asarray(np.argwhere(mask > 0.5).mean(axis=0) if (mask > 0.5).any() else np.zeros(2)).astype(np.int64)


def _patch(region: npt.NDArray[np.bool_], random: np.random.RandomState) -> Array:
    """A soft-edged turned ellipse or rectangle, from a scratch to a block, with a wavy outline."""
    height, width = region.shape
    row, column = _place(region, random)
    side = min(height, width)
    area = math.exp(random.uniform(math.log(0.0003), math.log(0.015))) * side * side
    ratio = math.exp(random.uniform(0, math.log(12)))
    long, short = math.sqrt(area * ratio) / 2, max(math.sqrt(area / ratio) / 2, 0.8)
    tilt = random.uniform(0, math.pi)
    y, x = np.ogrid[:height, :width]
    along = (x - column) * math.cos(tilt) + (y - row) * math.sin(tilt)
    across = (y - row) * math.cos(tilt) - (x - column) * math.sin(tilt)
    wave = 0.25 * np.sin(along / max(long, 1) * random.uniform(2, 6) + random.uniform(0, 6))
    power = random.choice([2.0, 6.0])
    distance = (np.abs(along / long) ** power + np.abs(across / short + wave) ** power) ** (1 / power) - 1
    return np.asarray(1 / (1 + np.exp(np.clip(distance * short * 2.5, -30, 30))), np.float32)


def _clouds(region: npt.NDArray[np.bool_], random: np.random.RandomState) -> Array:
    """Perlin noise above a threshold, inside the region, one cloud or several."""
    cells = 2 ** random.randint(1, 5), 2 ** random.randint(1, 5)
    noise = perlin(region.shape, cells, random)
    noise = noise + 2 * np.exp(-_distance(region.shape, _place(region, random)) / (0.15 * min(region.shape)))
    level = max(0.6, float(np.quantile(noise[region], 0.97)))
    return np.asarray(np.clip((noise - level) * 12, 0, 1) * region, np.float32)


def _distance(shape: tuple[int, int], place: npt.NDArray[np.int64]) -> Array:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(y - place[0], x - place[1]), np.float32)
