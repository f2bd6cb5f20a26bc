"""L_ae (eq. 3) and L_cga (eq. 5): by hand, gradients, which images count, errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_cavga.losses import (
    attention_barrier_loss,
    attention_entropy_loss,
    attention_expansion_loss,
    complementary_guided_attention_loss,
)

NORMAL_RIGHT, NORMAL_WRONG = [2.0, -1.0], [-1.0, 2.0]


def _maps(*images: list[list[float]]) -> Tensor:
    """Images given as [normal's two positions, anomalous' two positions] to ``(B, 2, 1, 2)``."""
    return torch.tensor(images)[:, :, None, :]


def test_attention_expansion_by_hand() -> None:
    # 1 - A: [0, 0.5, 1] and [0.25, 0.25, 0]; mean of 1.5 and 0.5 over six values = 2 / 6
    attention = torch.tensor([[[[1.0, 0.5, 0.0]]], [[[0.75, 0.75, 1.0]]]])
    assert float(attention_expansion_loss(attention)) == pytest.approx(2 / 6, rel=1e-6)


@pytest.mark.parametrize(("value", "loss"), [(1.0, 0.0), (0.0, 1.0), (0.25, 0.75)])
def test_attention_expansion_of_a_constant(value: float, loss: float) -> None:
    assert float(attention_expansion_loss(torch.full((2, 1, 3, 5), value))) == loss


def test_complementary_attention_by_hand() -> None:
    # image 0, normal and judged so: mean of (1 - 1 + 0.5, 1 - 0.5 + 0) = 0.5
    # image 1, normal but judged anomalous: adds nothing
    # image 2, anomalous and judged so: adds nothing
    # image 3, anomalous but judged normal: adds nothing
    # image 4, normal and judged so: mean of (1 - 0.25 + 0.25, 1 - 0 + 1) = 1.5
    # all five count in the mean: (0.5 + 1.5) / 5
    maps = _maps(
        [[1.0, 0.5], [0.5, 0.0]],
        [[0.0, 0.0], [1.0, 1.0]],
        [[0.0, 0.0], [1.0, 1.0]],
        [[0.0, 0.0], [1.0, 1.0]],
        [[0.25, 0.0], [0.25, 1.0]],
    )
    logits = torch.tensor([NORMAL_RIGHT, NORMAL_WRONG, NORMAL_WRONG, NORMAL_RIGHT, NORMAL_RIGHT])
    label = torch.tensor([0, 0, 1, 1, 0])
    assert float(complementary_guided_attention_loss(maps, logits, label)) == pytest.approx(0.4, rel=1e-6)


@pytest.mark.parametrize(("anomalous_attention", "loss"), [(0.0, 0.0), (1.0, 1.0)])
def test_complementary_attention_of_full_normal_attention(anomalous_attention: float, loss: float) -> None:
    maps = torch.stack([torch.ones(2, 3, 5), torch.full((2, 3, 5), anomalous_attention)], dim=1)
    value = complementary_guided_attention_loss(maps, torch.tensor([NORMAL_RIGHT] * 2), torch.tensor([0, 0]))
    assert float(value) == pytest.approx(loss)


def test_no_image_that_counts_gives_0_and_a_zero_gradient() -> None:
    maps = torch.rand(2, 2, 3, 5, requires_grad=True)
    loss = complementary_guided_attention_loss(maps, torch.tensor([NORMAL_WRONG] * 2), torch.tensor([0, 1]))
    assert loss == 0
    (gradient,) = torch.autograd.grad(loss, maps)
    assert (gradient == 0).all()


def test_only_right_normal_images_get_a_gradient() -> None:
    maps = torch.rand(4, 2, 3, 5, requires_grad=True)
    logits = torch.tensor([NORMAL_RIGHT, NORMAL_WRONG, NORMAL_WRONG, NORMAL_RIGHT])
    loss = complementary_guided_attention_loss(maps, logits, torch.tensor([0, 0, 1, 1]))
    (gradient,) = torch.autograd.grad(loss, maps)
    assert (gradient[1:] == 0).all()
    # the first image: normal attention is raised, anomalous attention lowered, each by 1 / (4 images * 15 positions)
    torch.testing.assert_close(gradient[0, 0], torch.full((3, 5), -1 / 60))
    torch.testing.assert_close(gradient[0, 1], torch.full((3, 5), 1 / 60))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.int8])
def test_labels_of_any_type(dtype: torch.dtype) -> None:
    maps, logits = torch.zeros(2, 2, 1, 1), torch.tensor([NORMAL_RIGHT] * 2)
    assert float(complementary_guided_attention_loss(maps, logits, torch.tensor([0, 1]).to(dtype))) == 0.5


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(2, 1, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    maps = torch.rand(3, 2, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    logits = torch.tensor([NORMAL_RIGHT, NORMAL_WRONG, NORMAL_RIGHT], dtype=torch.float64)

    def loss(maps: Tensor) -> Tensor:
        return complementary_guided_attention_loss(maps, logits, torch.tensor([0, 0, 0]))

    assert torch.autograd.gradcheck(attention_expansion_loss, (attention,))
    assert torch.autograd.gradcheck(loss, (maps,))


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 2, 3, 5)])
def test_attention_expansion_refuses_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"attention has shape .*, expected \(B, 1, h, w\): pass one map an image"):
        attention_expansion_loss(torch.zeros(shape))


@pytest.mark.parametrize(
    ("maps", "logits"), [((2, 1, 3, 5), (2, 2)), ((2, 2, 3), (2, 2)), ((2, 2, 3, 5), (2, 1)), ((2, 2, 3, 5), (3, 2))]
)
def test_complementary_attention_refuses_another_shape(maps: tuple[int, ...], logits: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"class_attention has shape .* expected \(B, 2, h, w\) and \(B, 2\)"):
        complementary_guided_attention_loss(torch.zeros(maps), torch.zeros(logits), torch.zeros(2))


@pytest.mark.parametrize("label", [(3,), (2, 1), ()])
def test_complementary_attention_refuses_other_labels(label: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"label has shape .*, expected \(2,\): one label an image"):
        complementary_guided_attention_loss(torch.zeros(2, 2, 3, 5), torch.zeros(2, 2), torch.zeros(label))


def test_barrier_by_hand() -> None:
    """hand: mean 0.95 is inside, -log(0.05) / 20; mean 0.5 is outside, the tangent at v = 0.4."""
    inside = attention_barrier_loss(torch.full((1, 1, 2, 3), 0.95))
    assert inside.item() == pytest.approx(-math.log(0.05) / 20, abs=1e-5)
    outside = attention_barrier_loss(torch.full((1, 1, 2, 3), 0.5))
    assert outside.item() == pytest.approx(20 * 0.4 - math.log(1 / 400) / 20 + 1 / 20, abs=1e-5)


def test_barrier_is_continuous_and_falls_with_attention() -> None:
    means = torch.linspace(0, 1, 2001)
    values = torch.stack([attention_barrier_loss(torch.full((1, 1, 2, 2), float(mean))) for mean in means])
    steps = values[1:] - values[:-1]
    assert (steps < 0).all()
    assert steps.abs().max() < 0.0101  # 20 times the step of the mean: no jump


def test_barrier_weighs_images_apart() -> None:
    one, two = torch.full((1, 1, 2, 3), 0.95), torch.full((1, 1, 2, 3), 0.2)
    both = attention_barrier_loss(torch.cat([one, two]))
    assert both.item() == pytest.approx((attention_barrier_loss(one) + attention_barrier_loss(two)).item() / 2)


def test_entropy_by_hand() -> None:
    """hand: even = 0; all on one position = 1; two of four positions = 1/2."""
    assert attention_entropy_loss(torch.full((2, 1, 2, 2), 0.3)).item() == pytest.approx(0, abs=1e-6)
    one = torch.zeros(1, 1, 2, 2)
    one[0, 0, 0, 1] = 1
    assert attention_entropy_loss(one).item() == pytest.approx(1, abs=1e-6)
    one[0, 0, 1, 1] = 1
    assert attention_entropy_loss(one).item() == pytest.approx(0.5, abs=1e-6)


def test_entropy_of_an_empty_map_is_finite() -> None:
    empty = torch.zeros(1, 1, 2, 2, requires_grad=True)
    loss = attention_entropy_loss(empty)
    loss.backward()
    assert empty.grad is not None
    assert torch.isfinite(empty.grad).all()


@pytest.mark.parametrize("loss", [attention_barrier_loss, attention_entropy_loss])
def test_other_losses_take_one_map_an_image(loss: Any) -> None:
    with pytest.raises(ValueError, match=r"attention has shape .* expected \(B, 1, h, w\)"):
        loss(torch.rand(2, 2, 3, 4))


def test_entropy_needs_two_positions() -> None:
    with pytest.raises(ValueError, match="expected two positions at least"):
        attention_entropy_loss(torch.rand(2, 1, 1, 1))
