"""A bundle's model on torch and MONAI: its inference config, fed with arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.utils import convert_to_dst_type

from monai_cavga.clinical.identity import identify
from monai_cavga.clinical.model import Array, ModelError, localisation, planes
from monai_cavga.clinical.records import Localisation, Source
from monai_cavga.clinical.resize import quick
from monai_cavga.metrics import image_score
from monai_cavga.transforms import FieldOfViewd, LoadRGBd

__all__ = ["TorchModel"]


class TorchModel:
    """A bundle's inference config, whose first transform (it reads a file) is replaced by the array.

    Args:
        bundle: folder with ``configs/inference.json``.
        overrides: config ids and their values.

    Raises:
        FileNotFoundError: if a file of the bundle does not exist.
        ValueError: if a file of the bundle is damaged or does not fit.
        ModelError: if the bundle does not read its images as the others do, or lacks an overridden id.
    """

    def __init__(self, bundle: Path, overrides: Mapping[str, str]) -> None:
        parser = ConfigParser()
        parser.read_config(str(bundle / "configs" / "inference.json"))
        parser["bundle_root"] = str(bundle)
        self._name = parser["maps"][0]
        for key, value in {**overrides, "maps": [self._name]}.items():
            if key not in parser:
                raise ModelError(f"{bundle} knows no {key}, expected it in its inference.json: leave --{key} out")
            parser[key] = value
        calibration = str(parser.get_parsed_content("calibration_file", default="none"))
        self._rule = parser.get_parsed_content("score_rule")
        self._by = identify(
            bundle,
            model_file=Path(str(parser.get_parsed_content("model_file"))),
            calibration_file=None if calibration == "none" else Path(calibration),
            score_rule=self._rule,
        )
        self.identity = self._by.identity
        first, *rest = parser.get_parsed_content("preprocessing").transforms
        if not isinstance(first, LoadRGBd):
            raise ModelError(f"{bundle} reads images with {type(first).__name__}, expected LoadRGBd as first transform")
        self.fundus = any(isinstance(each, FieldOfViewd) for each in rest)
        self._transforms = [quick(each) for each in rest]
        self._channels = first.channels
        self._postprocessing = parser.get_parsed_content("postprocessing")
        self._device = parser.get_parsed_content("device")
        self._network = parser.get_parsed_content("deployed").eval().to(self._device)
        self._inferer = parser.get_parsed_content("inferer")

    def localise(self, sources: Sequence[Source]) -> list[Localisation]:
        """See `monai_cavga.clinical.model.Model`."""
        items = [self._prepared(source) for source in sources]
        maps = self._maps(np.stack([np.asarray(item["image"], np.float32) for item in items]))
        found = []
        for source, item, one in zip(sources, items, maps, strict=True):
            # with the image's record of transforms: the way back to the source
            item["pred"] = convert_to_dst_type(torch.from_numpy(one), item["image"])[0]
            found.append(self._localisation(source, item))
        return found

    def _maps(self, batch: Array) -> Array:
        """On a CPU one image at a time: as fast, and bitwise the same in any batch, unlike a convolution of several."""
        images = torch.from_numpy(batch).to(self._device)
        with torch.inference_mode():
            parts = torch.split(images, 1 if images.device.type == "cpu" else len(images))
            found = torch.cat([self._inferer(part, self._network) for part in parts])
        return cast(Array, found.float().cpu().numpy())

    def _prepared(self, source: Source) -> dict[str, Any]:
        pixels = planes(source.pixels, self._channels)  # (C, H, W)
        meta = {"filename_or_obj": source.path.name, "spatial_shape": np.asarray(pixels.shape[1:])}
        item: dict[str, Any] = {"image": MetaTensor(torch.from_numpy(pixels), meta=meta)}
        for transform in self._transforms:
            item = transform(item)
        return item

    def _localisation(self, source: Source, item: dict[str, Any]) -> Localisation:
        ranked = image_score(item["pred"], fov=item.get("fov"), rule=self._rule)
        done = self._postprocessing(item)
        return localisation(
            source,
            by=self._by,
            name=self._name,
            values=np.asarray(done[self._name], np.float32)[0],
            fov=np.asarray(done["fov"])[0] if "fov" in done else None,
            score=float(done["score"]),
            ranked=ranked,
        )
