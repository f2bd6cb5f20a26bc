"""Made anomalies for training and calibration: MONAI dictionary transforms over `lesions` and `defects`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_numpy

from monai_cavga.data.read import read_image
from monai_cavga.transforms.defects import make_defects, object_region
from monai_cavga.transforms.keys import check_one_key
from monai_cavga.transforms.lesions import FundusScene, fundus_scene, paint_lesions

__all__ = ["ANOMALIES", "AnomalySite", "AnomalySited", "KnownMaskd", "MadeAnomaliesd"]

ANOMALIES = ("lesions", "defects")


@dataclass(frozen=True, eq=False)
class AnomalySite:
    """Where a normal image can be damaged: the scene of a fundus photograph, or the object of any other image."""

    scene: FundusScene | None
    region: npt.NDArray[np.bool_]  # (H, W)


class AnomalySited(MapTransform):
    """Measure once, before the cache, what `MadeAnomaliesd` needs to know of an image.

    Args:
        keys: the one image key, ``(C, H, W)`` in [0, 1].
        anomalies: ``"lesions"`` (fundus photographs, three channels) or ``"defects"``.
        fov_key: field of view ``(1, H, W)``, used where the item has it.
        site_key: where the result goes.

    Raises:
        ValueError: for an unknown kind, more than one image, or (when called) lesions on a grey image.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        *,
        anomalies: str = "lesions",
        fov_key: str = "fov",
        site_key: str = "site",
    ) -> None:
        super().__init__(keys)
        _check_kind(anomalies)
        check_one_key(self, "one image key")
        self.anomalies, self.fov_key, self.site_key = anomalies, fov_key, site_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the site added."""
        item = dict(data)
        image = np.asarray(convert_to_numpy(item[self.keys[0]]), np.float32)
        fov = _inside(item, self.fov_key, image)
        if self.anomalies == "lesions":
            if image.shape[0] != 3:
                raise ValueError(f"image has {image.shape[0]} channels, expected 3: lesions are painted in colour")
            item[self.site_key] = AnomalySite(fundus_scene(image, fov), fov)
        else:
            item[self.site_key] = AnomalySite(None, object_region(image) & fov)
        return item


class KnownMaskd(MapTransform):
    """Add the mask of what is known: 0 in the field of view of a normal image, -1 elsewhere and in anomalous images.

    Args:
        keys: the one image key, ``(C, H, W)``.
        mask_key: where the mask goes, ``(1, H, W)``, float32; a mask that is there already stays.
        fov_key: field of view ``(1, H, W)``, used where the item has it.
        label_key: 0 or 1.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        *,
        mask_key: str = "mask",
        fov_key: str = "fov",
        label_key: str = "label",
    ) -> None:
        super().__init__(keys)
        self.mask_key, self.fov_key, self.label_key = mask_key, fov_key, label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the mask added."""
        item = dict(data)
        if self.mask_key in item:
            return item
        image = item[self.first_key(item)]
        fov = _inside(item, self.fov_key, np.asarray(convert_to_numpy(image)))
        known = fov if int(item[self.label_key]) == 0 else np.zeros_like(fov)
        mask = np.where(known, 0, -1).astype(np.float32)[None]
        item[self.mask_key] = convert_to_dst_type(mask, image, dtype=torch.float32)[0]
        return item


class MadeAnomaliesd(RandomizableTransform, MapTransform):
    """Make some of the normal images anomalous: image, label and mask change together.

    Stands after `AnomalySited` and `KnownMaskd`; anomalous images pass unchanged. The site leaves the item.

    Args:
        keys: the one image key, ``(C, H, W)`` in [0, 1].
        prob: probability that a normal image becomes anomalous, in [0, 1].
        kinds: names in `lesions.KINDS` or `defects.DEFECTS`; all of the site's sort by default.
        donors: image files that `defects` take patches and textures from; the image itself, turned, without them.
        label_key: 0 or 1; becomes 1.
        mask_key: ``(1, H, W)``; becomes 1 where the anomaly is, 0 or -1 stay elsewhere.
        site_key: see `AnomalySited`.

    Raises:
        ValueError: if ``prob`` is outside [0, 1], or more than one image is named.
        ImageReadError: if a donor cannot be read (when called).
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        *,
        prob: float = 0.65,
        kinds: Sequence[str] | None = None,
        donors: Sequence[str] = (),
        label_key: str = "label",
        mask_key: str = "mask",
        site_key: str = "site",
    ) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"prob is {prob}, expected 0 to 1: the share of normal images that become anomalous")
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        check_one_key(self, "one image key")
        self.kinds = None if kinds is None else tuple(kinds)
        self.donors = list(donors)
        self.label_key, self.mask_key, self.site_key = label_key, mask_key, site_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item, with an anomaly or without."""
        item = dict(data)
        self.randomize(None)
        site = item.pop(self.site_key)
        if not self._do_transform or int(item[self.label_key]) != 0:
            return item
        key = self.keys[0]
        image = np.asarray(convert_to_numpy(item[key]), np.float32)
        if site.scene is not None:
            made, mask = paint_lesions(image, site.scene, self.R, **_given(self.kinds))
        else:
            made, mask = make_defects(image, self._donor(image), site.region, self.R, **_given(self.kinds))
        known = np.asarray(convert_to_numpy(item[self.mask_key]), np.float32)
        mask = mask & (known[0] >= 0)
        item[key] = convert_to_dst_type(made, item[key])[0]
        item[self.mask_key] = convert_to_dst_type(np.where(mask[None], 1, known), item[self.mask_key])[0]
        item[self.label_key] = int(mask.any())
        return item

    def _donor(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Another normal image at this one's size, or this one turned by half."""
        if not self.donors:
            return image[:, ::-1, ::-1]
        from monai.transforms import Resize

        path = self.donors[self.R.randint(len(self.donors))]
        pixels = read_image(path, channels=1 if len(image) == 1 else 3).transpose(2, 0, 1)
        resized = Resize(image.shape[1:], mode="bilinear", anti_aliasing=True)(
            torch.from_numpy(np.ascontiguousarray(pixels))
        )
        return np.asarray(convert_to_numpy(resized), np.float32)


def _given(kinds: tuple[str, ...] | None) -> dict[str, Any]:
    return {} if kinds is None else {"kinds": kinds}


def _inside(item: Mapping[Hashable, Any], fov_key: str, image: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if fov_key in item:
        return np.asarray(np.asarray(convert_to_numpy(item[fov_key]))[0] > 0.5)
    return np.ones(image.shape[1:], bool)


def _check_kind(anomalies: str) -> None:
    if anomalies not in ANOMALIES:
        raise ValueError(f"anomalies is {anomalies!r}, expected one of {', '.join(map(repr, ANOMALIES))}")
