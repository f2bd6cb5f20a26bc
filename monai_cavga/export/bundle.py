"""From a bundle folder to what is exported: its graph, its description, and what the bundle itself would say."""

from __future__ import annotations

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
from monai_cavga.bundle.directory import read_configs
from monai_cavga.export.graph import DeployedGraph
from monai_cavga.handlers.files import NOTICE, calibration_sha256, file_sha256, scores_of_normals
from monai_cavga.metrics.score import ScoreRule
from monai_cavga.transforms import AlignObjectd, FieldOfViewd, LoadRGBd

__all__ = ["Deployed", "ExportError", "deploy"]

_UNBOUNDED = ("latent_distance", "kl", "relative_residual")


class ExportError(ValueError):
    """A bundle that cannot be exported, or an export that is not what the bundle computes."""


class Deployed(NamedTuple):
    """A bundle's model, ready to be written."""

    graph: DeployedGraph
    description: dict[str, Any]
    preprocessing: Compose  # what follows the reading of the file

    @torch.no_grad()
    def expected(self, images: Tensor) -> list[Tensor]:
        """The bundle's own answer, image by image, by MONAI's transforms and their inverse.

        Args:
            images: ``(B, C, H, W)``, float in [0, 1].

        Returns:
            What `DeployedGraph` returns.
        """
        found = [self._expected_of_one(image) for image in images]
        return [torch.stack(each) for each in zip(*found, strict=True)]

    def _expected_of_one(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        item = dict(self.preprocessing({"image": MetaTensor(image, meta={"spatial_shape": list(image.shape[1:])})}))
        seen = item["image"].as_tensor()
        maps = self.graph.localizer(seen[None])[0]
        item["pred"] = convert_to_dst_type(maps, item["image"])[0]
        back = Invertd("pred", transform=self.preprocessing, orig_keys="image", nearest_interp=False, to_tensor=True)
        at_source = torch.as_tensor(back(item)["pred"]).as_subclass(Tensor)
        return self.graph.scaled(at_source), seen, self.graph.scaled(maps)


def deploy(folder: Path, overrides: Mapping[str, Any]) -> Deployed:
    """Read a bundle's inference config, weights and calibration.

    Args:
        folder: the bundle.
        overrides: config ids and their values, as for ``run inference``.

    Raises:
        ExportError: if the preprocessing has a step that a graph does not hold, or a map without an upper end has no
            scale.
        FileNotFoundError: if the bundle has no inference config, or a file is missing that it names.
        ValueError: for an override that names nothing, or weights or a calibration that do not fit.
    """
    workflow = BundleDirectoryWorkflow(folder, run_id="inference", logging_file=False, **overrides)
    workflow.initialize()
    parser = workflow.parser
    localizer = parser.get_parsed_content("deployed").cpu().eval()
    rest = _after_reading(parser.get_parsed_content("preprocessing").transforms)
    steps = _steps(rest)
    scales = _scales(parser)
    for name in localizer.maps:
        if name in _UNBOUNDED and name not in scales:
            raise ExportError(
                f"map {name!r} has no upper end and the bundle no scale for it, expected one in the scales of its "
                "LocalisationHandler: add it, or leave the map out with --maps"
            )
    graph = DeployedGraph(localizer, image_size=steps.image_size, roi_size=steps.roi_size, scales=scales).eval()
    model_file = Path(str(parser.get_parsed_content("model_file")))
    calibration = str(parser.get_parsed_content("calibration_file", default="none"))
    calibration_file = None if calibration == "none" else Path(calibration)
    meta = parser.get("_meta_", {})
    description = {
        "bundle": meta.get("name", folder.resolve().name),
        "bundle_version": meta.get("version", ""),
        "monai_cavga": __version__,
        "input": "image: (B, C, H, W), float32 in [0, 1], rows as displayed; any B, H and W",
        "output": "maps: (B, K, H, W), float32 in [0, 1]; higher = more anomalous; then, at the network's size, "
        "network_image: (B, C, h, w) and network_maps: (B, K, h, w)",
        "channels": localizer.network.in_channels,
        "image_size": list(steps.image_size),
        "field_of_view": steps.field_of_view,
        "maps": list(localizer.maps),
        "scales": {name: list(scales.get(name, (0, 1))) for name in localizer.maps},
        "score_rule": parser.get_parsed_content("score_rule"),
        "model_file": model_file.name,
        "model_sha256": file_sha256(model_file),
        "calibration_file": None if calibration_file is None else calibration_file.name,
        "calibration_sha256": None if calibration_file is None else calibration_sha256(calibration_file),
        **_of_normals(calibration_file, score_rule=parser.get_parsed_content("score_rule")),
        "notice": NOTICE,
    }
    return Deployed(graph, description, Compose(rest))


def _after_reading(transforms: Sequence[Any]) -> list[Any]:
    if not transforms or not isinstance(transforms[0], LoadRGBd):
        raise ExportError("preprocessing does not begin with LoadRGBd, expected it first: put it there")
    return list(transforms[1:])


class _Steps(NamedTuple):
    """The size that pictures are brought to, that of the middle that the network sees, and whether they are fundi."""

    image_size: tuple[int, int]
    roi_size: tuple[int, int]
    field_of_view: bool


def _steps(transforms: Sequence[Any]) -> _Steps:
    """The field of view is looked for outside the graph, in what the network sees, and changes no pixel."""
    resized: tuple[int, int] | None = None
    roi: tuple[int, int] | None = None
    field_of_view = False
    for each in transforms:
        if isinstance(each, AlignObjectd) and not each.active:
            continue
        if isinstance(each, Resized) and resized is None and _as_ours(each):
            resized = _pair(each.resizer.spatial_size)
        elif isinstance(each, CenterSpatialCropd) and resized is not None and roi is None and not field_of_view:
            roi = _pair(each.cropper.roi_size)  # type: ignore[attr-defined]  # CenterSpatialCrop
        elif isinstance(each, FieldOfViewd) and resized is not None and roi is None:
            field_of_view = True
        else:
            raise ExportError(
                f"preprocessing has {type(each).__name__}, expected one bilinear Resized with anti_aliasing, then a "
                "CenterSpatialCropd or a FieldOfViewd at most: a graph holds nothing else (--align false where the "
                "bundle has it)"
            )
    if resized is None:
        raise ExportError("preprocessing has no Resized, expected one: a graph needs the network's size")
    return _Steps(resized, roi or resized, field_of_view)


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


def _of_normals(calibration_file: Path | None, *, score_rule: ScoreRule) -> dict[str, Any]:
    """What the calibration's own description says of the normals behind threshold and percentile."""
    file = calibration_file and calibration_file.with_suffix(".json")
    told = read_configs([file]) if file and file.is_file() else {}
    known = {key: told.get(key) for key in ("false_positive_rate", "n_normal")}
    return {**known, "image_scores_of_normals": scores_of_normals(told, score_rule=score_rule)}
