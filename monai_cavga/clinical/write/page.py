"""What the result page shows of one image: the photograph and the map at the size they are looked at."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from monai_cavga.clinical.records import Localisation
from monai_cavga.clinical.write.raster import fit_size, shown_photo
from monai_cavga.handlers.colour import resize_map
from monai_cavga.handlers.files import save_png, write_atomic

__all__ = ["FOLDER", "SIDE", "shown_map", "write_pieces"]

FOLDER = "page"
SIDE = 1024


def write_pieces(found: Localisation, folder: Path, stem: str) -> dict[str, str]:
    """Write the two pictures that the page embeds, so that a page of a whole folder needs no image twice.

    Args:
        found: what is shown.
        folder: the output folder; the pictures go into ``page/`` below it.
        stem: begin of the files' names.

    Returns:
        Names of the files, below ``folder``, by kind.
    """
    size = fit_size(found.source.pixels.shape, SIDE)
    buffer = io.BytesIO()
    Image.fromarray(shown_photo(found, size)).save(buffer, format="JPEG", quality=88)
    names = {"page_photo": f"{FOLDER}/{stem}.jpg", "page_map": f"{FOLDER}/{stem}.png"}
    write_atomic(folder / names["page_photo"], buffer.getvalue())
    save_png(folder / names["page_map"], shown_map(found, size))
    return names


def shown_map(found: Localisation, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The map in 8 bits, for display: 0 outside the field of view, ``1 + round(254 * value)`` inside."""
    values = resize_map(found.map, size)
    inside = resize_map(found.fov.astype(np.float32), size) >= 0.5
    return np.where(inside, 1 + np.rint(254 * np.clip(values, 0, 1)), 0).astype(np.uint8)
