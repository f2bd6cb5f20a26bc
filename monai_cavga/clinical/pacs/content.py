"""Objects as an archive sends them: opened, found whole, and compared with the one that was sent."""

from __future__ import annotations

import math
import struct
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset, dcmread
from pydicom.filereader import read_dataset, read_preamble
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from monai_cavga.clinical.pacs.archive import TransferError

__all__ = ["difference", "missing_part", "opened"]

# What an archive may rightly change or add: who the patient is, by its own records, and notes of its own.
_ARCHIVES_OWN = {
    *("SpecificCharacterSet", "InstanceAvailability", "RetrieveURL", "RetrieveAETitle", "TimezoneOffsetFromUTC"),
    *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
    *("IssuerOfAccessionNumberSequence", "InstitutionName", "OriginalAttributesSequence", "DataSetTrailingPadding"),
    *("InstanceCreationDate", "InstanceCreationTime", "PhotometricInterpretation", "PlanarConfiguration"),
}
_NUMBERS = ("DS", "FD", "FL")
_PIXELS = "PixelData"
_CLOSE, _FEW = 1e-3, 1e-3


def opened(content: bytes) -> Dataset:
    """Read a file's bytes; its pixels are not decoded. Pydicom raises anything for a damaged one.

    Raises:
        TransferError: if it is deflated: a small file may unpack to any size.
    """
    file = BytesIO(content)
    read_preamble(file, force=False)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise TransferError(
            "the object is deflated, and may unpack to any size: store it in another transfer syntax", transient=False
        )
    file.seek(0)
    return dcmread(file)


def missing_part(dataset: Dataset) -> str:
    """What an image lacks of its pixels, in words; "" for a whole one. A damaged header raises anything.

    Pydicom reads a file that was cut short without a word. Nothing is decoded here.
    """
    if "Rows" not in dataset or _PIXELS not in dataset:
        return "its pixels are missing"
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return "" if _whole_fragments(dataset.PixelData) else "its pixels did not all come"
    bits = (
        int(dataset.Rows)
        * int(dataset.Columns)
        * int(dataset.get("SamplesPerPixel") or 1)
        * int(dataset.get("NumberOfFrames") or 1)
        * int(dataset.get("BitsAllocated") or 8)
    )
    wanted = bits // 8
    return "" if len(dataset.PixelData) >= wanted else f"{len(dataset.PixelData)} of {wanted} bytes of its pixels came"


def difference(sent: Dataset, came: Dataset, *, exactly: bool) -> str:
    """What is not the same in two objects, in words without values; "" for none.

    The patient's and the study's attributes, private ones and the transfer syntax may differ.

    Args:
        sent: by us.
        came: from the archive.
        exactly: False accepts what another machine's rounding changes: numbers by a thousandth, and a thousandth of
            the pixels by more than a step of a fractional map.
    """
    if _PIXELS in sent and (lacking := missing_part(came)):
        return lacking
    ours, theirs = _comparable(sent), _comparable(came)
    where = _unlike(ours, theirs, close=0.0 if exactly else _CLOSE)
    if where:
        return f"{where} differs"
    return _pixel_difference(sent, came, exactly=exactly)


def _whole_fragments(data: bytes) -> bool:
    """Whether compressed pixels end where their last fragment does; each begins with a tag and its length."""
    at = 0
    while at + 8 <= len(data):
        _, element, length = struct.unpack_from("<HHI", data, at)
        if element == 0xE0DD:  # the end of the sequence
            return True
        at += 8 + length
    return 0 < at == len(data)


def _comparable(dataset: Dataset) -> Dataset:
    kept = Dataset()
    for element in dataset:
        own = element.keyword in _ARCHIVES_OWN or element.tag.group in (0x0010, 0xFFFC) or element.tag.is_private
        if not own and element.keyword != _PIXELS:
            kept.add(element)
    return kept


def _unlike(one: Dataset, other: Dataset, *, close: float) -> str:
    """The keyword of the first element that is not the same in both."""
    for tag in sorted({*one.keys(), *other.keys()}):
        if tag not in one or tag not in other:
            return (one if tag in one else other)[tag].keyword or str(tag)
        if found := _unlike_element(one[tag], other[tag], close=close):
            return found
    return ""


def _unlike_element(one: DataElement, other: DataElement, *, close: float) -> str:
    if isinstance(one.value, Sequence) and isinstance(other.value, Sequence):
        if len(one.value) != len(other.value):
            return one.keyword
        pairs = zip(one.value, other.value, strict=True)
        return next((found for a, b in pairs if (found := _unlike(a, b, close=close))), "")
    if close and one.VR in _NUMBERS and _all_close(one.value, other.value, close):
        return ""
    empty: tuple[Any, ...] = (None, "", [], b"")
    same = one.value == other.value or (one.value in empty and other.value in empty)
    return "" if same else one.keyword or str(one.tag)


def _all_close(one: Any, other: Any, close: float) -> bool:
    ours, theirs = np.atleast_1d(np.asarray(one, dtype=float)), np.atleast_1d(np.asarray(other, dtype=float))
    if ours.shape != theirs.shape:
        return False
    return all(math.isclose(a, b, rel_tol=close, abs_tol=close) for a, b in zip(ours, theirs, strict=True))


def _pixel_difference(sent: Dataset, came: Dataset, *, exactly: bool) -> str:
    if _PIXELS not in sent:
        return ""
    if sent.PixelData == came.PixelData and sent.file_meta.TransferSyntaxUID == came.file_meta.TransferSyntaxUID:
        return ""
    ours, theirs = sent.pixel_array.astype(np.int64), came.pixel_array.astype(np.int64)
    if ours.shape != theirs.shape:
        return "the pixels' shape differs"
    step = 0 if exactly or int(sent.get("BitsAllocated") or 8) == 1 else 1
    share = float(np.mean(np.abs(ours - theirs) > step))
    return "" if share <= (0.0 if exactly else _FEW) else f"{100 * share:.2g} % of the pixels differ"
