"""DICOM photographs of the eye to pixels: which are read, what is checked before decoding, how values become [0, 1].

A window (VOI) and an ICC profile in the file are not applied: values are on the full scale of the stored bits, the
same for every image.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_cavga.clinical.codestream import jpeg2000_size, jpeg_size
from monai_cavga.clinical.refusal import RefusedError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["MODALITIES", "SOP_CLASSES", "TRANSFER_SYNTAXES", "decode_dicom"]

SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.77.1.5.1": "Ophthalmic Photography 8 Bit",
    "1.2.840.10008.5.1.4.1.1.77.1.5.2": "Ophthalmic Photography 16 Bit",
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
}
MODALITIES = ("OP", "XC", "OT", "SC", "")  # XC: external camera; OT and SC: what secondary captures carry
_JPEG, _LS, _J2K, _RLE = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.8",
    "1.2.840.10008.1.2.4.9",
    "1.2.840.10008.1.2.5",
)
TRANSFER_SYNTAXES = {
    "1.2.840.10008.1.2": "implicit little endian",
    "1.2.840.10008.1.2.1": "explicit little endian",
    "1.2.840.10008.1.2.2": "explicit big endian",
    _JPEG: "JPEG baseline",
    f"{_LS}0": "JPEG-LS lossless",
    f"{_LS}1": "JPEG-LS near-lossless",
    f"{_J2K}0": "JPEG 2000 lossless",
    f"{_J2K}1": "JPEG 2000",
    _RLE: "RLE",
}
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_BULK = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "IconImageSequence")
_MAX_HEADER = 16 * 2**20
# One plugin each: Pillow refuses a JPEG bomb that others unpack, pydicom's own RLE decoder cannot panic.
_PLUGINS = {_JPEG: "pillow", _RLE: "pydicom"}


def decode_dicom(path: Path, *, max_pixels: int) -> tuple[npt.NDArray[np.float32], str, bytes]:
    """Pixels ``(H, W, 3)`` float32 in [0, 1], laterality and the header's bytes of one photograph.

    MONOCHROME1 is inverted, so that higher is brighter; YBR becomes RGB once.

    Raises:
        RefusedError: if the object is of another kind, not one frame, too large, or damaged.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    syntax = str(read_file_meta_info(path).get("TransferSyntaxUID", ""))
    if syntax not in TRANSFER_SYNTAXES:  # before the rest is read: a deflated file may be any size
        raise RefusedError(
            f"transfer syntax {_uid(syntax)}, expected uncompressed, JPEG baseline, JPEG 2000, JPEG-LS or RLE: "
            "convert it"
        )
    dataset = dcmread(path)
    _check_kind(dataset)
    _check_size(dataset, max_pixels)
    _check_stream(dataset, syntax)
    pixels = _pixels(dataset, syntax)
    return pixels, _laterality(dataset), _header(dataset)


def _uid(text: str) -> str:
    """A UID for a message: nothing else that stood in its place."""
    return text if text and len(text) <= 64 and set(text) <= set("0123456789.") else "that is no UID"


def _check_kind(dataset: Dataset) -> None:
    sop_class = str(dataset.get("SOPClassUID", ""))
    if sop_class not in SOP_CLASSES:
        expected = "Ophthalmic Photography, VL Photographic or Secondary Capture"
        raise RefusedError(f"SOP class {_uid(sop_class)}, expected {expected}: give photographs of the eye only")
    modality = str(dataset.get("Modality", "") or "")
    if modality not in MODALITIES:
        shown = modality if modality.isalnum() and len(modality) <= 16 else "that is no code"
        raise RefusedError(f"modality {shown}, expected OP, XC, OT or SC: give photographs of the eye only")
    if "PixelData" not in dataset:
        raise RefusedError("no pixels in it: the file is truncated or a reference only; copy it again")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric not in (*_GREY, *_COLOUR):
        shown = photometric if photometric.replace("_", "").replace(" ", "").isalnum() else "that is no code"
        raise RefusedError(f"photometric interpretation {shown}, expected grey, RGB or YBR: convert it to RGB")
    samples = _number(dataset, "SamplesPerPixel")
    if samples != (1 if photometric in _GREY else 3):
        raise RefusedError(f"{samples} samples per pixel with {photometric}: the header contradicts itself")


def _number(dataset: Dataset, keyword: str, default: int = 0) -> int:
    value: Any = dataset.get(keyword, default)
    try:
        return int(default if value in (None, "") else value)
    except (TypeError, ValueError) as err:
        raise RefusedError(f"{keyword} is no number: the file is damaged; copy it again") from err


def _check_size(dataset: Dataset, max_pixels: int) -> None:
    frames = _number(dataset, "NumberOfFrames", 1)
    if frames != 1:
        raise RefusedError(f"{frames} frames, expected 1: give each frame as an object of its own")
    height, width = _number(dataset, "Rows"), _number(dataset, "Columns")
    if height < 1 or width < 1 or height * width > max_pixels:
        raise RefusedError(f"{height} x {width} pixels, expected 1 to {max_pixels}: reduce the image")
    allocated, stored = _number(dataset, "BitsAllocated"), _number(dataset, "BitsStored")
    if allocated not in (8, 16) or not 1 <= stored <= allocated or _number(dataset, "PixelRepresentation") != 0:
        raise RefusedError(f"{stored} of {allocated} bits or signed values, expected 8 or 16 bits, unsigned")


def _check_stream(dataset: Dataset, syntax: str) -> None:
    """A compressed image's own size must be the header's, before it is decoded."""
    from pydicom.encaps import get_frame

    if not syntax.startswith((_JPEG, _LS, _J2K)):
        return
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    size = jpeg2000_size(stream) if syntax.startswith(_J2K) else jpeg_size(stream)
    got = (size.height, size.width, size.components)
    expected = (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
    if got != expected or size.bits > dataset.BitsAllocated:
        raise RefusedError(
            f"compressed pixels of {got[0]} x {got[1]} x {got[2]} under a header of "
            f"{expected[0]} x {expected[1]} x {expected[2]}: the file is damaged or made to harm"
        )


def _pixels(dataset: Dataset, syntax: str) -> npt.NDArray[np.float32]:
    from pydicom.pixels.utils import pixel_array

    try:
        values = pixel_array(dataset, decoding_plugin=_PLUGINS.get(syntax, ""))
    except (RuntimeError, NotImplementedError) as err:
        missing = syntax.startswith((_LS, _J2K)) and "plugin" in str(err) and "missing" in str(err)
        remedy = (
            "pip install pylibjpeg pylibjpeg-openjpeg pyjpegls" if missing else "the file is damaged; copy it again"
        )
        raise RefusedError(f"{TRANSFER_SYNTAXES[syntax]} pixels cannot be decoded: {remedy}") from err
    unit = values.astype(np.float32) / np.float32(2**dataset.BitsStored - 1)
    unit = np.clip(unit, 0, 1, out=unit)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        unit = 1 - unit
    return unit if unit.ndim == 3 else np.repeat(unit[..., None], 3, axis=2)


def _laterality(dataset: Dataset) -> str:
    """The side that the file states first; "" for both eyes, unknown and none."""
    stated = [str(dataset.get(keyword, "") or "") for keyword in ("ImageLaterality", "Laterality")]
    side = next((each for each in stated if each), "")
    return side if side in ("R", "L") else ""


def _header(dataset: Dataset) -> bytes:
    for keyword in _BULK:
        if keyword in dataset:
            del dataset[keyword]
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    if buffer.tell() > _MAX_HEADER:
        raise RefusedError(
            f"a header of {buffer.tell()} bytes, expected at most {_MAX_HEADER}: remove what is embedded"
        )
    return buffer.getvalue()
