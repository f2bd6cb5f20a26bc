"""The baselines of tables 3 and 6: losses and maps by hand, and against slow or other ways to the same."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_cavga.attention import class_attention, grad_cam, normalise_attention
from monai_cavga.losses import kl_divergence, reconstruction_loss
from monai_cavga.networks import CAVGA, DCGANDiscriminator, ResNetEncoder

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def models() -> ModuleType:
    import reconstruction_models

    return reconstruction_models


@pytest.fixture
def search() -> ModuleType:
    import latent_search

    return latent_search


@pytest.fixture
def saliency() -> ModuleType:
    import saliency

    return saliency


def images(batch: int = 2) -> Tensor:
    """``(B, 1, 32, 48)`` in [0, 1], each another."""
    return torch.rand(batch, 1, 32, 48, generator=torch.Generator().manual_seed(5))


def network(**options: Any) -> CAVGA:
    torch.manual_seed(0)
    return CAVGA(in_channels=1, stages=2, latent_channels=6, image_size=(32, 48), **options).eval()


class Always(nn.Module):
    """A network that reconstructs one grey, whatever the image."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.logit = math.log(value / (1 - value))

    def encode(self, image: Tensor) -> tuple[None, Tensor, None]:
        return None, image, None

    def decode(self, mean: Tensor) -> Tensor:
        return 0 * mean + self.logit


def test_squared_error_by_hand(models: ModuleType) -> None:
    """hand: 0.75 and 0.25 against 0.5 in one of two channels: 0.0625 / 2 and 0.0625 / 2; the other equals 0.5."""
    image = torch.full((1, 2, 1, 2), 0.5)
    image[0, 0] = torch.tensor([[0.75, 0.25]])
    found = models.l2_found(Always(0.5), image)
    torch.testing.assert_close(found.maps, torch.full((1, 1, 1, 2), 0.03125))
    torch.testing.assert_close(found.scores, torch.tensor([0.03125]))
    torch.testing.assert_close(models.l2_loss(Always(0.5), image), torch.tensor(0.03125))


def test_ssim_is_of_the_window_around_a_pixel(models: ModuleType) -> None:
    image = torch.full((1, 1, 32, 48), 0.5)
    assert models.ssim_found(Always(0.5), image).maps.abs().max() < 1e-5
    image[0, 0, 20:23, 30:33] = 1.0
    found = models.ssim_found(Always(0.5), image)
    assert found.maps.shape == image.shape
    row, column = divmod(int(found.maps.flatten().argmax()), 48)
    assert abs(row - 21) <= 2
    assert abs(column - 31) <= 2
    assert found.maps[0, 0, :14].abs().max() < 1e-5  # no window of these reaches the square
    assert 0 < models.ssim_loss(Always(0.5), image) < 1


def test_projection_by_hand(models: ModuleType) -> None:
    """hand: x - x^ = 0.3, gamma^2 = 0.09: 0.05 * 0.3 / 0.09 * 0.3^2 = 0.015; where x = x^ nothing moves."""
    model = models.GammaVAE(Always(0.5))
    model.variance.fill_(0.09)
    found = models.gamma_found(model, torch.tensor([[[[0.8, 0.5]]]]), steps=1)
    torch.testing.assert_close(found.maps, torch.tensor([[[[0.015, 0.0]]]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.scores, torch.tensor([0.0075]), atol=1e-6, rtol=0)
    further = models.gamma_found(model, torch.tensor([[[[0.8, 0.5]]]]), steps=4)
    assert found.maps[0, 0, 0, 0] < further.maps[0, 0, 0, 0] < 0.3


def test_variance_is_at_its_optimum(models: ModuleType) -> None:
    """hand: error / (2 * error) = 1/2, whatever the error; a tenth of the way from 1 to the error."""
    model = models.GammaVAE(network()).eval()
    with torch.no_grad():
        output = model.network(images())
    error = float((output.reconstruction - images()).square().mean())
    divergence = kl_divergence(output.mean, output.log_variance, values=32 * 48)
    torch.testing.assert_close(models.gamma_loss(model, images()), 0.5 + divergence)
    assert float(model.variance) == pytest.approx(0.9 + 0.1 * error)


def test_vae_loss_is_eq_1(models: ModuleType) -> None:
    net = network(latent="flat")
    output = net(images())
    expected = reconstruction_loss(output.reconstruction_logits, images())
    expected = expected + kl_divergence(output.mean, output.log_variance, values=32 * 48)
    torch.testing.assert_close(models.vae_loss(net, images()), expected)


@pytest.mark.parametrize("name", ["l2_loss", "ssim_loss", "vae_loss"])
def test_losses_reach_encoder_and_decoder(models: ModuleType, name: str) -> None:
    net = network().train()
    getattr(models, name)(net, images()).backward()
    for part in (net.encoder, net.decoder):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())  # type: ignore[union-attr]


def test_attention_of_each_latent_value(models: ModuleType) -> None:
    """Reference: Grad-CAM by autograd, one value of the latent after the other."""
    net = network(latent="flat")
    image = images().requires_grad_()
    features, mean, _ = net.encode(image)
    each = torch.cat([grad_cam(mean[:, k], features) for k in range(mean.shape[1])], dim=1)
    small = normalise_attention(each.mean(dim=1, keepdim=True))
    expected = nn.functional.interpolate(small, size=(32, 48), mode="bilinear", align_corners=False)
    with torch.no_grad():
        found = models.latent_attention_found(net, images())
    torch.testing.assert_close(found.maps, expected.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.scores, (net(images()).reconstruction - images()).abs().mean(dim=(1, 2, 3)))


def gan(search: ModuleType) -> Any:
    torch.manual_seed(0)
    judge = DCGANDiscriminator(1, channels=4, depth=3)
    return search.GAN(judge, in_channels=1, stages=2, channels=4, image_size=(32, 48)).eval()


def test_search_comes_nearer(search: ModuleType) -> None:
    made = gan(search)
    with torch.no_grad():
        start, end = (search.search_found(made, images(), steps=steps) for steps in (0, 10))
        zero = made.generate(torch.zeros(2, search.LATENT))
    assert (end.scores < start.scores).all()
    torch.testing.assert_close(start.maps, (zero - images()).abs())
    feature = (made.features(zero) - made.features(images())).abs().mean(dim=(1, 2, 3))
    expected = 0.9 * start.maps.mean(dim=(1, 2, 3)) + 0.1 * feature
    torch.testing.assert_close(start.scores, expected.detach())


def test_gan_training_moves_both(search: ModuleType) -> None:
    made = gan(search)
    before = {name: value.clone() for name, value in made.named_parameters()}
    search.train_gan(made, [images()])
    moved = {name.split(".")[0] for name, value in made.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"expand", "decoder", "discriminator"}
    assert all(p.requires_grad for p in made.parameters())


def classifier(saliency: ModuleType) -> Any:
    torch.manual_seed(0)
    encoder = ResNetEncoder(1, stages=2)
    return saliency.EncoderClassifier(encoder, channels=encoder.out_channels).eval()


def test_cam_is_the_weighted_sum_of_features(saliency: ModuleType) -> None:
    model = classifier(saliency)
    with torch.no_grad():
        found = saliency.cam_found(model, images())
        raw = class_attention(model.encoder(images()), model.linear.weight)[:, 1:]
    small = normalise_attention(raw)
    expected = nn.functional.interpolate(small, size=(32, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.maps, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.scores, model(images()).softmax(dim=1)[:, 1])


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient.clamp_min(0) * (ctx.saved_tensors[0] > 0)


class _GuidedReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Guided.apply(x)  # type: ignore[no-any-return]


def test_guided_backpropagation_at_every_relu(saliency: ModuleType) -> None:
    """Reference: the same network with a ReLU whose gradient is rectified; ResNet's blocks use one ReLU twice."""
    model = classifier(saliency)
    with torch.no_grad():
        found = saliency.guided_found(model, images())
    for module in list(model.encoder.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(module, name, _GuidedReLU())
    image = images().requires_grad_()
    (gradient,) = torch.autograd.grad(model(image)[:, 1].sum(), image)
    torch.testing.assert_close(found.maps, normalise_attention(gradient.abs()), atol=1e-4, rtol=1e-3)


def test_smoothgrad_is_the_mean_gradient(saliency: ModuleType) -> None:
    """Reference: the gradients of noisy copies one by one, with the noise that the seed gives."""
    model = classifier(saliency)
    image = images(1)
    state = torch.random.get_rng_state()
    with torch.no_grad():
        found = saliency.smooth_found(model, image, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(3)
    noisy = torch.normal(image.repeat_interleave(saliency.SAMPLES, dim=0), saliency.NOISE).requires_grad_()
    (gradient,) = torch.autograd.grad(model(noisy)[:, 1].sum(), noisy)
    expected = normalise_attention(gradient.mean(dim=0, keepdim=True).abs())
    torch.testing.assert_close(found.maps, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["cam_found", "guided_found", "smooth_found"])
def test_saliency_of_an_image_is_its_own(saliency: ModuleType, name: str) -> None:
    model = classifier(saliency)
    with torch.no_grad():
        both = getattr(saliency, name)(model, images())
        alone = getattr(saliency, name)(model, images()[1:])
    torch.testing.assert_close(both.maps[1:], alone.maps)
    assert both.maps.shape == (2, 1, 32, 48)
    assert float(both.maps.min()) >= 0
    assert float(both.maps.max()) <= 1 + 1e-6


@pytest.mark.parametrize("name", ["l2_found", "ssim_found", "latent_attention_found"])
def test_reconstruction_of_an_image_is_its_own(models: ModuleType, name: str) -> None:
    net = network(latent="flat")
    with torch.no_grad():
        both, alone = (getattr(models, name)(net, each) for each in (images(), images()[1:]))
    torch.testing.assert_close(both.maps[1:], alone.maps)
    torch.testing.assert_close(both.scores[1:], alone.scores)


@pytest.mark.parametrize("name", ["search", "projection"])
def test_descent_of_an_image_is_its_own(models: ModuleType, search: ModuleType, name: str) -> None:
    made, model = gan(search), models.GammaVAE(network())
    with torch.no_grad():
        both, alone = (
            search.search_found(made, each, steps=3) if name == "search" else models.gamma_found(model, each, steps=3)
            for each in (images(), images()[1:])
        )
    torch.testing.assert_close(both.maps[1:], alone.maps, atol=1e-5, rtol=1e-4)


def test_captum_is_asked_for(saliency: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(SystemExit, match="need captum, which is not installed: pip install captum"):
        saliency.cam_found(classifier(saliency), images())
