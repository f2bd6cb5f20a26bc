"""Lesions of diabetic retinopathy, painted on normal fundus photographs: pure functions of a random state.

Four kinds, sized in units of the field of view (a 45 to 50 degree photograph shows about 14 mm of retina):
microaneurysms and haemorrhages (dark, the hue of the photograph's own vessels), hard exudates (bright, sharp,
clustered or in rings) and soft exudates (bright, fluffy). Colours come from the photograph itself: dark lesions are its
local background with more absorption in green than in red, as blood has; bright ones go towards its brightest
tissue, the optic disc. Nothing is drawn on the disc, dark lesions prefer the neighbourhood of vessels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_cavga.transforms.blur import blur_inside

__all__ = ["KINDS", "FundusScene", "fundus_scene", "paint_lesions"]

KINDS = ("microaneurysm", "haemorrhage", "hard_exudate", "soft_exudate")

Array = npt.NDArray[np.float32]
_MASKED = 0.25  # a pixel of which a lesion covers this share belongs to its mask


@dataclass(frozen=True, eq=False)
class FundusScene:
    """What painting needs to know of a photograph; see `fundus_scene`."""

    background: Array  # (3, H, W), the photograph without small structures
    bright: Array  # (3,), colour of the brightest tissue
    allowed: npt.NDArray[np.bool_]  # (H, W), where a lesion's centre may lie
    near_vessels: npt.NDArray[np.bool_]  # (H, W), the part of it close to vessels
    diameter: float  # of the field of view, in pixels


def fundus_scene(image: Array, inside: npt.NDArray[np.bool_]) -> FundusScene:
    """Measure background, disc and vessels of a photograph, coarsely: made lesions need no exact anatomy.

    Args:
        image: ``(3, H, W)`` in [0, 1].
        inside: ``(H, W)``, the field of view.
    """
    columns = np.flatnonzero(inside.any(axis=0))
    diameter = float(columns[-1] - columns[0] + 1) if columns.size else float(max(inside.shape))
    background = blur_inside(image, inside, diameter / 60)
    green = background[1] * inside
    level = np.quantile(green[inside], 0.995) if inside.any() else 1.0
    brightest = inside & (green >= level)
    colour = image[:, brightest].mean(axis=1) if brightest.any() else np.ones(3, np.float32)
    disc = ndimage.distance_transform_edt(~brightest) < 0.04 * diameter
    rim = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1] > 0.01 * diameter
    allowed = inside & rim & ~disc
    vessels = inside & (background[1] - ndimage.gaussian_filter(image[1], 1.0) > 0.08 * background[1])
    near = ndimage.distance_transform_edt(~vessels)
    return FundusScene(
        background.astype(np.float32),
        np.asarray(colour, np.float32),
        allowed,
        allowed & (near > 0.004 * diameter) & (near < 0.03 * diameter),
        diameter,
    )


def paint_lesions(
    image: Array, scene: FundusScene, random: np.random.RandomState, *, kinds: tuple[str, ...] = KINDS
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Paint lesions of at least one kind.

    Args:
        image: ``(3, H, W)`` in [0, 1].
        scene: of this photograph.
        random: source of chance.
        kinds: what may be painted.

    Returns:
        The image with lesions, and their mask ``(H, W)``; equal to the input and empty where no place is allowed.

    Raises:
        ValueError: for an unknown kind or none.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"kinds is {list(kinds)}, expected some of {list(KINDS)}")
    painter = _Painter(image, scene, random)
    if painter.places.size == 0:
        return image, np.zeros(image.shape[1:], bool)
    chosen = [kind for kind in kinds if random.rand() < 0.55] or [kinds[random.randint(len(kinds))]]
    for kind in ("soft_exudate", "hard_exudate", "haemorrhage", "microaneurysm"):  # small ones stay on top
        if kind in chosen:
            getattr(painter, kind)()
    return painter.finish()


class _Painter:
    """The canvas of one photograph: adds lesion after lesion to a layer of bright and one of dark."""

    def __init__(self, image: Array, scene: FundusScene, random: np.random.RandomState) -> None:
        self.image, self.scene, self.random = image, scene, random
        self.places = np.flatnonzero(scene.allowed)
        self.vessel_places = np.flatnonzero(scene.near_vessels)
        shape = image.shape[1], image.shape[2]
        self.dark, self.bright = np.zeros(shape, np.float32), np.zeros(shape, np.float32)  # strength in [0, 1]
        self.cover = np.zeros(shape, np.float32)  # whatever the strength
        self.pale = np.zeros(shape, np.float32)  # soft exudates are less yellow
        self.unit = scene.diameter / 500
        self.blur = random.uniform(0.4, 1.3) * self.unit
        self.dark_hue = np.array([random.uniform(0.25, 0.6), 1.0, random.uniform(0.3, 0.9)], np.float32)
        self.strength = {"dark": self._between(0.08, 0.6), "bright": self._between(0.25, 0.95)}

    def microaneurysm(self) -> None:
        for _ in range(self.random.randint(1, 25)):
            self._blob(self._place(0.4), self._between(0.9, 2.6), "dark", rough=0.12, edge=0.5)

    def haemorrhage(self) -> None:
        for _ in range(self.random.randint(1, 12)):
            flame = self.random.rand() < 0.3
            stretch = self.random.uniform(1.6, 3.0) if flame else self.random.uniform(1.0, 1.5)
            self._blob(self._place(0.5), self._between(2.5, 13.0), "dark", rough=0.35, edge=0.9, stretch=stretch)

    def hard_exudate(self) -> None:
        for _ in range(self.random.randint(1, 6)):
            centre = self._place(0.0)
            ring = self._between(8, 35) if self.random.rand() < 0.3 else 0.0
            spread = self._between(2, 22)
            size = self._between(0.8, 2.2)
            for _ in range(self.random.randint(1, 28)):
                angle = self.random.uniform(0, 2 * math.pi)
                offset = ring * np.array([math.sin(angle), math.cos(angle)]) + self.random.randn(2) * (
                    2.5 if ring else spread
                )
                radius = size * self._between(0.6, 2.4)
                self._blob(centre + offset * self.unit, radius, "bright", rough=0.45, edge=0.45)
            if self.random.rand() < 0.25:  # confluent
                self._blob(centre, self._between(4, 12), "bright", rough=0.5, edge=0.6, stretch=1.6)

    def soft_exudate(self) -> None:
        for _ in range(self.random.randint(1, 5)):
            self._blob(
                self._place(0.3),
                self._between(5, 18),
                "bright",
                rough=0.3,
                edge=2.5,
                stretch=self.random.uniform(1, 2),
                pale=True,
            )

    def finish(self) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Blend both layers into the image, with the blur of its optics; only where there is something to blend."""
        dark, bright, cover, pale = self._blurred()
        level = self.scene.bright.max() * self.random.uniform(0.7, 1.1)
        hue = np.array([1.0, self.random.uniform(0.7, 0.95), self.random.uniform(0.15, 0.65)], np.float32)
        yellow = (0.7 * level * hue + 0.3 * self.scene.bright).astype(np.float32)
        white = level * np.array([0.85, 0.8, 0.6], np.float32)
        touched = np.flatnonzero(cover)
        dark, bright, share = (layer.ravel()[touched] for layer in (dark, bright, pale))
        below, background = (of.reshape(3, -1)[:, touched] for of in (self.image, self.scene.background))  # (3, n)
        # Where something dark is already (a vessel), blood adds little: take the darker of the two.
        darkened = np.minimum(below, below + dark * (background - below)) * (1 - dark * self.dark_hue[:, None])
        target = yellow[:, None] * (1 - share) + share * (0.5 * yellow + 0.5 * white)[:, None]
        target = np.maximum(target, background * 1.15)
        painted = np.array(self.image, np.float32, order="C")  # so that reshape below gives a view
        painted.reshape(3, -1)[:, touched] = np.clip(darkened + bright * (target - darkened), 0, 1)
        mask = np.zeros(cover.shape, bool)
        mask.reshape(-1)[touched] = (cover.ravel()[touched] > _MASKED) & (background.max(axis=0) > 0.02)
        return painted, mask

    def _blurred(self) -> tuple[Array, Array, Array, Array]:
        """Dark, bright, cover and pale, blurred inside the box of everything painted."""
        layers = self.dark, self.bright, self.cover, self.pale
        margin = round(3 * self.blur) + 1
        rows, columns = (_span(self.cover.max(axis=axis) > 0, margin) for axis in (1, 0))
        for layer in layers:
            part = layer[rows, columns]
            if part.any():
                layer[rows, columns] = ndimage.gaussian_filter(part, self.blur, truncate=3.0)
        return layers

    def _between(self, low: float, high: float) -> float:
        """Log-uniform: small is common."""
        return math.exp(self.random.uniform(math.log(low), math.log(high)))

    def _place(self, near_vessels: float) -> npt.NDArray[np.float64]:
        places = self.places
        if self.vessel_places.size and self.random.rand() < near_vessels:
            places = self.vessel_places
        return np.array(np.unravel_index(places[self.random.randint(len(places))], self.cover.shape), np.float64)

    def _blob(
        self,
        centre: npt.NDArray[np.float64],
        radius: float,
        layer: str,
        *,
        rough: float,
        edge: float,
        stretch: float = 1.0,
        pale: bool = False,
    ) -> None:
        """One irregular blob; ``radius`` and the width of its ``edge`` in pixels of a 500-pixel field of view."""
        random = self.random
        radius, edge = radius * self.unit, max(edge * self.unit, 0.3)
        reach = math.ceil(radius * stretch * (1 + rough) + 2 * edge) + 1
        row, column = round(centre[0]), round(centre[1])
        height, width = self.cover.shape
        rows, columns = slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1)
        y = (np.arange(rows.start, min(rows.stop, height)) - centre[0]).astype(np.float32)[:, None]
        x = (np.arange(columns.start, min(columns.stop, width)) - centre[1]).astype(np.float32)
        if y.size == 0 or x.size == 0:
            return
        tilt = random.uniform(0, math.pi)
        along = (x * math.cos(tilt) + y * math.sin(tilt)) / stretch**0.5
        across = (y * math.cos(tilt) - x * math.sin(tilt)) * stretch**0.5
        angle, phase = np.arctan2(across, along), random.uniform(0, 2 * math.pi, 4).tolist()
        outline = 1 + sum(
            rough / (k + 1) ** 0.7 * random.uniform(0.4, 1.0) * np.sin((k + 2) * angle + phase[k]) for k in range(4)
        )
        distance = np.hypot(along, across) - radius * outline  # below 0 inside
        alpha = 1 / (1 + np.exp(np.clip(distance / (edge / 2), -30, 30)))
        if radius > 5:  # large lesions are not uniform
            texture = ndimage.gaussian_filter(random.randn(*alpha.shape), radius / 4)
            alpha = alpha * np.clip(1 + 0.35 * texture / (texture.std() + 1e-6), 0.3, 1).astype(np.float32)
        strength = min(1.0, self.strength[layer] * random.uniform(0.6, 1.3))
        allowed = self.scene.allowed[rows, columns]
        alpha = alpha * allowed
        canvas = self.dark if layer == "dark" else self.bright
        canvas[rows, columns] = np.maximum(canvas[rows, columns], strength * alpha)
        self.cover[rows, columns] = np.maximum(self.cover[rows, columns], alpha)
        if pale:
            self.pale[rows, columns] = np.maximum(self.pale[rows, columns], alpha)


def _span(filled: npt.NDArray[np.bool_], margin: int) -> slice:
    """From the first to the last True, and ``margin`` further on both sides."""
    where = np.flatnonzero(filled)
    return slice(max(int(where[0]) - margin, 0), int(where[-1]) + margin + 1) if where.size else slice(0)
