"""L_adv of eq. 2: by hand, against eq. 2 as written, and who pulls which way."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from monai_cavga.losses import discriminator_loss, generator_loss, generator_loss_literal

GENERATOR_LOSSES = [generator_loss, generator_loss_literal]


def _drawn(n: int, *, seed: int) -> Tensor:
    drawn = 2 * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.requires_grad_()


def test_by_hand() -> None:
    # logit log 3 is D = 3/4, logit 0 is D = 1/2, logit -log 3 is D = 1/4
    up, zero, down = math.log(3), 0.0, -math.log(3)
    real, fake = torch.tensor([up, zero]), torch.tensor([down, zero])
    # D: -(log 3/4 + log 1/2) / 2 - (log(1 - 1/4) + log(1 - 1/2)) / 2 = -(log 3/4 + log 1/2)
    assert float(discriminator_loss(real, fake)) == pytest.approx(-math.log(3 / 8), rel=1e-6)
    # G: -(log 1/4 + log 1/2) / 2
    assert float(generator_loss(fake)) == pytest.approx(-math.log(1 / 8) / 2, rel=1e-6)
    # G, literal: (log(1 - 1/4) + log(1 - 1/2)) / 2
    assert float(generator_loss_literal(fake)) == pytest.approx(math.log(3 / 8) / 2, rel=1e-6)


def test_a_discriminator_that_cannot_tell() -> None:
    zero = torch.zeros(5)
    assert float(discriminator_loss(zero, zero)) == pytest.approx(2 * math.log(2), rel=1e-6)
    assert float(generator_loss(zero)) == pytest.approx(math.log(2), rel=1e-6)
    assert float(generator_loss_literal(zero)) == pytest.approx(-math.log(2), rel=1e-6)


def test_the_parts_make_eq_2() -> None:
    """``L_adv = mean(log D(x)) + mean(log(1 - D(x^)))``: D maximises it, G minimises its part of it."""
    real, fake = _drawn(7, seed=0), _drawn(5, seed=1)
    of_real = torch.log(torch.sigmoid(real)).mean()
    of_fake = torch.log(1 - torch.sigmoid(fake)).mean()
    torch.testing.assert_close(discriminator_loss(real, fake), -(of_real + of_fake))
    torch.testing.assert_close(generator_loss_literal(fake), of_fake)
    torch.testing.assert_close(generator_loss(fake), -torch.log(torch.sigmoid(fake)).mean())


@pytest.mark.parametrize("generator", GENERATOR_LOSSES)
def test_discriminator_and_generator_pull_opposite_ways(generator: Callable[[Tensor], Tensor]) -> None:
    real, fake = _drawn(9, seed=2), _drawn(9, seed=3)
    pull_of_d = torch.autograd.grad(discriminator_loss(real, fake), (real, fake))
    (pull_of_g,) = torch.autograd.grad(generator(fake), fake)
    assert (pull_of_d[0] < 0).all()  # a step against the gradient raises D(x)
    assert (pull_of_d[1] > 0).all()  # and lowers D(x^)
    assert (pull_of_g < 0).all()  # the generator raises D(x^)


def test_only_the_non_saturating_form_pulls_while_d_wins() -> None:
    fake = torch.tensor([-20.0], requires_grad=True)
    (strong,) = torch.autograd.grad(generator_loss(fake), fake)
    (weak,) = torch.autograd.grad(generator_loss_literal(fake), fake)
    assert strong.item() == pytest.approx(-1, abs=1e-6)
    assert abs(weak.item()) < 1e-6


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_finite_where_d_is_certain(logit: float) -> None:
    logits = torch.tensor([logit], requires_grad=True)
    for loss in (discriminator_loss(logits, logits), generator_loss(logits), generator_loss_literal(logits)):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(discriminator_loss, (_drawn(4, seed=4), _drawn(3, seed=5)))
    for generator in GENERATOR_LOSSES:
        assert torch.autograd.gradcheck(generator, (_drawn(4, seed=6),))
