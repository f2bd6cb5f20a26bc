"""From a bundle folder to what is exported: its graph, its description, and what the bundle itself would say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCropd, Compose, Invertd, Resized
from monai.utils import convert_to_dst_type
from torch import Tensor

from monai_cavga import __version__
from monai_cavga.bundle import BundleDirectoryWorkflow
from monai_cavga.export.graph import DeployedGraph
from monai_cavga.handlers.files import NOTICE
from monai_cavga.transforms import AlignObjectd, FieldOfViewd, LoadRGBd

__all__ = ["Deployed", "ExportError", "deploy"]

_UNBOUNDED = ("latent_distance", "kl")


class ExportError(ValueError):
    """A bundle that cannot be exported, or an export that is not what the bundle computes."""


class Deployed(NamedTuple):
    """A bundle's model, ready to be written."""

    graph: DeployedGraph
    description: dict[str, Any]
    preprocessing: Compose  # what follows the reading of the file

    @torch.no_grad()
    def expected(self, images: Tensor) -> Tensor:
        """The bundle's own answer, image by image, by MONAI's transforms and their inverse.

        Args:
            images: ``(B, C, H, W)``, float in [0, 1].

        Returns:
            ``(B, K, H, W)``, float in [0, 1].
        """
        return torch.stack([self._expected_of_one(image) for image in images])

    def _expected_of_one(self, image: Tensor) -> Tensor:
        localizer = self.graph.localizer
        item = dict(self.preprocessing({"image": MetaTensor(image, meta={"spatial_shape": list(image.shape[1:])})}))
        item["pred"] = convert_to_dst_type(localizer(item["image"].as_tensor()[None])[0], item["image"])[0]
        back = Invertd("pred", transform=self.preprocessing, orig_keys="image", nearest_interp=False, to_tensor=True)
        maps = torch.as_tensor(back(item)["pred"]).as_subclass(Tensor)
        return ((maps - self.graph.low) / self.graph.span).clamp(0, 1)


def deploy(folder: Path, overrides: Mapping[str, Any]) -> Deployed:
    """Read a bundle's inference config, weights and calibration.

    Args:
        folder: the bundle.
        overrides: config ids and their values, as for ``run inference``.

    Raises:
        ExportError: if the preprocessing has a step that a graph does not hold, or a map without an upper end has no
            scale.
        FileNotFoundError: if the bundle has no inference config.
        ValueError: for an override that names nothing, or weights or a calibration that do not fit.
    """
    workflow = BundleDirectoryWorkflow(folder, run_id="inference", logging_file=False, **overrides)
    workflow.initialize()
    parser = workflow.parser
    localizer = parser.get_parsed_content("deployed").cpu().eval()
    rest = _after_reading(parser.get_parsed_content("preprocessing").transforms)
    image_size, roi_size = _sizes(rest)
    scales = _scales(parser)
    for name in localizer.maps:
        if name in _UNBOUNDED and name not in scales:
            raise ExportError(
                f"map {name!r} has no upper end and the bundle no scale for it, expected one in the scales of its "
                "LocalisationHandler: add it, or leave the map out with --maps"
            )
    graph = DeployedGraph(localizer, image_size=image_size, roi_size=roi_size, scales=scales).eval()
    meta = parser.get("_meta_", {})
    description = {
        "bundle": meta.get("name", folder.name),
        "bundle_version": meta.get("version", ""),
        "monai_cavga": __version__,
        "input": "image: (B, C, H, W), float32 in [0, 1], rows as displayed; any B, H and W",
        "output": "maps: (B, K, H, W), float32 in [0, 1]; higher = more anomalous",
        "channels": localizer.network.in_channels,
        "image_size": list(image_size),
        "maps": list(localizer.maps),
        "scales": {name: list(scales.get(name, (0, 1))) for name in localizer.maps},
        "image_quantile": parser.get_parsed_content("image_quantile"),
        "weights_sha256": _digest(parser.get_parsed_content("model_file")),
        "calibration_sha256": _digest(parser.get_parsed_content("calibration_file", default="none")),
        "notice": NOTICE,
    }
    return Deployed(graph, description, Compose(rest))


def _after_reading(transforms: Sequence[Any]) -> list[Any]:
    if not transforms or not isinstance(transforms[0], LoadRGBd):
        raise ExportError("preprocessing does not begin with LoadRGBd, expected it first: put it there")
    return list(transforms[1:])


def _sizes(transforms: Sequence[Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size that pictures are brought to and the size of the middle that the network sees.

    The field of view is looked for outside the graph, and changes no pixel.
    """
    resized: tuple[int, int] | None = None
    roi: tuple[int, int] | None = None
    for each in transforms:
        if isinstance(each, FieldOfViewd) or (isinstance(each, AlignObjectd) and not each.active):
            continue
        if isinstance(each, Resized) and resized is None and _as_ours(each):
            resized = _pair(each.resizer.spatial_size)
        elif isinstance(each, CenterSpatialCropd) and resized is not None and roi is None:
            roi = _pair(each.cropper.roi_size)  # type: ignore[attr-defined]  # CenterSpatialCrop
        else:
            raise ExportError(
                f"preprocessing has {type(each).__name__}, expected one bilinear Resized with anti_aliasing, then a "
                "CenterSpatialCropd at most: a graph holds nothing else (--align false where the bundle has it)"
            )
    if resized is None:
        raise ExportError("preprocessing has no Resized, expected one: a graph needs the network's size")
    return resized, roi or resized


def _pair(size: Any) -> tuple[int, int]:
    height, width = size
    return int(height), int(width)


def _as_ours(resize: Resized) -> bool:
    return set(resize.mode) == {"bilinear"} and set(resize.anti_aliasing) == {True} and not any(resize.align_corners)


def _scales(parser: Any) -> dict[str, Sequence[float]]:
    """The scales on which the bundle writes its maps."""
    for number, handler in enumerate(parser.get("handlers", [])):
        if str(handler.get("_target_", "")).endswith("LocalisationHandler") and "scales" in handler:
            return dict(parser.get_parsed_content(f"handlers::{number}::scales"))
    return {}


def _digest(path: object) -> str | None:
    return None if path == "none" else hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()
