"""TiledMapsInferer: anomaly maps of images that are too large for one pass, from overlapping tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.inferers import Inferer, sliding_window_inference
from monai.utils import convert_to_dst_type
from torch import Tensor

from monai_cavga.networks import CAVGA, CAVGALocalizer
from monai_cavga.networks.cavga import check_image_size

__all__ = ["TILED_MAPS", "TiledMapsInferer"]

TILED_MAPS = ("fused", "class", "latent_distance")
_Parts = Callable[[Tensor], tuple[Tensor, ...]]


class TiledMapsInferer(Inferer):
    """Anomaly maps from overlapping tiles; memory of the network's features is that of ``sw_batch_size`` tiles.

    Tiles give what is local and has one scale for all of them: the class logit at stride 4 and the latent distance at
    stride 8, blended with Gaussian weights (MONAI's ``sliding_window_inference``). What belongs to the whole image
    follows once, on the whole image: the calibrated sum with its map of positions, the sigmoid, the interpolation to
    the image's size. So a tile that covers the image gives what `LatentGradCAMInferer` gives, up to rounding.

    With several tiles the maps differ from those of one pass within the encoder's reach of a tile's inner border, where
    zeros stand in place of the neighbour. Overlap and weights lessen this without removing it: take tiles as large as
    memory allows. Further away, and at the image's own border, they are equal.

    Args:
        maps: some of ``"fused"``, ``"class"``, ``"latent_distance"``, see `CAVGALocalizer`; the order of the channels.
            ``"attention"`` and ``"residual"`` have no tiles: attention is divided by its image's own maximum, and the
            decoder sees a tile as an image of its own.
        roi_size: ``(H, W)`` of a tile in pixels, or one number for both; multiples of the network's stride. A side
            longer than the image's is cut to it.
        overlap: of neighbouring tiles, share of a side in [0, 1); rounded so that tiles start on the stride's grid.
        sw_batch_size: tiles in one pass.

    Raises:
        ValueError: for no map or one that tiles cannot give, or a size, overlap or number outside its range.
    """

    def __init__(
        self, maps: Sequence[str], roi_size: int | Sequence[int], *, overlap: float = 0.25, sw_batch_size: int = 4
    ) -> None:
        super().__init__()
        names = [maps] if isinstance(maps, str) else list(maps)
        if not names or any(name not in TILED_MAPS for name in names):
            raise ValueError(
                f"maps is {names}, expected some of {list(TILED_MAPS)}: maps that are scaled by the image's own "
                "values, as 'attention', or reconstruct it, as 'residual', need one pass (LatentGradCAMInferer)"
            )
        size = [roi_size] * 2 if isinstance(roi_size, int) else list(roi_size)
        if len(size) != 2 or any(side < 1 for side in size):
            raise ValueError(f"roi_size is {roi_size}, expected (H, W) of a tile in pixels, e.g. (1024, 1024)")
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap is {overlap}, expected a share of the tile's side in [0, 1), e.g. 0.25")
        if sw_batch_size < 1:
            raise ValueError(f"sw_batch_size is {sw_batch_size}, expected at least 1 tile in a pass, e.g. 4")
        self.maps = names
        self.roi_size = (size[0], size[1])
        self.overlap = overlap
        self.sw_batch_size = sw_batch_size

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """``(B, C, H, W)`` in [0, 1] to ``(B, len(maps), H, W)`` float; higher = more anomalous.

        All are in [0, 1] but ``latent_distance``, which is >= 0. The result carries the input's meta data. As with
        MONAI's other inferers, call it without gradients and with the network in evaluation.

        Args:
            inputs: images, all of one size.
            network: a `CAVGALocalizer`; for ``"class"`` alone a `CAVGA` will do.

        Raises:
            TypeError: for another network.
            ValueError: for a map that needs a localiser or a pyramid head where there is none, another number of
                channels, or a tile or image that the stride does not divide.
        """
        image = torch.as_tensor(inputs).as_subclass(Tensor)
        result = self._maps(image, network)
        maps: Tensor = convert_to_dst_type(result, inputs)[0]
        return maps

    def _maps(self, image: Tensor, network: Any) -> Tensor:
        net = self._checked(network)
        fuses = "fused" in self.maps
        with_class = "class" in self.maps or (fuses and net.pyramid_classifier is not None)
        with_distance = "latent_distance" in self.maps or (fuses and (network.uses_distance or not with_class))

        def parts(tile: Tensor) -> tuple[Tensor, ...]:
            pyramid = net.encoder.pyramid(tile)
            logit = [net.class_logit(pyramid)] if with_class else []  # (T, 1, h/4, w/4)
            return *logit, *([network.distance(pyramid)] if with_distance else [])  # (T, 1, h/8, w/8)

        whole = self._blended(image, parts, net)
        logit = whole[0] if with_class else torch.zeros_like(whole[-1])
        distance = whole[-1] if with_distance else torch.zeros_like(logit)
        maps = []
        for name in self.maps:
            small = distance if name == "latent_distance" else torch.sigmoid(logit)
            if name == "fused":
                small = network.fuse(logit, distance)
            maps.append(F.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False))
        return torch.cat(maps, dim=1)

    def _checked(self, network: Any) -> CAVGA:
        """The network whose features the maps come from."""
        net = network.network if isinstance(network, CAVGALocalizer) else network
        if not isinstance(net, CAVGA):
            raise TypeError(f"network is {type(network).__name__}, expected CAVGALocalizer, or CAVGA for 'class'")
        calibrated = [name for name in self.maps if name != "class"]
        if net is network and calibrated:
            raise ValueError(f"network is CAVGA, but maps {calibrated} are CAVGALocalizer's: wrap it and calibrate it")
        if "class" in self.maps and net.pyramid_classifier is None:
            raise ValueError("map 'class' needs a network with head='pyramid'")
        return net

    def _blended(self, image: Tensor, parts: _Parts, net: CAVGA) -> tuple[Tensor, ...]:
        """``parts`` of the whole image; tiles start on the grid of the network's stride."""
        if image.ndim != 4 or image.shape[1] != net.in_channels:
            raise ValueError(
                f"image has shape {tuple(image.shape)}, expected (B, {net.in_channels}, H, W): "
                "convert it (LoadRGBd's channels) or build the network with its in_channels"
            )
        (height, width), stride = image.shape[-2:], net.stride
        check_image_size(height, width, stride=stride)
        tile = (min(self.roi_size[0], height), min(self.roi_size[1], width))
        if any(side % stride for side in tile):
            down = [max(side // stride, 1) * stride for side in self.roi_size]
            raise ValueError(
                f"roi_size is {self.roi_size}, expected multiples of {stride}: e.g. ({down[0]}, {down[1]})"
            )
        steps = [max(round(side * (1 - self.overlap)) // stride, 1) * stride for side in tile]
        # half a pixel more, so that MONAI's rounding down of side * (1 - overlap) gives the step itself
        overlap = [max(1 - (step + 0.5) / side, 0.0) for step, side in zip(steps, tile, strict=True)]
        blended = sliding_window_inference(
            image, tile, self.sw_batch_size, parts, overlap=overlap, mode="gaussian", progress=False
        )
        return (blended,) if isinstance(blended, Tensor) else tuple(blended)
