"""What a classifier looks at, by captum: CAM, guided backpropagation and SmoothGrad of the anomalous class.

The classifier is the paper's encoder, its features' mean over positions and one linear layer, trained on normal images
and the few labelled anomalies. Maps are divided by their own maximum, as the paper's attention is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from measuring import Found
from torch import Tensor, nn
from torch.nn import functional as F

from monai_cavga.attention import normalise_attention

ANOMALOUS = 1
SAMPLES = 8  # of SmoothGrad; Smilkov et al. 2017 take 50: sized for one CPU thread
NOISE = 0.15  # standard deviation, of a range of 1
SETTINGS = (SAMPLES, NOISE)


class EncoderClassifier(nn.Module):
    """Encoder, mean over positions, two outputs: normal and anomalous.

    Args:
        encoder: image ``(B, C, H, W)`` in [0, 1] to features ``(B, K, h, w)``.
        channels: K.
    """

    def __init__(self, encoder: nn.Module, *, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.target = nn.Identity()  # a layer of its own for captum: the encoder's last is used twice
        self.linear = nn.Linear(channels, 2)
        for module in encoder.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # captum's hooks cannot stand values that change later

    def forward(self, image: Tensor) -> Tensor:
        """Images to logits ``(B, 2)``."""
        features = self.target(self.encoder(image))
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits


def classifier_loss(model: EncoderClassifier, image: Tensor, label: Tensor) -> Tensor:
    """Cross entropy with the image's label ``(B,)``, 0 normal, 1 anomalous."""
    return F.cross_entropy(model(image), label.long())


def cam_found(model: EncoderClassifier, image: Tensor) -> Found:
    """Class activation map, Zhou et al. 2016: with a mean and a linear layer Grad-CAM has the layer's own weights."""
    return _found(
        model,
        image,
        lambda x: _captum().LayerGradCam(model, model.target).attribute(x, target=ANOMALOUS, relu_attributions=True),
    )


def guided_found(model: EncoderClassifier, image: Tensor) -> Found:
    """Guided backpropagation, Springenberg et al. 2015: the gradient, only what is positive at every ReLU."""
    return _found(model, image, lambda x: _captum().GuidedBackprop(model).attribute(x, target=ANOMALOUS))


def smooth_found(model: EncoderClassifier, image: Tensor, *, seed: int = 0) -> Found:
    """SmoothGrad, Smilkov et al. 2017: the gradient's mean over noisy copies, the same noise for every image."""
    captum = _captum()
    tunnel = captum.NoiseTunnel(captum.Saliency(model))

    def attribute(x: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found: Tensor = tunnel.attribute(
                x, nt_type="smoothgrad", nt_samples=SAMPLES, stdevs=NOISE, target=ANOMALOUS, abs=False
            )
        return found

    return _found(model, image, attribute)


def _found(model: EncoderClassifier, image: Tensor, attribute: Callable[[Tensor], Tensor]) -> Found:
    """Maps image by image at the image's size, and the classifier's probability of the anomalous class."""
    maps = []
    for one in image.split(1):
        with torch.enable_grad():
            raw = attribute(one.clone().requires_grad_()).detach()
        small = normalise_attention(raw.abs().mean(dim=1, keepdim=True))
        maps.append(F.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False))
    return Found(torch.cat(maps), torch.softmax(model(image), dim=1)[:, ANOMALOUS])


def _captum() -> Any:
    try:
        from captum import attr
    except ImportError:
        sys.exit("CAM, GBP and SmoothGrad need captum, which is not installed: pip install captum, or name other rows")
    return attr
