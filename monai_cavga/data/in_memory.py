"""A data set of small images kept as one tensor, for networks that loading image by image would hold up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_cavga.data.resumable import seed_words


class InMemoryDataset(Dataset[Any]):
    """Read and transform every image once; a sample is then a slice, flipped or not as (seed, epoch, index) decide.

    Takes the codes of `ResumableSampler`, as `SeededDataset` does, but the only augmentation is a horizontal flip.
    Memory: 4 bytes per value, 24 MB for 6,000 grey images of 32 x 32.

    Args:
        data: items with ``image`` and ``label``.
        transform: deterministic, item to item; its ``image`` is ``(C, H, W)`` of one size for all.
        flip_probability: of a horizontal flip, in [0, 1].
        seed: of the flips.

    Raises:
        ValueError: if there is no item, sizes differ or ``flip_probability`` is outside [0, 1].
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        *,
        flip_probability: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not 0 <= flip_probability <= 1:
            raise ValueError(f"flip_probability is {flip_probability}, expected [0, 1]: 0 for none, 0.5 for half")
        if not data:
            raise ValueError("data is empty, expected at least one item: check the data list")
        self.data = data
        self.flip_probability = flip_probability
        self.seed = seed
        read = [torch.as_tensor(transform(item)["image"]).as_subclass(Tensor) for item in data]
        sizes = sorted({tuple(image.shape) for image in read})
        if len(sizes) > 1:
            raise ValueError(f"images have the shapes {sizes}, expected one: resize them (Resized) in transform")
        self.images = torch.stack(read)  # (N, C, H, W)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, encoded: int) -> dict[str, Any]:
        """Return the sample of a code made by `ResumableSampler`; a plain index means epoch 0.

        Raises:
            IndexError: if the code is negative.
        """
        if encoded < 0:
            raise IndexError(
                f"code is {encoded}, expected epoch * {len(self)} + index: negative indices mean nothing here"
            )
        epoch, index = divmod(int(encoded), len(self))
        image = self.images[index]
        if self.flip_probability and self._draw(epoch, index) < self.flip_probability:
            image = image.flip(-1)
        return {"image": image, "label": self.data[index]["label"], "name": self.data[index]["name"]}

    def _draw(self, epoch: int, index: int) -> float:
        return float(seed_words(self.seed, epoch, index)[0]) / 2**32
