"""The latent's Gaussian, fitted on training normals in one pass: what ``latent_distance`` needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from monai_cavga.networks import CAVGALocalizer, stacked_features

__all__ = ["CalibrationError", "GaussianStatistics", "fit_latent_distance"]

_SHRINKAGE = 1e-4  # of the mean variance, added to every variance before the inverse


class CalibrationError(ValueError):
    """A calibration that cannot be made, read, or used with this network."""


class GaussianStatistics:
    """Mean and covariance of vectors in one pass, in float64; memory does not grow with their number.

    Args:
        channels: length of a vector.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.total = torch.zeros(channels, dtype=torch.float64)
        self.products = torch.zeros(channels, channels, dtype=torch.float64)

    def update(self, vectors: Tensor) -> None:
        """Add vectors ``(n, channels)``."""
        vectors = vectors.double().cpu()
        self.count += len(vectors)
        self.total += vectors.sum(dim=0)
        self.products += vectors.T @ vectors

    def whitening(self) -> tuple[Tensor, Tensor]:
        """Mean ``(channels,)`` and W ``(channels, channels)`` with ``W' W`` the inverse covariance, float32.

        Raises:
            CalibrationError: if there are fewer vectors than channels.
        """
        channels = len(self.total)
        if self.count <= channels:
            raise CalibrationError(f"{self.count} positions of {channels} channels have no covariance: add normals")
        mean = self.total / self.count
        covariance = self.products / self.count - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp(min=0) + _SHRINKAGE * covariance.diagonal().mean()
        return mean.float(), (vectors / values.sqrt()).T.float()


def fit_latent_distance(
    localizer: CAVGALocalizer, loader: Iterable[Mapping[str, Any]], *, device: str | torch.device = "cpu"
) -> int:
    """Fit the Gaussian behind ``latent_distance`` in place, in one pass, over all positions inside the field of view.

    `monai_cavga.calibration.Calibrator` begins with it, then scales, fuses and stores.

    Args:
        localizer: put into evaluation and moved to ``device``.
        loader: batches of training normals, ``image`` ``(B, C, H, W)`` in [0, 1]; ``label``, ``fov`` where they are.
        device: where to compute.

    Returns:
        The number of positions that were used.

    Raises:
        CalibrationError: if a batch holds an anomalous image, or there are fewer positions than channels.
    """
    localizer.to(device).eval()
    statistics = GaussianStatistics(len(localizer.distance.mean))
    with torch.no_grad():
        for batch in tqdm(loader, desc="latent statistics", unit="batch"):
            if "label" in batch and bool((torch.as_tensor(batch["label"]) != 0).any()):
                raise CalibrationError("the images of the fit hold an anomalous one, expected training normals only")
            image = torch.as_tensor(batch["image"]).as_subclass(Tensor).to(device)
            stacked = stacked_features(localizer.network.encoder.pyramid(image))
            vectors = stacked.permute(0, 2, 3, 1)  # (B, h, w, C)
            if "fov" in batch:
                inside = torch.as_tensor(batch["fov"]).as_subclass(Tensor).to(device).float()
                statistics.update(vectors[F.interpolate(inside, size=vectors.shape[1:3], mode="area")[:, 0] > 0.5])
            else:
                statistics.update(vectors.flatten(0, 2))
        mean, whitening = statistics.whitening()
        localizer.distance.mean.copy_(mean)
        localizer.distance.whitening.copy_(whitening)
    return statistics.count
