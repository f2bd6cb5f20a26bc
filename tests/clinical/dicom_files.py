"""Valid DICOM photographs made from nothing, in the classes and encodings that fundus cameras write."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, generate_uid

from monai_cavga.clinical.records import Laterality, Localisation, ModelIdentity, Source

Kind = Literal["OP8", "OP16", "VL", "SC"]
Encoding = Literal["raw", "jpeg", "jpeg2000", "rle"]

CLASSES: dict[str, str] = {
    "OP8": "1.2.840.10008.5.1.4.1.1.77.1.5.1",
    "OP16": "1.2.840.10008.5.1.4.1.1.77.1.5.2",
    "VL": "1.2.840.10008.5.1.4.1.1.77.1.4",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
}
MODALITIES: dict[str, str] = {"OP8": "OP", "OP16": "OP", "VL": "XC", "SC": "OT"}
CASES: list[tuple[Kind, Encoding]] = [
    *((kind, encoding) for kind in ("OP8", "VL", "SC") for encoding in ("raw", "jpeg", "jpeg2000", "rle")),  # type: ignore[misc]
    *(("OP16", encoding) for encoding in ("raw", "jpeg2000", "rle")),  # type: ignore[misc]
]
NAME = "Müller^Jürgen"
MODEL = ModelIdentity(
    name="retina",
    version="0.1.0",
    model_sha256="0a" * 32,
    calibration_sha256="1b" * 32,
    config_sha256="2c" * 32,
    false_positive_rate=0.01,
    normals=60,
)


def photograph(height: int = 48, width: int = 72) -> npt.NDArray[np.uint8]:
    """``(height, width, 3)``: a red disc on black, off the centre, brighter to the right, with a pale spot."""
    rows, columns = np.mgrid[:height, :width]
    field = np.hypot(rows - 0.45 * height, columns - 0.55 * width) < 0.42 * min(height, width)
    spot = np.hypot(rows - 0.3 * height, columns - 0.65 * width) < 0.08 * min(height, width)
    ramp = columns / width
    picture = np.stack([150 + 60 * ramp, 60 + 40 * ramp, 30 + 10 * ramp], axis=-1)
    picture[spot] = (240, 220, 160)
    picture[~field] = 0
    return picture.astype(np.uint8)


def dicom_image(
    kind: Kind = "OP8",
    *,
    encoding: Encoding = "raw",
    pixels: npt.NDArray[Any] | None = None,
    laterality: Laterality = "R",
    name: str = NAME,
    charset: str | list[str] = "ISO_IR 100",
    seed: str = "1",
    study: str = "1",
) -> Dataset:
    """A data set that `dciodvfy` finds nothing wrong with.

    Args:
        kind: class and depth: colour of 8 bits, or grey of 16 bits for "OP16".
        encoding: of the pixels; "jpeg" is not for 16 bits, "jpeg2000" needs 32 pixels a side.
        pixels: ``(H, W, 3)`` uint8 or ``(H, W)`` uint16; `photograph` if None.
        laterality: of the eye; left out of the header where "".
        name: the patient's.
        charset: that the patient's name is stored in.
        seed: another image of the same study for another text.
        study: another study and patient for another text.
    """
    if pixels is None:
        pixels = photograph()
        if kind == "OP16":
            pixels = pixels[..., 1].astype(np.uint16) * 257
    image = Dataset()
    _patient_and_study(image, name=name, charset=charset, study=study)
    _series_and_image(image, kind=kind, seed=seed, study=study)
    if kind in ("OP8", "OP16"):
        _ophthalmic(image, study=study, laterality=laterality)
    elif kind == "VL":
        image.AcquisitionContextSequence = []
    else:
        image.ConversionType = "DF"
    if laterality:
        image.ImageLaterality = laterality
    _put_pixels(image, pixels)
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _encode(image, pixels, encoding)
    return image


def write_dicom(path: Path, image: Dataset) -> Path:
    """Write it as a file."""
    image.save_as(path, enforce_file_format=True)
    return path


def localisation(
    path: Path, image: Dataset, *, percentile: float = 97.5, model: ModelIdentity = MODEL, score: float = 0.875
) -> Localisation:
    """Write an image, and return it with an asymmetric map: a ramp inside a field of view of half of its columns."""
    write_dicom(path, image)
    header = dcmread(path, stop_before_pixels=True)
    height, width = int(image.Rows), int(image.Columns)
    fov = np.zeros((height, width), dtype=bool)
    fov[2:, width // 3 : -1] = True
    rows, columns = np.mgrid[:height, :width]
    values = (0.75 * columns / (width - 1) + 0.25 * rows / (height - 1)) * fov
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    pixels[..., 0] = fov * 0.5
    source = Source(
        path=path, pixels=pixels, sha256="2c" * 32, header=header, laterality=image.get("ImageLaterality", "")
    )
    return Localisation(
        source=source,
        model=model,
        map=values.astype(np.float32),
        fov=fov,
        score=score,
        percentile=percentile,
    )


def faults(path: Path) -> list[str]:
    """What `dciodvfy` calls an error in a file; skips the test where the program is not installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    done = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, errors="replace", check=False)
    lines = (done.stdout + done.stderr).splitlines()
    named = [line for line in lines if line.startswith("Error")]
    return named if named or done.returncode == 0 else lines


def _patient_and_study(image: Dataset, *, name: str, charset: str | list[str], study: str) -> None:
    image.SpecificCharacterSet = charset
    image.PatientName = name
    image.PatientID = f"SYNTHETIC-{study}"
    image.PatientBirthDate = "19480229"
    image.PatientSex = "F"
    image.StudyInstanceUID = _uid("study", study)
    image.StudyID = study
    image.StudyDate, image.StudyTime = "20250317", "091500"
    image.AccessionNumber = f"A{study}"
    image.ReferringPhysicianName = "Ödman^Åsa"
    image.StudyDescription = "Screening"


def _series_and_image(image: Dataset, *, kind: Kind, seed: str, study: str) -> None:
    image.SOPClassUID = CLASSES[kind]
    image.SOPInstanceUID = _uid("image", study, seed, kind)
    image.SeriesInstanceUID = _uid("series", study, kind)
    image.SeriesNumber, image.InstanceNumber = 1, 1
    image.Modality = MODALITIES[kind]
    image.Manufacturer = "Synthetic"
    image.ManufacturerModelName, image.DeviceSerialNumber, image.SoftwareVersions = "Camera", "7", "1"
    image.ImageType = ["ORIGINAL", "PRIMARY", "", "COLOR"] if kind == "OP8" else ["ORIGINAL", "PRIMARY"]
    image.PatientOrientation = ["L", "F"]
    image.ContentDate, image.ContentTime = "20250317", "092233.5"
    image.AcquisitionDateTime = "20250317092230"
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"
    image.AnatomicRegionSequence = [_code("5665001", "Retina")]


def _ophthalmic(image: Dataset, *, study: str, laterality: Laterality) -> None:
    image.NumberOfFrames = 1
    image.FrameTime = 0
    image.FrameIncrementPointer = 0x00181063
    image.SynchronizationFrameOfReferenceUID = _uid("clock", study)
    image.SynchronizationTrigger = "NO TRIGGER"
    image.AcquisitionTimeSynchronized = "N"
    image.DetectorType = "CMOS"
    image.AcquisitionDeviceTypeCodeSequence = [_code("409898007", "Fundus Camera")]
    for keyword in ("PatientEyeMovementCommanded", "PupilDilated"):
        setattr(image, keyword, "")
    for keyword in ("EmmetropicMagnification", "IntraOcularPressure", "HorizontalFieldOfView"):
        setattr(image, keyword, None)
    for what in ("IlluminationType", "LightPathFilterTypeStack", "ImagePathFilterTypeStack", "Lenses"):
        setattr(image, f"{what}CodeSequence", [])
    image.RefractiveStateSequence = []


def _put_pixels(image: Dataset, pixels: npt.NDArray[Any]) -> None:
    colour = pixels.ndim == 3
    bits = 8 * pixels.dtype.itemsize
    image.Rows, image.Columns = pixels.shape[:2]
    image.SamplesPerPixel = 3 if colour else 1
    image.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        image.PlanarConfiguration = 0
    else:
        image.PresentationLUTShape = "IDENTITY"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = bits, bits, bits - 1, 0
    image.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    image["PixelData"].VR = "OW" if bits == 16 else "OB"


def _encode(image: Dataset, pixels: npt.NDArray[Any], encoding: Encoding) -> None:
    if encoding == "rle":
        image.compress(RLELossless, pixels, generate_instance_uid=False)
    elif encoding == "jpeg2000":
        if pixels.ndim == 3:
            image.PhotometricInterpretation = "YBR_RCT"
        image.compress(JPEG2000Lossless, pixels, generate_instance_uid=False)
    elif encoding == "jpeg":  # pydicom has no encoder for it
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=90)
        image.PixelData = encapsulate([buffer.getvalue()])
        image["PixelData"].VR = "OB"
        image["PixelData"].is_undefined_length = True
        image.PhotometricInterpretation = "YBR_FULL_422"
        image.LossyImageCompression = "01"
        image.LossyImageCompressionRatio = round(pixels.nbytes / buffer.tell(), 2)
        image.LossyImageCompressionMethod = "ISO_10918_1"
        image.file_meta.TransferSyntaxUID = JPEGBaseline8Bit


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _uid(*parts: str) -> str:
    return str(generate_uid(entropy_srcs=["/".join(parts)]))
