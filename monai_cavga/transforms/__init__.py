"""MONAI transforms: reading images and masks, the field of view of a fundus photograph, maps at the source's size."""

from __future__ import annotations

from monai_cavga.transforms.alignment import AlignObjectd, object_pose
from monai_cavga.transforms.anomalies import AnomalySited, KnownMaskd, MadeAnomaliesd
from monai_cavga.transforms.defects import make_defects
from monai_cavga.transforms.fundus import FieldOfViewd, field_of_view
from monai_cavga.transforms.illumination import RandIlluminationd
from monai_cavga.transforms.laterality import LateralityFlipd, laterality
from monai_cavga.transforms.lesions import paint_lesions
from monai_cavga.transforms.load import LoadMaskd, LoadRGBd, anomaly_mask
from monai_cavga.transforms.maps import ImageScored, SplitMapsd, source_maps

__all__ = [
    "AlignObjectd",
    "AnomalySited",
    "FieldOfViewd",
    "ImageScored",
    "KnownMaskd",
    "LateralityFlipd",
    "LoadMaskd",
    "LoadRGBd",
    "MadeAnomaliesd",
    "RandIlluminationd",
    "SplitMapsd",
    "anomaly_mask",
    "field_of_view",
    "laterality",
    "make_defects",
    "object_pose",
    "paint_lesions",
    "source_maps",
]
