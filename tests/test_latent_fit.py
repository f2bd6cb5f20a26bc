"""The Gaussian behind latent_distance, fitted without a calibration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cavga.calibration import CalibrationError
from monai_cavga.latent_fit import fit_latent_distance
from monai_cavga.networks import CAVGA, CAVGALocalizer, stacked_features


def test_the_fit_is_numpys_mean_and_covariance() -> None:
    """reference: a distance of mean square 1 over the positions that it was fitted on, and numpy's mean."""
    torch.manual_seed(0)
    localizer = CAVGALocalizer(CAVGA(architecture="D", in_channels=1, stages=2, latent_channels=4))
    batches = [{"image": torch.rand(20, 1, 32, 48), "label": torch.zeros(20)} for _ in range(2)]
    assert fit_latent_distance(localizer, batches) == 40 * 4 * 6
    assert not localizer.training
    image = torch.cat([batch["image"] for batch in batches])
    with torch.no_grad():
        pyramid = localizer.network.encoder.pyramid(image)
        vectors = stacked_features(pyramid).permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
        distance = localizer.distance(pyramid)
    np.testing.assert_allclose(localizer.distance.mean.numpy(), vectors.mean(axis=0), atol=1e-5)
    white = (vectors - vectors.mean(axis=0)) @ localizer.distance.whitening.double().numpy().T
    assert np.linalg.norm(np.cov(white.T) - np.eye(white.shape[1]), 2) < 1.01
    assert float(distance.square().mean()) == pytest.approx(1, abs=0.2)
    assert localizer.anomaly_maps(image[:1], ["latent_distance"]).shape == (1, 1, 32, 48)


def test_refusals() -> None:
    localizer = CAVGALocalizer(CAVGA(architecture="D", in_channels=1, stages=2, latent_channels=4))
    with pytest.raises(CalibrationError, match="hold an anomalous one"):
        fit_latent_distance(localizer, [{"image": torch.rand(2, 1, 32, 32), "label": torch.tensor([0, 1])}])
    with pytest.raises(CalibrationError, match="have no covariance: add normals"):
        fit_latent_distance(localizer, [{"image": torch.rand(2, 1, 32, 32)}])
