"""The deployable half of CAVGA: an image in, its anomaly maps out, in one exportable module."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_cavga.networks.cavga import CAVGA, MAP_NAMES
from monai_cavga.networks.latent_distance import LatentDistance

__all__ = ["CALIBRATED_MAPS", "CAVGALocalizer"]

CALIBRATED_MAPS = ("latent_distance", "fused")


class CAVGALocalizer(nn.Module):
    """Image to anomaly maps, without autograd: scriptable, traceable, exportable to ONNX.

    Beside the network's own maps (`CAVGA.anomaly_maps`) it knows two that need a calibration
    (`monai_cavga.calibration`): ``"latent_distance"``, and ``"fused"``, the weighted sum of the class logit and the
    latent distance, each less what training normals have at that position (dust on a camera's sensor, the rim of its
    field of view), centred and scaled by what is left on held-out normals (without a pyramid head the distance alone),
    through a sigmoid that is 0.5 at the calibrated threshold.
    Call ``.eval()`` first, as for any network with BatchNorm.

    Args:
        network: a CAVGA network; shared, not copied.
        maps: names of the maps, in the order of the output's channels.

    Raises:
        ValueError: if ``maps`` is empty or has an unknown name, or a name that the network cannot give.
    """

    def __init__(self, network: CAVGA, *, maps: Sequence[str] = ("attention", "residual")) -> None:
        super().__init__()
        known = [*MAP_NAMES, "relative_residual", "kl", "class", *CALIBRATED_MAPS]
        unknown = [name for name in maps if name not in known]
        if unknown or not maps:
            raise ValueError(f"maps is {list(maps)}, expected some of {known}")
        if "class" in maps and network.pyramid_classifier is None:
            raise ValueError("map 'class' needs a network with head='pyramid'")
        for name in ("residual", "relative_residual"):
            if name in maps and network.decoder is None:
                raise ValueError(f"map {name!r} needs a network with a decoder: pass decoder=True or leave it out")
        self.network = network
        self.maps: list[str] = list(maps)
        self.distance = LatentDistance(sum(network.encoder.pyramid_channels[:3]))
        # 'fused': class logit and latent distance, each less position and centre, over scale, times weight; summed.
        self.position: Tensor
        self.register_buffer("position", torch.zeros(2, 1, 1), persistent=False)
        self.centre: Tensor
        self.scale: Tensor
        self.weight: Tensor
        self.register_buffer("centre", torch.zeros(2), persistent=False)
        self.register_buffer("scale", torch.ones(2), persistent=False)
        weight = [0.0, 1.0] if network.pyramid_classifier is None else [1.0, 0.0]
        self.register_buffer("weight", torch.tensor(weight), persistent=False)
        self.threshold: Tensor
        self.register_buffer("threshold", torch.zeros(()), persistent=False)
        self.uses_distance: bool = True  # False where the calibration gives the distance no weight: it is not computed

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)`` in [0, 1] to ``(B, len(maps), H, W)``, float; higher = more anomalous."""
        return self.anomaly_maps(image, self.maps)

    def anomaly_maps(self, image: Tensor, names: list[str]) -> Tensor:
        """As `CAVGA.anomaly_maps`, for inferers to take either; ``latent_distance`` too has no upper end."""
        fused = "fused" in names
        needs_distance = "latent_distance" in names or (fused and self.uses_distance)
        pyramid = self.network.pyramid(image, all_stages=needs_distance)
        logit, distance = image, image
        if needs_distance:
            distance = self.distance(pyramid)
        has_class = self.network.pyramid_classifier is not None
        if has_class and (fused or "class" in names):
            logit = self.network.class_logit(pyramid)
        own: list[str] = []
        for name in names:
            if name != "latent_distance" and name != "fused" and not (name == "class" and has_class):
                own.append(name)
        found = image
        if len(own) > 0:
            found = self.network.maps_from(pyramid, image, own)  # together: it decodes once
        start = 0
        maps: list[Tensor] = []
        for name in names:
            if name == "latent_distance":
                maps.append(_as_large(distance, image))
            elif name == "fused" and not has_class:
                maps.append(_as_large(self.fuse(torch.zeros_like(distance), distance), image))
            elif name == "fused":
                maps.append(_as_large(self.fuse(logit, distance), image))
            elif name == "class" and has_class:
                maps.append(_as_large(torch.sigmoid(logit), image))
            else:
                channels = image.shape[1] if name == "reconstruction" else 1
                maps.append(found[:, start : start + channels])
                start += channels
        return torch.cat(maps, dim=1)

    def parts(self, pyramid: list[Tensor]) -> Tensor:
        """Class logit (0 without a head) and latent distance ``(B, 2, h, w)``, from features of all stages."""
        distance = self.distance(pyramid)
        logit = torch.zeros_like(distance)
        if self.network.pyramid_classifier is not None:
            logit = self.network.class_logit(pyramid)
        return _stack(logit, distance)

    def fuse(self, class_logit: Tensor, distance: Tensor) -> Tensor:
        """The two maps, each ``(B, 1, h, w)`` of its own size, to their calibrated sum in (0, 1) at the finer one's.

        Where ``uses_distance`` is False the second is not looked at.
        """
        parts = _stack(class_logit, distance) if self.uses_distance else class_logit
        weight = self.weight[: parts.shape[1], None, None]
        total = (self.standardised(parts) * weight).sum(dim=1, keepdim=True)
        return torch.sigmoid(2 * (total - self.threshold))

    def standardised(self, parts: Tensor) -> Tensor:
        """Class logit and latent distance ``(B, 2, h, w)``, or the first alone, less place and centre, over scale."""
        known = parts.shape[1]
        return (self.relative(parts) - self.centre[:known, None, None]) / self.scale[:known, None, None]

    def relative(self, parts: Tensor) -> Tensor:
        """Class logit and latent distance ``(B, 2, h, w)``, or the first alone, less what normals have there."""
        return parts - _as_large(self.position[None, : parts.shape[1]], parts)


def _stack(class_logit: Tensor, distance: Tensor) -> Tensor:
    return torch.cat([class_logit, _as_large(distance, class_logit)], dim=1)


def _as_large(small: Tensor, as_this: Tensor) -> Tensor:
    size = as_this.shape[-2:]
    return small if small.shape[-2:] == size else F.interpolate(small, size=size, mode="bilinear", align_corners=False)
