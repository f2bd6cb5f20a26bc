"""A localisation as pictures and as a NIfTI volume of one slice."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_cavga.clinical.records import Localisation
from monai_cavga.handlers.colour import (
    OUTLINE,
    blend,
    contour,
    grey16,
    map_layer,
    resize_map,
    resize_mask,
    resize_photo,
)
from monai_cavga.handlers.files import NOTICE, save_png, write_atomic

__all__ = ["fit_size", "overlay_picture", "shown_photo", "write_map", "write_nifti", "write_overlay"]

OVERLAY_SIDE = 1024


def write_map(found: Localisation, path: Path) -> Path:
    """The map at the source's size as 16-bit grey PNG: ``value = pixel / 65535``, 0 outside the field of view."""
    text = {"notice": NOTICE, "scale": "value = pixel / 65535; higher = more anomalous"}
    return save_png(path, grey16(found.map, low=0.0, high=1.0), text=text)


def write_overlay(found: Localisation, path: Path) -> Path:
    """The photograph under its map as PNG for looking at, at most 1024 pixels a side."""
    return save_png(path, overlay_picture(found, side=OVERLAY_SIDE), text={"notice": NOTICE})


def overlay_picture(found: Localisation, *, side: int) -> npt.NDArray[np.uint8]:
    """The photograph, the map on the scale from the threshold to 1, and the outline of what is above the threshold.

    Args:
        found: what is drawn.
        side: the longer side in pixels, at most.

    Returns:
        ``(h, w, 3)`` uint8.
    """
    size = fit_size(found.source.pixels.shape, side)
    layer = map_layer(resize_map(found.map, size), low=found.threshold, high=1.0)
    picture: npt.NDArray[np.uint8] = blend(shown_photo(found, size), layer, 0.75)
    picture[contour(resize_mask(found.mask, size))] = OUTLINE
    return picture


def shown_photo(found: Localisation, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The photograph as it is shown, ``(*size, 3)`` uint8."""
    photo: npt.NDArray[np.uint8] = resize_photo(np.rint(found.source.pixels * 255).astype(np.uint8), size)
    return photo


def fit_size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width within ``side`` pixels, never enlarged."""
    scale = min(1.0, side / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def write_nifti(found: Localisation, path: Path) -> Path:
    """The map as float32 NIfTI ``(X, Y, 1)``: X counts columns, Y rows as displayed.

    The affine is the source's if that was NIfTI, else one unit for each pixel.
    """
    import nibabel

    affine = np.eye(4) if found.source.affine is None else found.source.affine
    image: Any = nibabel.Nifti1Image(np.ascontiguousarray(found.map.T[..., None]), affine)  # type: ignore[no-untyped-call]
    image.header["descrip"] = NOTICE.encode()[:79]
    # gzip writes the time of day unless told not to
    return write_atomic(path, gzip.compress(image.to_bytes(), mtime=0))
