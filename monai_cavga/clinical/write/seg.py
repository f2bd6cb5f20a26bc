"""A localisation as a DICOM segmentation: the map in 8 bits (fractional) or what is above the threshold (binary)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from monai_cavga.clinical.records import Localisation
from monai_cavga.clinical.write.reference import (
    MANUFACTURER,
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

__all__ = ["write_seg"]

ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
RETINA = Code("5665001", "SCT", "Retina")


@quiet()
def write_seg(found: Localisation, path: str | Path, *, kind: Literal["FRACTIONAL", "BINARY"]) -> Dataset:
    """Write a segmentation object of one segment and one frame, at the source's size.

    The same source, model, threshold and kind give the same bytes.

    Args:
        found: its source must be a DICOM image.
        path: of the file; written whole or not at all.
        kind: "FRACTIONAL" holds ``found.map`` in steps of 1/255, compressed without loss (RLE); "BINARY" holds
            ``found.mask``, not compressed, which every viewer reads.

    Returns:
        The object that was written.

    Raises:
        ObjectError: if no object can refer to the source, or the map is not finite and in [0, 1].
        ModuleNotFoundError: if highdicom is not installed.
    """
    header = checked_header(found)
    hd = highdicom()
    arguments = constructor_arguments(found, header, kind=kind)
    uid = arguments["sop_instance_uid"]
    fractional = kind == "FRACTIONAL"
    made: Dataset = hd.seg.Segmentation(
        [stand_in(header)],
        (found.map if fractional else found.mask)[None],
        kind,
        [_segment(found, uid)],
        fractional_type="PROBABILITY",
        max_fractional_value=255,
        omit_empty_frames=False,  # an object without frames is no image, and a map of zeros is a result
        content_label="ANOMALY_MAP" if fractional else "ANOMALY_MASK",
        content_description="Anomaly relative to normals; research use, not for diagnosis",
        content_creator_name=f"{MANUFACTURER}^",
        transfer_syntax_uid=RLELossless if fractional else ExplicitVRLittleEndian,
        **arguments,
    )
    for element in made.iterall():
        if element.keyword == "DimensionOrganizationUID":
            element.value = derive_uid("dimensions", uid)
    finish(made, header)
    save(made, path)
    return made


def _segment(found: Localisation, uid: str) -> Dataset:
    hd = highdicom()
    segment: Dataset = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Anomaly",
        segmented_property_category=ABNORMAL,
        segmented_property_type=ABNORMAL,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=long_string(found.model.name),
            family=codes.DCM.ArtificialIntelligence,
            version=long_string(found.model.version),
            source=MANUFACTURER,
            parameters=algorithm_parameters(found),
        ),
        tracking_uid=derive_uid("tracking", uid),
        tracking_id="Anomaly",
        anatomic_regions=[RETINA],
    )
    segment.SegmentDescription = NOTICE
    return segment
