"""LatentDistance: the stack by hand, the distance against scipy, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import mahalanobis
from torch import Tensor

from monai_cavga.networks import DCGANEncoder, LatentDistance, ResNetEncoder, stacked_features


def pyramid(*channels: int, n: int = 2, seed: int = 0) -> list[Tensor]:
    """Features of stages at 8 x 12, 4 x 6, 2 x 3 and 1 x 1 positions."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, c, 8 // 2**k, max(12 // 2**k, 1), generator=g) for k, c in enumerate(channels)]


def test_stack_by_hand() -> None:
    # means of 2 x 2: (3, 4) at the first position, (-12, 5) at the second
    first = torch.tensor([[[[1.0, 3, -10, -20], [3, 5, -8, -10]], [[2.0, 6, 3, 3], [4, 4, 7, 7]]]])
    stacked = stacked_features([first, torch.tensor([[[[-1.0, -2]]]]), torch.tensor([[[[9.0]]]])])
    expected = torch.tensor([[[[0.6, -12 / 13]], [[0.8, 5 / 13]], [[-1.0, -1]], [[1.0, 1]]]])
    torch.testing.assert_close(stacked, expected)


@torch.no_grad()
def test_contrast_does_not_matter() -> None:
    features = pyramid(3, 4, 5)
    module = LatentDistance(12)
    torch.testing.assert_close(module([7 * each for each in features]), module(features))


@pytest.mark.parametrize(("channels", "total"), [((3, 4), 7), ((3, 4, 5), 12), ((3, 4, 5, 6), 12)])
def test_stack_has_up_to_three_stages(channels: tuple[int, ...], total: int) -> None:
    features = pyramid(*channels)
    stacked = stacked_features(features)
    assert stacked.shape == (2, total, 4, 6)
    torch.testing.assert_close(stacked[:, 3:7], features[1] / features[1].norm(dim=1, keepdim=True))
    if len(channels) > 2:
        third = F.interpolate(features[2], size=(4, 6), mode="bilinear", align_corners=False)
        torch.testing.assert_close(stacked[:, 7:], third / third.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("encoder", [ResNetEncoder(stages=2), DCGANEncoder(stages=3, channels=8)])
@torch.no_grad()
def test_channels_are_the_first_three_of_an_encoder(encoder: ResNetEncoder | DCGANEncoder) -> None:
    features = encoder.eval().pyramid(torch.rand(1, 3, 32, 48))
    assert stacked_features(features).shape == (1, sum(encoder.pyramid_channels[:3]), 4, 6)
    distance = LatentDistance(sum(encoder.pyramid_channels[:3]))(features)
    assert distance.shape == (1, 1, 4, 6)


def test_before_calibration_it_is_the_root_mean_square() -> None:
    features = pyramid(3, 4)
    expected = stacked_features(features).square().mean(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(LatentDistance(7)(features), expected)


def test_it_is_the_mahalanobis_distance_over_the_root_of_the_channels() -> None:
    random = np.random.RandomState(0)
    factor = random.normal(size=(7, 7))
    covariance, mean = factor @ factor.T + np.eye(7), random.normal(size=7)
    precision = np.linalg.inv(covariance)
    module = LatentDistance(7)
    module.mean.copy_(torch.from_numpy(mean))
    module.whitening.copy_(torch.from_numpy(np.linalg.cholesky(precision).T))
    features = pyramid(3, 4)
    distance = module(features)
    stacked = stacked_features(features)
    for image, row, column in ((0, 0, 0), (1, 2, 5), (0, 3, 1)):
        expected = mahalanobis(stacked[image, :, row, column].double().numpy(), mean, precision) / np.sqrt(7)
        assert float(distance[image, 0, row, column]) == pytest.approx(expected, rel=1e-4)


def test_the_mean_is_at_distance_0() -> None:
    module = LatentDistance(2)
    module.mean.copy_(torch.tensor([1.0, -1.0]))
    module.whitening.copy_(torch.tensor([[2.0, 1.0], [0.0, 5.0]]))
    distance = module([torch.full((1, 1, 4, 4), 3.0), torch.full((1, 1, 2, 2), -2.0)])
    assert distance.abs().max() < 1e-5


def test_images_do_not_talk_to_each_other() -> None:
    features = pyramid(3, 4, 5, n=3)
    module = LatentDistance(12)
    together = module(features)
    for k in range(3):
        torch.testing.assert_close(module([f[k : k + 1] for f in features]), together[k : k + 1])


def test_the_gaussian_is_no_part_of_a_model_file() -> None:
    assert LatentDistance(3).state_dict() == {}
