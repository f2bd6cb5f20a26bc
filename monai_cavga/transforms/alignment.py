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
_ALIKE = 0.9  # ends of which the narrower is at least this share of the wider are the same


def object_pose(image: npt.NDArray[np.float32], *, shape: tuple[int, int] | None = None) -> npt.NDArray[np.float64]:
    """Where an elongated object lies: the matrix that brings positions of an aligned image to those of this one.

    The object is the largest piece of `object_region`. Aligned, its long axis is horizontal, its wider end on the right
    (with ends alike, the smaller turn is taken) and the middle of its length in the middle of the image; handedness
    and scale stay, and what is longer than the aligned image's side is cut.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        shape: ``(H, W)`` of the aligned image; this one's by default.

    Returns:
        ``(2, 3)``, float64: ``source = M[:, :2] @ aligned + M[:, 2]``, in (row, column) pixels; middle to
        middle, without a turn, where there is no object, or none with a direction (less than twice as long as wide).
    """
    centre, turn = (np.array(image.shape[1:]) - 1) / 2, np.eye(2)
    region = object_region(image)
    if not region.all():
        pieces, count = ndimage.label(region)
        if count > 1:
            region = pieces == 1 + np.argmax(ndimage.sum_labels(region, pieces, range(1, count + 1)))
        places = np.argwhere(region).astype(np.float64)
        values, vectors = np.linalg.eigh(np.cov((places - places.mean(axis=0)).T))
        if values[1] >= _ELONGATED**2 * values[0]:
            centre, axis = _middle_and_axis(places, vectors)
            turn = np.array([[axis[1], axis[0]], [-axis[0], axis[1]]])
    middle = (np.array(shape or image.shape[1:]) - 1) / 2
    return np.column_stack([turn, centre - turn @ middle])


def _middle_and_axis(
    places: npt.NDArray[np.float64], vectors: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The middle of an object's length and the direction, a unit vector, of its wider end."""
    axis = vectors[:, 1] if vectors[1, 1] >= 0 else -vectors[:, 1]  # to the right: the smaller turn
    centre = places.mean(axis=0)
    along, across = (places - centre) @ axis, np.abs((places - centre) @ vectors[:, 0])
    low, high = np.quantile(along, [_END, 1 - _END])
    left, right = across[along <= low].mean(), across[along >= high].mean()
    middle = centre + axis * (along.min() + along.max()) / 2
    return middle, -axis if right < _ALIKE * left else axis


class AlignObjectd(MapTransform, InvertibleTransform):
    """Turn and shift images so that their object lies as `object_pose` says; ``Invertd`` brings maps back.

    A map is 0 where the source reaches out of the aligned image: nothing was seen there. What normals have at a
    position (`monai_cavga.calibration`) then is what they have at a part of the object. For parts such as screws,
    photographed at any angle: on a texture, a long defect would be taken for the object.

    Args:
        keys: images ``(C, H, W)``, interpolated (no masks); the first gives the pose for all, and what is outside
            repeats the border.
        canvas: sides of the aligned image in those of the source, at least 1: the diagonal of a square source is 1.42.
        active: False leaves everything as it is: a bundle's switch.

    Raises:
        ValueError: if ``canvas`` is below 1.
    """

    def __init__(self, keys: KeysCollection = "image", *, canvas: float = 1.0, active: bool = True) -> None:
        super().__init__(keys)
        if canvas < 1:
            raise ValueError(f"canvas is {canvas}, expected at least 1, e.g. 1.25 for objects longer than a side")
        self.canvas, self.active = canvas, active

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item, aligned."""
        item = dict(data)
        if not self.active:
            return item
        image = np.asarray(convert_to_numpy(item[self.first_key(item)]), np.float32)
        height, width = image.shape[1:]
        shape = round(self.canvas * height), round(self.canvas * width)
        matrix = object_pose(image, shape=shape)
        for key in self.key_iterator(item):
            item[key] = _warp(item[key], matrix, shape=shape, outside="border")
            if isinstance(item[key], MetaTensor):
                extra = {"matrix": matrix.tolist(), "shape": [height, width]}
                self.push_transform(item[key], extra_info=extra)  # type: ignore[no-untyped-call]
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put back, by each ``MetaTensor``'s own record."""
        item = dict(data)
        for key in self.key_iterator(item) if self.active else ():
            record = self.pop_transform(item[key])["extra_info"]
            matrix = np.array(record["matrix"])
            turn = np.linalg.inv(matrix[:, :2])
            back = np.column_stack([turn, -turn @ matrix[:, 2]])
            item[key] = _warp(item[key], back, shape=tuple(record["shape"]), outside="zeros")
        return item


def _warp(image: Any, matrix: npt.NDArray[np.float64], *, shape: tuple[int, int], outside: str) -> Any:
    """``(C, h, w)`` sampled (bilinear) at ``matrix`` of every position of ``shape``; the same type and meta data."""
    tensor = torch.as_tensor(image).as_subclass(torch.Tensor).float()
    size = torch.tensor(tensor.shape[1:], dtype=torch.float64)
    rows, columns = (torch.arange(s, dtype=torch.float64) for s in shape)
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)  # (H, W, 2)
    source = places @ torch.from_numpy(matrix[:, :2]).T + torch.from_numpy(matrix[:, 2])
    grid = ((2 * source + 1) / size - 1).flip(-1)[None].to(tensor)  # (1, H, W, 2), x before y, edges at -1 and 1
    warped = F.grid_sample(tensor[None], grid, mode="bilinear", padding_mode=outside, align_corners=False)[0]
    return convert_to_dst_type(warped, image)[0]
