"""The latent's Gaussian fitted on training normals, for ``latent_distance`` where nothing else is to be calibrated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_cavga.calibration import CalibrationError, GaussianStatistics
from monai_cavga.networks import CAVGALocalizer, stacked_features

__all__ = ["fit_latent_distance"]


def fit_latent_distance(
    localizer: CAVGALocalizer, loader: Iterable[Mapping[str, Any]], *, device: str | torch.device = "cpu"
) -> int:
    """Fit the Gaussian behind ``latent_distance`` in place, in one pass, over all positions of the images.

    `monai_cavga.calibration.Calibrator` does the same and more: it also scales, fuses and stores.

    Args:
        localizer: put into evaluation and moved to ``device``.
        loader: batches of training normals, ``image`` ``(B, C, H, W)`` in [0, 1] and ``label`` where there is one.
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
            statistics.update(stacked.permute(0, 2, 3, 1).flatten(0, 2))
        mean, whitening = statistics.whitening()
        localizer.distance.mean.copy_(mean)
        localizer.distance.whitening.copy_(whitening)
    return statistics.count
