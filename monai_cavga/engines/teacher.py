"""Pseudo masks for images that have only a label: multiple-instance learning by a teacher."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type
from torch import nn

from monai_cavga.networks import warm_start

__all__ = ["TeacherMaskd", "pseudo_mask"]


def pseudo_mask(
    probability: torch.Tensor, inside: torch.Tensor, *, high: float = 0.5, low: float = 0.1, least: float = 0.001
) -> torch.Tensor:
    """What a teacher's map says of an anomalous image's pixels.

    An image that is called anomalous has an anomaly somewhere (the multiple-instance assumption): pixels above
    ``high`` are anomalous, and where fewer than ``least`` of the field of view are, its highest ones; pixels below
    ``low`` are normal; of those between nothing is known.

    Args:
        probability: ``(1, H, W)``, in [0, 1].
        inside: ``(1, H, W)``, bool, the field of view.
        high: from here a pixel is anomalous.
        low: below it is normal.
        least: share of the field of view that is anomalous at least.

    Returns:
        ``(1, H, W)`` float32: 1, 0, or -1.

    Raises:
        ValueError: if ``low`` is above ``high`` or ``least`` outside [0, 1].
    """
    if low > high or not 0 <= least <= 1:
        raise ValueError(f"low is {low}, high {high}, least {least}, expected low <= high and least in [0, 1]")
    values = probability[inside]
    if values.numel() == 0:
        return torch.full_like(probability, -1.0)
    count = max(1, round(least * values.numel()))
    found = probability >= high
    if int((found & inside).sum()) < count:
        chosen = torch.zeros_like(values, dtype=torch.bool)
        chosen[values.topk(count).indices] = True
        found = torch.zeros_like(inside)
        found[inside] = chosen
    mask = torch.full_like(probability, -1.0)
    mask[probability < low] = 0
    mask[found] = 1
    mask[~inside] = -1
    return mask


class TeacherMaskd(MapTransform):
    """Give anomalous images, of which only the label is known, a mask from a trained localiser.

    Stands before the cache, so that each image is asked for once. Normal images pass unchanged, and so do all without
    a teacher's weights: what is known of them is the label alone.

    Args:
        keys: the one image key, ``(C, H, W)`` in [0, 1].
        teacher: a `CAVGALocalizer` of the architecture in ``source``.
        source: its weights, see `load_model`, or ``"none"``.
        high: see `pseudo_mask`.
        low: see `pseudo_mask`.
        label_key: 0 or 1.
        mask_key: where the mask goes.
        fov_key: field of view ``(1, H, W)``, used where the item has it.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        *,
        teacher: nn.Module,
        source: str = "none",
        high: float = 0.5,
        low: float = 0.1,
        label_key: str = "label",
        mask_key: str = "mask",
        fov_key: str = "fov",
    ) -> None:
        super().__init__(keys)
        warm_start(teacher, source)
        self.teacher = None if source == "none" else teacher.eval()
        self.high, self.low = high, low
        self.label_key, self.mask_key, self.fov_key = label_key, mask_key, fov_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item, with a mask if it is anomalous."""
        item = dict(data)
        if self.teacher is None or int(item[self.label_key]) == 0:
            return item
        image = torch.as_tensor(item[self.first_key(item)]).as_subclass(torch.Tensor)
        with torch.no_grad():
            probability = self.teacher.anomaly_maps(image[None], ["class"])[0]  # type: ignore[operator]
        inside = torch.ones_like(probability, dtype=torch.bool)
        if self.fov_key in item:
            inside = torch.as_tensor(item[self.fov_key]).as_subclass(torch.Tensor) > 0.5
        mask = pseudo_mask(probability, inside, high=self.high, low=self.low)
        item[self.mask_key] = convert_to_dst_type(mask, item[self.first_key(item)], dtype=torch.float32)[0]
        return item
