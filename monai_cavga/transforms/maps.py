"""From an inferer's stacked maps to named maps at the source's size, with their image score and pixel labels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import Compose, Invertd, InvertibleTransform, MapTransform

from monai_cavga.metrics.image import image_score
from monai_cavga.metrics.score import ScoreRule
from monai_cavga.transforms.keys import check_one_key
from monai_cavga.transforms.load import LoadMaskd

__all__ = ["ImageScored", "SplitMapsd", "source_maps"]


class SplitMapsd(MapTransform):
    """Give each map of an inferer's stack a key of its own.

    Args:
        keys: the one key of the stack ``(K, H, W)``.
        names: names in the order of the channels; a last one, ``"reconstruction"``, takes all channels that remain.

    Raises:
        ValueError: if ``keys`` names more than one stack, or (when called) the channels do not fit the names.
    """

    def __init__(self, keys: KeysCollection = "pred", *, names: Sequence[str]) -> None:
        super().__init__(keys)
        check_one_key(self, "one stack of maps")
        self.names = list(names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with one entry ``(1, H, W)`` for each map."""
        item = dict(data)
        stack = item[self.keys[0]]
        rest = bool(self.names) and self.names[-1] == "reconstruction"
        if len(stack) < len(self.names) or (len(stack) > len(self.names) and not rest):
            raise ValueError(
                f"{self.keys[0]} has {len(stack)} channels for the maps {self.names}: "
                "give SplitMapsd the names that the inferer was given"
            )
        for channel, name in enumerate(self.names):
            item[name] = stack[channel:] if name == "reconstruction" else stack[channel : channel + 1]
        return item


class ImageScored(MapTransform):
    """Add the image's score, one number from its map inside the field of view; higher = more anomalous.

    Args:
        keys: the one map ``(1, H, W)`` that scores.
        score_key: where the number goes.
        fov_key: field of view ``(1, H, W)``; without it in the item every pixel counts.
        rule: a quantile in [0, 1], "peaks" or None for the mean, see `monai_cavga.metrics.image_score`.

    Raises:
        ValueError: as `monai_cavga.metrics.image_score`, when called.
    """

    def __init__(
        self,
        keys: KeysCollection = "attention",
        *,
        score_key: str = "score",
        fov_key: str = "fov",
        rule: ScoreRule = 0.995,
    ) -> None:
        super().__init__(keys)
        self.score_key = score_key
        self.fov_key = fov_key
        self.rule = rule

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the score added."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[self.score_key] = image_score(item[key], fov=item.get(self.fov_key), rule=self.rule)
        return item


def source_maps(
    preprocessing: InvertibleTransform,
    names: Sequence[str] = ("attention", "residual"),
    *,
    rule: ScoreRule = 0.995,
    mask_level: float = 0.5,
    turned: bool = False,
) -> Compose:
    """The postprocessing of an evaluating or inferring engine, the same in every bundle.

    Brings maps and field of view back to the size of the source by the inverse of ``preprocessing``, names the maps,
    scores the image by the first, and reads the pixel labels where the data list has mask files.

    Args:
        preprocessing: the transform that made ``image`` and, where there is a field of view, ``fov`` of the item.
        names: the names that the inferer was given.
        rule: of the image score, see `ImageScored`.
        mask_level: fraction of full scale from which a mask's pixel is anomalous.
        turned: whether ``preprocessing`` turns or crops the image, not only resizes it: ``image`` is brought back too,
            for display under its maps; what the network did not see is black.
    """
    back = [Invertd("image", transform=preprocessing, nearest_interp=False, to_tensor=True)] if turned else []
    return Compose(
        [
            Invertd(
                keys=["pred", "fov"],
                transform=preprocessing,
                orig_keys="image",
                nearest_interp=[False, True],
                to_tensor=True,
                allow_missing_keys=True,  # images without a field of view have no such key
            ),
            *back,
            SplitMapsd("pred", names=names),
            ImageScored(names[0], rule=rule),
            LoadMaskd("mask_files", reference_key=names[0], level=mask_level, allow_missing_keys=True),
        ]
    )
