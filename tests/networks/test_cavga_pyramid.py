"""CAVGA's own options beside the paper's: C on all stages, no decoder, a BatchNorm that keeps its statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_cavga.attention import grad_cam, normalise_attention
from monai_cavga.networks import CAVGA
from monai_cavga.networks.heads import pool_logits

HEIGHT, WIDTH = 32, 48


def build(**options: Any) -> CAVGA:
    torch.manual_seed(0)
    return CAVGA(**{"stages": 2, "latent_channels": 4, "head": "pyramid", **options})


def image(n: int = 2, *, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(n, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


OPTIONS = [
    {"architecture": "R", "stages": 2},
    {"architecture": "R", "stages": 3, "decoder": False, "in_channels": 1},
    {"architecture": "D", "stages": 3},
    {"architecture": "D", "stages": 2, "decoder": False},
    {"latent": "flat", "image_size": (HEIGHT, WIDTH)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_shapes_and_ranges(options: dict[str, Any], training: bool) -> None:
    net = build(**options).train(training)
    picture = image(channels=net.in_channels)
    out = net(picture)
    if options.get("decoder", True):
        assert out.reconstruction.shape == out.reconstruction_logits.shape == picture.shape
    else:
        assert out.reconstruction is None
        assert out.reconstruction_logits is None
    assert out.logits.shape == (2, 2)
    assert out.class_map.shape == out.class_attention.shape == (2, 2, HEIGHT // 4, WIDTH // 4)
    assert out.features.shape == (2, net.encoder.out_channels, HEIGHT // net.stride, WIDTH // net.stride)
    assert out.class_attention.min() >= 0
    assert out.class_attention.max() <= 1
    torch.testing.assert_close(out.logits, pool_logits(out.class_map))


@torch.no_grad()
def test_the_head_reads_all_stages() -> None:
    net = build(stages=3).eval()
    pyramid = net.pyramid(image())
    assert len(pyramid) == 3
    before = net.class_logit(pyramid)
    for stage in range(3):
        changed = [features.clone() for features in pyramid]
        changed[stage][:, :, 0] += 1
        assert not torch.allclose(net.class_logit(changed), before), stage
    assert len(build(head="conv", stages=3).pyramid(image())) == 1  # other heads need the last one alone


@torch.no_grad()
def test_the_class_does_not_depend_on_the_latents_noise() -> None:
    net = build().train()
    net.encoder.eval()
    noise = torch.randn(net.noise_shape(image()), generator=torch.Generator().manual_seed(1))
    first, second = net(image(), noise), net(image(), -noise)
    assert not torch.equal(first.reconstruction, second.reconstruction)
    assert torch.equal(first.class_map, second.class_map)


@pytest.mark.parametrize("architecture", ["R", "D"])
def test_class_attention_is_grad_cam_of_the_pooled_logit_on_z(architecture: str) -> None:
    net = build(architecture=architecture, stages=3).double().eval()
    picture = image().double()
    head = net.pyramid_classifier
    assert head is not None
    z = head.latent(net.pyramid(picture)).detach().requires_grad_()
    logits = pool_logits(head(z))
    raw = torch.cat([grad_cam(logits[:, c], z) for c in (0, 1)], dim=1)
    assert raw.max() > 0
    out = net(picture)
    torch.testing.assert_close(out.class_attention, normalise_attention(raw * raw.shape[2] * raw.shape[3]))
    torch.testing.assert_close(out.logits, logits)
    attention = net.anomaly_maps(picture, ["attention"])
    small = F.interpolate(normalise_attention(raw * 96)[:, 1:], size=(HEIGHT, WIDTH), mode="bilinear")
    torch.testing.assert_close(attention, small)


@torch.no_grad()
def test_map_class_is_the_probability_at_every_position() -> None:
    net = build().eval()
    out = net(image())
    maps = net.anomaly_maps(image(), ["residual", "class"])
    assert maps.shape == (2, 2, HEIGHT, WIDTH)
    probability = out.class_map.softmax(dim=1)[:, 1:]
    expected = F.interpolate(probability, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    torch.testing.assert_close(maps[:, 1:], expected)
    torch.testing.assert_close(torch.sigmoid(net.class_logit(net.pyramid(image()))), probability)
    torch.testing.assert_close(maps[:, :1], (image() - out.reconstruction).abs().mean(dim=1, keepdim=True))


@pytest.mark.parametrize("architecture", ["R", "D"])
@torch.no_grad()
def test_images_do_not_talk_to_each_other(architecture: str) -> None:
    net = build(architecture=architecture, decoder=False).eval()
    pictures = torch.cat([image(), 0.1 * image(1, seed=3)])
    together = net.anomaly_maps(pictures, ["class", "attention"])
    for k in range(3):
        alone = net.anomaly_maps(pictures[k : k + 1], ["class", "attention"])
        torch.testing.assert_close(alone, together[k : k + 1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_position_of_the_map_is_where_the_image_changed() -> None:
    net = build(architecture="D", decoder=False).eval()
    grey = torch.full((1, 3, 64, 160), 0.5)
    marked = grey.clone()
    marked[:, :, 56:, :8] = 1.0  # bottom left
    change = (net.class_logit(net.pyramid(marked)) - net.class_logit(net.pyramid(grey))).abs()[0, 0]
    assert change.shape == (16, 40)
    row, column = divmod(int(change.argmax()), 40)
    assert row >= 12
    assert column <= 4
    assert change[:, 20:].max() == 0


# --- no decoder ---


def test_without_a_decoder_there_are_no_such_weights() -> None:
    assert not any(name.startswith("decoder") for name, _ in build(decoder=False).named_parameters())
    assert any(name.startswith("decoder") for name, _ in build().named_parameters())


@pytest.mark.parametrize("head", ["conv", "flat"])
@torch.no_grad()
def test_other_heads_without_a_decoder(head: str) -> None:
    out = build(head=head, decoder=False, image_size=(HEIGHT, WIDTH))(image())
    assert out.reconstruction is None
    assert out.logits.shape == (2, 2)
    assert out.class_map is None


def test_what_needs_a_decoder() -> None:
    net = build(decoder=False).eval()
    with pytest.raises(RuntimeError, match="this network has no decoder: build it with decoder=True"):
        net.decode(torch.zeros(1, 4, 4, 6))
    for name in ("residual", "reconstruction"):
        with pytest.raises(RuntimeError, match="this network has no decoder"):
            net.anomaly_maps(image(), [name])


def test_neither_head_nor_decoder_leaves_a_latent() -> None:
    net = CAVGA(head="none", decoder=False, stages=2).eval()
    assert net.pyramid_classifier is None
    assert net.decoder is None
    assert net.anomaly_maps(torch.rand(1, 3, 16, 24), ["attention"]).shape == (1, 1, 16, 24)


@pytest.mark.parametrize("head", ["none", "conv"])
def test_map_class_without_a_pyramid(head: str) -> None:
    net = build(head=head).eval()
    with pytest.raises(ValueError, match="map 'class' needs a network with head='pyramid'"):
        net.anomaly_maps(image(), ["class"])


def test_class_attention_of_features_is_for_a_head_on_the_latent() -> None:
    net = build().eval()
    features, mean, _ = net.encode(image())
    with pytest.raises(RuntimeError, match="no classifier on its latent: build it with head='flat' or head='conv'"):
        net.class_attention(features, mean)


# --- frozen BatchNorm ---


def statistics(module: nn.Module) -> list[Tensor]:
    return [b.clone() for name, b in module.named_buffers() if "running" in name or "batches" in name]


@pytest.mark.parametrize("architecture", ["R", "D"])
@pytest.mark.parametrize("frozen", [False, True])
@torch.no_grad()
def test_frozen_norm_keeps_the_encoders_statistics(architecture: str, frozen: bool) -> None:
    net = build(architecture=architecture, frozen_norm=frozen).train()
    encoder, decoder = statistics(net.encoder), statistics(net.decoder)
    out = net(image())
    kept = [torch.equal(a, b) for a, b in zip(encoder, statistics(net.encoder), strict=True)]
    assert kept
    assert all(kept) == frozen
    assert any(kept) == frozen
    assert not all(torch.equal(a, b) for a, b in zip(decoder, statistics(net.decoder), strict=True))
    alone = net(image()[:1]).class_map
    assert torch.allclose(alone, out.class_map[:1], rtol=1e-4, atol=1e-5) == frozen


def test_frozen_norm_still_trains_and_changes_modes() -> None:
    net = build(frozen_norm=True)
    assert net.train() is net
    assert net.training
    assert net.pyramid_classifier is not None
    assert net.pyramid_classifier.training
    assert not any(m.training for m in net.encoder.modules() if isinstance(m, nn.BatchNorm2d))
    assert net.encoder.training
    net(image()).logits.sum().backward()
    assert net.encoder.layer1[0].bn1.weight.grad.abs().max() > 0
    assert not net.eval().training


@torch.no_grad()
def test_the_logit_in_one_convolution_is_the_difference_of_the_two() -> None:
    net = build(stages=3).eval()
    torch.nn.init.normal_(net.pyramid_classifier.conv.bias)
    z = net.pyramid_classifier.latent(net.pyramid(image()))
    logits = net.pyramid_classifier(z)
    torch.testing.assert_close(net.pyramid_classifier.anomalous(z), logits[:, 1:] - logits[:, :1])
