"""AnoGAN-style search: a GAN of normal images, and at test time the nearest image it makes; Schlegl et al. 2017."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from measuring import Found
from torch import Tensor, nn

from monai_cavga.losses import discriminator_loss, generator_loss
from monai_cavga.networks import DCGANDecoder, DCGANDiscriminator

LATENT = 100
SEARCH_STEPS = 15  # Schlegl et al. take 500: sized for one CPU thread
SEARCH_RATE = 0.1
FEATURE_SHARE = 0.1  # lambda of their eq. 5: of the discriminator's features in the score
SETTINGS = (SEARCH_STEPS, SEARCH_RATE, FEATURE_SHARE)
RATE, BETAS = 2e-4, (0.5, 0.999)  # Radford et al. 2016


class GAN(nn.Module):
    """DCGAN's generator from a vector of N(0, 1) values, and the paper's discriminator.

    Args:
        discriminator: of CAVGA, with weights drawn at random.
        in_channels: channels of the image.
        stages: as an encoder's, of the map that the vector becomes.
        channels: of the generator before its last layer.
        image_size: ``(H, W)`` in pixels, multiples of the stride.
    """

    def __init__(
        self,
        discriminator: DCGANDiscriminator,
        *,
        in_channels: int,
        stages: int,
        channels: int,
        image_size: tuple[int, int],
    ) -> None:
        super().__init__()
        stride = 2 ** (stages + 1)
        self.shape = (LATENT, image_size[0] // stride, image_size[1] // stride)
        self.expand = nn.Linear(LATENT, self.shape[0] * self.shape[1] * self.shape[2])
        self.decoder = DCGANDecoder(LATENT, in_channels, stages=stages, channels=channels)
        self.discriminator = discriminator

    def generate(self, latent: Tensor) -> Tensor:
        """``(B, 100)`` to images ``(B, C, H, W)`` in [0, 1]."""
        small = self.expand(latent).view(latent.shape[0], *self.shape)
        return torch.sigmoid(self.decoder(small))

    def features(self, image: Tensor) -> Tensor:
        """The discriminator's last features, ``(B, K, h, w)``."""
        found: Tensor = self.discriminator.layers(2 * image - 1)
        return found


def train_gan(gan: GAN, batches: Iterable[Tensor]) -> None:
    """One update of the discriminator and one of the generator for every batch of images."""
    gan.train()
    made = [*gan.expand.parameters(), *gan.decoder.parameters()]
    generator = torch.optim.Adam(made, lr=RATE, betas=BETAS)
    judge = torch.optim.Adam(gan.discriminator.parameters(), lr=RATE, betas=BETAS)
    for image in batches:
        fake = gan.generate(torch.randn(image.shape[0], LATENT, device=image.device))
        judge.zero_grad()
        discriminator_loss(gan.discriminator(image), gan.discriminator(fake.detach())).backward()
        judge.step()
        generator.zero_grad()
        gan.discriminator.requires_grad_(False)
        generator_loss(gan.discriminator(fake)).backward()
        gan.discriminator.requires_grad_(True)
        generator.step()


def search_found(gan: GAN, image: Tensor, *, steps: int = SEARCH_STEPS) -> Found:
    """The residual to the nearest image that the search finds; score: ``0.9 * residual + 0.1 * feature distance``.

    Each image's latent starts from zero and follows the gradient of its own score.
    """
    wanted = gan.features(image)
    latent = torch.zeros(image.shape[0], LATENT, device=image.device, requires_grad=True)
    optimizer = torch.optim.Adam([latent], lr=SEARCH_RATE)
    for _ in range(steps):
        with torch.enable_grad():
            scores = _distance(gan, gan.generate(latent), image, wanted)
            (latent.grad,) = torch.autograd.grad(scores.sum(), latent)
        optimizer.step()
    nearest = gan.generate(latent.detach())
    return Found((nearest - image).abs().mean(dim=1, keepdim=True), _distance(gan, nearest, image, wanted))


def _distance(gan: GAN, made: Tensor, image: Tensor, wanted: Tensor) -> Tensor:
    """``(B,)``: both parts are means of absolute differences, so that an image's size does not weigh."""
    residual = (made - image).abs().mean(dim=(1, 2, 3))
    feature = (gan.features(made) - wanted).abs().mean(dim=(1, 2, 3))
    return (1 - FEATURE_SHARE) * residual + FEATURE_SHARE * feature
