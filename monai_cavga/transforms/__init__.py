"""MONAI transforms: reading images and masks, the field of view of a fundus photograph, maps at the source's size."""

from __future__ import annotations

from monai_cavga.transforms.fundus import FieldOfViewd, field_of_view
from monai_cavga.transforms.load import LoadMaskd, LoadRGBd, anomaly_mask
from monai_cavga.transforms.maps import ImageScored, SplitMapsd, source_maps

__all__ = [
    "FieldOfViewd",
    "ImageScored",
    "LoadMaskd",
    "LoadRGBd",
    "SplitMapsd",
    "anomaly_mask",
    "field_of_view",
    "source_maps",
]
