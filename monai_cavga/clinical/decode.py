"""From an untrusted file to pixels: which kind it is, and the kinds that are not DICOM. Runs in the worker process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from monai_cavga.clinical.decode_dicom import decode_dicom
from monai_cavga.clinical.refusal import RefusedError
from monai_cavga.data.read import FORMATS, MAX_PIXELS, SUFFIXES, read_image

__all__ = ["DICOM_SUFFIXES", "IMAGE_SUFFIXES", "NIFTI_SUFFIXES", "Decoded", "decode", "is_dicom"]

IMAGE_SUFFIXES = SUFFIXES
DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
_PREAMBLE = 128
_DAMAGED = "the file is damaged or of another format: copy it again or convert it to PNG"


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What a file holds.

    Attributes:
        pixels: ``(H, W, 3)`` float32 in [0, 1], rows as displayed.
        laterality: "R", "L" or "".
        affine: ``(4, 4)`` of a NIfTI slice.
        header: a DICOM file's bytes without its pixels, b"" for other kinds.
    """

    pixels: npt.NDArray[np.float32]
    laterality: str = ""
    affine: npt.NDArray[np.float64] | None = None
    header: bytes = b""


def decode(path: Path, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Read one image.

    DICOM is known by its content, NIfTI by its name, everything else goes to `monai_cavga.data.read.read_image`.

    Args:
        path: the file.
        max_pixels: height times width above which nothing is decoded.

    Raises:
        RefusedError: with the reason, for whatever is no single image of a kind that is read here.
    """
    if is_dicom(path):
        pixels, laterality, header = decode_dicom(path, max_pixels=max_pixels)
        return Decoded(pixels=pixels, laterality=laterality, header=header)
    name = path.name.lower()
    if name.endswith(DICOM_SUFFIXES):
        raise RefusedError(
            "no DICM prefix at byte 128, expected a DICOM file: a file of another format, or one that was damaged"
        )
    if name.endswith(NIFTI_SUFFIXES):
        return _decode_nifti(path, max_pixels)
    return Decoded(pixels=_decode_image(path, max_pixels))


def is_dicom(path: Path) -> bool:
    """Whether the file has DICOM's prefix; False where it cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False


def _decode_image(path: Path, max_pixels: int) -> npt.NDArray[np.float32]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            pages = getattr(image, "n_frames", 1) if image.format in ("TIFF", "PNG") else 1
    except Exception:
        pages = 1  # read_image says what is wrong
    if pages > 1:
        raise RefusedError(f"{pages} pages or frames, expected 1: save the one that is meant")
    try:
        return read_image(path, max_pixels=max_pixels)
    except ValueError as err:
        text = " ".join(str(err).split())
        text = text.removeprefix(f"cannot read image {path}: ").replace(str(path), path.name)
        raise RefusedError(text) from err


def _decode_nifti(path: Path, max_pixels: int) -> Decoded:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image: Any = nibabel.load(path)
    except ImageFileError as err:
        raise RefusedError(f"no NIfTI image: {_DAMAGED}") from err
    shape = tuple(int(each) for each in image.shape)
    colours = 3 if len(shape) == 4 and shape[3] == 3 else 1
    if len(shape) < 2 or math.prod(shape) != shape[0] * shape[1] * colours or 0 in shape:
        raise RefusedError(f"a NIfTI image of shape {shape}, expected one slice (X, Y), (X, Y, 1) or (X, Y, 1, 3)")
    if shape[0] * shape[1] > max_pixels:
        raise RefusedError(f"{shape[0] * shape[1]} pixels, expected at most {max_pixels}: reduce the image")
    values = _unit(np.asanyarray(image.dataobj), bits_of=image.get_data_dtype())
    values = values.reshape(shape[0], shape[1], -1)  # a slice of RGB24 has its colours in the type
    pixels = np.ascontiguousarray(values.transpose(1, 0, 2))  # X counts columns, Y rows
    affine = np.asarray(image.affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise RefusedError("an affine that is not finite, expected numbers: correct the NIfTI header")
    return Decoded(pixels=np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels, affine=affine)


def _unit(values: npt.NDArray[Any], *, bits_of: np.dtype[Any]) -> npt.NDArray[np.float32]:
    """Values on the full scale of their type, in [0, 1]; floating point is taken as it is."""
    if values.dtype.names == ("R", "G", "B"):
        values = np.stack([values[name] for name in values.dtype.names], axis=-1)
        bits_of = values.dtype
    if values.dtype.kind == "u" and values.dtype == bits_of:
        unit: npt.NDArray[np.float32] = values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
        return unit
    if values.dtype.kind != "f" or bits_of.kind == "c":
        raise RefusedError(f"values of the type {bits_of}, expected unsigned whole numbers or floats in [0, 1]")
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise RefusedError("values outside [0, 1] or not finite, expected [0, 1]: divide by the full scale")
    return values.astype(np.float32)
