"""Baselines that reconstruct, on the paper's own encoder and decoder: AE_L2, AE_SSIM, gamma-VAE_g and ADVAE.

Losses take the network in training mode and images ``(B, C, H, W)`` in [0, 1]; maps take it in evaluation mode and give
``(B, 1, H, W)``, higher = more anomalous. No image's map depends on another image.
"""

from __future__ import annotations

import torch
from measuring import Found
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor, nn
from torch.nn import functional as F

from monai_cavga.attention import class_attention, normalise_attention
from monai_cavga.losses import kl_divergence, reconstruction_loss
from monai_cavga.networks import CAVGA

WINDOW, SIGMA = 11, 1.5  # of SSIM; Wang et al. 2004
PROJECTION_STEPS = 5  # Dehaene et al. take hundreds: sized for one CPU thread
PROJECTION_RATE = 0.05
PROJECTION_SPARSITY = 0.05  # weight of |x - x_0|
SETTINGS = (PROJECTION_STEPS, PROJECTION_RATE, PROJECTION_SPARSITY)
SMALLEST_VARIANCE = 1e-4  # a hundredth of the range


class GammaVAE(nn.Module):
    """A VAE whose decoder's variance gamma^2 is learnt, and which is projected onto, Dehaene et al., ICLR 2020.

    gamma^2 is the batch's mean squared error, its optimum, instead of a parameter, which a short training would hardly
    move; a running mean of it is kept for the energy.

    Args:
        network: encoder, latent and decoder.
    """

    def __init__(self, network: CAVGA) -> None:
        super().__init__()
        self.network = network
        self.variance: Tensor
        self.register_buffer("variance", torch.tensor(1.0))


def reconstruct(network: CAVGA, image: Tensor) -> Tensor:
    """``x^`` with ``z = mu``, in training too: an autoencoder."""
    _, mean, _ = network.encode(image)
    return torch.sigmoid(network.decode(mean))


def l2_loss(network: CAVGA, image: Tensor) -> Tensor:
    """AE_L2: mean squared error; Bergmann et al. 2019."""
    return F.mse_loss(reconstruct(network, image), image)


def ssim_loss(network: CAVGA, image: Tensor) -> Tensor:
    """AE_SSIM: ``1 - SSIM``, a mean over windows; Bergmann et al. 2019."""
    return 1 - _ssim(reconstruct(network, image), image).mean()


def vae_loss(network: CAVGA, image: Tensor) -> Tensor:
    """ADVAE: L of eq. 1, nothing else."""
    output = network(image)
    divergence = kl_divergence(output.mean, output.log_variance, values=image[0].numel())
    return reconstruction_loss(output.reconstruction_logits, image) + divergence


def gamma_loss(model: GammaVAE, image: Tensor) -> Tensor:
    """gamma-VAE: ``|x - x^|^2 / (2 gamma^2) + KL``, per value, gamma^2 at its optimum; updates the running gamma^2."""
    output = model.network(image)
    error = F.mse_loss(output.reconstruction, image)
    variance = error.detach().clamp_min(SMALLEST_VARIANCE)
    model.variance.lerp_(variance, 0.1)
    return error / (2 * variance) + kl_divergence(output.mean, output.log_variance, values=image[0].numel())


def l2_found(network: CAVGA, image: Tensor) -> Found:
    """Squared error, a mean over channels, in [0, 1]; the image's score is its mean."""
    return _mean_scored((reconstruct(network, image) - image).square().mean(dim=1, keepdim=True))


def ssim_found(network: CAVGA, image: Tensor) -> Found:
    """``(1 - SSIM) / 2`` of the window around each pixel, a mean over channels, in [0, 1]; its mean is the score."""
    similarity = _ssim(reconstruct(network, image), image).mean(dim=1, keepdim=True)
    rim = WINDOW // 2  # windows lie inside the image: the rim repeats the nearest one
    return _mean_scored(F.pad((1 - similarity) / 2, [rim] * 4, mode="replicate").clamp(0, 1))


def gamma_found(model: GammaVAE, image: Tensor, *, steps: int = PROJECTION_STEPS) -> Found:
    """How far gradient descent on the energy moves each pixel: ``|x_T - x_0|``; its mean is the score.

    ``E = |x - x^|^2 / (2 gamma^2) + w |x - x_0|``, ``x <- x - rate * dE/dx * (x - x^)^2``: the gradient reaches all
    pixels, those that are reconstructed well stay.
    """
    x = image
    for _ in range(steps):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            difference = x - reconstruct(model.network, x)
            energy = difference.square().sum() / (2 * model.variance) + PROJECTION_SPARSITY * (x - image).abs().sum()
            (gradient,) = torch.autograd.grad(energy, x)
        x = (x - PROJECTION_RATE * gradient * difference.square()).detach().clamp(0, 1)
    return _mean_scored((x - image).abs().mean(dim=1, keepdim=True))


def latent_attention_found(network: CAVGA, image: Tensor) -> Found:
    """ADVAE: the mean over the latent's values of each one's own Grad-CAM, Liu et al., CVPR 2020; score: residual.

    Each value of mu is rectified by itself (CAVGA_u rectifies their sum), and what it looks at is the anomaly (CAVGA_u
    turns the map round).
    """
    features, mean, _ = network.encode(image)
    each = class_attention(features, network.latent.positional_weight())  # (B, n, h, w)
    small = normalise_attention(each.mean(dim=1, keepdim=True))
    maps = F.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False)
    residual = (torch.sigmoid(network.decode(mean)) - image).abs()
    return Found(maps, residual.mean(dim=(1, 2, 3)))


def _mean_scored(maps: Tensor) -> Found:
    return Found(maps, maps.mean(dim=(1, 2, 3)))


def _ssim(one: Tensor, two: Tensor) -> Tensor:
    """SSIM of every window inside the images, ``(B, C, H - 10, W - 10)``."""
    values, _ = compute_ssim_and_cs(one, two, spatial_dims=2, kernel_size=[WINDOW] * 2, kernel_sigma=[SIGMA] * 2)
    return values
