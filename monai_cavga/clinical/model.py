"""A bundle's model for the clinical commands: arrays in, the maps of `run inference` at the sources' size out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from monai_cavga.clinical.identity import identify, percentile
from monai_cavga.clinical.records import Localisation, ModelIdentity, Source

__all__ = ["BACKENDS", "Backend", "Model", "ModelError", "load_model"]

BackendName = Literal["torch"]
BACKENDS: tuple[BackendName, ...] = ("torch",)
Array = npt.NDArray[np.float32]


class ModelError(ValueError):
    """A bundle whose model cannot localise for the clinical commands."""


class Backend(Protocol):
    """What runs the network."""

    def maps(self, batch: Array) -> Array:
        """``(B, C, H, W)`` float32 in [0, 1], at the network's size, to the first map ``(B, 1, H, W)`` in [0, 1]."""


class Model(Protocol):
    """What `monai_cavga.clinical.localize` needs of a model."""

    identity: ModelIdentity
    fundus: bool
    """Whether it is for fundus photographs, so that the quality gate applies."""
    options: str
    """What else decides about a map: a hash of the config."""

    def localise(self, sources: Sequence[Source]) -> list[Localisation]:
        """One localisation for each source; on a CPU bitwise the same alone or in any company."""


def load_model(
    bundle: Path, *, model_file: Path | None = None, calibration_file: Path | None = None, backend: str = "torch"
) -> Model:
    """Load a bundle's model.

    Args:
        bundle: folder with ``configs/inference.json``.
        model_file: weights, in place of the bundle's own.
        calibration_file: calibration, in place of the bundle's own.
        backend: one of `BACKENDS`.

    Raises:
        FileNotFoundError: if the bundle, or a file of it, does not exist.
        ModelError: if the bundle does not read its images as the others do, or for another backend.
    """
    from monai_cavga.bundle.directory import folder_problem

    if backend not in BACKENDS:
        raise ModelError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    if problem := folder_problem(bundle, "inference"):
        raise FileNotFoundError(problem)
    overrides = {"model_file": model_file, "calibration_file": calibration_file}
    return _TorchModel(bundle, {key: str(value) for key, value in overrides.items() if value is not None})


class _TorchModel:
    """A bundle's inference config, whose first transform (it reads a file) is replaced by the array."""

    def __init__(self, bundle: Path, overrides: Mapping[str, str]) -> None:
        from monai.bundle import ConfigParser

        from monai_cavga.transforms import FieldOfViewd, LoadRGBd

        parser = ConfigParser()
        parser.read_config(str(bundle / "configs" / "inference.json"))
        parser["bundle_root"] = str(bundle)
        names = parser["maps"]
        for key, value in {**overrides, "maps": names[:1]}.items():
            if key not in parser:
                raise ModelError(f"{bundle} knows no {key}, expected it in its inference.json: leave --{key} out")
            parser[key] = value
        has_calibration = "calibration_file" in parser
        calibration = str(parser.get_parsed_content("calibration_file")) if has_calibration else "none"
        calibrated = identify(
            bundle,
            model_file=Path(str(parser.get_parsed_content("model_file"))),
            calibration_file=None if calibration == "none" else Path(calibration),
        )
        self.identity = calibrated.identity
        self._normal_scores = calibrated.normal_scores if names[0] == "fused" else ()  # they are scores of that map
        preprocessing = parser.get_parsed_content("preprocessing")
        first, *self._transforms = preprocessing.transforms
        if not isinstance(first, LoadRGBd):
            raise ModelError(f"{bundle} reads images with {type(first).__name__}, expected LoadRGBd as first transform")
        self.fundus = any(isinstance(each, FieldOfViewd) for each in self._transforms)
        self.options = _digest(bundle / "configs" / "inference.json")
        self._channels = first.channels
        self._quantile = parser.get_parsed_content("image_quantile")
        self._name = names[0]
        self._postprocessing = parser.get_parsed_content("postprocessing")
        network = parser.get_parsed_content("deployed").eval()
        device = parser.get_parsed_content("device")
        self.backend: Backend = _TorchBackend(network.to(device), parser.get_parsed_content("inferer"), device)

    def localise(self, sources: Sequence[Source]) -> list[Localisation]:
        import torch
        from monai.utils import convert_to_dst_type

        items = [self._prepared(source) for source in sources]
        maps = self.backend.maps(np.stack([np.asarray(item["image"], np.float32) for item in items]))
        found = []
        for source, item, one in zip(sources, items, maps, strict=True):
            # with the image's record of transforms: the way back to the source
            item["pred"] = convert_to_dst_type(torch.from_numpy(one), item["image"])[0]
            found.append(self._localisation(source, item))
        return found

    def _prepared(self, source: Source) -> dict[str, Any]:
        import torch
        from monai.data import MetaTensor

        planes = np.ascontiguousarray(_channels(source.pixels, self._channels).transpose(2, 0, 1))  # (C, H, W)
        meta = {"filename_or_obj": source.path.name, "spatial_shape": np.asarray(planes.shape[1:])}
        item: dict[str, Any] = {"image": MetaTensor(torch.from_numpy(planes), meta=meta)}
        for transform in self._transforms:
            item = transform(item)
        return item

    def _localisation(self, source: Source, item: dict[str, Any]) -> Localisation:
        from monai_cavga.metrics import image_score

        fov = item.get("fov")
        ranked = image_score(item["pred"], fov=fov, quantile=self._quantile)  # at the size the normals were ranked at
        done = self._postprocessing(item)
        values = np.asarray(done[self._name], np.float32)[0]
        size = source.pixels.shape[:2]
        if values.shape != size or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise ModelError(
                f"map {self._name!r} is {values.shape} with values from {values.min():g} to {values.max():g}, expected "
                f"{size} and [0, 1]: name a calibrated map, such as 'fused', first in the bundle's maps"
            )
        inside = np.asarray(done["fov"])[0] > 0 if "fov" in done else np.ones(size, bool)
        return Localisation(
            source=source,
            model=self.identity,
            map=np.where(inside, values, np.float32(0)),
            fov=inside,
            score=float(done["score"]),
            percentile=percentile(float(ranked), self._normal_scores),
        )


class _TorchBackend:
    """On a CPU one image at a time: as fast, and bitwise the same in any batch, unlike a convolution of several."""

    def __init__(self, network: Any, inferer: Any, device: Any) -> None:
        self._network, self._inferer, self._device = network, inferer, device

    def maps(self, batch: Array) -> Array:
        import torch

        images = torch.from_numpy(batch).to(self._device)
        with torch.inference_mode():
            parts = torch.split(images, 1 if images.device.type == "cpu" else len(images))
            found = torch.cat([self._inferer(part, self._network) for part in parts])
        return cast(Array, found.float().cpu().numpy())


def _channels(pixels: Array, number: int) -> Array:
    """Colour as it is, or what `monai_cavga.data.read_image` gives for one channel: luminance of 8 bits."""
    from PIL import Image

    if number == 3:
        return pixels
    if (pixels == pixels[..., :1]).all():
        return pixels[..., :1]
    grey = Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).convert("L")
    return (np.asarray(grey, np.float32) / np.float32(255))[..., None]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
