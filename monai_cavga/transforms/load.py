"""Reading images and masks inside a MONAI pipeline, rows as displayed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_numpy

from monai_cavga.data.read import read_image, read_mask, split_mask_files
from monai_cavga.transforms.keys import check_one_key

NORMAL, ANOMALOUS, IGNORED = 0, 1, -1


def anomaly_mask(
    mask_files: str, label: int, *, fov: npt.NDArray[np.bool_], level: float = 0.5, image_name: str = "the image"
) -> npt.NDArray[np.int8]:
    """The pixel labels of one image.

    Args:
        mask_files: mask paths joined by line breaks; their union is anomalous. "" for a normal image says that every
            pixel is normal, "" for an anomalous one that no pixel is labelled.
        label: 0 normal, 1 anomalous.
        fov: ``(H, W)``, True inside the field of view; its size is the source's.
        level: fraction of a mask file's full scale from which a pixel is anomalous, in (0, 1].
        image_name: for the error message.

    Returns:
        ``(H, W)``, int8: 1 anomalous, 0 normal, -1 ignored (outside the field of view, or not labelled).

    Raises:
        ValueError: if ``label`` is neither 0 nor 1, or a mask has another size than the image.
        ImageReadError: if a mask file cannot be read.
    """
    if label not in (0, 1):
        raise ValueError(
            f"label of {image_name} is {label}, expected 0 (normal) or 1 (anomalous): correct the data list"
        )
    files = split_mask_files(mask_files)
    anomalous = np.zeros(fov.shape, dtype=bool)
    for file in files:
        mask = read_mask(file, level=level)
        if mask.shape != fov.shape:
            raise ValueError(
                f"mask {file} is {mask.shape[0]} x {mask.shape[1]} (H x W), expected {fov.shape[0]} x {fov.shape[1]} "
                f"as {image_name}: replace the mask, or resample it to the image with nearest-neighbour interpolation"
            )
        anomalous |= mask.astype(bool)
    labels = anomalous.astype(np.int8)
    if label == 1 and not files:
        labels[:] = IGNORED
    labels[~fov] = IGNORED
    return labels


class LoadRGBd(MapTransform):
    """Replace image paths by ``MetaTensor`` images ``(C, H, W)``, float32, in [0, 1], rows as displayed.

    A path may also name one image of a file of many, see `monai_cavga.data.packed`.

    The meta data (``filename_or_obj``, ``spatial_shape``) lets ``Resized``, ``Invertd`` and ``SaveImage`` work. To
    write such an array as PNG or JPEG give the writer
    ``SaveImage(...).set_options(write_kwargs={"reverse_indexing": False})``, or MONAI transposes it.

    Args:
        keys: keys that hold paths.
        channels: 3 for RGB, 1 for grey; conversions as in :func:`monai_cavga.data.read.read_image`.
        allow_missing_keys: leave items without a key as they are.

    Raises:
        ImageReadError: if a file cannot be read.
    """

    def __init__(self, keys: KeysCollection, channels: Literal[1, 3] = 3, *, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with its images read."""
        item = dict(data)
        for key in self.key_iterator(item):
            path = str(item[key])
            pixels = read_image(path, channels=self.channels)  # (H, W, C)
            tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))  # (C, H, W)
            meta = {"filename_or_obj": path, "spatial_shape": np.asarray(pixels.shape[:2])}
            item[key] = MetaTensor(tensor, meta=meta)
        return item


class LoadMaskd(MapTransform):
    """Read the pixel labels of an evaluated image at its source size; stands after ``Invertd`` in postprocessing.

    The item's ``label`` and mask paths become ``(1, H, W)`` int8 labels: 1 anomalous, 0 normal, -1 ignored; see
    :func:`anomaly_mask`.

    Args:
        keys: the one key that holds mask paths joined by line breaks.
        mask_key: where the labels go.
        fov_key: field of view, ``(1, H, W)``, at source size. Without it in the item every pixel counts.
        reference_key: a map ``(1, H, W)`` at source size, which gives the size, type and device of the result.
        label_key: 0 or 1.
        image_key: the image whose file name stands in error messages.
        level: fraction of a mask file's full scale from which a pixel is anomalous, in (0, 1].

    Raises:
        ValueError: if ``keys`` names more than one key, or (when called) if field of view or a mask has another size
            than the reference, or the label is neither 0 nor 1.
        ImageReadError: if a mask file cannot be read.
    """

    def __init__(
        self,
        keys: KeysCollection = "mask_files",
        mask_key: str = "mask",
        *,
        fov_key: str = "fov",
        reference_key: str = "attention",
        label_key: str = "label",
        image_key: str = "image",
        level: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        check_one_key(self, "one key of mask paths")
        self.mask_key = mask_key
        self.fov_key = fov_key
        self.reference_key = reference_key
        self.label_key = label_key
        self.image_key = image_key
        self.level = level

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with ``mask_key`` added."""
        item = dict(data)
        for key in self.key_iterator(item):
            reference = item[self.reference_key]
            name = self._image_name(item)
            fov = self._field_of_view(item, size=tuple(reference.shape[-2:]), name=name)
            labels = anomaly_mask(str(item[key]), int(item[self.label_key]), fov=fov, level=self.level, image_name=name)
            item[self.mask_key] = convert_to_dst_type(labels[None], reference, dtype=torch.int8)[0]  # (1, H, W)
        return item

    def _field_of_view(self, item: dict[Hashable, Any], *, size: tuple[int, ...], name: str) -> npt.NDArray[np.bool_]:
        if self.fov_key not in item:
            return np.ones(size, dtype=bool)
        fov = np.asarray(convert_to_numpy(item[self.fov_key])).reshape(item[self.fov_key].shape[-2:]) > 0.5
        if fov.shape != size:
            raise ValueError(
                f"field of view of {name} is {fov.shape[0]} x {fov.shape[1]} (H x W), expected {size[0]} x {size[1]} "
                f"as its map {self.reference_key!r}: give both keys to Invertd"
            )
        return np.asarray(fov, dtype=bool)

    def _image_name(self, item: dict[Hashable, Any]) -> str:
        image = item.get(self.image_key)
        if isinstance(image, MetaTensor) and "filename_or_obj" in image.meta:
            return f"image {image.meta['filename_or_obj']}"
        return f"image {item.get('name', '(unnamed)')}"
