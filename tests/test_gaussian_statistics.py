"""The calibration's Gaussian, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from monai_cavga.calibration import CalibrationError, GaussianStatistics
from monai_cavga.networks import LatentDistance


def vectors(n: int = 400, channels: int = 6, *, seed: int = 0) -> np.ndarray:
    random = np.random.RandomState(seed)
    factor = random.normal(size=(channels, channels)) + 3 * np.eye(channels)
    return random.normal(size=(n, channels)) @ factor + random.normal(size=channels)


def fitted(values: np.ndarray, *, parts: int = 1) -> tuple[Tensor, Tensor]:
    statistics = GaussianStatistics(values.shape[1])
    for part in np.array_split(values, parts):
        statistics.update(torch.from_numpy(part).float())
    assert statistics.count == len(values)
    return statistics.whitening()


def test_mean_and_covariance_are_numpys() -> None:
    values = vectors().astype(np.float32).astype(np.float64)
    mean, whitening = fitted(values)
    covariance = np.cov(values.T, bias=True)
    np.testing.assert_allclose(mean.numpy(), values.mean(axis=0), rtol=1e-5)
    shrunk = covariance + 1e-4 * np.trace(covariance) / 6 * np.eye(6)
    precision = (whitening.T @ whitening).double().numpy()
    np.testing.assert_allclose(precision @ shrunk, np.eye(6), atol=2e-3)


def test_in_parts_it_is_the_same() -> None:
    for one, many in zip(fitted(vectors()), fitted(vectors(), parts=7), strict=True):
        torch.testing.assert_close(one.abs(), many.abs(), rtol=1e-4, atol=1e-5)  # an eigenvector's sign is free


def test_training_vectors_are_white() -> None:
    """Mean 0, covariance 1; so the distance of `LatentDistance` has a mean square of 1."""
    values = torch.from_numpy(vectors()).float()
    values = torch.cat([F.normalize(part, dim=1) for part in (values[:, :4], values[:, 4:])], dim=1)  # as features are
    mean, whitening = fitted(values.numpy())
    white = (values - mean) @ whitening.T
    torch.testing.assert_close(white.mean(dim=0), torch.zeros(6), rtol=0, atol=1e-3)
    torch.testing.assert_close(white.T @ white / len(white), torch.eye(6), rtol=0, atol=0.02)
    module = LatentDistance(6)
    module.mean.copy_(mean)
    module.whitening.copy_(whitening)
    stacked = values.T.reshape(1, 6, 20, 20)
    first = stacked[:, :4].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)  # its 2 x 2 means are the vectors
    distance = module([first, stacked[:, 4:]])
    assert float(distance.square().mean()) == pytest.approx(1, abs=0.01)


def test_a_constant_channel_stays_finite() -> None:
    values = vectors()
    values[:, 2] = 5.0
    mean, whitening = fitted(values)
    assert torch.isfinite(whitening).all()
    assert float(mean[2]) == 5


def test_too_few_vectors() -> None:
    with pytest.raises(CalibrationError, match="6 positions of 6 channels have no covariance: add normals"):
        fitted(vectors(6))
