"""Losses on a made anomaly's mask: targets by hand, against torch's own losses, what is unknown has no part."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from monai_cavga.losses import complementary_guided_attention_loss, mask_attention_loss, mask_classification_loss
from monai_cavga.losses.mask import IGNORE, position_targets


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mask_of(*positions: list[int]) -> Tensor:
    """``(1, 1, 2, 2 n)``: each position's four pixels, in reading order."""
    return torch.cat([torch.tensor(p).view(1, 1, 2, 2) for p in positions], dim=3).float()


# --- targets ---


def test_targets_by_hand() -> None:
    # anomalous shares of the known pixels: 0, 1/4, 2/4, 1/1 (three pixels unknown), nothing known
    mask = mask_of([0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [-1, -1, 1, -1], [-1, -1, -1, -1])
    target, weight = position_targets(mask, (1, 5))
    torch.testing.assert_close(target.flatten(), torch.tensor([0.0, 0.75, 1.0, 1.0, 0.0]))
    torch.testing.assert_close(weight.flatten(), torch.tensor([1.0, 1.0, 1.0, 0.25, 0.0]))


def test_targets_at_the_masks_own_size_are_the_mask() -> None:
    mask = torch.tensor([[[[1.0, 0, IGNORE], [0, 1, 1]]]])
    target, weight = position_targets(mask, (2, 3))
    assert target.tolist() == [[[[1, 0, 0], [0, 1, 1]]]]
    assert weight.tolist() == [[[[1, 1, 0], [1, 1, 1]]]]


def test_a_mask_of_integers() -> None:
    mask = mask_of([0, 1, 0, 0], [-1, -1, 1, -1])
    for got, expected in zip(
        position_targets(mask.to(torch.int8), (1, 2)), position_targets(mask, (1, 2)), strict=True
    ):
        assert torch.equal(got, expected)


# --- C at every position ---


def test_classification_by_hand() -> None:
    # margins 0, ln 3 and -ln 3: cross entropies of (0, 1, unknown) are ln 2, ln 4/3 and nothing
    margin = torch.tensor([0.0, math.log(3), -math.log(3)])
    class_map = torch.stack([torch.zeros(3), margin]).view(1, 2, 1, 3)
    mask = mask_of([0] * 4, [1] * 4, [-1] * 4)
    expected = (math.log(2) + 5 * math.log(4 / 3)) / 2
    assert float(mask_classification_loss(class_map, mask)) == pytest.approx(expected, rel=1e-6)
    even = mask_classification_loss(class_map, mask, anomalous_weight=0.0)
    assert float(even) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, rel=1e-6)


def test_classification_is_torchs_cross_entropy_where_all_is_known() -> None:
    class_map = drawn(2, 2, 3, 5)
    label = (drawn(2, 3, 5, seed=1) > 0).long()
    loss = mask_classification_loss(class_map, label[:, None], anomalous_weight=0.0)
    torch.testing.assert_close(loss, F.cross_entropy(class_map, label))
    # and torch's class weights divide by the sum of weights, ours by the number of positions
    weighted = F.cross_entropy(class_map, label, weight=torch.tensor([1.0, 5.0]), reduction="sum") / label.numel()
    torch.testing.assert_close(mask_classification_loss(class_map, label[:, None]), weighted)


def test_only_the_margin_counts() -> None:
    class_map, mask = drawn(2, 2, 3, 5), (drawn(2, 1, 6, 10, seed=1) > 1).float()
    shift = drawn(2, 1, 3, 5, seed=2)
    torch.testing.assert_close(
        mask_classification_loss(class_map + shift, mask), mask_classification_loss(class_map, mask)
    )


@pytest.mark.parametrize("loss", [mask_classification_loss, mask_attention_loss])
def test_unknown_positions_have_no_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    maps = torch.rand(2, 2, 3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = torch.zeros(2, 1, 6, 10)
    mask[:, :, :, 6:] = 1
    mask[0, :, 2:] = IGNORE
    value = loss(maps, mask)
    (gradient,) = torch.autograd.grad(value, maps)
    assert (gradient[0, :, 1:] == 0).all()
    assert (gradient[0, :, 0, 3:] != 0).all()
    assert (gradient[1, :, :, 3:] != 0).all()


@pytest.mark.parametrize("loss", [mask_classification_loss, mask_attention_loss])
def test_nothing_known_is_0_with_a_zero_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    maps = torch.rand(2, 2, 3, 5, requires_grad=True)
    value = loss(maps, torch.full((2, 1, 6, 10), IGNORE))
    assert value == 0
    (gradient,) = torch.autograd.grad(value, maps)
    assert (gradient == 0).all()


# --- the mirror of L_cga ---


def test_mirror_by_hand() -> None:
    # image 0: positions in the mask have 1 - A_a + A_n = 1 - 0.75 + 0.5 and 1 - 1 + 0; the third is outside
    # image 1 has no mask: adds nothing, counts
    attention = torch.tensor([[[0.5, 0.0, 1.0], [0.75, 1.0, 1.0]], [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]])[:, :, None]
    mask = torch.cat([mask_of([1] * 4, [1] * 4, [0] * 4), torch.zeros(1, 1, 2, 6)])
    assert float(mask_attention_loss(attention, mask)) == pytest.approx((0.75 + 0.0) / 2 / 2)


@pytest.mark.parametrize(("normal", "anomalous", "loss"), [(0.0, 1.0, 0.0), (1.0, 0.0, 2.0), (0.5, 0.5, 1.0)])
def test_mirror_of_constants(normal: float, anomalous: float, loss: float) -> None:
    attention = torch.tensor([normal, anomalous]).view(1, 2, 1, 1).expand(3, 2, 2, 4)
    mask = torch.zeros(3, 1, 4, 8)
    mask[:, :, 1:3, 2:7] = 1
    assert float(mask_attention_loss(attention, mask)) == pytest.approx(loss)


def test_mirror_swaps_the_classes_of_the_papers_loss() -> None:
    """Where a mask covers all of an image, it is L_cga of the image with its two maps exchanged."""
    maps = torch.rand(2, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    right = torch.tensor([[2.0, -1.0], [2.0, -1.0]])
    papers = complementary_guided_attention_loss(maps.flip(1), right, torch.tensor([0, 0]))
    torch.testing.assert_close(mask_attention_loss(maps, torch.ones(2, 1, 6, 10)), papers)


def test_a_small_mask_counts_as_much_as_a_large_one() -> None:
    attention = torch.tensor([0.2, 0.7]).view(1, 2, 1, 1).expand(1, 2, 4, 8)
    small, large = torch.zeros(1, 1, 16, 32), torch.zeros(1, 1, 16, 32)
    small[..., 3, 5] = 1
    large[..., 2:14, 4:30] = 1
    torch.testing.assert_close(mask_attention_loss(attention, small), mask_attention_loss(attention, large))


def test_gradients() -> None:
    """Of the mirror by finite differences; of C, in float32 whatever it is given, (sigmoid - target) times weight."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 2, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    mask = torch.randint(-1, 2, (2, 1, 4, 6), generator=generator)
    assert torch.autograd.gradcheck(lambda m: mask_attention_loss(m, mask), (maps,))
    (gradient,) = torch.autograd.grad(mask_classification_loss(maps, mask), maps)
    target, weight = position_targets(mask, (2, 3))
    residual = torch.sigmoid(maps[:, 1:] - maps[:, :1]).detach() - target
    expected = residual * weight * (1 + 4 * target) / weight.sum()
    torch.testing.assert_close(gradient, torch.cat([-expected, expected], dim=1).double())


# --- errors ---


@pytest.mark.parametrize("loss", [mask_classification_loss, mask_attention_loss])
@pytest.mark.parametrize(
    ("maps", "mask"),
    [
        ((2, 1, 3, 5), (2, 1, 6, 10)),
        ((2, 2, 15), (2, 1, 6, 10)),
        ((2, 2, 3, 5), (1, 1, 6, 10)),
        ((2, 2, 3, 5), (2, 3, 6, 10)),
        ((2, 2, 3, 5), (2, 6, 10)),
    ],
)
def test_shapes_that_do_not_belong_together(
    loss: Callable[[Tensor, Tensor], Tensor], maps: tuple[int, ...], mask: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"maps have shape .*, mask .*, expected \(B, 2, h, w\) and \(B, 1, H, W\)"):
        loss(torch.zeros(maps), torch.zeros(mask))
