"""Anomaly detectors on frozen features, without training: a memory bank, one Gaussian, a mean for each position.

A detector sees the features of normal images one by one (`observe`), is closed (`finish`), and then gives each
position of an image its distance from normal, higher = more anomalous. Memory does not grow with the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from monai_cavga.networks.encoders import ResNetEncoder
from monai_cavga.networks.latent_distance import aligned_features

BANK_SIZE = 8000
SHRINKAGE = 1e-3  # of the mean variance, added to every variance: ReLU channels that hardly vary
METHODS = {  # name on the command line -> in words
    "memory_bank": f"memory bank, {BANK_SIZE:,} random patches, nearest neighbour",
    "gaussian": "one Gaussian over all positions, whitened distance",
    "gaussian_position": "one Gaussian, a mean for each position, whitened distance",
}
FEATURES = {  # name on the command line -> in words
    "plain": "plain",
    "averaged": "3x3 average",  # as PatchCore's (Roth et al., CVPR 2022)
    "unit": "unit length",  # each stage's vector at each position, as Wang et al., BMVC 2021
}
_CHUNK = 1024  # patches whose distances from the bank are held at once: 32 MiB


class Detector(Protocol):
    """What the protocols ask of a method."""

    def observe(self, features: Tensor, inside: Tensor) -> None:
        """Add the patches ``inside`` ``(h, w)`` bool of one normal image's features ``(C, h, w)``."""

    def finish(self) -> None:
        """Close the training set; after this `distance` may be asked.

        Raises:
            ValueError: if no patch, or for a Gaussian fewer than two, has been seen.
        """

    def distance(self, features: Tensor) -> Tensor:
        """Features ``(C, h, w)`` of one image to distances ``(h, w)``, >= 0, in units of the method."""


@torch.no_grad()
def layer_features(
    encoder: ResNetEncoder, image: Tensor, layers: Sequence[int] = (2, 3), *, kind: str = "plain"
) -> Tensor:
    """Features of several stages of a ResNet on the grid of the second, of stride 8.

    The first stage is averaged over 2x2 positions, the third is interpolated linearly.

    Args:
        encoder: with as many stages as ``layers`` needs, in eval mode.
        image: ``(C, H, W)`` in [0, 1], sides multiples of 16.
        layers: of 1, 2 and 3.
        kind: of `FEATURES`.

    Returns:
        ``(sum of channels, H/8, W/8)``.

    Raises:
        ValueError: if a side is not a multiple of 16, or for another ``kind``.
    """
    if image.shape[-2] % 16 or image.shape[-1] % 16:
        raise ValueError(
            f"image is {image.shape[-2]} x {image.shape[-1]} (H x W), expected multiples of 16: choose another --size"
        )
    if kind not in FEATURES:
        raise ValueError(f"features are {kind!r}, expected one of {', '.join(FEATURES)}: correct the spelling")
    aligned = aligned_features(encoder.pyramid(image[None]))
    parts = [aligned[layer - 1] for layer in layers]
    if kind == "unit":
        parts = [F.normalize(part, dim=1) for part in parts]
    features = torch.cat(parts, dim=1)
    if kind == "averaged":
        features = F.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)
    return features[0]


class MemoryBank:
    """Distance from the nearest of ``size`` patches, drawn at random from all patches of all images.

    Every patch gets a random key and the smallest keys stay, so the draw is uniform whatever the number of images.

    Args:
        size: patches to keep.
        seed: of the draw.
    """

    def __init__(self, *, size: int = BANK_SIZE, seed: int = 0) -> None:
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)
        self.keys = torch.zeros(0, dtype=torch.float64)
        self.bank = torch.zeros(0, 0)

    def observe(self, features: Tensor, inside: Tensor) -> None:
        """As `Detector.observe`."""
        patches = features[:, inside].T  # (n, C)
        keys = torch.rand(len(patches), generator=self.generator, dtype=torch.float64)
        if len(self.keys):
            keys, patches = torch.cat([self.keys, keys]), torch.cat([self.bank, patches])
        kept = keys.topk(min(self.size, len(keys)), largest=False).indices
        self.keys, self.bank = keys[kept], patches[kept]

    def finish(self) -> None:
        """As `Detector.finish`."""
        if not len(self.bank):
            raise ValueError("memory bank has seen 0 patches, expected at least 1: observe an image first")

    def distance(self, features: Tensor) -> Tensor:
        """As `Detector.distance`; in the features' own unit."""
        nearest = [torch.cdist(part, self.bank).amin(dim=1) for part in torch.split(features.flatten(1).T, _CHUNK)]
        return torch.cat(nearest).view(features.shape[1:])


class Gaussian:
    """Whitened (Mahalanobis) distance from one Gaussian of all patches, in standard deviations.

    With ``by_position`` each position has its own mean and all share the covariance of what remains; a position that
    no training image shows has the mean of all.

    Args:
        by_position: one mean for each position of the grid, so that all images must be of one size.
    """

    def __init__(self, *, by_position: bool = False) -> None:
        self.by_position = by_position
        self.count = torch.zeros(0, dtype=torch.float64)  # (hw,) images that show the position
        self.total = torch.zeros(0, dtype=torch.float64)  # (C, hw)
        self.square = torch.zeros(0, dtype=torch.float64)  # (C, C)
        self.mean = torch.zeros(0)  # (C, hw), or (C, 1)
        self.whitening = torch.zeros(0)  # (C, C)

    def observe(self, features: Tensor, inside: Tensor) -> None:
        """As `Detector.observe`."""
        x = (features * inside).flatten(1).double()  # (C, hw)
        if not len(self.count):
            self.count = torch.zeros(x.shape[1], dtype=torch.float64)
            self.total = torch.zeros_like(x)
            self.square = torch.zeros(len(x), len(x), dtype=torch.float64)
        self.count += inside.flatten()
        self.total += x
        self.square += x @ x.T

    def finish(self) -> None:
        """As `Detector.finish`."""
        n = self.count.sum()
        if n < 2:
            raise ValueError(f"Gaussian has seen {int(n)} patches, expected at least 2: observe more images")
        mean = self.total.sum(dim=1, keepdim=True) / n
        n_means = 1
        scatter = self.square - n * mean @ mean.T
        if self.by_position:
            seen = self.count > 0
            mean = torch.where(seen, self.total / self.count.clamp(min=1), mean)
            n_means = min(int(seen.sum()), int(n) - 1)
            scatter = self.square - (mean * self.count) @ mean.T
        covariance = scatter / (n - n_means)
        identity = torch.eye(len(covariance), dtype=torch.float64)
        factor = torch.linalg.cholesky(covariance + SHRINKAGE * covariance.diagonal().mean() * identity)
        self.whitening = torch.linalg.solve_triangular(factor, identity, upper=False).float()
        self.mean = mean.float()

    def distance(self, features: Tensor) -> Tensor:
        """As `Detector.distance`."""
        white = self.whitening @ (features.flatten(1) - self.mean)  # (C, hw)
        distances: Tensor = torch.linalg.vector_norm(white, dim=0)
        return distances.view(features.shape[1:])


def detector(method: str, *, seed: int = 0) -> Detector:
    """A new detector by its name on the command line.

    Raises:
        ValueError: for another name.
    """
    if method == "memory_bank":
        return MemoryBank(seed=seed)
    if method in ("gaussian", "gaussian_position"):
        return Gaussian(by_position=method == "gaussian_position")
    raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}: correct the spelling")
