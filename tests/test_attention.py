"""Grad-CAM: by hand, closed forms against autograd and captum, gradients of first and second order, properties."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from monai_cavga.attention import class_attention, grad_cam, latent_attention, normalise_attention
from monai_cavga.losses import attention_expansion_loss, complementary_guided_attention_loss
from monai_cavga.networks import CAVGA

HEIGHT, WIDTH = 24, 40

# Every network that has a closed form; (head, latent).
UNSUPERVISED = [("none", "conv"), ("none", "flat")]
WEAK = [("flat", "conv"), ("conv", "conv"), ("flat", "flat")]


def network(head: str, latent: str, *, architecture: str = "R") -> CAVGA:
    """A small network in float64 at evaluation, its weights drawn from a seed."""
    torch.manual_seed(0)
    net = CAVGA(
        architecture=architecture, stages=2, latent=latent, latent_channels=5, head=head, image_size=(HEIGHT, WIDTH)
    )
    return net.double().eval()


def images(seed: int, n: int = 2) -> Tensor:
    return torch.rand(n, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps_by_autograd(net: CAVGA, image: Tensor, *, create_graph: bool = False) -> Tensor:
    """Raw maps of Sec. 3 by `grad_cam`: sum(mu) on the features, or each class score on z (flat: on the features)."""
    features, mean, _ = net.encode(image)
    if net.classifier is None:
        return grad_cam(mean.flatten(1).sum(dim=1), features, create_graph=create_graph)
    logits = net.classifier(mean)
    target = features if net.flat_latent else mean
    maps = [grad_cam(logits[:, c], target, create_graph=create_graph) for c in (0, 1)]
    return torch.cat(maps, dim=1)


def maps_in_closed_form(net: CAVGA, image: Tensor) -> Tensor:
    features, mean, _ = net.encode(image)
    if net.classifier is None:
        return net.attention(features)
    return net.class_attention(features, mean)


# --- by hand ---


def test_grad_cam_by_hand() -> None:
    # F_0 = [[1, 2, 3], [4, 5, 6]], F_1 = [[1, 0, 2], [0, 3, 0]]; score = sum_ij (V_0 F_0 + V_1 F_1) with
    # V_0 = [[1, 1, 1], [1, 1, 1]] (mean 1) and V_1 = [[-6, 0, 0], [0, -6, 0]] (mean -2).
    # A = relu(1 F_0 - 2 F_1) = relu([[1 - 2, 2 - 0, 3 - 4], [4 - 0, 5 - 6, 6 - 0]]) = [[0, 2, 0], [4, 0, 6]]
    features = torch.tensor([[[[1.0, 2, 3], [4, 5, 6]], [[1, 0, 2], [0, 3, 0]]]], requires_grad=True)
    values = torch.tensor([[[1.0, 1, 1], [1, 1, 1]], [[-6, 0, 0], [0, -6, 0]]])
    raw = grad_cam((features * values).sum(dim=(1, 2, 3)), features)
    assert raw.tolist() == [[[[0.0, 2, 0], [4, 0, 6]]]]


def test_grad_cam_takes_any_score() -> None:
    # score = (F_0[0, 0])^2 + 3 F_1[0, 1]: gradients 2 * 5 = 10 and 3 at one of two positions, so weights 5 and 1.5
    # A = relu(5 [5, -1] + 1.5 [-2, 4]) = relu([25 - 3, -5 + 6]) = [22, 1]
    features = torch.tensor([[[[5.0, -1]], [[-2, 4]]]], requires_grad=True)
    raw = grad_cam(features[:, 0, 0, 0] ** 2 + 3 * features[:, 1, 0, 1], features)
    assert raw.tolist() == [[[[22.0, 1.0]]]]


def test_latent_attention_by_hand() -> None:
    # mu_0 = 2 F_0 + F_1, mu_1 = -F_0 + 3 F_1: column sums 1 and 4, A = relu(F_0 + 4 F_1)
    # = relu([[1 + 4, -9 + 4], [2 - 4, 0 + 8], [3 + 0, -1 - 4]]) = [[5, 0], [0, 8], [3, 0]]
    features = torch.tensor([[[[1.0, -9], [2, 0], [3, -1]], [[1, 1], [-1, 2], [0, -1]]]])
    raw = latent_attention(features, torch.tensor([[2.0, 1], [-1, 3]]))
    assert raw.tolist() == [[[[5.0, 0], [0, 8], [3, 0]]]]


def test_class_attention_by_hand() -> None:
    # normal: F_0 - F_1 = [1 - 3, 2 - 0] -> [0, 2]; anomalous: 2 F_1 = [6, 0]
    features = torch.tensor([[[[1.0, 2]], [[3, 0]]]])
    raw = class_attention(features, torch.tensor([[1.0, -1], [0, 2]]))
    assert raw.tolist() == [[[[0.0, 2]], [[6, 0]]]]


def test_normalise_by_hand() -> None:
    # first image: one divisor, 8, for both of its maps; second: nothing anywhere; third: its own divisor, 0.5
    raw = torch.tensor([[[[2.0, 4]], [[8, 0]]], [[[0, 0]], [[0, 0]]], [[[0.5, 0]], [[0, 0.25]]]])
    expected = [[[[0.25, 0.5]], [[1, 0]]], [[[0, 0]], [[0, 0]]], [[[1, 0]], [[0, 0.5]]]]
    assert normalise_attention(raw).tolist() == expected


# --- reference: the closed forms are Grad-CAM ---


@pytest.mark.parametrize("architecture", ["R", "D"])
@pytest.mark.parametrize(("head", "latent"), UNSUPERVISED + WEAK)
def test_closed_form_equals_autograd(head: str, latent: str, architecture: str) -> None:
    net, image = network(head, latent, architecture=architecture), images(1)
    expected = normalise_attention(maps_by_autograd(net, image))
    assert expected.amax() == 1  # attention is there at all
    torch.testing.assert_close(maps_in_closed_form(net, image), expected, rtol=0, atol=1e-6)


def _loss(net: CAVGA, maps: Tensor, image: Tensor) -> Tensor:
    """The paper's loss on the maps; the labels make C right about every image."""
    if net.classifier is None:
        return attention_expansion_loss(maps)
    label, right = torch.zeros(len(image), dtype=torch.long), torch.tensor([[1.0, 0.0]]).repeat(len(image), 1)
    return complementary_guided_attention_loss(maps, right, label)


@pytest.mark.parametrize(("head", "latent"), UNSUPERVISED + WEAK)
def test_second_order_equals_closed_form(head: str, latent: str) -> None:
    """A loss on the map trains every weight in the same way by either route."""
    net, image = network(head, latent), images(2)
    parameters = [p for name, p in net.named_parameters() if not name.startswith("decoder")]
    routes: dict[str, tuple[Tensor, ...]] = {}
    for name in ("closed form", "autograd"):
        if name == "autograd":
            maps = normalise_attention(maps_by_autograd(net, image, create_graph=True))
        else:
            maps = maps_in_closed_form(net, image)
        loss = _loss(net, maps, image)
        # materialize_grads: the bias of mu takes no part in a map, so it has no gradient
        routes[name] = torch.autograd.grad(loss, parameters, materialize_grads=True, allow_unused=True)
    assert any(g.abs().max() > 0 for g in routes["closed form"])
    for closed, general in zip(routes["closed form"], routes["autograd"], strict=True):
        torch.testing.assert_close(closed, general, rtol=1e-6, atol=1e-6 * float(general.abs().max()) + 1e-15)


class _Score(nn.Module):
    """What captum differentiates: ``sum(mu)``, or C's two scores."""

    def __init__(self, net: CAVGA) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        _, mean, _ = self.net.encode(image)
        score: Tensor = mean.flatten(1).sum(dim=1) if self.net.classifier is None else self.net.classifier(mean)
        return score


@pytest.mark.parametrize(("head", "latent"), [*UNSUPERVISED, ("flat", "flat")])
def test_equals_captum_on_the_encoder(head: str, latent: str) -> None:
    net, image = network(head, latent), images(3)
    captum = LayerGradCam(_Score(net), net.encoder)
    targets = [None] if head == "none" else [0, 1]
    raw = [captum.attribute(image, target=target, relu_attributions=True) for target in targets]
    expected = normalise_attention(torch.cat(raw, dim=1))
    torch.testing.assert_close(maps_in_closed_form(net, image), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", ["flat", "conv"])
def test_equals_captum_on_the_latent(head: str) -> None:
    net, image = network(head, "conv"), images(4)
    captum = LayerGradCam(_Score(net), net.latent.mean)
    raw = [captum.attribute(image, target=c, relu_attributions=True) for c in (0, 1)]
    expected = normalise_attention(torch.cat(raw, dim=1))
    torch.testing.assert_close(maps_in_closed_form(net, image), expected, rtol=0, atol=1e-6)


# --- gradients ---


def _drawn(*shape: int, seed: int) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.requires_grad_()


def test_gradcheck_of_attention_expansion() -> None:
    features, weight = _drawn(2, 3, 2, 3, seed=0), _drawn(2, 3, seed=1)

    def loss(features: Tensor, weight: Tensor) -> Tensor:
        return attention_expansion_loss(normalise_attention(latent_attention(features, weight)))

    assert torch.autograd.gradcheck(loss, (features, weight))
    assert torch.autograd.gradgradcheck(loss, (features, weight))


def test_gradcheck_of_complementary_attention() -> None:
    features, weight = _drawn(2, 3, 2, 4, seed=2), _drawn(2, 3, seed=3)
    right, label = torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([0, 0])

    def loss(features: Tensor, weight: Tensor) -> Tensor:
        maps = normalise_attention(class_attention(features, weight))
        return complementary_guided_attention_loss(maps, right, label)

    assert torch.autograd.gradcheck(loss, (features, weight))


def test_gradcheck_through_a_nonlinear_score() -> None:
    """`grad_cam` with ``create_graph`` is differentiable where the score is no linear function of the features."""
    inputs = _drawn(2, 3, 2, 4, seed=4)

    def loss(inputs: Tensor) -> Tensor:
        features = inputs * 1.0
        maps = grad_cam(torch.tanh(features).square().sum(dim=(1, 2, 3)), features, create_graph=True)
        return attention_expansion_loss(normalise_attention(maps))

    assert torch.autograd.gradcheck(loss, (inputs,))


# --- properties ---


@pytest.mark.parametrize("create_graph", [False, True])
def test_grad_cam_keeps_the_graph_only_when_asked(create_graph: bool) -> None:
    weight = torch.tensor([2.0, 3.0], requires_grad=True)
    features = torch.ones(1, 2, 2, 3, requires_grad=True)
    score = (features * weight[:, None, None]).square().sum()
    raw = grad_cam(score, features, create_graph=create_graph)
    (gradient,) = torch.autograd.grad(raw.sum(), weight, allow_unused=True)
    # raw = sum_k 2 w_k^2 at six positions: d/dw_k = 6 * 4 w_k
    assert gradient is None if not create_graph else gradient.tolist() == [48.0, 72.0]


def test_grad_cam_leaves_no_trace() -> None:
    """No ``.grad`` is filled, no hook stays, and the score can still be differentiated."""
    net, image = network("none", "conv"), images(5)
    features, mean, _ = net.encode(image)
    grad_cam(mean.sum(), features)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in net.modules())
    mean.sum().backward()
    assert net.encoder.conv1.weight.grad.abs().max() > 0


def test_grad_cam_of_a_frozen_network() -> None:
    net, image = network("none", "conv").requires_grad_(False), images(6)
    features, mean, _ = net.encode(image.requires_grad_())
    raw = grad_cam(mean.sum(), features)
    torch.testing.assert_close(normalise_attention(raw), net.attention(features), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("head", "latent", "compute"),
    [*((*kind, maps_in_closed_form) for kind in UNSUPERVISED + WEAK), ("none", "conv", maps_by_autograd)],
)
def test_a_map_is_the_same_alone_and_in_any_batch(
    head: str, latent: str, compute: Callable[[CAVGA, Tensor], Tensor]
) -> None:
    net, image = network(head, latent), images(7, n=3)
    image[1] *= 0.01  # a dark neighbour must not change the others' scale
    together = compute(net, image)
    assert together.amax() > 0
    alone = torch.cat([compute(net, one[None]) for one in image])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)
    order = [2, 0, 1]
    torch.testing.assert_close(compute(net, image[order]), together[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
@pytest.mark.parametrize("maps", [1, 2])
def test_normalised_attention_lies_in_0_1(maps: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(8)
    raw = scale * torch.randn(4, maps, 3, 5, generator=generator).relu()
    normalised = normalise_attention(raw)
    assert normalised.min() == 0  # no sigmoid, which would stay above 0.5
    assert (normalised.amax(dim=(1, 2, 3)) == 1).all()
    ratio = raw.amax(dim=(1, 2, 3), keepdim=True)  # one divisor an image: maps of one image keep their ratio
    torch.testing.assert_close(normalised * ratio, raw)


def test_an_image_without_attention_stays_zero() -> None:
    features = torch.full((1, 2, 2, 3), -1.0, requires_grad=True)
    weight = torch.ones(4, 2, requires_grad=True)
    attention = normalise_attention(latent_attention(features, weight))
    assert (attention == 0).all()
    gradients = torch.autograd.grad(attention_expansion_loss(attention), (features, weight))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


# --- errors ---


def test_grad_cam_refuses_flat_features() -> None:
    features = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(ValueError, match=r"features has shape \(2, 3\), expected \(B, C, h, w\)"):
        grad_cam(features.sum(dim=1), features)


def test_grad_cam_refuses_features_without_gradient() -> None:
    with pytest.raises(ValueError, match=r"carries no gradient: run the network under torch.enable_grad\(\)"):
        grad_cam(torch.ones(2), torch.ones(2, 3, 4, 5))


@pytest.mark.parametrize("function", [latent_attention, class_attention])
def test_closed_forms_refuse_other_channels(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="features has 3 channels, weight 4 columns"):
        function(torch.ones(1, 3, 2, 2), torch.ones(2, 4))
