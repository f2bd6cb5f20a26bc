"""A localisation as a picture that every archive shows: the overlay as a DICOM secondary capture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from monai_cavga.clinical.records import Localisation
from monai_cavga.clinical.write.reference import (
    checked_header,
    constructor_arguments,
    finish,
    highdicom,
    quiet,
    save,
    stand_in,
)
from monai_cavga.handlers.colour import OUTLINE, as_photo, blend, contour, map_layer
from monai_cavga.handlers.files import NOTICE

__all__ = ["capture_picture", "capture_text", "write_capture"]

LOSSLESS_PIXELS = 1_000_000  # up to here RLE stays below 3 MB; a camera's 12 million pixels would take 36 MB
OPACITY = 0.75
_SIDES = {"R": "right eye", "L": "left eye", "": "eye not stated"}
_INK, _PAPER = (255, 255, 255), (0, 0, 0)
_MIN_WIDTH = 240  # the longest word fits


def capture_picture(found: Localisation) -> npt.NDArray[np.uint8]:
    """The photograph under its map, what is above the threshold outlined, and a strip of text below.

    The map's scale is fixed, 0 leaves the photograph untouched, 1 covers it by three quarters. No pixel of the
    photograph is hidden by text. The text holds no patient data.

    Returns:
        ``(H + strip, max(W, 240), 3)`` uint8; the photograph is at the upper left.
    """
    photo = as_photo(found.source.pixels.transpose(2, 0, 1))
    picture = blend(photo, map_layer(found.map, low=0.0, high=1.0), OPACITY)
    height, width = picture.shape[:2]
    ring = contour(found.mask)
    for _ in range(min(height, width) // 700):  # seen on a screen that shows the picture smaller
        ring |= contour(found.mask | ring)
    picture[ring] = OUTLINE
    canvas_width = max(width, _MIN_WIDTH)
    size = int(np.clip(min(height, canvas_width) // 32, 12, 64))
    font = ImageFont.load_default(size=size)
    lines = [line for text in capture_text(found) for line in _wrap(text, font, canvas_width - size)]
    step = size + size // 3
    canvas = Image.new("RGB", (canvas_width, height + size // 2 + step * len(lines)), _PAPER)
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((size // 2, height + size // 4 + step * number), line, fill=_INK, font=font)
    return np.array(canvas)


def capture_text(found: Localisation) -> list[str]:
    """The paragraphs below the picture: the notice, the numbers, what made them; no patient data."""
    numbers = [_SIDES[found.source.laterality], f"score {found.score:.3f}"]
    if not math.isnan(found.percentile):
        numbers.append(f"percentile {found.percentile:.1f} among {found.model.normals} normals")
    numbers.append(f"{100 * found.area:.2f} % of the field of view above {found.threshold:.3f} (outlined)")
    made_by = f"monai_cavga: {found.model.name} {found.model.version}, model {found.model.model_sha256[:12]}"
    return [NOTICE, "; ".join(numbers), made_by]


@quiet()
def write_capture(found: Localisation, path: str | Path) -> Dataset:
    """Write a secondary capture of `capture_picture`, marked as derived and with text burnt in.

    Up to a million pixels it is compressed without loss (RLE), above as baseline JPEG. The same source, model and
    threshold give the same bytes.

    Args:
        found: its source must be a DICOM image.
        path: of the file; written whole or not at all.

    Returns:
        The object that was written.

    Raises:
        ObjectError: if no object can refer to the source.
        ModuleNotFoundError: if highdicom is not installed.
    """
    header = checked_header(found)
    hd = highdicom()
    picture = capture_picture(found)
    lossless = picture.shape[0] * picture.shape[1] <= LOSSLESS_PIXELS
    image = stand_in(header)
    made: Dataset = hd.sc.SCImage.from_ref_dataset(
        image,
        pixel_array=picture,
        photometric_interpretation="RGB" if lossless else "YBR_FULL_422",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # asked for by highdicom; the source's follows
        transfer_syntax_uid=RLELossless if lossless else JPEGBaseline8Bit,
        **constructor_arguments(found, header, kind="CAPTURE"),
    )
    made.Laterality = found.source.laterality
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.BurnedInAnnotation = "YES"
    made.DerivationDescription = "Overlay of an anomaly map"
    made.ImageComments = NOTICE
    made.SourceImageSequence = [_reference(image)]
    _describe_loss(made, image, picture.nbytes)
    finish(made, header)
    save(made, path)
    return made


def _describe_loss(made: Dataset, image: Dataset, size: int) -> None:
    """Once pixels have been compressed with loss, everything made of them says so."""
    ratios: list[float] = []
    methods: list[str] = []
    for keyword, values in (("LossyImageCompressionRatio", ratios), ("LossyImageCompressionMethod", methods)):
        before: Any = image.get(keyword)
        if before is not None:
            values += list(before) if isinstance(before, MultiValue) else [before]
    made.LossyImageCompression = image.LossyImageCompression
    if made.file_meta.TransferSyntaxUID == JPEGBaseline8Bit:
        made.LossyImageCompression = "01"
        ratios.append(round(size / len(made.PixelData), 2))
        methods.append("ISO_10918_1")
    if ratios:
        made.LossyImageCompressionRatio = ratios
    if methods:
        made.LossyImageCompressionMethod = methods


def _reference(image: Dataset) -> Dataset:
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _wrap(text: str, font: Any, width: int) -> list[str]:
    """A text's lines, each as wide as fits; a word that is wider stands alone."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
