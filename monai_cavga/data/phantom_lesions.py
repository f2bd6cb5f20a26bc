"""Lesions of phantom eyes: bright hard exudates, dark microaneurysms and blot haemorrhages."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

SUPERSAMPLING = 4
_LEAST_RADIUS = 0.9  # pixels: a smaller lesion would cover no pixel by half


@dataclass(frozen=True)
class Lesion:
    """One lesion: an irregular blob, in units of the field of view's radius (x towards the nose, y downwards)."""

    x: float
    y: float
    radius: float
    bright: bool


def lesions_of(
    random: np.random.Generator, *, disc: tuple[float, float], macula: tuple[float, float], half_height: float
) -> list[Lesion]:
    """Draw the lesions of one eye: at least one kind, off the optic disc, inside the field of view.

    Args:
        random: source of chance.
        disc: centre of the optic disc.
        macula: centre of the macula.
        half_height: of the part of the field of view that is in the picture; 1 where its circle is not cut.
    """

    def place(spread: float, about: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
        while True:
            x, y = random.normal(about[0], spread), random.normal(about[1], spread)
            off_disc = math.hypot(x - disc[0], y - disc[1]) > 0.26
            if off_disc and math.hypot(x, y) < 0.85 and abs(y) < half_height - 0.1:
                return x, y

    kinds = random.choice(("bright", "dark", "both"), p=(0.3, 0.3, 0.4))
    found: list[Lesion] = []
    if kinds != "dark":
        for _ in range(random.integers(1, 4)):  # clusters of exudates, some of them rings
            centre = place(0.35, macula)
            ring = random.uniform(0.07, 0.15) if random.random() < 0.4 else 0.0
            for _ in range(random.integers(8, 28)):
                angle = random.uniform(0, 2 * math.pi)
                middle = (centre[0] + ring * math.cos(angle), centre[1] + ring * math.sin(angle))
                found.append(Lesion(*place(0.022 if ring else 0.065, middle), random.lognormal(-4.3, 0.45), True))
    if kinds != "bright":
        for _ in range(random.integers(2, 8)):  # blot haemorrhages
            found.append(Lesion(*place(0.45), random.uniform(0.022, 0.07), False))
        for _ in range(random.integers(3, 14)):  # microaneurysms
            found.append(Lesion(*place(0.4, macula), random.uniform(0.007, 0.012), False))
    return found


def draw_lesions(
    random: np.random.Generator,
    lesions: list[Lesion],
    size: tuple[int, int],
    *,
    centre: tuple[float, float],
    radius: float,
    mirrored: bool,
) -> dict[str, npt.NDArray[np.float32]]:
    """Paint lesions; arguments as for the vessels.

    Returns:
        ``dark`` and ``bright``, each ``(H, W)``: the share of each pixel that lesions cover, in [0, 1].
    """
    layers = {name: Image.new("L", (size[1] * SUPERSAMPLING, size[0] * SUPERSAMPLING)) for name in ("dark", "bright")}
    pens = {name: ImageDraw.Draw(layer) for name, layer in layers.items()}
    corners = np.linspace(0, 2 * math.pi, 18, endpoint=False)
    for lesion in lesions:
        phases = random.uniform(0, 2 * math.pi, 3)
        outline = 1 + sum(0.14 / (k + 1) ** 0.5 * np.sin((k + 2) * corners + phases[k]) for k in range(3))
        reach = max(lesion.radius * radius, _LEAST_RADIUS) * outline
        stretch, tilt = random.uniform(1, 1.35), random.uniform(0, math.pi)
        along, across = reach * np.cos(corners) * stretch, reach * np.sin(corners) / stretch**0.5
        x = centre[0] + (-1 if mirrored else 1) * lesion.x * radius + along * math.cos(tilt) - across * math.sin(tilt)
        y = centre[1] + lesion.y * radius + along * math.sin(tilt) + across * math.cos(tilt)
        polygon = np.stack([x, y], axis=1) * SUPERSAMPLING
        pens["bright" if lesion.bright else "dark"].polygon(polygon.ravel().tolist(), fill=255)
    return {
        name: np.asarray(layer.reduce(SUPERSAMPLING), dtype=np.float32) / np.float32(255)
        for name, layer in layers.items()
    }
