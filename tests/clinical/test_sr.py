"""Reports of localisations: the numbers, whom they are of, what they refer to."""

from __future__ import annotations

import dataclasses

import highdicom
import pytest
from dicom_files import CLASSES, MODALITIES, MODEL, NAME, dicom_image, faults, localisation
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from monai_cavga.clinical.write.capture import write_capture
from monai_cavga.clinical.write.reference import ObjectError
from monai_cavga.clinical.write.seg import write_seg
from monai_cavga.clinical.write.sr import AREA, FALSE_POSITIVE_RATE, PERCENTILE, SCORE, THRESHOLD, write_sr
from monai_cavga.clinical.write.uids import object_uid
from monai_cavga.handlers.files import NOTICE


def _texts(group) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for item in group[0].ContentSequence:
        if item.ValueType == "TEXT":
            texts.setdefault(item.ConceptNameCodeSequence[0].CodeMeaning, []).append(item.TextValue)
    return texts


def _values(group) -> dict[str, float]:
    return {measurement.name.meaning: measurement.value for measurement in group.get_measurements()}


@pytest.mark.parametrize(("kind", "encoding"), [(kind, "raw") for kind in CLASSES] + [("OP8", "jpeg")])
def test_nothing_is_wrong_with_reports(kind, encoding, tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image(kind, encoding=encoding))
    mask = write_seg(found, tmp_path / "seg.dcm", kind="BINARY")
    for segmentation in (mask, None):
        write_sr(found, tmp_path / "sr.dcm", segmentation=segmentation)
        assert faults(tmp_path / "sr.dcm") == []


@pytest.mark.parametrize("kind", ["OP8", "OP16", "VL", "SC"])
@pytest.mark.parametrize("laterality", ["R", "L", ""])
def test_numbers_of_the_region(kind, laterality, tmp_path):
    image = dicom_image(kind, laterality=laterality)
    found = localisation(tmp_path / "source.dcm", image)
    mask = write_seg(found, tmp_path / "seg.dcm", kind="BINARY")
    write_sr(found, tmp_path / "sr.dcm", segmentation=mask)

    report = highdicom.sr.srread(tmp_path / "sr.dcm")
    (group,) = report.content.get_planar_roi_measurement_groups()
    values = _values(group)
    assert values == {
        SCORE.meaning: found.score,
        PERCENTILE.meaning: found.percentile,
        AREA.meaning: 100 * found.area,
        THRESHOLD.meaning: found.threshold,
        FALSE_POSITIVE_RATE.meaning: MODEL.false_positive_rate,
    }
    assert values[AREA.meaning] == 100 * found.mask.sum() / found.fov.sum()
    (site,) = group.finding_sites
    assert site.value.meaning == "Retina"
    assert site.laterality == {"R": codes.SCT.Right, "L": codes.SCT.Left, "": None}[laterality]
    region, source = group.referenced_segmentation_frame
    assert region.referenced_sop_instance_uid == mask.SOPInstanceUID
    assert region.referenced_segment_numbers == [1]
    assert (source.referenced_sop_class_uid, source.referenced_sop_instance_uid) == (
        CLASSES[kind],
        image.SOPInstanceUID,
    )


def test_numbers_of_the_whole_image(tmp_path):
    image = dicom_image("OP8")
    found = localisation(tmp_path / "source.dcm", image)
    write_sr(found, tmp_path / "sr.dcm", segmentation=None)
    report = highdicom.sr.srread(tmp_path / "sr.dcm")
    assert report.content.get_planar_roi_measurement_groups() == []
    (group,) = report.content.get_image_measurement_groups()
    assert _values(group)[SCORE.meaning] == found.score
    (source,) = group.source_images
    assert source.referenced_sop_instance_uid == image.SOPInstanceUID


def test_an_unknown_percentile_is_left_out(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image(), percentile=float("nan"))
    write_sr(found, tmp_path / "sr.dcm", segmentation=None)
    (group,) = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_image_measurement_groups()
    assert set(_values(group)) == {code.meaning for code in (SCORE, AREA, THRESHOLD, FALSE_POSITIVE_RATE)}
    assert faults(tmp_path / "sr.dcm") == []


def test_who_measured_and_the_notice(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    write_sr(found, tmp_path / "sr.dcm", segmentation=None)
    report = highdicom.sr.srread(tmp_path / "sr.dcm")
    (group,) = report.content.get_image_measurement_groups()
    texts = _texts(group)
    assert texts["Comment"] == [NOTICE]
    assert texts["Algorithm Name"] == [MODEL.name]
    assert texts["Algorithm Version"] == [MODEL.version]
    parameters = dict(text.split("=") for text in texts["Algorithm Parameters"])
    assert parameters["model_sha256"] == MODEL.model_sha256
    assert parameters["calibration_sha256"] == MODEL.calibration_sha256
    assert parameters["config_sha256"] == MODEL.config_sha256
    assert int(parameters["normals"]) == MODEL.normals
    (observer,) = report.content.get_observer_contexts()
    assert observer.observer_identifying_attributes.name == MODEL.name
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )


def test_patient_and_evidence(tmp_path):
    image = dicom_image("OP16")
    found = localisation(tmp_path / "source.dcm", image)
    mask = write_seg(found, tmp_path / "seg.dcm", kind="BINARY")
    write_sr(found, tmp_path / "sr.dcm", segmentation=mask)
    report = highdicom.sr.srread(tmp_path / "sr.dcm")
    assert (str(report.PatientName), report.PatientID) == (NAME, image.PatientID)
    assert report.StudyInstanceUID == image.StudyInstanceUID
    evidence = {(item[1], item[2], item[3]) for item in report.get_evidence()}
    assert evidence == {
        (image.SeriesInstanceUID, image.SOPInstanceUID, CLASSES["OP16"]),
        (mask.SeriesInstanceUID, mask.SOPInstanceUID, mask.SOPClassUID),
    }
    library = [
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeMeaning == "Image Library"
    ]
    assert len(library) == 1


WIDE_FIELD = "1.2.840.10008.5.1.4.1.1.77.1.5.5"  # a photograph of a class that highdicom does not know


@pytest.mark.parametrize(
    ("kind", "sop_class", "modality"),
    [*((kind, CLASSES[kind], MODALITIES[kind]) for kind in CLASSES), ("OP8", WIDE_FIELD, "OP")],
)
def test_the_image_library_names_class_and_modality(kind, sop_class, modality, tmp_path):
    image = dicom_image(kind)
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
    found = localisation(tmp_path / "source.dcm", image)
    write_sr(found, tmp_path / "sr.dcm", segmentation=None)
    assert faults(tmp_path / "sr.dcm") == []
    report = dcmread(tmp_path / "sr.dcm")
    named = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in report.ContentSequence}
    (entry,) = named["Image Library"].ContentSequence[0].ContentSequence
    (reference,) = entry.ReferencedSOPSequence
    assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (sop_class, image.SOPInstanceUID)
    described = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in entry.ContentSequence}
    assert described["Modality"].ConceptCodeSequence[0].CodeValue == modality
    assert described["Pixel Data Rows"].MeasuredValueSequence[0].NumericValue == image.Rows


def test_two_runs_give_the_same_bytes(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    mask = write_seg(found, tmp_path / "seg.dcm", kind="BINARY")
    first = write_sr(found, tmp_path / "first.dcm", segmentation=mask)
    write_sr(found, tmp_path / "second.dcm", segmentation=dcmread(tmp_path / "seg.dcm"))
    assert (tmp_path / "first.dcm").read_bytes() == (tmp_path / "second.dcm").read_bytes()

    source = found.source.header.SOPInstanceUID
    options = (str(mask.SOPInstanceUID),)
    assert first.SOPInstanceUID == object_uid(source, MODEL, threshold=found.threshold, kind="SR", options=options)
    alone = write_sr(found, tmp_path / "alone.dcm", segmentation=None)
    assert alone.SOPInstanceUID == object_uid(source, MODEL, threshold=found.threshold, kind="SR")
    assert alone.SOPInstanceUID != first.SOPInstanceUID


def test_a_segmentation_of_another_image_is_refused(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image(seed="1"))
    other = localisation(tmp_path / "other.dcm", dicom_image(seed="2"))
    strangers: list[Dataset] = [
        write_seg(other, tmp_path / "seg.dcm", kind="BINARY"),
        write_capture(found, tmp_path / "capture.dcm"),
    ]
    for stranger in strangers:
        with pytest.raises(ObjectError, match=r"^source\.dcm: the segmentation is of another image: pass the one"):
            write_sr(found, tmp_path / "sr.dcm", segmentation=stranger)
    assert not (tmp_path / "sr.dcm").exists()


def test_a_source_without_header_is_refused(tmp_path):
    found = localisation(tmp_path / "source.dcm", dicom_image())
    found = dataclasses.replace(found, source=dataclasses.replace(found.source, header=None))
    with pytest.raises(ObjectError, match="has no DICOM header"):
        write_sr(found, tmp_path / "sr.dcm", segmentation=None)
