"""A localisation's numbers as a DICOM structured report (TID 1500, Measurement Report)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from monai_cavga.clinical.records import Localisation
from monai_cavga.clinical.write.reference import (
    MANUFACTURER,
    ObjectError,
    algorithm_parameters,
    checked_header,
    constructor_arguments,
    finish,
    highdicom,
    long_string,
    quiet,
    save,
    stand_in,
)
from monai_cavga.clinical.write.uids import derive_uid
from monai_cavga.handlers.files import NOTICE

__all__ = ["write_sr"]

SCHEME = "99CAVGA"  # for what no public scheme has a code
ANOMALY = Code("ANOMALY", SCHEME, "Anomaly relative to the training normals")
AREA = Code("AREA", SCHEME, "Share of the field of view above the threshold")
THRESHOLD = Code("THRESHOLD", SCHEME, "Threshold of the anomaly map")
FALSE_POSITIVE_RATE = Code("FPR", SCHEME, "Share of normal pixels above the threshold")
SCORE = Code("246262008", "SCT", "Score")
PERCENTILE = Code("121415", "DCM", "Percentile Ranking of measurement")
PHOTOGRAPHY = Code("OP", "DCM", "Ophthalmic Photography")
EXTERNAL = Code("XC", "DCM", "External-camera Photography")
OTHER = Code("OT", "DCM", "Other")
RETINA = Code("5665001", "SCT", "Retina")
NO_UNITS = Code("1", "UCUM", "no units")
PERCENT = Code("%", "UCUM", "Percent")
_MODALITIES = {"OP": PHOTOGRAPHY, "XC": EXTERNAL}
_SIDES = {"R": codes.SCT.Right, "L": codes.SCT.Left}


@quiet()
def write_sr(found: Localisation, path: str | Path, *, segmentation: Dataset | None) -> Dataset:
    """Write a measurement report: score, percentile among normals, area, threshold, false-positive rate.

    The document is an Enhanced SR, the smallest class that holds such a report and the one most viewers read. It is
    marked preliminary and unverified. The same source, model, threshold and segmentation give the same bytes.

    Args:
        found: its source must be a DICOM image. A percentile that is NaN is left out.
        path: of the file; written whole or not at all.
        segmentation: what `monai_cavga.clinical.write.seg.write_seg` wrote of the same localisation, to refer to as
            the region that was measured; None refers to the whole image.

    Returns:
        The object that was written.

    Raises:
        ObjectError: if no object can refer to the source, or the segmentation is of another image.
        ModuleNotFoundError: if highdicom is not installed.
    """
    header = checked_header(found)
    hd = highdicom()
    name = found.source.path.name
    if segmentation is not None and _source_of(segmentation) != header.SOPInstanceUID:
        raise ObjectError(f"{name}: the segmentation is of another image: pass the one written of this localisation")
    options = () if segmentation is None else (str(segmentation.SOPInstanceUID),)
    arguments = constructor_arguments(found, header, kind="SR", options=options)
    image = stand_in(header)
    report = hd.sr.MeasurementReport(
        observation_context=_observer(found),
        procedure_reported=PHOTOGRAPHY,
        imaging_measurements=[_group(found, header, segmentation)],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[image],
    )
    scheme = hd.coding_schemes.CodingSchemeIdentificationItem(SCHEME, responsible_organization=MANUFACTURER)
    made: Dataset = hd.sr.EnhancedSR(
        evidence=[image] if segmentation is None else [image, segmentation],
        content=report,
        is_complete=True,
        is_final=False,
        coding_schemes=[scheme],
        **arguments,
    )
    _repair(made, modality=_MODALITIES.get(str(header.get("Modality")), OTHER))
    finish(made, header)
    save(made, path)
    return made


def _repair(made: Dataset, *, modality: Code) -> None:
    """What highdicom writes of a stand-in or of a segment and is not so."""
    for element in made.iterall():
        if element.keyword == "ReferencedSOPSequence":
            for item in element.value:
                # a segment and a frame exclude each other in a reference; highdicom asks for both
                if "ReferencedSegmentNumber" in item and "ReferencedFrameNumber" in item:
                    del item.ReferencedFrameNumber
        elif element.keyword == "ConceptCodeSequence" and element.value[0].CodeValue == EXTERNAL.value:
            element.value[0].CodeValue, element.value[0].CodeMeaning = modality.value, modality.meaning


def _group(found: Localisation, header: Dataset, segmentation: Dataset | None) -> Any:
    """The measurements, of the segment or of the whole image, and the notice."""
    sr = highdicom().sr
    image = (header.SOPClassUID, header.SOPInstanceUID)
    shared = {
        "tracking_identifier": sr.TrackingIdentifier(
            uid=derive_uid("measured", header.SOPInstanceUID, found.model.model_sha256), identifier="Anomaly"
        ),
        "finding_type": ANOMALY,
        "finding_sites": [sr.FindingSite(RETINA, laterality=_SIDES.get(found.source.laterality))],
        "algorithm_id": sr.AlgorithmIdentification(
            name=long_string(found.model.name),
            version=long_string(found.model.version),
            parameters=[f"{key}={value}" for key, value in algorithm_parameters(found).items()],
            family=codes.DCM.ArtificialIntelligence,
            manufacturer=MANUFACTURER,
        ),
        "measurements": _measurements(found),
    }
    if segmentation is None:
        group = sr.MeasurementsAndQualitativeEvaluations(
            source_images=[sr.SourceImageForMeasurementGroup(*image)], **shared
        )
    else:
        region = sr.ReferencedSegmentationFrame(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            frame_number=1,
            segment_number=1,
            source_image=sr.SourceImageForSegmentation(*image),
        )
        group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=region, **shared)
    group[0].ContentSequence.append(
        sr.TextContentItem(name=codes.DCM.Comment, value=NOTICE, relationship_type=sr.RelationshipTypeValues.CONTAINS)
    )
    return group


def _measurements(found: Localisation) -> list[Any]:
    values = [
        (SCORE, found.score, NO_UNITS),
        (PERCENTILE, found.percentile, PERCENT),
        (AREA, 100 * found.area, PERCENT),
        (THRESHOLD, found.threshold, NO_UNITS),
        (FALSE_POSITIVE_RATE, found.model.false_positive_rate, NO_UNITS),
    ]
    measurement = highdicom().sr.Measurement
    return [measurement(name, float(value), unit) for name, value, unit in values if not math.isnan(value)]


def _observer(found: Localisation) -> Any:
    sr = highdicom().sr
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derive_uid("observer", *found.model.parts),
        name=long_string(found.model.name),
        manufacturer_name=MANUFACTURER,
        serial_number=long_string(found.model.model_sha256),
    )
    context = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return sr.ObservationContext(observer_device_context=context)


def _source_of(segmentation: Dataset) -> str | None:
    """SOP Instance UID of the image a segmentation of `write_seg` refers to; None for any other object."""
    series = segmentation.get("ReferencedSeriesSequence") or [Dataset()]
    instances = series[0].get("ReferencedInstanceSequence") or [Dataset()]
    uid: str | None = instances[0].get("ReferencedSOPInstanceUID")
    return uid
