"""Latents and classifiers: by hand, and that their ``positional_weight`` is Grad-CAM's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from monai_cavga.networks.heads import ConvClassifier, ConvLatent, FlatClassifier, FlatLatent


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
