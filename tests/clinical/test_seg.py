"""Segmentations of localisations: what they hold, that they are valid, that they refuse what they cannot hold."""

from __future__ import annotations

import copy
import dataclasses
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pytest
from dicom_files import CASES, CLASSES, MODEL, NAME, dicom_image, faults, localisation, photograph, write_dicom
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from monai_cavga.clinical.records import Localisation
from monai_cavga.clinical.write.reference import ObjectError, quiet
from monai_cavga.clinical.write.seg import write_seg
from monai_cavga.clinical.write.uids import derive_uid, object_uid
from monai_cavga.handlers.files import NOTICE


def _pixels(path: Path, source_uid: str) -> np.ndarray:
    read = highdicom.seg.segread(path)
    frames = read.get_pixels_by_source_instance([source_uid], segment_numbers=[1], ignore_spatial_locations=True)
    return frames[0, ..., 0]


@pytest.mark.parametrize(("kind", "encoding"), CASES)
def test_nothing_is_wrong_with_source_and_segmentations(kind, encoding, tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image(kind, encoding=encoding))
    assert faults(found.source.path) == []
    for of in ("FRACTIONAL", "BINARY"):
        write_seg(found, tmp_path / "seg.dcm", kind=of)
        assert faults(tmp_path / "seg.dcm") == []


def test_faults_are_seen(tmp_path):
    image = dicom_image("OP8")
    del image.ImageLaterality, image.PatientID
    seen = faults(write_dicom(tmp_path / "bad.dcm", image))
    assert any("PatientID" in line for line in seen)
    assert any("ImageLaterality" in line for line in seen)


@pytest.mark.parametrize("kind", ["OP8", "OP16", "VL", "SC"])
@pytest.mark.parametrize("size", [(48, 72), (47, 33)])
def test_map_and_mask_come_back(kind, size, tmp_path):
    pixels = photograph(*size)
    image = dicom_image(kind, pixels=pixels[..., 0].astype(np.uint16) if kind == "OP16" else pixels)
    found = localisation(tmp_path / "source.dcm", image)

    write_seg(found, tmp_path / "map.dcm", kind="FRACTIONAL")
    back = _pixels(tmp_path / "map.dcm", image.SOPInstanceUID)
    assert back.shape == found.map.shape
    assert float(np.abs(back - found.map).max()) <= 0.5 / 255 + 1e-6
    np.testing.assert_array_equal(dcmread(tmp_path / "map.dcm").pixel_array, np.round(found.map * 255))

    write_seg(found, tmp_path / "mask.dcm", kind="BINARY")
    np.testing.assert_array_equal(_pixels(tmp_path / "mask.dcm", image.SOPInstanceUID), found.mask)
    assert 0 < found.mask.sum() < found.fov.sum()


def test_a_map_of_zeros_is_a_result(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    found = dataclasses.replace(found, map=np.zeros_like(found.map))
    for kind in ("FRACTIONAL", "BINARY"):
        write_seg(found, tmp_path / "seg.dcm", kind=kind)
        assert faults(tmp_path / "seg.dcm") == []
        back = dcmread(tmp_path / "seg.dcm").pixel_array
        assert (back.shape, back.any()) == (found.map.shape, np.False_)


@pytest.mark.parametrize("kind", ["OP8", "OP16", "VL", "SC"])
def test_patient_study_and_references_are_the_sources(kind, tmp_path):
    image = dicom_image(kind)
    found = localisation(tmp_path / "source.dcm", image)
    write_seg(found, tmp_path / "seg.dcm", kind="FRACTIONAL")
    seg = dcmread(tmp_path / "seg.dcm")

    assert str(seg.PatientName) == NAME
    for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime"):
        assert seg[keyword].value == image[keyword].value
    for keyword in ("AccessionNumber", "StudyID", "ReferringPhysicianName", "StudyDescription", "PatientOrientation"):
        assert seg[keyword].value == image[keyword].value
    references = [element.value for element in seg.iterall() if element.keyword == "ReferencedSOPClassUID"]
    assert set(references) == {CLASSES[kind]}
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert seg.SeriesInstanceUID != image.SeriesInstanceUID


def test_who_made_it_and_what_it_means(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    write_seg(found, tmp_path / "seg.dcm", kind="FRACTIONAL")
    seg = dcmread(tmp_path / "seg.dcm")
    (segment,) = seg.SegmentSequence
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence

    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (MODEL.name, MODEL.version)
    parameters = dict(pair.split("=") for pair in algorithm.AlgorithmParameters.split(","))
    assert parameters["model_sha256"] == MODEL.model_sha256
    assert parameters["calibration_sha256"] == MODEL.calibration_sha256
    assert parameters["config_sha256"] == MODEL.config_sha256
    assert float(parameters["threshold"]) == found.threshold
    assert float(parameters["false_positive_rate"]) == MODEL.false_positive_rate
    assert segment.SegmentDescription == NOTICE
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "49755003"
    assert segment.AnatomicRegionSequence[0].CodeMeaning == "Retina"
    assert (seg.SegmentationFractionalType, seg.MaximumFractionalValue) == ("PROBABILITY", 255)
    assert seg.file_meta.TransferSyntaxUID == RLELossless
    assert seg.file_meta.ImplementationVersionName.startswith("CAVGA_")
    binary = write_seg(found, tmp_path / "binary.dcm", kind="BINARY")
    assert binary.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


@pytest.mark.parametrize("kind", ["FRACTIONAL", "BINARY"])
def test_two_runs_give_the_same_bytes(kind, tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    before = copy.deepcopy(found.source.header)
    first = write_seg(found, tmp_path / "first.dcm", kind=kind)
    write_seg(found, tmp_path / "new" / "second.dcm", kind=kind)

    assert (tmp_path / "first.dcm").read_bytes() == (tmp_path / "new" / "second.dcm").read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["second.dcm"]
    assert found.source.header == before
    uid = object_uid(before.SOPInstanceUID, MODEL, threshold=found.threshold, kind=kind)
    assert first.SOPInstanceUID == first.file_meta.MediaStorageSOPInstanceUID == uid
    assert (first.ContentDate, first.ContentTime) == (before.ContentDate, before.ContentTime)


def test_an_object_uid_depends_on_all_that_decides_about_the_object():
    def uid(source="1.2.3", threshold=0.5, kind="SR", options=(), **changes):
        return object_uid(
            source, dataclasses.replace(MODEL, **changes), threshold=threshold, kind=kind, options=options
        )

    different = [
        uid(),
        uid(source="1.2.4"),
        uid(threshold=0.25),
        uid(kind="CAPTURE"),
        uid(options=("1.2",)),
        *(uid(**{key: "other"}) for key in ("name", "version", "model_sha256", "calibration_sha256", "config_sha256")),
        uid(false_positive_rate=0.02),
        uid(normals=61),
    ]
    assert len(set(different)) == len(different)
    assert uid() == different[0]
    assert derive_uid("ab", "c") != derive_uid("a", "bc")
    assert all(UID(value).is_valid and len(value) <= 64 for value in different)


def test_a_header_with_the_least_that_is_needed(tmp_path):
    image = dicom_image("SC")
    needed = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Rows", "Columns")
    found = localisation(tmp_path / "source.dcm", image)
    header = Dataset()
    for keyword in needed:
        setattr(header, keyword, image[keyword].value)
    found = dataclasses.replace(found, source=dataclasses.replace(found.source, header=header))
    seg = write_seg(found, tmp_path / "seg.dcm", kind="FRACTIONAL")
    assert faults(tmp_path / "seg.dcm") == []
    assert (seg.ContentDate, seg.ContentTime, seg.PatientID) == ("19700101", "000000", None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ContentDate": "20251340"}, ("20250317", "091500")),  # no thirteenth month
        ({"ContentDate": "202511"}, ("20250317", "091500")),
        ({"ContentTime": "990000"}, ("20250317", "091500")),
        ({"ContentDate": "", "AcquisitionDate": "20240229", "AcquisitionTime": ""}, ("20240229", "000000")),
    ],
)
def test_dates_that_cannot_be_read_are_passed_over(changes, expected, tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    with quiet():
        for keyword, value in changes.items():
            setattr(found.source.header, keyword, value)
    seg = write_seg(found, tmp_path / "seg.dcm", kind="FRACTIONAL")
    assert (seg.ContentDate, seg.ContentTime) == expected


@pytest.mark.parametrize("said", ["X", ["L", "f"], ["L", "F", "L"]])
def test_an_orientation_that_means_nothing_is_left_empty(said, tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    with quiet():
        found.source.header.PatientOrientation = said
    write_seg(found, tmp_path / "seg.dcm", kind="FRACTIONAL")
    assert faults(tmp_path / "seg.dcm") == []
    assert not dcmread(tmp_path / "seg.dcm").PatientOrientation


@pytest.mark.parametrize("honest", [True, False])
def test_loss_in_the_source_is_carried_on(honest, tmp_path):
    image = dicom_image("OP8", encoding="jpeg")
    assert image.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    ratio = image.LossyImageCompressionRatio
    if not honest:
        image.LossyImageCompression = "00"
        del image.LossyImageCompressionRatio, image.LossyImageCompressionMethod
    found = localisation(tmp_path / "source.dcm", image)
    seg = write_seg(found, tmp_path / "seg.dcm", kind="FRACTIONAL")
    assert (seg.LossyImageCompression, seg.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert seg.get("LossyImageCompressionRatio") == (ratio if honest else None)


def test_names_in_several_scripts_survive(tmp_path):
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    image = dicom_image("OP8", name=name, charset=["", "ISO 2022 IR 87"])
    write_seg(localisation(tmp_path / "source.dcm", image), tmp_path / "seg.dcm", kind="BINARY")
    seg = dcmread(tmp_path / "seg.dcm")
    assert (str(seg.PatientName), seg.SpecificCharacterSet) == (name, "ISO_IR 192")


def test_nothing_of_the_patient_is_logged(tmp_path, caplog, recwarn):
    caplog.set_level(logging.DEBUG)
    image = dicom_image("OP8")
    with quiet():
        image.PatientName = "Onlyfamily"  # highdicom finds that unusual and says so
        image.PatientBirthDate = "29-02-48"  # and so does pydicom
        found = localisation(tmp_path / "source.dcm", image)
    write_seg(found, tmp_path / "seg.dcm", kind="FRACTIONAL")
    assert [str(warning.message) for warning in recwarn] == []
    assert "Onlyfamily" not in caplog.text
    assert "29-02-48" not in caplog.text
    assert "Onlyfamily" in (tmp_path / "seg.dcm").read_bytes().decode("latin-1")
    assert logging.getLogger("pydicom").isEnabledFor(logging.WARNING)  # outside, all is as before


def _header(change: Callable[[Dataset], object]) -> Callable[[Localisation], Localisation]:
    def changed(found: Localisation) -> Localisation:
        with quiet():
            change(found.source.header)
        return found

    return changed


def _with(**changes: object) -> Callable[[Localisation], Localisation]:
    return lambda found: dataclasses.replace(found, **changes)


def _nan(found: Localisation) -> Localisation:
    values = found.map.copy()
    values[3, 5] = np.nan
    return dataclasses.replace(found, map=values)


REFUSED = [
    (lambda f: dataclasses.replace(f, source=dataclasses.replace(f.source, header=None)), "has no DICOM header"),
    (_header(lambda h: h.pop("SOPInstanceUID")), "SOPInstanceUID is missing or malformed"),
    (_header(lambda h: setattr(h, "StudyInstanceUID", "../../etc")), "StudyInstanceUID is missing or malformed"),
    (_header(lambda h: setattr(h, "NumberOfFrames", 2)), "has several frames, expected one"),
    (_header(lambda h: setattr(h, "NumberOfFrames", [1, 1])), "has several frames, expected one"),
    (_header(lambda h: setattr(h, "Rows", 72)), "has 72 x 72 pixels, its map (48, 72)"),
    (_header(lambda h: h.pop("Columns")), "has 48 x None pixels"),
    (lambda f: dataclasses.replace(f, fov=f.fov.T), "its field of view (72, 48), expected three times the same"),
    (_nan, "1 pixels of the map are NaN or outside [0, 1]"),
    (lambda f: dataclasses.replace(f, map=f.map * 2), "pixels of the map are NaN or outside [0, 1]"),
    (_with(score=float("nan")), "score is nan, expected a number in [0, 1]"),
    (_with(threshold=-0.5), "threshold is -0.5, expected a number in [0, 1]"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refusals_are_one_line_without_the_patient(change, message, tmp_path):
    found = change(localisation(tmp_path / "source.dcm", dicom_image()))
    with pytest.raises(ObjectError) as caught:
        write_seg(found, tmp_path / "seg.dcm", kind="FRACTIONAL")
    text = str(caught.value)
    assert text.startswith("source.dcm")
    assert message in text
    assert "\n" not in text
    assert not any(secret in text for secret in ("Müller", "SYNTHETIC", "1948", "etc"))
    assert not (tmp_path / "seg.dcm").exists()


def test_an_element_that_cannot_be_read_is_refused(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    tag = Tag("Rows")
    found.source.header[tag] = RawDataElement(tag, "US", 3, b"\x30\x00\x00", 0, False, True)  # two bytes make a number
    with pytest.raises(ObjectError, match=r"^source\.dcm: Rows cannot be read, expected valid DICOM: repair"):
        write_seg(found, tmp_path / "seg.dcm", kind="FRACTIONAL")


def test_without_highdicom_it_says_what_to_install(tmp_path, monkeypatch):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ModuleNotFoundError, match=r"^DICOM objects need highdicom: pip install highdicom"):
        write_seg(found, tmp_path / "seg.dcm", kind="FRACTIONAL")
