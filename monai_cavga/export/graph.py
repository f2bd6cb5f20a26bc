"""One module from a picture of any size to its maps at the same size, made of operations that every runtime has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_cavga.networks import CAVGALocalizer

__all__ = ["DeployedGraph", "resize_matrix"]

_TRUNCATED = 4.0  # standard deviations after which MONAI cuts its Gaussian
_NO_BLUR = 1e-3  # a standard deviation in pixels whose kernel is exactly 1 at its middle


def resize_matrix(source: Tensor, size: int) -> Tensor:
    """One side of MONAI's ``Resized(mode="bilinear", anti_aliasing=True)`` as a matrix.

    The Gaussian's width follows from the source's size, so its kernel has no fixed length and is no convolution that
    a graph for any size could hold. Smoothing and interpolation are linear in the pixels: one matrix for each side.
    Like MONAI's, the Gaussian is cut after four standard deviations and sees zeros beyond the border.

    Args:
        source: ``(n,)``, float: the positions ``0 .. n - 1`` of the source's pixels.
        size: pixels of the result.

    Returns:
        ``(size, n)``, float.
    """
    length = source[-1:] + 1  # (1,); as a tensor, since a number would become a constant of the exported graph
    factor = length / size
    place = ((torch.arange(size, dtype=torch.float32, device=source.device) + 0.5) * factor - 0.5).clamp(min=0)
    low = place.floor()
    share = (place - low)[:, None]
    high = torch.minimum(low + 1, length - 1)
    sigma = ((factor - 1) / 2).clamp(min=_NO_BLUR)
    reach = ((sigma * _TRUNCATED).clamp(min=0.5) + 0.5).floor()
    return (1 - share) * _gaussian(low[:, None] - source, sigma, reach) + share * _gaussian(
        high[:, None] - source, sigma, reach
    )


def _gaussian(distance: Tensor, sigma: Tensor, reach: Tensor) -> Tensor:
    """A Gaussian's integral over each pixel, 0 beyond ``reach``."""
    scale = 0.5**0.5 / sigma
    inside = 0.5 * (torch.erf(scale * (distance + 0.5)) - torch.erf(scale * (distance - 0.5)))
    return inside.clamp(min=0) * (distance.abs() <= reach)


class DeployedGraph(nn.Module):
    """A localiser with what stands before and after it in a bundle: resizing, cropping, scaling, the way back.

    Args:
        localizer: with its weights and its calibration.
        image_size: ``(H, W)`` that pictures are brought to.
        roi_size: ``(H, W)`` of the middle that the network sees, at most ``image_size``; around it maps are 0.
        scales: ``{map: (low, high)}`` of the maps that are not in [0, 1] by themselves.
    """

    def __init__(
        self,
        localizer: CAVGALocalizer,
        *,
        image_size: Sequence[int],
        roi_size: Sequence[int],
        scales: Mapping[str, Sequence[float]],
    ) -> None:
        super().__init__()
        self.localizer = localizer
        self.height, self.width = image_size
        self.roi = (min(roi_size[0], image_size[0]), min(roi_size[1], image_size[1]))
        self.top = self.height // 2 - self.roi[0] // 2
        self.left = self.width // 2 - self.roi[1] // 2
        pairs = [scales.get(name, (0.0, 1.0)) for name in localizer.maps]
        self.low: Tensor
        self.span: Tensor
        self.register_buffer("low", torch.tensor([[[pair[0]]] for pair in pairs], dtype=torch.float32))
        self.register_buffer("span", torch.tensor([[[pair[1] - pair[0]]] for pair in pairs], dtype=torch.float32))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of pictures, and what the network saw.

        Args:
            image: ``(B, C, H, W)`` of any size, in [0, 1].

        Returns:
            Maps ``(B, K, H, W)`` in [0, 1], higher = more anomalous; then, at the network's size, the image
            ``(B, C, h, w)`` and its maps ``(B, K, h, w)``: a field of view is looked for in the one, and image scores
            of normals were taken on the other.
        """
        rows, columns = (
            torch.arange(side, dtype=torch.float32, device=image.device) for side in (image.shape[2], image.shape[3])
        )
        resized = resize_matrix(rows, self.height) @ image @ resize_matrix(columns, self.width).T
        bottom, right = self.top + self.roi[0], self.left + self.roi[1]
        seen = resized[:, :, self.top : bottom, self.left : right]
        maps: Tensor = self.localizer(seen)
        back = F.pad(maps, (self.left, self.width - right, self.top, self.height - bottom))
        back = F.interpolate(back, size=image.shape[2:], mode="bilinear", align_corners=False)
        return self.scaled(back), seen, self.scaled(maps)

    def scaled(self, maps: Tensor) -> Tensor:
        """``(..., K, H, W)`` on the maps' fixed scales, in [0, 1]."""
        return ((maps - self.low) / self.span).clamp(0, 1)
