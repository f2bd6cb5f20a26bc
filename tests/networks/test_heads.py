"""Latents and classifiers: by hand, and that their ``positional_weight`` is Grad-CAM's."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from monai_cavga.attention import class_attention, grad_cam, normalise_attention
from monai_cavga.networks.heads import (
    ConvClassifier,
    ConvLatent,
    FlatClassifier,
    FlatLatent,
    PyramidClassifier,
    pool_logits,
)


def _drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_conv_latent_is_linear_at_every_position() -> None:
    latent = ConvLatent(3, 5)
    features = _drawn(2, 3, 2, 4)
    mean, log_variance = latent(features)
    for out, layer in ((mean, latent.mean), (log_variance, latent.log_variance)):
        expected = torch.einsum("nc,bchw->bnhw", layer.weight[:, :, 0, 0], features) + layer.bias[:, None, None]
        torch.testing.assert_close(out, expected)
    assert torch.equal(latent.positional_weight(), latent.mean.weight[:, :, 0, 0])
    assert latent.to_map(mean) is mean


@torch.no_grad()
def test_flat_latent_by_hand() -> None:
    # one channel of 1 x 2 positions, one latent: mu = 2 F[0] + 4 F[1] + 1, mean weight over positions 3
    latent = FlatLatent(1, 1, map_size=(1, 2))
    latent.mean.weight.copy_(torch.tensor([[2.0, 4.0]]))
    latent.mean.bias.fill_(1.0)
    latent.expand.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    latent.expand.bias.zero_()
    mean, log_variance = latent(torch.tensor([[[[10.0, 100.0]]]]))
    assert mean.tolist() == [[421.0]]
    assert log_variance.shape == (1, 1)
    assert latent.positional_weight().tolist() == [[3.0]]
    assert latent.to_map(mean).tolist() == [[[[421.0, -421.0]]]]


@torch.no_grad()
def test_flat_latent_makes_a_map() -> None:
    latent = FlatLatent(3, 5, map_size=(2, 4))
    mean, log_variance = latent(_drawn(2, 3, 2, 4))
    assert mean.shape == log_variance.shape == (2, 5)
    assert latent.to_map(mean).shape == (2, 5, 2, 4)
    assert latent.positional_weight().shape == (5, 3)


@torch.no_grad()
def test_flat_classifier_by_hand() -> None:
    # two latent channels at 1 x 2 positions; normal: weights 1, 3 | 0, -2, anomalous: 0, 0 | 5, 7
    classifier = FlatClassifier(2, map_size=(1, 2))
    classifier.linear.weight.copy_(torch.tensor([[1.0, 3, 0, -2], [0, 0, 5, 7]]))
    classifier.linear.bias.copy_(torch.tensor([0.5, 0.0]))
    logits = classifier(torch.tensor([[[[1.0, 1]], [[1, 10]]]]))
    assert logits.tolist() == [[1 + 3 + 0 - 20 + 0.5, 5.0 + 70]]
    assert classifier.positional_weight().tolist() == [[2.0, -1.0], [0.0, 6.0]]


@torch.no_grad()
def test_conv_classifier_by_hand() -> None:
    # logits per position 0 and log 3: log of the mean of 1 and 3 = log 2; anomalous: twice the negative, 1 and 1/9
    classifier = ConvClassifier(1)
    classifier.conv.weight.copy_(torch.tensor([1.0, -2.0])[:, None, None, None])
    classifier.conv.bias.zero_()
    logits = classifier(torch.tensor([[[[0.0, math.log(3)]]]]))
    torch.testing.assert_close(logits, torch.tensor([[math.log(2), math.log(5 / 9)]]))
    assert classifier.positional_weight().tolist() == [[1.0], [-2.0]]


@torch.no_grad()
def test_conv_classifier_does_not_depend_on_size() -> None:
    classifier = ConvClassifier(2)
    one = torch.tensor([0.3, -0.7])[None, :, None, None]
    torch.testing.assert_close(classifier(one.expand(1, 2, 5, 9)), classifier(one))


@pytest.mark.parametrize("head", [FlatClassifier(3, map_size=(2, 4)), ConvClassifier(3)])
def test_positional_weight_is_the_mean_gradient_of_the_score(head: nn.Module) -> None:
    """Up to the number of positions for the conv head, whose pooling shares a gradient of 1 among them."""
    latent = _drawn(2, 3, 2, 4).requires_grad_()
    logits = head(latent)
    for c in (0, 1):
        (gradient,) = torch.autograd.grad(logits[:, c].sum(), latent, retain_graph=True)
        mean = gradient.mean(dim=(2, 3))
        factor = 8 if isinstance(head, ConvClassifier) else 1
        torch.testing.assert_close(mean * factor, head.positional_weight()[c].expand(2, 3))


# --- pooling and the pyramid ---


def test_pooling_by_hand() -> None:
    # logs of the means of (1, 3) and of (1, 1/9), and of the larger of two far apart: 50 - log 2
    logits = torch.tensor([[[[0.0, math.log(3)]], [[0.0, -math.log(9)]]], [[[50.0, -50.0]], [[7.0, 7.0]]]])
    expected = torch.tensor([[math.log(2), math.log(5 / 9)], [50 - math.log(2), 7.0]])
    torch.testing.assert_close(pool_logits(logits), expected)


def test_pooling_lies_between_mean_and_maximum() -> None:
    logits = 3 * _drawn(4, 2, 5, 7)
    pooled, flat = pool_logits(logits), logits.flatten(2)
    assert (pooled >= flat.mean(dim=2)).all()
    assert (pooled <= flat.amax(dim=2)).all()
    torch.testing.assert_close(pool_logits(logits + 2.5), pooled + 2.5)
    torch.testing.assert_close(pool_logits(logits.repeat(1, 1, 2, 3)), pooled)  # not the size but what is there counts


def test_one_lesion_among_many_positions_is_seen() -> None:
    logits = torch.full((1, 2, 100, 150), -4.0)
    before = pool_logits(logits)
    logits[0, 1, 30, 70] = 15.0
    assert pool_logits(logits)[0, 1] - before[0, 1] > 9  # the mean would rise by 0.001
    assert pool_logits(logits)[0, 0] == before[0, 0]


def _pyramid(*channels: int, n: int = 2) -> list[torch.Tensor]:
    """Features of stages at 8 x 12, 4 x 6, ... positions."""
    return [_drawn(n, c, 8 // 2**k, 12 // 2**k) * (k + 1) for k, c in enumerate(channels)]


@torch.no_grad()
def test_pyramid_is_one_convolution_of_the_stacked_features() -> None:
    torch.manual_seed(0)
    head = PyramidClassifier([3, 4, 5], width=7)
    pyramid = _pyramid(3, 4, 5)
    z = head.latent(pyramid)
    stacked = torch.cat([F.interpolate(f, size=(8, 12), mode="bilinear", align_corners=False) for f in pyramid], dim=1)
    weight = torch.cat([project.weight for project in head.project], dim=1)
    bias = sum(project.bias for project in head.project)
    torch.testing.assert_close(z, F.relu(F.conv2d(stacked, weight, bias)), rtol=1e-5, atol=1e-5)
    assert z.shape == (2, 7, 8, 12)
    assert z.min() == 0
    expected = torch.einsum("kc,bchw->bkhw", head.positional_weight(), z) + head.conv.bias[:, None, None]
    torch.testing.assert_close(head(z), expected)
    assert head.positional_weight().shape == (2, 7)


@torch.no_grad()
def test_pyramid_of_one_stage_by_hand() -> None:
    # z = relu(2 F - 1) = [0, 3]; normal: -z + 5, anomalous: z
    head = PyramidClassifier([1], width=1)
    head.project[0].weight.fill_(2.0)
    head.project[0].bias.fill_(-1.0)
    head.conv.weight.copy_(torch.tensor([-1.0, 1.0])[:, None, None, None])
    head.conv.bias.copy_(torch.tensor([5.0, 0.0]))
    z = head.latent([torch.tensor([[[[-3.0, 2.0]]]])])
    assert z.tolist() == [[[[0.0, 3.0]]]]
    assert head(z).tolist() == [[[[5.0, 2.0]], [[0.0, 3.0]]]]


@pytest.mark.parametrize("prior", [0.02, 0.3])
@torch.no_grad()
def test_before_training_a_position_has_the_prior(prior: float) -> None:
    head = PyramidClassifier([3, 4], prior=prior)
    logits = head(torch.zeros(1, 64, 2, 3))
    torch.testing.assert_close(logits.softmax(dim=1)[:, 1], torch.full((1, 2, 3), prior))


def test_pyramids_attention_is_grad_cam_of_the_pooled_logit_on_z() -> None:
    torch.manual_seed(1)
    head = PyramidClassifier([3, 4, 5], width=7).double()
    z = head.latent([f.double() for f in _pyramid(3, 4, 5)]).detach().requires_grad_()
    logits = pool_logits(head(z))
    by_autograd = torch.cat([grad_cam(logits[:, c], z) for c in (0, 1)], dim=1)
    closed = class_attention(z, head.positional_weight())
    # the pooling's derivatives sum to one over the 8 x 12 positions
    torch.testing.assert_close(by_autograd * 96, closed)
    assert by_autograd.amax(dim=(2, 3)).min() > 0
    torch.testing.assert_close(normalise_attention(by_autograd), normalise_attention(closed))
