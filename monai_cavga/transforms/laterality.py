"""Left and right eyes the same way round: a fundus photograph's side, and a flip to one of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Flip, InvertibleTransform, MapTransform
from monai.utils import convert_to_numpy
from scipy import ndimage

from monai_cavga.transforms.blur import blur_inside
from monai_cavga.transforms.fundus import field_of_view

__all__ = ["LateralityFlipd", "laterality"]

SIDES = ("R", "L")
_DISC = 0.06  # radius of the blur that finds the disc, in widths of the field of view: half a disc


def laterality(image: npt.NDArray[Any], inside: npt.NDArray[np.bool_] | None = None) -> str:
    """Guess which eye a macula-centred photograph shows, from where its brightest disc-sized spot lies.

    A photograph as displayed shows the optic disc of a right eye on the right. Where a file states the side (DICOM's
    Image Laterality), use that; this guess fails on bright lesions of a disc's size and on disc-centred photographs.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        inside: ``(H, W)``, the field of view; found if not given.

    Returns:
        ``"R"`` or ``"L"``.
    """
    array = np.asarray(image, np.float32)
    inside = field_of_view(array) if inside is None else inside
    columns = np.flatnonzero(inside.any(axis=0))
    if columns.size == 0:
        return "R"
    width = columns[-1] - columns[0] + 1
    blurred = blur_inside(array.mean(axis=0, keepdims=True), inside, _DISC * width)[0]
    flat = blurred - ndimage.gaussian_filter(blurred * inside, 0.2 * width) / np.maximum(
        ndimage.gaussian_filter(inside.astype(np.float32), 0.2 * width), 1e-3
    )
    column = int(np.argmax(np.where(inside, flat, -np.inf).max(axis=0)))
    return "R" if column >= (columns[0] + columns[-1]) / 2 else "L"


class LateralityFlipd(MapTransform, InvertibleTransform):
    """Mirror eyes of one side, so that all show the disc on the same side; ``Invertd`` mirrors maps back.

    For networks that learn positions. Off in the bundles: dust on a camera's sensor stays where it is when eyes
    change, and their calibration learns it.

    Args:
        keys: images and masks ``(C, H, W)`` that flip together.
        side: the side that stays, ``"R"`` or ``"L"``.
        laterality_key: the item's own side, ``"R"`` or ``"L"``, where it is known; else it is guessed from the first
            of ``keys`` and stored there.

    Raises:
        ValueError: if ``side``, or (when called) the item's, is neither ``"R"`` nor ``"L"``.
    """

    def __init__(self, keys: KeysCollection = "image", *, side: str = "R", laterality_key: str = "laterality") -> None:
        super().__init__(keys)
        _check(side, "side")
        self.side, self.laterality_key = side, laterality_key
        self._flip = Flip(spatial_axis=1)
        self._flip.tracing = False  # the record is this transform's

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item, mirrored if it is of the other side."""
        item = dict(data)
        if item.get(self.laterality_key) is None:
            item[self.laterality_key] = laterality(convert_to_numpy(item[self.first_key(item)]))
        _check(item[self.laterality_key], self.laterality_key)
        other = item[self.laterality_key] != self.side
        for key in self.key_iterator(item):
            if other:
                item[key] = self._flip(item[key])
            if isinstance(item[key], MetaTensor):
                self.push_transform(item[key], extra_info={"flipped": other})  # type: ignore[no-untyped-call]
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Mirror back what was mirrored, by each ``MetaTensor``'s own record."""
        item = dict(data)
        for key in self.key_iterator(item):
            if self.pop_transform(item[key])["extra_info"]["flipped"]:
                item[key] = self._flip(item[key])
        return item


def _check(side: object, name: str) -> None:
    if side not in SIDES:
        raise ValueError(f"{name} is {side!r}, expected 'R' or 'L': leave it out to have it guessed")
