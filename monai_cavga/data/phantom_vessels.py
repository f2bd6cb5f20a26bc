"""Vessel trees of phantom eyes: tapered arcades that leave the optic disc, bend round the macula and branch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Points = npt.NDArray[np.float64]

SUPERSAMPLING = 3
_STEP = 0.035  # of a centre line
_LEAST_WIDTH = 0.006
_DEPTH = 2  # generations of branches


@dataclass(frozen=True)
class Vessel:
    """One vessel: centre line and width in units of the field of view's radius, x towards the nose, y downwards."""

    points: Points  # (n, 2), x and y
    width: Points  # (n,)
    artery: bool


def vessel_tree(random: np.random.Generator, disc: tuple[float, float]) -> list[Vessel]:
    """Grow the vessels of an eye whose optic disc is at ``disc`` and whose macula lies to its negative x side."""
    vessels: list[Vessel] = []
    for vertical in (-1, 1):
        for artery in (True, False):
            width = (0.021 if artery else 0.029) * random.uniform(0.85, 1.1)
            # The arcade towards the temple: leaves upright, turns round the macula.
            heading = math.radians(random.uniform(78, 100) + (8 if artery else -8))
            turn = random.uniform(2.0, 2.9)
            vessels += _grow(random, disc, heading, turn, vertical, width=width, length=2.1, artery=artery)
            # The nasal vessels: straighter and thinner.
            heading = math.radians(random.uniform(15, 60))
            nasal = _grow(
                random, disc, heading, -0.5, vertical, width=0.65 * width, length=0.9, artery=artery, nasal=True
            )
            vessels += nasal
    for _ in range(random.integers(2, 5)):  # fine vessels from the disc straight towards the macula
        heading, vertical = math.radians(random.uniform(5, 40)), int(random.choice((-1, 1)))
        vessels += _grow(random, disc, heading, 0.6, vertical, width=0.011, length=0.5, artery=bool(random.integers(2)))
    return vessels


def _grow(
    random: np.random.Generator,
    start: tuple[float, float],
    heading: float,
    turn: float,
    vertical: int,
    *,
    width: float,
    length: float,
    artery: bool,
    nasal: bool = False,
    generation: int = 0,
) -> list[Vessel]:
    """One vessel and its branches. ``heading`` is the angle above the temporal (or nasal) horizontal."""
    count = max(4, round(length / _STEP))
    along = np.arange(count) * _STEP
    wavelength, phase = random.uniform(0.25, 0.5), random.uniform(0, 2 * math.pi)
    wiggle = random.uniform(0.06, 0.2) * np.sin(2 * math.pi * along / wavelength + phase)
    angle = heading - turn * 0.5 * (1 - np.exp(-along / 0.5)) + wiggle
    steps = np.stack([np.cos(angle) * (1 if nasal else -1), np.sin(angle) * vertical], axis=1) * _STEP
    points = np.asarray(start) + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)[:-1]])
    widths = width * (1 - 0.6 * along / along[-1])
    vessels = [Vessel(points, np.maximum(widths, _LEAST_WIDTH), artery)]
    side, place = float(random.choice((-1, 1))), random.uniform(0.1, 0.25)
    while generation < _DEPTH and place < length * 0.85:
        at = min(round(place / _STEP), count - 1)
        if widths[at] > 1.15 * _LEAST_WIDTH and math.hypot(*points[at]) < 1.05:
            vessels += _grow(
                random,
                (float(points[at, 0]), float(points[at, 1])),
                float(angle[at]) + side * math.radians(random.uniform(25, 65)),
                side * random.uniform(0.2, 1.2),
                vertical,
                width=float(widths[at]) * random.uniform(0.45, 0.7),
                length=(length - place) * random.uniform(0.35, 0.65),
                artery=artery,
                nasal=nasal,
                generation=generation + 1,
            )
        side = -side if random.random() < 0.8 else side
        place += random.uniform(0.16, 0.42)
    return vessels


def draw_vessels(
    vessels: list[Vessel], size: tuple[int, int], *, centre: tuple[float, float], radius: float, mirrored: bool
) -> dict[str, npt.NDArray[np.float32]]:
    """Paint vessels.

    Args:
        vessels: made by :func:`vessel_tree`.
        size: ``(H, W)`` in pixels.
        centre: x and y of the field of view's centre in pixels.
        radius: of the field of view in pixels.
        mirrored: flip x, for the other eye.

    Returns:
        ``artery``, ``vein`` and ``reflex`` (the light streak along large arteries), each ``(H, W)``, in [0, 1]; thin
        vessels are fainter.
    """
    scale = radius * SUPERSAMPLING
    origin = np.asarray(centre) * SUPERSAMPLING
    layers = {
        name: Image.new("L", (size[1] * SUPERSAMPLING, size[0] * SUPERSAMPLING))
        for name in ("vein", "artery", "reflex")
    }
    pens = {name: ImageDraw.Draw(layer) for name, layer in layers.items()}
    for vessel in sorted(vessels, key=lambda vessel: vessel.width[0]):  # thin and faint ones lie below
        points = vessel.points * ((-1 if mirrored else 1), 1) * scale + origin
        pen = pens["artery" if vessel.artery else "vein"]
        for start, end, width in zip(points[:-1], points[1:], vessel.width, strict=False):
            strength = int(255 * min(1.0, 0.4 + width / 0.034))
            _stroke(pen, start, end, max(1.0, width * scale), strength)
            if vessel.artery and width > 0.013:
                _stroke(pens["reflex"], start, end, max(1.0, 0.28 * width * scale), 255)
    return {
        name: np.asarray(layer.reduce(SUPERSAMPLING), dtype=np.float32) / np.float32(255)
        for name, layer in layers.items()
    }


def _stroke(pen: ImageDraw.ImageDraw, start: Points, end: Points, width: float, strength: int) -> None:
    pen.line((*start.tolist(), *end.tolist()), fill=strength, width=max(1, round(width)))
    if width > 3:  # round joints: Pillow's lines have square ends
        half = width / 2 - 0.5
        x, y = end.tolist()
        pen.ellipse((x - half, y - half, x + half, y + half), fill=strength)
