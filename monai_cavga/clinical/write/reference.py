"""What every DICOM object of a localisation shares: checks of the source, references to it, dates, the file."""

from __future__ import annotations

import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless
from pydicom.valuerep import TM

import monai_cavga
from monai_cavga.clinical.records import Localisation
from monai_cavga.clinical.write.uids import Kind, derive_uid, object_uid
from monai_cavga.handlers.files import write_atomic

__all__ = [
    "ObjectError",
    "algorithm_parameters",
    "checked_header",
    "constructor_arguments",
    "finish",
    "highdicom",
    "long_string",
    "quiet",
    "save",
    "stand_in",
]

MANUFACTURER = "monai_cavga"
# Highdicom takes any ophthalmic photograph for a multi-frame image and asks for functional groups that it has not;
# a visible-light photograph stands for it until the object is made.
STAND_IN = "1.2.840.10008.5.1.4.1.1.77.1.4"

_SERIES_NUMBERS: dict[Kind, int] = {"FRACTIONAL": 9001, "BINARY": 9002, "SR": 9003, "CAPTURE": 9004}
_IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)  # empty where the source lacks them
_TYPE_3 = (
    *("IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyDescription", "TimezoneOffsetFromUTC"),
)
_IMAGE = ("Rows", "Columns", "NumberOfFrames", "PatientOrientation", "Modality", "SpecificCharacterSet")
_LOSS = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_MOMENTS = ("Content", "Acquisition", "Series", "Study")
# When and by which library the file was written: optional, and different on every run.
_VOLATILE = (
    *("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
    "ContributingEquipmentSequence",
)
_LOSSY: dict[str, str] = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
}


class ObjectError(ValueError):
    """A localisation of which no DICOM object can be written, in one line without anything from the header."""


def highdicom() -> Any:
    """The library that makes the objects.

    Raises:
        ModuleNotFoundError: if it is not installed, with what to install.
    """
    try:
        import highdicom
        import highdicom.sc
        import highdicom.seg
        import highdicom.sr
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"DICOM objects need {error.name}: pip install highdicom") from error
    return highdicom


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and no log inside (a decorator too): pydicom and highdicom quote values, a patient's name say."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def checked_header(found: Localisation) -> Dataset:
    """The source's header, if an object can be written that refers to it.

    Raises:
        ObjectError: if the source is not a DICOM image, lacks one of its identifiers, has several frames or another
            size than map and field of view, or if map, score or threshold hold something else than [0, 1].
    """
    source = found.source
    header = source.header
    name = source.path.name
    if header is None:
        raise ObjectError(f"{name} has no DICOM header, expected a DICOM image: write PNG, NIfTI or JSON of it")
    _read_all(header, name)
    for keyword in _IDENTIFIERS:
        if not UID(str(header.get(keyword) or "-")).is_valid:
            raise ObjectError(f"{name}: {keyword} is missing or malformed, expected a UID: repair the source's header")
    if header.get("NumberOfFrames") not in (None, 0, 1):
        raise ObjectError(f"{name} has several frames, expected one: split it before it is localised")
    size = (header.get("Rows"), header.get("Columns"))
    if not found.map.shape == found.fov.shape == size:
        raise ObjectError(
            f"{name} has {size[0]} x {size[1]} pixels, its map {found.map.shape}, its field of view {found.fov.shape}, "
            "expected three times the same: bring the map back to the source's size"
        )
    outside = int(np.count_nonzero(~((found.map >= 0) & (found.map <= 1))))
    if outside:
        raise ObjectError(f"{name}: {outside} pixels of the map are NaN or outside [0, 1]: put it on the fixed scale")
    for what, number in (("score", found.score), ("threshold", found.threshold)):
        if not 0 <= number <= 1:
            raise ObjectError(f"{name}: {what} is {number}, expected a number in [0, 1]: put it on the fixed scale")
    return header


def stand_in(header: Dataset) -> Dataset:
    """A header that highdicom takes for any single image: identifiers and size of the source, nothing of the patient.

    The patient's data are put in by `finish`, because highdicom refuses or logs names that it finds unusual.
    """
    small = Dataset()
    small.file_meta = FileMetaDataset()
    small.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in _TYPE_2:
        setattr(small, keyword, None)
    for keyword in (*_IDENTIFIERS, "Rows", "Columns"):
        setattr(small, keyword, header[keyword].value)
    small.SOPClassUID = STAND_IN
    small.Modality = "XC"
    small.SpecificCharacterSet = "ISO_IR 192"
    small.update(_lossy(header))
    return small


def constructor_arguments(
    found: Localisation, header: Dataset, *, kind: Kind, options: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What every highdicom constructor asks for: UIDs that follow from source, model, kind and options; names."""
    uid = object_uid(str(header.SOPInstanceUID), found.model, threshold=found.threshold, kind=kind, options=options)
    return {
        "sop_instance_uid": uid,
        "series_instance_uid": derive_uid("series", uid),  # one object a series: eyes and kinds never mix in one
        "series_number": _SERIES_NUMBERS[kind],
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": long_string(found.model.name),
        "software_versions": (f"{MANUFACTURER} {monai_cavga.__version__}", long_string(f"model {found.model.version}")),
        "device_serial_number": long_string(found.model.model_sha256),
        "series_description": "CAVGA: research use, not for diagnosis",
    }


def algorithm_parameters(found: Localisation) -> dict[str, str]:
    """What decides about map, threshold and percentile, as text for an algorithm identification."""
    return {
        "model_sha256": found.model.model_sha256,
        "calibration_sha256": found.model.calibration_sha256,
        "config_sha256": found.model.config_sha256,
        "threshold": repr(float(found.threshold)),
        "false_positive_rate": repr(float(found.model.false_positive_rate)),
        "normals": str(int(found.model.normals)),
    }


def long_string(text: str) -> str:
    """A text as a DICOM Long String: one line of at most 64 characters without backslash, "unknown" if none is left."""
    printable = "".join(c if c.isprintable() and c != "\\" else "_" for c in text)
    return printable.strip()[:64] or "unknown"


def finish(made: Dataset, header: Dataset) -> Dataset:
    """Turn what highdicom made for the stand-in into an object of the source, the same on every run.

    Patient and study come from the source, in UTF-8; references name the source's true SOP class; dates are the
    source's, the times of writing go.

    Args:
        made: changed in place.
        header: of the source; not changed.

    Returns:
        ``made``.
    """
    identity = Dataset()
    identity.SpecificCharacterSet = header.get("SpecificCharacterSet", "ISO_IR 6")
    for keyword in (*_TYPE_2, *_TYPE_3):
        if keyword in header:
            identity.add(copy.deepcopy(header[keyword]))
    identity.decode()
    identity.SpecificCharacterSet = "ISO_IR 192"
    made.update(identity)
    if "Rows" in made:
        made.PatientOrientation = _orientation(header)
    for keyword in _VOLATILE:
        if keyword in made:
            del made[keyword]
    made.ContentDate, made.ContentTime = _moment(header)
    for element in made.iterall():
        if element.keyword == "ReferencedSOPClassUID" and element.value == STAND_IN:
            element.value = header.SOPClassUID
    meta = made.file_meta
    meta.ImplementationClassUID = UID(derive_uid("implementation", MANUFACTURER))
    meta.ImplementationVersionName = f"CAVGA_{monai_cavga.__version__}"[:16]
    return made


def save(made: Dataset, path: str | Path) -> None:
    """Write a DICOM file whole or not at all."""
    buffer = io.BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    write_atomic(path, buffer.getvalue())


def _read_all(header: Dataset, name: str) -> None:
    """Read every element that is used later; pydicom converts values when they are asked for, and may fail then."""
    dates = [f"{what}{part}" for what in _MOMENTS for part in ("Date", "Time")]
    for keyword in (*_IDENTIFIERS, *_TYPE_2, *_TYPE_3, *_IMAGE, *_LOSS, *dates):
        try:
            header.get(keyword)
        except Exception as error:  # of nearly any type
            raise ObjectError(f"{name}: {keyword} cannot be read, expected valid DICOM: repair the header") from error


def _lossy(header: Dataset) -> Dataset:
    """The elements that say whether the source's pixels have been compressed with loss, for what derives from it."""
    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", "")
    said = Dataset()
    said.LossyImageCompression = "01" if syntax in _LOSSY or header.get("LossyImageCompression") == "01" else "00"
    if said.LossyImageCompression == "01":
        method = header.get("LossyImageCompressionMethod") or _LOSSY.get(syntax)
        if method:
            said.LossyImageCompressionMethod = method
        if header.get("LossyImageCompressionRatio"):
            said.LossyImageCompressionRatio = header.LossyImageCompressionRatio
    return said


def _moment(header: Dataset) -> tuple[str, str]:
    """Date and time of the source's content, or else of its study; a fixed date where it has none that can be read."""
    for what in _MOMENTS:
        date, time = str(header.get(f"{what}Date") or ""), str(header.get(f"{what}Time") or "000000")
        if not re.fullmatch("[0-9]{8}", date):
            continue  # strptime takes "202511" for the first of January
        try:
            datetime.strptime(date, "%Y%m%d")
            TM(time)
        except ValueError:
            continue
        return date, time
    return "19700101", "000000"


def _orientation(header: Dataset) -> list[str]:
    """Where the image's rows and columns point; empty where the source does not say it in the standard's letters."""
    said = header.get("PatientOrientation")
    letters = [str(part) for part in said] if isinstance(said, MultiValue) else []
    return letters if len(letters) == 2 and all(re.fullmatch("[APRLHF]{1,3}", part) for part in letters) else []
