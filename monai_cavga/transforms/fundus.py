"""The field of view of a fundus photograph as a MONAI transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_numpy

from monai_cavga.fundus import field_of_view
from monai_cavga.transforms.keys import check_one_key

__all__ = ["FieldOfViewd", "field_of_view"]


class FieldOfViewd(MapTransform):
    """Add the field of view of an image to the item.

    The result carries the image's meta data and the record of the transforms applied so far, so it can stand before
    or after ``Resized`` and ``Invertd("fov", ..., orig_keys="image", nearest_interp=True)`` brings it back to the
    size of the source.

    Args:
        keys: the one image key, ``(C, H, W)`` in [0, 1].
        fov_key: where the result goes: ``(1, H, W)``, float32, 1 inside and 0 outside.
        allow_missing_keys: leave items without the image as they are.

    Raises:
        ValueError: if ``keys`` names more than one image.
    """

    def __init__(
        self, keys: KeysCollection = "image", fov_key: str = "fov", *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        check_one_key(self, "one image key")
        self.fov_key = fov_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with ``fov_key`` added."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            inside = torch.from_numpy(field_of_view(convert_to_numpy(image)))[None].to(torch.float32)  # (1, H, W)
            if isinstance(image, MetaTensor):
                inside = inside.to(image.device)
                inside = MetaTensor(inside, meta=dict(image.meta), applied_operations=list(image.applied_operations))
            item[self.fov_key] = inside
        return item
