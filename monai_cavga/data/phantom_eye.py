"""Rendering of phantom fundus photographs: illumination, macula, optic disc, vessels, texture, field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from monai_cavga.data.phantom_lesions import draw_lesions, lesions_of
from monai_cavga.data.phantom_vessels import draw_vessels, vessel_tree

Plane = npt.NDArray[np.float32]  # (H, W)
Picture = npt.NDArray[np.float32]  # (H, W, 3), in [0, 1]

# Retinas as cameras see them: orange, olive brown, pink, deep red (means of red, green and blue at the centre).
_COLOURS = np.array([[0.86, 0.45, 0.13], [0.66, 0.43, 0.16], [0.80, 0.50, 0.38], [0.72, 0.30, 0.12]])
_DISC_COLOUR, _CUP_COLOUR = np.array([0.98, 0.77, 0.44]), np.array([1.0, 0.92, 0.70])
_EXUDATE_COLOUR, _BLOOD_COLOUR = np.array([0.97, 0.86, 0.45]), np.array([0.45, 0.09, 0.06])


@dataclass(frozen=True)
class Eye:
    """Geometry of one photograph; places in units of the field of view's radius, x towards the nose."""

    size: tuple[int, int]  # H, W in pixels
    centre: tuple[float, float]  # x, y in pixels
    radius: float  # pixels
    mirrored: bool  # the nose is on the left: a left eye
    disc: tuple[float, float]
    macula: tuple[float, float]

    def grid(self) -> tuple[Plane, Plane]:
        """x and y of each pixel's centre, ``(H, W)``."""
        rows, columns = np.mgrid[: self.size[0], : self.size[1]].astype(np.float32)
        x = (columns + 0.5 - self.centre[0]) / self.radius * (-1 if self.mirrored else 1)
        return x.astype(np.float32), ((rows + 0.5 - self.centre[1]) / self.radius).astype(np.float32)


def draw_eye(random: np.random.Generator, size: tuple[int, int]) -> Eye:
    """Draw laterality, field of view (its circle may be cut at top and bottom) and the places of disc and macula."""
    height, width = size
    radius = min(height * random.uniform(0.5, 0.59), width * random.uniform(0.44, 0.48))
    centre = (width / 2 + random.uniform(-0.02, 0.02) * width, height / 2 + random.uniform(-0.01, 0.01) * height)
    macula = (random.uniform(-0.2, 0.05), random.uniform(-0.05, 0.1))
    disc = (macula[0] + random.uniform(0.66, 0.76), macula[1] - random.uniform(0.02, 0.14))
    return Eye(size, centre, radius, bool(random.integers(2)), disc, macula)


def render(eye: Eye, random: np.random.Generator, lesion_random: np.random.Generator | None) -> tuple[Picture, Plane]:
    """Paint an eye.

    Args:
        eye: its geometry.
        random: chance for everything but lesions.
        lesion_random: chance for lesions; None = a healthy eye, the same in every other respect.

    Returns:
        The picture, and the share of each pixel that lesions cover, in [0, 1].
    """
    x, y = eye.grid()
    distance = np.hypot(x, y)
    picture = _retina(eye, random, x, y)
    _add_disc(picture, eye, random, x, y)
    _add_vessels(picture, eye, random)
    picture = ndimage.gaussian_filter(picture, (0.45, 0.45, 0)).astype(np.float32)  # the camera's optics
    noise = random.normal(0, 0.007, picture.shape).astype(np.float32)
    glow = random.uniform(0.004, 0.015)  # stray light in the dark border
    inside = np.clip((1 - distance) * eye.radius / 2.5, 0, 1)[..., None]
    covered = np.zeros(eye.size, dtype=np.float32)
    if lesion_random is not None:
        covered = _add_lesions(picture, eye, lesion_random)
    picture = np.clip(picture * inside + glow * (1 - inside) + noise * (0.4 + 0.6 * inside), 0, 1)
    return picture.astype(np.float32), covered


def _blend(picture: Picture, colour: npt.ArrayLike, share: Plane) -> None:
    picture += share[..., None] * (np.asarray(colour, dtype=np.float32) - picture)


def _gauss(x: Plane, y: Plane, place: tuple[float, float], sigma: float) -> Plane:
    return np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / np.float32(2 * sigma**2))


def _cloud(random: np.random.Generator, size: tuple[int, int], cells: int) -> Plane:
    """Smooth noise of unit variance or so, ``cells`` bumps across the picture."""
    coarse = random.normal(0, 1, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _retina(eye: Eye, random: np.random.Generator, x: Plane, y: Plane) -> Picture:
    colour = random.dirichlet((0.9, 0.9, 0.6, 0.5)) @ _COLOURS * random.uniform(0.88, 1.08)
    tilt = random.uniform(-0.13, 0.13, 2)
    fall = random.uniform(0.2, 0.38)
    light = 1.08 - fall * (x**2 + y**2) + tilt[0] * x + tilt[1] * y
    light = light + 0.035 * _cloud(random, eye.size, 6) + 0.016 * _cloud(random, eye.size, 24)
    light = np.clip(light + 0.012 * _cloud(random, eye.size, 64), 0.05, None).astype(np.float32)
    # Green and blue fall off faster than red: the rim of a photograph is redder than its middle.
    picture = np.stack([colour[c] * light ** (1, 1.25, 1.5)[c] for c in range(3)], axis=2).astype(np.float32)
    warmth = 0.03 * _cloud(random, eye.size, 5)
    picture[..., 1] *= 1 + warmth
    pigment = 0.75 * _gauss(x, y, eye.macula, random.uniform(0.13, 0.18)) + 0.45 * _gauss(x, y, eye.macula, 0.055)
    picture *= 1 - pigment[..., None] * np.array([0.3, 0.42, 0.35], dtype=np.float32)
    picture += 0.12 * _gauss(x, y, eye.macula, 0.009)[..., None]  # the reflex of the foveal pit
    return picture


def _add_disc(picture: Picture, eye: Eye, random: np.random.Generator, x: Plane, y: Plane) -> None:
    width, aspect = random.uniform(0.13, 0.155), random.uniform(1.05, 1.2)
    across = np.hypot(x - eye.disc[0], (y - eye.disc[1]) / aspect)
    picture += 0.07 * np.exp(-((across / 0.3) ** 2))[..., None] * np.array([1, 0.8, 0.5], dtype=np.float32)
    strength = random.uniform(0.75, 0.92)
    _blend(picture, _DISC_COLOUR, strength * np.clip((width - across) / 0.022 + 0.5, 0, 1))
    cup = random.uniform(0.3, 0.5) * width
    beside = np.hypot(x - eye.disc[0] + 0.15 * width, (y - eye.disc[1]) / aspect)  # the cup lies towards the temple
    _blend(picture, _CUP_COLOUR, 0.8 * np.clip((cup - beside) / 0.035 + 0.5, 0, 1))


def _add_vessels(picture: Picture, eye: Eye, random: np.random.Generator) -> None:
    vessels = vessel_tree(random, eye.disc)
    layers = draw_vessels(vessels, eye.size, centre=eye.centre, radius=eye.radius, mirrored=eye.mirrored)
    picture *= 1 - layers["vein"][..., None] * np.array([0.24, 0.62, 0.55], dtype=np.float32)
    picture *= 1 - layers["artery"][..., None] * np.array([0.10, 0.50, 0.45], dtype=np.float32)
    picture += 0.10 * layers["reflex"][..., None] * np.array([1, 0.7, 0.5], dtype=np.float32)


def _add_lesions(picture: Picture, eye: Eye, random: np.random.Generator) -> Plane:
    half_height = min(1.0, eye.size[0] / 2 / eye.radius)
    lesions = lesions_of(random, disc=eye.disc, macula=eye.macula, half_height=half_height)
    layers = draw_lesions(random, lesions, eye.size, centre=eye.centre, radius=eye.radius, mirrored=eye.mirrored)
    _blend(picture, _BLOOD_COLOUR, random.uniform(0.6, 0.85) * layers["dark"])
    _blend(picture, _EXUDATE_COLOUR, random.uniform(0.7, 0.92) * layers["bright"])
    return np.maximum(layers["dark"], layers["bright"])
