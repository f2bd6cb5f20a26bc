"""Data sets and how they are read: LAG, IDRiD, MVTec AD, UCSD Ped2, phantoms, resumable order.

Importing this package loads neither torch nor MONAI; ``InMemoryDataset``, ``ResumableSampler`` and ``SeededDataset``
load torch when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai_cavga.data.check import DataReport, check_data
from monai_cavga.data.errors import ImageReadError
from monai_cavga.data.folder import folder_items
from monai_cavga.data.idrid import idrid_items, is_plain_folder
from monai_cavga.data.lag import lag_items
from monai_cavga.data.layout import DatasetNotFoundError, Item, missing_data_message
from monai_cavga.data.mstc import mstc_items
from monai_cavga.data.mvtad import mvtad_items
from monai_cavga.data.one_class import one_class_items
from monai_cavga.data.ped2 import ped2_items
from monai_cavga.data.phantom_campus import write_campus
from monai_cavga.data.phantom_parts import write_parts
from monai_cavga.data.phantom_shapes import write_shapes
from monai_cavga.data.phantoms import phantom, write_phantoms
from monai_cavga.data.read import (
    image_size,
    join_mask_files,
    read_image,
    read_mask,
    split_mask_files,
)

if TYPE_CHECKING:
    from monai_cavga.data.in_memory import InMemoryDataset
    from monai_cavga.data.resumable import ResumableSampler, SeededDataset
    from monai_cavga.data.share import ShareSampler

__all__ = [
    "DataReport",
    "DatasetNotFoundError",
    "ImageReadError",
    "InMemoryDataset",
    "Item",
    "ResumableSampler",
    "SeededDataset",
    "ShareSampler",
    "check_data",
    "folder_items",
    "idrid_items",
    "image_size",
    "is_plain_folder",
    "join_mask_files",
    "lag_items",
    "missing_data_message",
    "mstc_items",
    "mvtad_items",
    "one_class_items",
    "ped2_items",
    "phantom",
    "read_image",
    "read_mask",
    "split_mask_files",
    "write_campus",
    "write_parts",
    "write_phantoms",
    "write_shapes",
]


def __getattr__(name: str) -> Any:
    """Import the torch classes on first use (PEP 562)."""
    if name == "InMemoryDataset":
        from monai_cavga.data.in_memory import InMemoryDataset

        return InMemoryDataset
    if name in ("ResumableSampler", "SeededDataset"):
        from monai_cavga.data import resumable

        return getattr(resumable, name)
    if name == "ShareSampler":
        from monai_cavga.data.share import ShareSampler

        return ShareSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
