"""|x - x^| as a map: as it is (the paper's score), and relative to what a low-pass would leave of the same image."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["detail", "relative_residual", "residual"]


def residual(image: Tensor, reconstruction: Tensor) -> Tensor:
    """``|x - x^|``, the mean over channels; its mean over an image is s_a of Sec. 3.1, arXiv:1911.08616.

    Args:
        image: ``(B, C, H, W)`` in [0, 1].
        reconstruction: as ``image``.

    Returns:
        ``(B, 1, H, W)`` in [0, 1].
    """
    return (image - reconstruction).abs().mean(dim=1, keepdim=True)


def relative_residual(image: Tensor, reconstruction: Tensor) -> Tensor:
    """`residual` over `detail`, image by image (ours); about 1 where a reconstruction is no better than a low-pass.

    An autoencoder leaves much of an image with much detail and little of a smooth one, whatever it was trained on, so
    that s_a calls a smooth anomaly more normal than the normals: the effect of an image's complexity on likelihoods,
    Serra et al. 2020 (arXiv:1909.11480). Dividing by what a reconstruction without any training leaves of the same
    image takes most of it out.

    Args:
        image: ``(B, C, H, W)`` in [0, 1], sides multiples of 4 pixels, as every encoder's stride makes them.
        reconstruction: as ``image``.

    Returns:
        ``(B, 1, H, W)``, >= 0 without an upper end.
    """
    floor = 1 / 256  # a step of an 8-bit image: below it there is no detail to be relative to
    return residual(image, reconstruction) / (detail(image) + floor)


def detail(image: Tensor) -> Tensor:
    """How much of an image a low-pass loses: the mean of ``|x - up(down(x))|``, averages over 4 x 4 pixels, bilinear.

    Args:
        image: ``(B, C, H, W)`` in [0, 1], sides multiples of 4 pixels, as every encoder's stride makes them.

    Returns:
        ``(B, 1, 1, 1)`` in [0, 1], one value for each image.
    """
    coarse = F.avg_pool2d(image, 4)  # divides every encoder's stride
    smooth = F.interpolate(coarse, size=image.shape[-2:], mode="bilinear", align_corners=False)
    return (image - smooth).abs().mean(dim=[1, 2, 3], keepdim=True)
