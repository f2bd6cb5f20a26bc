"""Phantoms of industrial parts: a woven cloth in colour and a grey bolt, with defects, in MVTec AD's layout.

Results on them say nothing about MVTec AD.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from monai_cavga.data.mvtad import GOOD, MASKS, TEST, TRAINING
from monai_cavga.data.phantoms import write_folder

DEFECTS = {"weave": ("hole", "thread"), "bolt": ("scratch", "missing_part")}  # of each category
_LEAST_SIDE = 64

Array = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]


def part_image(
    seed: int, category: str, *, size: tuple[int, int] = (128, 160), defect: str | None = None
) -> tuple[Array, Array]:
    """Paint one part.

    The same seed with and without a defect is the same part: the two differ only where the mask is 1. The weave fills
    the image; the bolt lies along its longer side, turned a little and shifted.

    Args:
        seed: 0 or more; decides everything.
        category: "weave", a texture in colour, or "bolt", a grey object.
        size: height and width in pixels, each at least 64.
        defect: one of the category's `DEFECTS`; none = a good part.

    Returns:
        The picture, uint8, rows as displayed, ``(H, W, 3)`` of a weave and ``(H, W)`` of a bolt, and the mask
        ``(H, W)``, uint8, 1 where the defect is (all 0 without one).

    Raises:
        ValueError: if the category has no such name or defect, a side is below 64 pixels, or the seed is negative.
    """
    if category not in DEFECTS:
        raise ValueError(f"category is {category!r}, expected one of {', '.join(DEFECTS)}: correct the spelling")
    if defect is not None and defect not in DEFECTS[category]:
        raise ValueError(
            f"defect is {defect!r}, expected one of {', '.join(DEFECTS[category])}, or none for a good {category}: "
            "correct the spelling"
        )
    _check(size, seed=seed)
    paint = {"weave": _weave, "bolt": _bolt}[category]
    part, damage, grain = (np.random.default_rng([seed, list(DEFECTS).index(category), use]) for use in range(3))
    picture, mask = paint(part, damage, size, defect)
    noise = grain.normal(0, 2, size).reshape(*size, *[1] * (picture.ndim - 2))
    return np.rint(np.clip(picture + noise, 0, 255)).astype(np.uint8), mask.astype(np.uint8)


def write_parts(
    root: str | os.PathLike[str],
    *,
    normal: int = 24,
    anomalous: int = 4,
    size: tuple[int, int] = (128, 160),
    seed: int = 0,
) -> Path:
    """Write the categories ``weave`` and ``bolt`` in MVTec AD's layout below ``root``; each complete or not at all.

    Args:
        root: made if need be.
        normal: training images of each category.
        anomalous: test images of each defect, and as many good ones.
        size: height and width in pixels.
        seed: of the whole set.

    Returns:
        ``root``, the ``dataset_dir`` for the MVTec AD bundle.

    Raises:
        FileExistsError: if ``root`` holds a folder of a category's name that is not of phantoms.
        ValueError: if a number is below 1, a side below 64 pixels or the seed negative.
    """
    if normal < 1 or anomalous < 1:
        raise ValueError(f"normal is {normal} and anomalous {anomalous}, expected at least 1 each: ask for more")
    _check(size, seed=seed)

    def write(folder: Path, category: str) -> None:
        parts = iter(range(seed * 1_000_003, (seed + 1) * 1_000_003))  # no part is photographed twice
        places: list[tuple[Path, str | None, int]] = [(TRAINING, None, normal), (TEST / GOOD, None, anomalous)]
        places += [(TEST / defect, defect, anomalous) for defect in DEFECTS[category]]
        for place, defect, count in places:
            for number in range(count):
                picture, mask = part_image(next(parts), category, size=size, defect=defect)
                _save(folder / place / f"{number:03d}.png", picture)
                if defect is not None:
                    _save(folder / MASKS / defect / f"{number:03d}_mask.png", mask * np.uint8(255))

    for category in DEFECTS:
        record: dict[str, object] = {"category": category, "training": normal, "test": anomalous}
        record |= {"size": list(size), "seed": seed, "version": 1}
        write_folder(Path(root) / category, record, partial(write, category=category))
    return Path(root)


def _weave(
    random: np.random.Generator, damage: np.random.Generator, size: tuple[int, int], defect: str | None
) -> tuple[Plane, npt.NDArray[np.bool_]]:
    """A cloth ``(H, W, 3)``: blue threads down, pale ones across, in turn above each other; and its defect's mask."""
    side = min(size)
    pull = [ndimage.gaussian_filter(random.normal(0, 1, size), side / 8) for _ in range(2)]
    rows, columns = (
        (grid + 0.04 * side * pulled / abs(pulled).max()) * 16 / side + random.uniform(0, 2)  # in threads
        for grid, pulled in zip(np.mgrid[: size[0], : size[1]], pull, strict=True)
    )
    above = (np.floor(rows) + np.floor(columns)) % 2 == 0  # the thread that runs down is above
    y, x = rows % 1 - 0.5, columns % 1 - 0.5
    across, along = np.where(above, x, y), np.where(above, y, x)
    height = np.cos(np.pi * across) ** 0.5 * (0.65 + 0.35 * np.cos(np.pi * along))
    colours = np.where(above[..., None], (70, 105, 165), (205, 195, 170)) * random.uniform(0.92, 1.08)
    picture = colours * (0.35 + 0.65 * height[..., None])
    if defect == "hole":
        v, u = _place(damage, size, turn=np.pi)
        edge = 1 + sum(damage.uniform(0, 0.18) * np.cos(n * np.arctan2(v, u) + damage.uniform(0, 6)) for n in (2, 3, 5))
        mask = np.hypot(v, u) < damage.uniform(0.07, 0.12) * side * edge
        return np.where(mask[..., None], picture * 0.12 + 8, picture), mask
    if defect == "thread":
        half_width = max(1.5, 0.014 * side)
        length, bend = damage.uniform(0.15, 0.3) * side, damage.uniform(-1.5, 1.5) / side
        distance = _stroke(*_place(damage, size, turn=np.pi), half_length=length, bend=bend)
        mask = distance < half_width
        round_ = 1 - 0.5 * (distance / half_width) ** 2
        colour = np.array([200, 50, 40]) * damage.uniform(0.8, 1.1)
        return np.where(mask[..., None], colour * round_[..., None], picture), mask
    return picture, np.zeros(size, bool)


def _bolt(
    random: np.random.Generator, damage: np.random.Generator, size: tuple[int, int], defect: str | None
) -> tuple[Plane, npt.NDArray[np.bool_]]:
    """A bolt ``(H, W)`` on a plain ground: head, a lug on one side of the shank, thread; and its defect's mask."""
    length = min(0.72 * max(size), 1.1 * min(size))
    v, u = (each / length for each in _place(random, size, turn=0.2, shift=0.05))  # u from -0.5, head, to 0.5, tip
    ridges = np.cos(2 * np.pi * (u / 0.045 + v / 0.3)) * (u > 0.05)
    radius = 0.075 + 0.006 * ridges
    parts = {  # signed distance to the edge, above 0 inside
        "head": np.minimum(0.08 - abs(u + 0.42), 0.17 - abs(v)),
        "lug": np.minimum(0.04 - abs(u + 0.12), 0.075 - abs(v - 0.05)),
        "shank": np.minimum(0.46 - abs(u - 0.04), radius - abs(v) - np.maximum(u - 0.45, 0)),
    }
    inside = np.clip(np.maximum.reduce(list(parts.values())) * length + 0.5, 0, 1)
    half = np.where(parts["head"] > 0, 0.17, np.where(parts["shank"] > 0, 0.08, 0.13))
    light = np.sqrt(np.clip(1 - (v / half + 0.25) ** 2, 0.05, 1)) * random.uniform(0.92, 1.08)  # from above
    metal = 50 + 140 * light + 18 * ridges
    ground = np.full(size, 205.0) * random.uniform(0.96, 1.04)
    picture = ground + (metal - ground) * inside
    if defect == "scratch":
        middle = damage.uniform(-0.3, 0.3), damage.uniform(-0.03, 0.03)
        turn = damage.uniform(0.3, 0.9) * damage.choice([-1, 1])
        across, along = _turned(v - middle[1], u - middle[0], turn)
        distance = _stroke(across * length, along * length, half_length=damage.uniform(0.06, 0.12) * length, bend=0)
        mask = (distance < max(1, 0.012 * length)) & (inside == 1)
        return np.where(mask, damage.uniform(5, 25), picture), mask
    if defect == "missing_part":
        broken = damage.uniform(0.2, 0.38) + 0.015 * np.cos(v * damage.uniform(30, 50) + damage.uniform(0, 6))
        mask = (u > broken) & (inside > 0)
        return np.where(mask, ground, picture), mask
    return picture, np.zeros(size, bool)


def _place(
    random: np.random.Generator, size: tuple[int, int], *, turn: float, shift: float = 0.3
) -> tuple[Plane, Plane]:
    """Coordinates across and along something near the middle, in pixels, along the image's longer side but for a turn.

    Args:
        turn: at most so many radians, either way.
        shift: of its middle, at most so much of each side, either way.
    """
    y, x = (
        grid - (side - 1) / 2 - random.uniform(-shift, shift) * side
        for grid, side in zip(np.mgrid[: size[0], : size[1]], size, strict=True)
    )
    return _turned(*((y, x) if size[1] >= size[0] else (-x, y)), random.uniform(-turn, turn))


def _turned(v: Plane, u: Plane, angle: float) -> tuple[Plane, Plane]:
    return v * np.cos(angle) - u * np.sin(angle), v * np.sin(angle) + u * np.cos(angle)


def _stroke(v: Plane, u: Plane, *, half_length: float, bend: float) -> Plane:
    """Distance in pixels from a stroke along ``u``, a parabola; nearly so where it bends."""
    return np.hypot(np.maximum(abs(u) - half_length, 0), (v - bend * u**2) / np.hypot(1, 2 * bend * u))


def _check(size: tuple[int, int], *, seed: int) -> None:
    if min(size) < _LEAST_SIDE or seed < 0:
        raise ValueError(
            f"size is {size[0]} x {size[1]} and seed {seed}, expected sides of {_LEAST_SIDE} or more and a seed of 0 "
            "or more: change them"
        )


def _save(path: Path, values: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
