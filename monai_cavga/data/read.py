"""The one place where image files become arrays.

MONAI's own readers transpose 2-D images, ignore EXIF rotation and keep palette indices; training, evaluation and the
clinical commands all read through here instead, so that they see the same pixels.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from io import BytesIO
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin

from monai_cavga.data.errors import ImageReadError, check_file, read_error
from monai_cavga.data.frames import frame_of, open_frame
from monai_cavga.data.packed import packed_image

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
# Pillow's own warning level (about 89 million pixels); a fundus camera makes at most some 50 million.
MAX_PIXELS = 89_478_485

_EXPECTED = "a PNG, JPEG, BMP or TIFF image"
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags


def read_image(
    path: str | os.PathLike[str], *, channels: Literal[1, 3] = 3, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.float32]:
    """Read an image file as floats, rows as displayed.

    Conversions, none of which depends on the image's own range of values:

    - grey is repeated to 3 channels, colour becomes ITU-R 601 luminance for 1 channel;
    - transparency (RGBA, LA, transparent palette) is composited on black, the colour around a field of view;
    - palette and CMYK become RGB; YCbCr is decoded by the JPEG reader;
    - 16-bit grey is divided by 65535 (or ``2**bits - 1`` for 12-bit TIFF), 16-bit *colour* keeps its upper 8 bits;
    - the EXIF orientation is applied; of several frames or pages the first is read;
    - floating-point TIFF is taken as it is, so it must be finite and in [0, 1].

    Args:
        path: the file, or one frame of a film clip, such as ``01_001.avi#frame=25`` (`monai_cavga.data.frames`).
        channels: 3 for RGB, 1 for grey.
        max_pixels: height times width above which the file is refused before it is decoded.

    Returns:
        ``(H, W, channels)``, float32, in [0, 1].

    Raises:
        ImageReadError: if the file is missing, empty, truncated, no image, too large, of an unsupported kind of
            pixel, or holds NaN, infinite or (floating point) values outside [0, 1].
        ValueError: if ``channels`` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels is {channels}, expected 1 (grey) or 3 (RGB): choose one of the two")
    image = _open(path, max_pixels)
    if image.mode == "F":
        grey = np.asarray(image, dtype=np.float32)
        _check_float(path, grey)
    elif image.mode.startswith("I;16"):
        grey = _deep_grey(image)
    elif image.mode in ("1", "L") and "transparency" not in image.info:
        grey = np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)
    else:
        flat = _to_colour(path, image).convert("L" if channels == 1 else "RGB")
        pixels = np.asarray(flat, dtype=np.float32) / np.float32(255)
        return pixels.reshape(flat.height, flat.width, channels)
    return np.ascontiguousarray(np.repeat(grey[..., None], channels, axis=2))


def read_mask(
    path: str | os.PathLike[str], *, level: float = 0.5, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Read a mask file or a grey attention map as 0 and 1.

    A pixel is 1 where its *brightest* colour channel reaches ``level``: masks painted in pure red or blue on black
    (luminance 0.3 and 0.1) count as fully as white ones.

    Args:
        path: the file, of any kind that :func:`read_image` reads, or one plane of a stack of masks, such as
            ``01_0014.npy#frame=25``, in which everything but 0 is anomalous.
        level: fraction of full scale, in (0, 1].
        max_pixels: height times width above which the file is refused before it is decoded.

    Returns:
        ``(H, W)``, uint8, 0 or 1.

    Raises:
        ImageReadError: as :func:`read_image`, and if the mask holds only the values 0 and 1 of 255 (indices, which
            any ``level`` would silently turn into an empty mask).
        ValueError: if ``level`` is outside (0, 1].
    """
    if not 0 < level <= 1:
        raise ValueError(f"level is {level}, expected a fraction of full scale in (0, 1]: 0.5 is the usual choice")
    brightest = read_image(path, channels=3, max_pixels=max_pixels).max(axis=2)
    if 0 < brightest.max() <= 1.5 / 255 and level > 1.5 / 255:
        remedy = "save the mask as 0 and 255 (multiply it by 255)"
        raise _error(path, got="a mask of the values 0 and 1", expected="0 and 255", remedy=remedy)
    mask: npt.NDArray[np.uint8] = (brightest >= level).astype(np.uint8)
    return mask


def image_size(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Decode a file completely and return its size ``(H, W)`` as displayed.

    Pillow's ``verify`` is not enough: it does not notice a truncated JPEG.

    Raises:
        ImageReadError: if the file cannot be decoded.
    """
    image = _open(path, max_pixels)
    return image.height, image.width


def join_mask_files(paths: Sequence[str | os.PathLike[str]]) -> str:
    """Write mask paths as the one string of a data item, so that any collate function can batch it.

    Raises:
        ValueError: if a path contains a line break.
    """
    texts = [os.fspath(path) for path in paths]
    for text in texts:
        if "\n" in text:
            raise ValueError(f"mask path {text!r} contains a line break, expected none: rename the file")
    return "\n".join(texts)


def split_mask_files(mask_files: str) -> list[str]:
    """Return the paths of the string made by :func:`join_mask_files`; the empty string gives none."""
    return [line for line in mask_files.split("\n") if line]


def _error(path: str | os.PathLike[str], *, got: str, expected: str = _EXPECTED, remedy: str) -> ImageReadError:
    return read_error(path, got=got, expected=expected, remedy=remedy)


def _open(path: str | os.PathLike[str], max_pixels: int) -> Image.Image:
    """Open, size-check, decode and turn upright; any failure becomes an :class:`ImageReadError`."""
    packed = packed_image(path, max_pixels=max_pixels)
    if packed is not None:
        return packed if isinstance(packed, Image.Image) else _decode(path, packed, max_pixels)
    frame = frame_of(path)
    if frame is not None:
        return open_frame(frame, max_pixels=max_pixels)
    check_file(path, expected=_EXPECTED)
    return _decode(path, path, max_pixels)


def _decode(path: str | os.PathLike[str], source: str | os.PathLike[str] | BytesIO, max_pixels: int) -> Image.Image:
    """The image of a file or of its bytes; ``path`` names it."""
    try:
        with Image.open(source, formats=FORMATS) as image:
            pixels = math.prod(image.size)
            if pixels > max_pixels:
                raise Image.DecompressionBombError(f"{image.height} x {image.width} pixels")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # in place, so that a TIFF keeps its tags
            return image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
        remedy = "reduce the image before it is read"
        raise _error(
            path, got=f"an oversized image ({err})", expected=f"at most {max_pixels} pixels", remedy=remedy
        ) from err
    except Exception as err:  # Pillow's decoders raise nearly any exception on damaged bytes
        remedy = "the file is damaged or of another format: copy it again or convert it to PNG"
        raise _error(path, got=f"{type(err).__name__} ({err})", remedy=remedy) from err


def _to_colour(path: str | os.PathLike[str], image: Image.Image) -> Image.Image:
    """RGB of an 8-bit image of any mode, transparency composited on black."""
    if image.mode in ("I", "LAB", "HSV"):
        remedy = "save it as 8-bit or unsigned 16-bit, grey or RGB"
        raise _error(path, got=f"pixels of the kind {image.mode!r}", remedy=remedy)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> npt.NDArray[np.float32]:
    """Grey of more than 8 bits as floats; a TIFF may say 12 bits, and that its zero is white."""
    values = np.asarray(image, dtype=np.float32)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    grey = values / np.float32(2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1)
    return 1 - grey if tags.get(_PHOTOMETRIC) == 0 else grey


def _check_float(path: str | os.PathLike[str], grey: npt.NDArray[np.float32]) -> None:
    expected = "finite values in [0, 1]"
    bad = int((~np.isfinite(grey)).sum())
    if bad:
        remedy = "replace them before reading, or save the image as 16-bit"
        raise _error(path, got=f"{bad} NaN or infinite pixels", expected=expected, remedy=remedy)
    low, high = float(grey.min()), float(grey.max())
    if low < 0 or high > 1:
        remedy = "divide by the full scale of the instrument (not by the image's own maximum)"
        raise _error(path, got=f"values from {low:g} to {high:g}", expected=expected, remedy=remedy)
