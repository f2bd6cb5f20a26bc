"""CAVGA: encoder, convolutional latent, decoder, for CAVGA_w the classifier C, and attention in the forward pass."""

from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_cavga.attention import class_attention, latent_attention, normalise_attention
from monai_cavga.networks.decoders import DCGANDecoder, ResidualDecoder
from monai_cavga.networks.encoders import DCGANEncoder, ResNetEncoder
from monai_cavga.networks.heads import (
    ConvClassifier,
    ConvLatent,
    FlatClassifier,
    FlatLatent,
    PyramidClassifier,
    pool_logits,
)
from monai_cavga.networks.residual import relative_residual, residual

__all__ = ["CAVGA", "MAP_NAMES", "CAVGAOutput"]

MAP_NAMES = ("attention", "residual")  # of every network of the paper; "class" with a pyramid head


class CAVGAOutput(NamedTuple):
    """What one forward pass gives; ``Optional`` entries depend on the network's options.

    This file spells annotations out (no postponed evaluation), because TorchScript reads them.
    """

    reconstruction: Optional[Tensor]  # (B, C, H, W) in [0, 1]; None without a decoder  # noqa: UP045 - TorchScript
    reconstruction_logits: Optional[Tensor]  # (B, C, H, W)  # noqa: UP045
    mean: Tensor  # (B, n, h, w), or (B, n) for a flat latent
    log_variance: Tensor  # as mean
    features: Tensor  # (B, K, h, w), the target of Grad-CAM for CAVGA_u
    attention: Tensor  # (B, 1, h, w) in [0, 1], from sum(mean)
    logits: Optional[Tensor]  # (B, 2): normal, anomalous  # noqa: UP045 - TorchScript
    class_attention: Optional[Tensor]  # (B, 2, h, w) in [0, 1], one divisor  # noqa: UP045
    class_map: Optional[Tensor] = None  # (B, 2, h, w), C's logits at every position; conv heads  # noqa: UP045


class CAVGA(nn.Module):
    """Convolutional adversarial variational autoencoder with guided attention; arXiv:1911.08616, Fig. 2.

    Latent ``z = mu + eps * sigma`` in training and ``z = mu`` at evaluation. The score behind the attention of
    CAVGA_u is ``sum(mu)``, its target the last feature map of the encoder; the attention of CAVGA_w comes from C's two
    outputs with z as target (with a flat latent, which has no positions, from C on mu with the features as target).

    Readings of what the paper leaves open: 100 latent channels (the only latent size it names, Sec. 6, here at every
    position); Grad-CAM maps divided by the image's own maximum.

    Args:
        architecture: ``"R"`` ResNet-18 encoder and residual decoder, or ``"D"`` DCGAN's discriminator and generator.
        in_channels: channels of the image.
        stages: 2, 3 or 4 encoder stages: stride 8, 16 or 32 (paper: 4).
        latent: ``"conv"``, or ``"flat"`` for the ablation with the ``*``.
        latent_channels: channels of the latent.
        head: ``"none"`` CAVGA_u, ``"flat"`` the paper's C; ours: ``"conv"``, a C at every position of the latent, and
            ``"pyramid"``, a C on a latent of all stages at stride 4, whose z takes no part in the reconstruction.
        decoder: False leaves the decoder out, for training C alone (ours).
        frozen_norm: BatchNorm of the encoder keeps its statistics in training, as fine-tuning on few images or on
            crops needs it (ours).
        image_size: ``(H, W)`` in pixels; needed by a flat latent and by the flat head only, which fit one size.

    Raises:
        ValueError: for an unknown option, a missing or indivisible ``image_size``, or a conv head on a flat latent.
    """

    def __init__(
        self,
        *,
        architecture: str = "R",
        in_channels: int = 3,
        stages: int = 4,
        latent: str = "conv",
        latent_channels: int = 100,
        head: str = "none",
        decoder: bool = True,
        frozen_norm: bool = False,
        image_size: Optional[tuple[int, int]] = None,  # noqa: UP045
    ) -> None:
        super().__init__()
        _check_option("architecture", architecture, ("R", "D"))
        _check_option("latent", latent, ("conv", "flat"))
        _check_option("head", head, ("none", "flat", "conv", "pyramid"))
        if latent == "flat" and head == "conv":
            raise ValueError(
                "head is 'conv' on a flat latent, which has no positions: use head='flat' or latent='conv'"
            )

        self.decoder: ResidualDecoder | DCGANDecoder | None = None
        if architecture == "R":
            self.encoder: ResNetEncoder | DCGANEncoder = ResNetEncoder(in_channels, stages=stages)
            if decoder:
                self.decoder = ResidualDecoder(latent_channels, in_channels, stages=stages)
        else:
            self.encoder = DCGANEncoder(in_channels, stages=stages)
            if decoder:
                self.decoder = DCGANDecoder(latent_channels, in_channels, stages=stages)
        self.frozen_norm = frozen_norm
        self.stride: int = self.encoder.stride
        self.in_channels = in_channels
        self.latent_channels = latent_channels
        self.flat_latent: bool = latent == "flat"

        self.fixed_size: tuple[int, int] = (0, 0)  # of the image, where it is fixed
        map_size = (0, 0)
        if latent == "flat" or head == "flat":
            if image_size is None:
                raise ValueError(
                    f"image_size is not given, but latent={latent!r}, head={head!r} fit one size: give (H, W)"
                )
            check_image_size(image_size[0], image_size[1], stride=self.stride)
            self.fixed_size = (image_size[0], image_size[1])
            map_size = (image_size[0] // self.stride, image_size[1] // self.stride)

        channels: int = self.encoder.out_channels
        if latent == "flat":
            self.latent: ConvLatent | FlatLatent = FlatLatent(channels, latent_channels, map_size=map_size)
        else:
            self.latent = ConvLatent(channels, latent_channels)
        self.classifier: ConvClassifier | FlatClassifier | None = None
        self.pyramid_classifier: PyramidClassifier | None = None
        if head == "pyramid":
            self.pyramid_classifier = PyramidClassifier(self.encoder.pyramid_channels)
        elif head == "conv":
            self.classifier = ConvClassifier(latent_channels)
        elif head == "flat":
            self.classifier = FlatClassifier(latent_channels, map_size=(1, 1) if latent == "flat" else map_size)

    def forward(self, image: Tensor, noise: Optional[Tensor] = None) -> CAVGAOutput:  # noqa: UP045
        """One pass through everything.

        Args:
            image: ``(B, C, H, W)``, float in [0, 1]; H and W multiples of the stride.
            noise: standard normal ``eps``, of `noise_shape`; drawn where it is not given. Training only.

        Raises:
            ValueError: for another number of channels, a size that the stride does not divide, or another size than
                a flat latent or head was built for.
        """
        pyramid = self.pyramid(image)
        features = pyramid[-1]
        mean, log_variance = self.moments(features)
        latent = mean
        if self.training:
            eps = torch.randn_like(mean) if noise is None else noise
            latent = mean + eps * torch.exp(0.5 * log_variance)
        reconstruction: Optional[Tensor] = None  # noqa: UP045
        reconstruction_logits: Optional[Tensor] = None  # noqa: UP045
        if self.decoder is not None:
            reconstruction_logits = self.decode(latent)
            reconstruction = torch.sigmoid(reconstruction_logits)
        logits: Optional[Tensor] = None  # noqa: UP045
        classes: Optional[Tensor] = None  # noqa: UP045
        class_map: Optional[Tensor] = None  # noqa: UP045
        if self.pyramid_classifier is not None:
            z = self.pyramid_classifier.latent(pyramid)
            class_map = self.pyramid_classifier(z)
            logits = pool_logits(class_map)
            classes = self.pyramid_classifier.attention(z)
        elif self.classifier is not None:
            logits = self.classifier(latent)
            classes = self.class_attention(features, latent)
        return CAVGAOutput(
            reconstruction,
            reconstruction_logits,
            mean,
            log_variance,
            features,
            self.attention(features),
            logits,
            classes,
            class_map,
        )

    def train(self, mode: bool = True) -> "CAVGA":
        """As of any module; with ``frozen_norm`` the encoder's BatchNorm stays in evaluation."""
        super().train(mode)
        if self.frozen_norm:
            for module in self.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def pyramid(self, image: Tensor, all_stages: bool = False) -> list[Tensor]:  # TorchScript: no keyword-only
        """Features of all stages (stride 4 and more) if asked or for a pyramid head, else of the last one alone."""
        if not torch.jit.is_scripting():
            self._check_image(image)
        if self.pyramid_classifier is None and not all_stages:
            return [self.encoder(image)]
        return self.encoder.pyramid(image)

    def moments(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latent, from the last stage's features."""
        mean, log_variance = self.latent(features)
        return mean, log_variance.clamp(-30.0, 20.0)  # exp() stays finite in float32

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features, mean and log variance of an image; see `CAVGAOutput` for the shapes."""
        features = self.pyramid(image)[-1]
        mean, log_variance = self.moments(features)
        return features, mean, log_variance

    def _check_image(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"image has shape {tuple(image.shape)}, expected (B, {self.in_channels}, H, W): "
                "convert it (LoadRGBd's channels) or build the network with its in_channels"
            )
        check_image_size(height, width, stride=self.stride)
        if self.fixed_size != (0, 0) and (height, width) != self.fixed_size:
            raise ValueError(
                f"image is {height} x {width}, expected {self.fixed_size[0]} x {self.fixed_size[1]}, "
                "the image_size that a flat latent or head was built for: resize it (Resized), or use "
                "latent='conv' and another head"
            )

    def decode(self, latent: Tensor) -> Tensor:
        """Latent to the logits of the reconstruction, ``(B, C, H, W)``.

        Raises:
            RuntimeError: if the network has no decoder.
        """
        if self.decoder is None:
            raise RuntimeError("this network has no decoder: build it with decoder=True")
        logits: Tensor = self.decoder(self.latent.to_map(latent))
        return logits

    def attention(self, features: Tensor) -> Tensor:
        """CAVGA_u's attention A ``(B, 1, h, w)`` in [0, 1]: where the latent looks. High on what is normal."""
        return normalise_attention(latent_attention(features, self.latent.positional_weight()))

    def class_attention(self, features: Tensor, latent: Tensor) -> Tensor:
        """CAVGA_w's ``A^{c_n}`` and ``A^{c_a}``, ``(B, 2, h, w)`` in [0, 1], one divisor for both.

        Raises:
            RuntimeError: if the network has no classifier.
        """
        if self.classifier is None:
            raise RuntimeError("this network has no classifier on its latent: build it with head='flat' or head='conv'")
        weight = self.classifier.positional_weight()
        if self.flat_latent:
            raw = class_attention(features, weight @ self.latent.positional_weight())
        else:
            raw = class_attention(latent, weight)
        return normalise_attention(raw)

    def noise_shape(self, image: Tensor) -> list[int]:
        """The shape of the noise that fits ``image`` ``(B, C, H, W)``: ``[B, n, h, w]``, or ``[B, n]`` if flat."""
        if self.flat_latent:
            return [image.shape[0], self.latent_channels]
        return [
            image.shape[0],
            self.latent_channels,
            image.shape[2] // self.stride,
            image.shape[3] // self.stride,
        ]

    def anomaly_maps(self, image: Tensor, names: list[str]) -> Tensor:
        """Anomaly maps at the size of the image, from the least computation that they need. Higher = more anomalous.

        ``"attention"``: ``1 - A`` for CAVGA_u, ``A^{c_a}`` for CAVGA_w (Sec. 3), bilinear from the latent's size.
        ``"residual"``: ``|x - x^|``, the mean over channels; ``"relative_residual"`` (ours): it over the image's own
        detail (`monai_cavga.networks.residual`), 0 or more without an upper end. ``"class"``: C's probability of the
        anomalous class at every position, of the pyramid head. ``"kl"`` (ours): the KL divergence of the posterior
        from N(0, 1) at every position of the latent, in nats per channel, 0 or more without an upper end.
        ``"reconstruction"`` is no map of anomalies but ``x^`` itself, for pictures: as many channels as the image.
        All use ``z = mu``.

        Args:
            image: ``(B, C, H, W)``, float in [0, 1].
            names: maps in the order wanted.

        Returns:
            ``(B, K, H, W)`` in [0, 1] but for ``"kl"`` and ``"relative_residual"``, one channel for each map.

        Raises:
            ValueError: for an unknown name, if the stride does not divide H and W, or if the network fits another size.
        """
        return self.maps_from(self.pyramid(image), image, names)

    def maps_from(self, pyramid: list[Tensor], image: Tensor, names: list[str]) -> Tensor:
        """`anomaly_maps` from features that are there already."""
        features = pyramid[-1]
        decodes = "residual" in names or "relative_residual" in names or "reconstruction" in names
        mean, log_variance = features, features
        if decodes or self.classifier is not None or "kl" in names:
            mean, log_variance = self.moments(features)
        reconstruction = image
        if decodes:
            reconstruction = torch.sigmoid(self.decode(mean))
        maps: list[Tensor] = []
        for name in names:
            if name == "residual":
                maps.append(residual(image, reconstruction))
                continue
            if name == "relative_residual":
                maps.append(relative_residual(image, reconstruction))
                continue
            if name == "reconstruction":
                maps.append(reconstruction)
                continue
            if name == "kl":
                nats = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)
                small = nats.mean(dim=1, keepdim=True)
                if self.flat_latent:  # no positions
                    small = small[:, :, None, None]
            elif name == "class":
                small = torch.sigmoid(self.class_logit(pyramid))
            elif name == "attention":
                if self.pyramid_classifier is not None:
                    z = self.pyramid_classifier.latent(pyramid)
                    small = self.pyramid_classifier.attention(z)[:, 1:]
                elif self.classifier is None:
                    small = 1 - self.attention(features)
                else:
                    small = self.class_attention(features, mean)[:, 1:]
            else:
                raise ValueError(
                    f"map '{name}' is not known: choose from 'attention', 'residual', 'relative_residual', 'kl', "
                    "'class', 'reconstruction'"
                )
            maps.append(F.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False))
        return torch.cat(maps, dim=1)

    def class_logit(self, pyramid: list[Tensor]) -> Tensor:
        """The pyramid head's logit of anomalous against normal at every position, ``(B, 1, H/4, W/4)``.

        Raises:
            ValueError: without a pyramid head.
        """
        if self.pyramid_classifier is None:
            raise ValueError("map 'class' needs a network with head='pyramid'")
        return self.pyramid_classifier.anomalous(self.pyramid_classifier.latent(pyramid))


def check_image_size(height: int, width: int, *, stride: int) -> None:
    """Refuse an image that the network cannot bring back to its own size.

    Raises:
        ValueError: if ``stride`` does not divide a side; names the nearest sizes that fit.
    """
    for name, side in (("height", height), ("width", width)):
        if side % stride or side < stride:
            fit = max(-(-side // stride), 1) * stride
            raise ValueError(
                f"image {name} {side} is not a multiple of {stride}: resize or pad to {fit} (Resized, DivisiblePadd)"
            )


def _check_option(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, allowed))}")
