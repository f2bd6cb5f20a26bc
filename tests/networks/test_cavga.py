"""One contract that every CAVGA keeps, whatever its options; then options, errors and cost."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.utils.flop_counter import FlopCounterMode

from monai_cavga.networks import CAVGA, MAP_NAMES, DCGANDiscriminator
from monai_cavga.networks.residual import relative_residual

N = 6  # latent channels
# (latent, head, channels of the image): every kind of network, with grey, RGB and four-channel images
KINDS = [("conv", "none", 3), ("flat", "none", 1), ("conv", "flat", 4), ("conv", "conv", 1), ("flat", "flat", 3)]
# all kinds at three stages, the two extremes at two and four
NETWORKS = [
    (architecture, stages, *kind)
    for architecture in ("R", "D")
    for stages, kinds in ((2, [KINDS[2], KINDS[1]]), (3, KINDS), (4, [KINDS[0], KINDS[4]]))
    for kind in kinds
]


def image_for(net: CAVGA, *, channels: int, n: int = 2, seed: int = 0) -> Tensor:
    """Images of two by three positions, so neither square nor symmetric."""
    return torch.rand(n, channels, 2 * net.stride, 3 * net.stride, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("architecture", ["R", "D"])
@pytest.mark.parametrize("shape", [(2, 1, 64, 96), (2, 4, 64, 96), (3, 64, 96)])
def test_another_number_of_channels_is_one_clear_error(architecture, shape):
    net = CAVGA(architecture=architecture, stages=2).eval()
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\): convert it .* or build the network"):
        net(torch.rand(shape))


def build(**options: Any) -> CAVGA:
    torch.manual_seed(0)
    stages = options.setdefault("stages", 2)
    options.setdefault("latent_channels", N)
    return CAVGA(image_size=(2 * 2 ** (stages + 1), 3 * 2 ** (stages + 1)), **options)


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda p: "-".join(map(str, p)))
def made(request: pytest.FixtureRequest) -> tuple[dict[str, Any], CAVGA, Tensor]:
    """Options, network and images; BatchNorm has seen a batch, so that evaluation differs from training."""
    architecture, stages, latent, head, channels = request.param
    options = {
        "architecture": architecture, "stages": stages, "latent": latent, "head": head, "in_channels": channels
    }  # fmt: skip
    net = build(**options)
    image = image_for(net, channels=channels)
    with torch.no_grad():
        net.train()(image)
    return options, net.eval(), image


Made = tuple[dict[str, Any], CAVGA, Tensor]


@torch.no_grad()
def test_shapes_and_ranges(made: Made) -> None:
    options, net, image = made
    out = net(image)
    flat = options["latent"] == "flat"
    assert net.stride == {2: 8, 3: 16, 4: 32}[options["stages"]]
    assert out.reconstruction.shape == out.reconstruction_logits.shape == image.shape
    assert out.reconstruction.min() >= 0
    assert out.reconstruction.max() <= 1
    assert torch.equal(out.reconstruction, torch.sigmoid(out.reconstruction_logits))
    assert out.mean.shape == out.log_variance.shape == ((2, N) if flat else (2, N, 2, 3))
    assert list(out.mean.shape) == net.noise_shape(image)
    assert out.features.shape == (2, net.encoder.out_channels, 2, 3)
    assert out.attention.shape == (2, 1, 2, 3)
    assert out.attention.min() >= 0
    assert out.attention.max() <= 1
    if options["head"] == "none":
        assert out.logits is None
        assert out.class_attention is None
    else:
        assert out.logits.shape == (2, 2)
        assert out.class_attention.shape == (2, 2, 2, 3)
        assert out.class_attention.min() >= 0
        assert out.class_attention.max() <= 1


@torch.no_grad()
def test_evaluation_takes_the_mean(made: Made) -> None:
    _, net, image = made
    out = net(image)
    again = net(image, torch.randn(net.noise_shape(image)))  # noise has no part at evaluation
    assert torch.equal(out.reconstruction, again.reconstruction)
    assert torch.equal(out.reconstruction_logits, net.decode(out.mean))
    if net.classifier is not None:
        assert torch.equal(out.logits, net.classifier(out.mean))


@torch.no_grad()
def test_training_takes_the_noise_given(made: Made) -> None:
    """``z = mu + eps sigma``: the reconstruction and C's outputs are those of this z."""
    options, trained, image = made
    net = build(**options).train()
    net.load_state_dict(trained.state_dict())
    noise = torch.randn(net.noise_shape(image), generator=torch.Generator().manual_seed(1))
    out = net(image, noise)
    z = out.mean + noise * out.log_variance.exp().sqrt()
    torch.testing.assert_close(out.reconstruction_logits, net.decode(z))
    if net.classifier is not None:
        torch.testing.assert_close(out.logits, net.classifier(z))
    assert not torch.allclose(net(image, -noise).reconstruction_logits, out.reconstruction_logits)


@torch.no_grad()
def test_anomaly_maps(made: Made) -> None:
    options, net, image = made
    out = net(image)
    small = 1 - out.attention if options["head"] == "none" else out.class_attention[:, 1:]
    attention = F.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False)
    residual = (image - out.reconstruction).abs().mean(dim=1, keepdim=True)
    both = net.anomaly_maps(image, ["residual", "attention"])
    torch.testing.assert_close(both, torch.cat([residual, attention], dim=1))
    assert both.min() >= 0
    assert both.max() <= 1
    assert torch.equal(net.anomaly_maps(image, ["attention"]), both[:, 1:])
    pictures = net.anomaly_maps(image, ["attention", "reconstruction"])
    torch.testing.assert_close(pictures[:, 1:], out.reconstruction)
    relative = net.anomaly_maps(image, ["relative_residual"])
    torch.testing.assert_close(relative, relative_residual(image, out.reconstruction))


@torch.no_grad()
def test_kl_is_that_of_torchs_distributions(made: Made) -> None:
    """reference: of N(mu, sigma^2) from N(0, 1), the mean over channels at each position."""
    _, net, image = made
    _, mean, log_variance = net.encode(image)
    prior, posterior = Normal(torch.zeros_like(mean), 1.0), Normal(mean, torch.exp(0.5 * log_variance))
    small = kl_divergence(posterior, prior).mean(dim=1, keepdim=True)
    if net.flat_latent:  # no positions: one value everywhere
        small = small[:, :, None, None]
    kl = net.anomaly_maps(image, ["kl"])
    expected = F.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(kl, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.anomaly_maps(image, ["residual", "kl"])[:, 1:], kl)


@torch.no_grad()
def test_images_do_not_talk_to_each_other(made: Made) -> None:
    _, net, image = made
    names = list(MAP_NAMES)
    together = net.anomaly_maps(torch.cat([image, 0.1 * image[:1]]), names)
    torch.testing.assert_close(net.anomaly_maps(image[1:], names), together[1:2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.anomaly_maps(image[:1], names), together[:1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_state_round_trip(made: Made) -> None:
    options, net, image = made
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = build(**options).eval()
    assert not torch.equal(other(image).reconstruction, net(image).reconstruction)
    other.load_state_dict(torch.load(file, weights_only=True))
    for ours, theirs in zip(net(image), other(image), strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)


def test_a_size_that_does_not_fit(made: Made) -> None:
    options, net, _ = made
    stride = net.stride
    image = torch.rand(1, options["in_channels"], 2 * stride, 3 * stride - 6)
    message = (
        rf"image width {3 * stride - 6} is not a multiple of {stride}: "
        rf"resize or pad to {3 * stride} \(Resized, DivisiblePadd\)"
    )
    with pytest.raises(ValueError, match=message):
        net(image)
    with pytest.raises(ValueError, match=message):
        net.anomaly_maps(image, ["attention"])


# --- options ---


def test_defaults_are_the_papers() -> None:
    net = CAVGA()
    assert type(net.encoder).__name__ == "ResNetEncoder"
    assert (net.stride, net.latent_channels, net.flat_latent, net.classifier) == (32, 100, False, None)


@pytest.mark.parametrize("head", ["none", "conv"])
@torch.no_grad()
def test_convolutional_networks_take_any_size(head: str) -> None:
    net = CAVGA(architecture="D", stages=2, latent_channels=N, head=head).eval()
    for height, width in ((8, 8), (8, 40), (56, 24)):
        maps = net.anomaly_maps(torch.rand(1, 3, height, width), list(MAP_NAMES))
        assert maps.shape == (1, 2, height, width)


@torch.no_grad()
def test_a_map_keeps_the_images_orientation() -> None:
    """What changes at the bottom left of an image changes its latent, and so the reconstruction, there."""
    net = CAVGA(architecture="D", stages=2, latent_channels=N).eval()
    image = torch.full((1, 3, 64, 160), 0.5)
    marked = image.clone()
    marked[:, :, 56:, :8] = 1.0
    change = (net.encode(marked)[1] - net.encode(image)[1]).abs().sum(dim=1)[0]  # (8, 20)
    assert divmod(int(change.argmax()), 20) == (7, 0)
    assert change[:4].max() == 0
    assert change[:, 10:].max() == 0


@torch.no_grad()
def test_noise_is_drawn_where_it_is_not_given() -> None:
    net = build(head="conv").train()
    image = image_for(net, channels=3)
    torch.manual_seed(5)
    first = net(image).reconstruction
    second = net(image).reconstruction
    torch.manual_seed(5)
    assert torch.equal(net(image).reconstruction, first)
    assert not torch.equal(first, second)


@torch.no_grad()
def test_the_variance_stays_finite() -> None:
    net = build().train()
    net.latent.log_variance.bias.copy_(torch.tensor([1e6, -1e6, 0, 0, 0, 0]))
    image = image_for(net, channels=3)
    out = net(image)
    assert (out.log_variance[:, 0] == 20).all()
    assert (out.log_variance[:, 1] == -30).all()
    assert torch.isfinite(out.log_variance.exp()).all()
    assert torch.isfinite(out.reconstruction).all()


# --- errors ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "X"}, "architecture is 'X', expected one of 'R', 'D'"),
        ({"latent": "fat"}, "latent is 'fat', expected one of 'conv', 'flat'"),
        ({"head": "linear"}, "head is 'linear', expected one of 'none', 'flat', 'conv'"),
        ({"stages": 5}, r"stages is 5, expected 2, 3 or 4 \(stride 8, 16 or 32\)"),
        ({"stages": 1, "architecture": "D"}, "stages is 1, expected 2, 3 or 4"),
        (
            {"latent": "flat", "head": "conv"},
            "head is 'conv' on a flat latent, which has no positions: use head='flat'",
        ),
        ({"latent": "flat"}, "image_size is not given, but latent='flat', head='none' fit one size: give"),
        ({"head": "flat"}, "image_size is not given, but latent='conv', head='flat' fit one size: give"),
        ({"head": "flat", "image_size": (64, 100)}, "image width 100 is not a multiple of 32: resize or pad to 128"),
        ({"head": "flat", "image_size": (0, 96)}, "image height 0 is not a multiple of 32: resize or pad to 32"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CAVGA(**options)


@pytest.mark.parametrize("options", [{"latent": "flat"}, {"head": "flat"}])
def test_a_flat_network_fits_one_size(options: dict[str, Any]) -> None:
    net = build(**options).eval()
    with pytest.raises(ValueError, match="image is 24 x 24, expected 16 x 24, the image_size that a flat latent"):
        net.anomaly_maps(torch.rand(1, 3, 24, 24), ["attention"])


def test_unknown_map() -> None:
    net = build().eval()
    with pytest.raises(
        ValueError, match="map 'heat' is not known: choose from 'attention', 'residual', 'relative_residual'"
    ):
        net.anomaly_maps(image_for(net, channels=3), ["attention", "heat"])


def test_class_attention_without_a_classifier() -> None:
    net = build().eval()
    features, mean, _ = net.encode(image_for(net, channels=3))
    with pytest.raises(RuntimeError, match="no classifier on its latent: build it with head='flat' or head='conv'"):
        net.class_attention(features, mean)


# --- cost ---


@pytest.mark.parametrize("architecture", ["R", "D"])
def test_decoder_and_discriminator_cost_less_than_two_encoders(architecture: str) -> None:
    def cost(part: Any, tensor: Tensor) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            part(tensor)
        return counter.get_total_flops()

    with torch.device("meta"):  # shapes only: nothing is computed
        net = CAVGA(architecture=architecture, stages=4).eval()
        discriminator = DCGANDiscriminator(channels=64).eval()
        image = torch.empty(1, 3, 256, 256)
        latent = torch.empty(net.noise_shape(image))
    encoder = cost(net.encoder, image)
    rest = cost(net.decode, latent) + cost(discriminator, image)
    assert encoder > 1e9
    assert rest < 2 * encoder
