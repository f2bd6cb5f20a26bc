"""An elongated object on a plain background, always lying the same way: pose, alignment and the way back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import convert_to_dst_type, convert_to_numpy
from scipy import ndimage

from monai_cavga.transforms.defects import object_region

__all__ = ["AlignObjectd", "object_pose"]

_ELONGATED = 2.0  # how much longer than wide an object must be to have a direction
_END = 0.12  # share of the object that counts as one of its ends


def object_pose(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Where an elongated object lies: the matrix that brings positions of an aligned image to those of this one.

    The object is the largest piece of `object_region`. Aligned, its long axis is horizontal, its wider end on the right
    and the middle of its length in the middle of the image; scale and handedness stay.

    Args:
        image: ``(C, H, W)`` in [0, 1].

    Returns:
        ``(2, 3)``, float64: ``source = M[:, :2] @ aligned + M[:, 2]``, in (row, column) pixels; the identity where there
        is no object, or none with a direction (less than twice as long as wide).
    """
    identity = np.eye(2, 3)
    region = object_region(image)
    if region.all():
        return identity
    pieces, count = ndimage.label(region)
    if count > 1:
        region = pieces == 1 + np.argmax(ndimage.sum_labels(region, pieces, range(1, count + 1)))
    places = np.argwhere(region).astype(np.float64)
    centre = places.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((places - centre).T))
    if values[1] < _ELONGATED**2 * values[0]:
        return identity
    along, across = (places - centre) @ vectors[:, 1], np.abs((places - centre) @ vectors[:, 0])
    low, high = np.quantile(along, [_END, 1 - _END])
    wider_first = across[along <= low].mean() > across[along >= high].mean()
    axis = -vectors[:, 1] if wider_first else vectors[:, 1]
    middle = centre + vectors[:, 1] * (along.min() + along.max()) / 2
    turn = np.array([[axis[1], axis[0]], [-axis[0], axis[1]]])
    return np.column_stack([turn, middle - turn @ ((np.array(region.shape) - 1) / 2)])


class AlignObjectd(MapTransform, InvertibleTransform):
    """Turn and shift images so that their object lies as `object_pose` says; ``Invertd`` brings maps back.

    A map is 0 where the source reaches out of the aligned image: nothing was seen there. What normals have at a position (`monai_cavga.calibration`) then is what they have at a part of the object.

    Args:
        keys: images ``(C, H, W)``; the first gives the pose for all, and what is outside repeats the border.
        active: False leaves everything as it is: a bundle's switch.
    """

    def __init__(self, keys: KeysCollection = "image", *, active: bool = True) -> None:
        super().__init__(keys)
        self.active = active

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item, aligned."""
        item = dict(data)
        if not self.active:
            return item
        matrix = object_pose(np.asarray(convert_to_numpy(item[self.first_key(item)]), np.float32))
        for key in self.key_iterator(item):
            item[key] = _warp(item[key], matrix)
            if isinstance(item[key], MetaTensor):
                extra = {"matrix": matrix.tolist()}
                self.push_transform(item[key], extra_info=extra)  # type: ignore[no-untyped-call]
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put back, by each ``MetaTensor``'s own record."""
        item = dict(data)
        for key in self.key_iterator(item) if self.active else ():
            matrix = np.array(self.pop_transform(item[key])["extra_info"]["matrix"])
            turn = np.linalg.inv(matrix[:, :2])
            item[key] = _warp(item[key], np.column_stack([turn, -turn @ matrix[:, 2]]), outside="zeros")
        return item


def _warp(image: Any, matrix: npt.NDArray[np.float64], *, outside: str = "border") -> Any:
    """``(C, H, W)`` sampled (bilinear) at ``matrix`` of every position; the same type and meta data."""
    tensor = torch.as_tensor(image).as_subclass(torch.Tensor).float()
    size = torch.tensor(tensor.shape[1:], dtype=torch.float64)
    rows, columns = (torch.arange(s, dtype=torch.float64) for s in tensor.shape[1:])
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)  # (H, W, 2)
    source = places @ torch.from_numpy(matrix[:, :2]).T + torch.from_numpy(matrix[:, 2])
    grid = ((2 * source + 1) / size - 1).flip(-1)[None].float()  # (1, H, W, 2), x before y, edges at -1 and 1
    warped = F.grid_sample(tensor[None], grid, mode="bilinear", padding_mode=outside, align_corners=False)[0]
    return convert_to_dst_type(warped, image)[0]
