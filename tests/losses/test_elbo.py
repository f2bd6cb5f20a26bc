"""L of eq. 1: by hand, by torch's own distributions, gradients, errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from monai_cavga.losses import kl_divergence, reconstruction_loss


def _drawn(*shape: int, seed: int) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.requires_grad_()


def test_reconstruction_by_hand() -> None:
    # logits 0 and log 3 are probabilities 1/2 and 3/4; targets 1, 0 / 1, 0.5:
    # -log 1/2, -log 1/2, -log 3/4, -(log 3/4 + log 1/4) / 2; summed: log 2 + log 2 + log 4/3 + log 16/3 / 2
    logits = torch.tensor([[[[0.0, 0.0]]], [[[math.log(3), math.log(3)]]]])
    image = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.5]]]])
    expected = (2 * math.log(2) + math.log(4 / 3) + 0.5 * math.log(16 / 3)) / 4
    assert float(reconstruction_loss(logits, image)) == pytest.approx(expected, rel=1e-6)


def test_kl_by_hand() -> None:
    # mu = 1, sigma^2 = 1: 1/2; mu = 0, sigma^2 = e: (e - 1 - 1) / 2; mu = -2, sigma^2 = 1: 2; mu = 0, sigma^2 = 1: 0
    # two images of 12 values each: (1/2 + (e - 2) / 2 + 2 + 0) / (12 * 2)
    mean = torch.tensor([[[[1.0, 0.0]]], [[[-2.0, 0.0]]]])
    log_variance = torch.tensor([[[[0.0, 1.0]]], [[[0.0, 0.0]]]])
    expected = (0.5 + (math.e - 2) / 2 + 2) / 24
    assert float(kl_divergence(mean, log_variance, values=12)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(3, 5, 2, 4), (3, 5)])
def test_kl_equals_torch(shape: tuple[int, ...]) -> None:
    mean, log_variance = _drawn(*shape, seed=0).detach(), _drawn(*shape, seed=1).detach()
    posterior, prior = Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)
    expected = torch_kl(posterior, prior).flatten(1).sum(dim=1).mean() / 7
    torch.testing.assert_close(kl_divergence(mean, log_variance, values=7), expected)


def test_the_ratio_of_both_is_that_of_eq_1() -> None:
    """Eq. 1 sums over values; both terms are divided by the same number, so one factor turns one into the other."""
    image = torch.rand(2, 3, 8, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    logits = _drawn(2, 3, 8, 16, seed=3).detach()
    mean, log_variance = _drawn(2, 5, 1, 2, seed=4).detach(), _drawn(2, 5, 1, 2, seed=5).detach()
    p = torch.sigmoid(logits)
    summed = -(image * p.log() + (1 - image) * (1 - p).log()).sum() / 2
    divergence = torch_kl(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum() / 2
    ours = reconstruction_loss(logits, image), kl_divergence(mean, log_variance, values=3 * 8 * 16)
    torch.testing.assert_close(ours[0] / ours[1], summed / divergence)


def test_reconstruction_is_least_at_the_image() -> None:
    image = torch.tensor([[[[0.2, 0.7, 0.5]]]], dtype=torch.float64)
    at = reconstruction_loss(torch.logit(image), image)
    entropy = -(image * image.log() + (1 - image) * (1 - image).log()).mean()
    torch.testing.assert_close(at, entropy)
    assert reconstruction_loss(torch.logit(image) + 0.1, image) > at
    assert reconstruction_loss(torch.logit(image) - 0.1, image) > at


def test_kl_of_the_prior_is_0() -> None:
    assert kl_divergence(torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5), values=60) == 0


def test_losses_of_equal_images_do_not_depend_on_their_number() -> None:
    mean, log_variance = _drawn(1, 3, 2, 4, seed=6).detach(), _drawn(1, 3, 2, 4, seed=7).detach()
    one = kl_divergence(mean, log_variance, values=9)
    four = kl_divergence(mean.repeat(4, 1, 1, 1), log_variance.repeat(4, 1, 1, 1), values=9)
    torch.testing.assert_close(one, four)


def test_gradcheck_of_reconstruction() -> None:
    image = torch.rand(2, 3, 2, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logits: reconstruction_loss(logits, image), (_drawn(2, 3, 2, 4, seed=9),))


@pytest.mark.parametrize("shape", [(2, 3, 1, 2), (2, 3)])
def test_gradcheck_of_kl(shape: tuple[int, ...]) -> None:
    def loss(mean: Tensor, log_variance: Tensor) -> Tensor:
        return kl_divergence(mean, log_variance, values=5)

    assert torch.autograd.gradcheck(loss, (_drawn(*shape, seed=10), _drawn(*shape, seed=11)))


def test_reconstruction_refuses_another_size() -> None:
    with pytest.raises(ValueError, match=r"logits has shape \(1, 3, 8, 8\), image \(1, 3, 8, 16\): the decoder must"):
        reconstruction_loss(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 16))


def test_kl_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"mean has shape \(1, 3\), log_variance \(1, 4\)"):
        kl_divergence(torch.zeros(1, 3), torch.zeros(1, 4), values=1)


@pytest.mark.parametrize("values", [0, -5])
def test_kl_refuses_no_values(values: int) -> None:
    with pytest.raises(ValueError, match=rf"values is {values}, expected the number of values of an image"):
        kl_divergence(torch.zeros(1, 3), torch.zeros(1, 3), values=values)
