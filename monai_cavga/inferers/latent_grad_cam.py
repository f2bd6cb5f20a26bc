"""LatentGradCAMInferer: anomaly maps from the latent, inside any MONAI evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor, nn

from monai_cavga.attention import grad_cam, normalise_attention

__all__ = ["LatentGradCAMInferer"]


class LatentGradCAMInferer(Inferer):
    """Anomaly maps of a batch; works under ``no_grad`` as MONAI's evaluators set it.

    The result carries the input's meta data, so that ``Invertd`` brings each map back to its image's own size.

    Args:
        maps: names of the maps, see `CAVGA.anomaly_maps`; the order of the channels.
        method: ``"closed_form"`` calls the network's ``anomaly_maps``. ``"autograd"`` takes any network whose
            ``encode(image)`` gives ``(features, mean, ...)``, linear latent or not, and gives ``1 - A`` of
            ``sum(mean)`` by `grad_cam`; equal for CAVGA_u, slower, and for the map ``"attention"`` alone.

    Raises:
        ValueError: for an unknown method, or another map than attention with autograd.
    """

    def __init__(self, maps: Sequence[str] = ("attention",), *, method: str = "closed_form") -> None:
        super().__init__()
        if method not in ("closed_form", "autograd"):
            raise ValueError(f"method is {method!r}, expected 'closed_form' or 'autograd'")
        if method == "autograd" and list(maps) != ["attention"]:
            raise ValueError(f"maps is {list(maps)}, expected ['attention'] with method='autograd'")
        self.maps = list(maps)
        self.method = method

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """``(B, C, H, W)`` in [0, 1] to ``(B, len(maps), H, W)``; higher = more anomalous. In [0, 1] but
        ``kl``, ``relative_residual`` and ``latent_distance``, which are 0 or more.

        Raises:
            ValueError: as the network does, for an unknown map or a size that its stride does not divide.
        """
        image = torch.as_tensor(inputs).as_subclass(Tensor)
        result = network.anomaly_maps(image, self.maps) if self.method == "closed_form" else _autograd(image, network)
        maps: Tensor = convert_to_dst_type(result, inputs)[0]
        return maps


def _autograd(image: Tensor, network: nn.Module) -> Tensor:
    with torch.enable_grad():
        features, mean = network.encode(image.detach().requires_grad_())[:2]  # type: ignore[operator]
        attention = normalise_attention(grad_cam(mean.flatten(1).sum(dim=1), features))
    return F.interpolate(1 - attention.detach(), size=image.shape[-2:], mode="bilinear", align_corners=False)
