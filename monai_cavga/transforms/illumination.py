"""What cameras and rooms change of a normal image: exposure, white balance, gamma and noise."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

__all__ = ["RandIlluminationd"]


class RandIlluminationd(RandomizableTransform, MapTransform):
    """Change exposure, colour balance and gamma, and add noise, within what photographs of one kind show.

    ``x -> clip(x^g * e * c) + n``, with log-normal gamma g, exposure e (both of ``strength``) and balance c for each
    channel (0.8 ``strength``); Gaussian noise of up to 0.02 in a third of the images. The result stays in [0, 1].

    Args:
        keys: images ``(C, H, W)`` in [0, 1].
        strength: standard deviation of the logarithms, >= 0.
        prob: probability for an image, in [0, 1].

    Raises:
        ValueError: if ``strength`` is negative.
    """

    def __init__(self, keys: KeysCollection = "image", *, strength: float = 0.15, prob: float = 1.0) -> None:
        if strength < 0:
            raise ValueError(f"strength is {strength}, expected >= 0: a standard deviation")
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.strength = strength

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with its images changed."""
        item = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return item
        for key in self.key_iterator(item):
            image = item[key]
            gamma, exposure = np.exp(self.R.normal(0, self.strength, 2))
            balance = np.exp(self.R.normal(0, 0.8 * self.strength, (image.shape[0], 1, 1))) * exposure
            noise = self.R.uniform(0, 0.02) if self.R.rand() < 1 / 3 else 0.0
            changed = image.clamp(min=1e-4) ** float(gamma)
            changed = changed * torch.as_tensor(balance, dtype=image.dtype, device=image.device)
            if noise:
                grain = self.R.normal(0, noise, tuple(image.shape))
                changed = changed + torch.as_tensor(grain, dtype=image.dtype, device=image.device)
            item[key] = changed.clamp(0, 1)
        return item
