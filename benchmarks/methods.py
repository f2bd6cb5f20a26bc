"""The rows of tables 3, 4, 5 and 6: what each method trains, on which parts of a bundle, and what its detector says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import latent_search
import reconstruction_models as models
import safetensors.torch as safetensors
import saliency
import torch
from measuring import Detector, Found, Parts
from running import train, train_once
from torch import Tensor, nn

from monai_cavga.handlers.files import write_atomic
from monai_cavga.networks import CAVGA

WEAK: dict[str, Any] = {"labelled": 0.02, "anomalous_fraction": 0.25}


class Training(NamedTuple):
    """What one model is and how it is trained; several methods may look at it."""

    overrides: dict[str, Any]  # of the bundle
    build: Callable[[Parts], nn.Module] | None = None  # None: the bundle trains CAVGA itself
    loss: Callable[..., Tensor] | None = None  # of model, images and labels; None: a GAN's two


class Method(NamedTuple):
    """One row."""

    title: str
    training: str  # of `TRAININGS`
    found: Callable[[Any, Tensor], Found]
    probability: bool = False  # see `measuring.measure`
    settings: tuple[float, ...] = ()  # of `found`: a cell measured with others is not kept


def cavga_found(network: CAVGA, image: Tensor) -> Found:
    """CAVGA_u: ``1 - A`` and the mean of ``|x - x^|`` (Sec. 3.1); CAVGA_w: ``A^{c_a}`` and C's probability (3.2)."""
    if network.classifier is None:
        maps = network.anomaly_maps(image, ["attention", "residual"])
        return Found(maps[:, :1], maps[:, 1].mean(dim=(1, 2)))
    maps = network.anomaly_maps(image, ["attention"])
    logits = network.classifier(network.encode(image)[1])
    return Found(maps, torch.softmax(logits, dim=1)[:, 1])


def _network(parts: Parts) -> CAVGA:
    """The bundle's network with the encoder's first weights, without a training."""
    network: CAVGA = parts.get("network_def")
    parts.get("load_encoder")
    return network


def _gamma(parts: Parts) -> nn.Module:
    return models.GammaVAE(_network(parts))


def _classifier(parts: Parts) -> nn.Module:
    encoder = _network(parts).encoder
    return saliency.EncoderClassifier(encoder, channels=encoder.out_channels)


def _gan(parts: Parts) -> nn.Module:
    size = parts.get("image_size")
    return latent_search.GAN(
        parts.get("discriminator_def"),
        in_channels=parts.get("in_channels"),
        stages=parts.get("stages"),
        channels=parts.get("discriminator_channels"),
        image_size=(size[0], size[1]),
    )


def _unlabelled(loss: Callable[[Any, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda model, image, label: loss(model, image)


TRAININGS = {
    "R_u": Training({}),
    "R_w": Training({**WEAK, "head": "flat"}),
    "D_u": Training({"architecture": "D", "encoder_weights": "none"}),
    "D_w": Training({**WEAK, "head": "flat", "architecture": "D", "encoder_weights": "none"}),
    "ae_l2": Training({}, _network, _unlabelled(models.l2_loss)),
    "ae_ssim": Training({}, _network, _unlabelled(models.ssim_loss)),
    "gamma_vae": Training({}, _gamma, _unlabelled(models.gamma_loss)),
    "vae": Training({"latent": "flat"}, _network, _unlabelled(models.vae_loss)),
    "gan": Training({"encoder_weights": "none"}, _gan),
    "classifier": Training(WEAK, _classifier, saliency.classifier_loss),
}
METHODS = {  # the paper's names
    "CAVGA-R_u": Method("ResNet-18, no labels", "R_u", cavga_found),
    "CAVGA-R_w": Method("ResNet-18, 2 % labels", "R_w", cavga_found, probability=True),
    "CAVGA-D_u": Method("DCGAN, no labels", "D_u", cavga_found),
    "CAVGA-D_w": Method("DCGAN, 2 % labels", "D_w", cavga_found, probability=True),
    "AE_L2": Method("autoencoder, squared error", "ae_l2", models.l2_found),
    "AE_SSIM": Method("autoencoder, SSIM", "ae_ssim", models.ssim_found),
    "gamma-VAE_g": Method(
        "VAE with learnt variance, projected by gradient descent",
        "gamma_vae",
        models.gamma_found,
        settings=models.SETTINGS,
    ),
    "ADVAE": Method("VAE, Grad-CAM of each value of a flat latent", "vae", models.latent_attention_found),
    "AnoGAN": Method(
        "GAN, search for the nearest image", "gan", latent_search.search_found, settings=latent_search.SETTINGS
    ),
    "CAM": Method("classifier, class activation map", "classifier", saliency.cam_found, probability=True),
    "GBP": Method("classifier, guided backpropagation", "classifier", saliency.guided_found, probability=True),
    "SmoothGrad": Method(
        "classifier, SmoothGrad", "classifier", saliency.smooth_found, True, settings=saliency.SETTINGS
    ),
}
LEFT_OUT = {
    "AVID": "not built here: an inpainting network and a detector network of its own, neither of them the paper's",
    "LSA": "not built here: its score is the density of an autoregressive network of its own on the latent",
    "CNNFD, TI, VM": "the paper gives only how much their mean AuROC is below CAVGA-D_u's; detectors on the same "
    "ImageNet features are in `baselines.md`",
    "Patho-GAN": "compared on LAG alone, whose owners do not let it be passed on",
}


def train_model(name: str, *, bundle: str, data: Path, work: Path, overrides: Mapping[str, Any]) -> None:
    """Train a model of `TRAININGS` into ``work``; a finished one is kept, CAVGA goes on where it was killed.

    Args:
        name: of `TRAININGS`.
        bundle: name of the bundle's folder.
        data: the data set's folder.
        work: of this training alone.
        overrides: the cell's, those of the training among them.

    Raises:
        ValueError: as `running.train_once`.
    """
    training = TRAININGS[name]
    if training.build is None:
        train(bundle, data=data, work=work, overrides=overrides)
        return

    build, loss = training.build, training.loss

    def action() -> None:
        parts = Parts(bundle, data=data, overrides=overrides)
        model = build(parts).to(parts.get("device"))
        batches = parts.training_batches(parts.get("epochs"))
        if loss is None:
            latent_search.train_gan(model, (image for image, _ in batches))  # type: ignore[arg-type]
        else:
            minimise(loss, model, batches, rate=parts.get("learning_rate"))
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        write_atomic(_file(work), safetensors.save(weights))

    train_once(action, work=work, overrides={**overrides, "baseline": name})


def minimise(
    loss: Callable[..., Tensor], model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, rate: float
) -> None:
    """One step of Adam a batch.

    Args:
        loss: of model, images and labels.
        model: trained in place, left in training mode.
        batches: images ``(B, C, H, W)`` and labels ``(B,)``.
        rate: Adam's.
    """
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for image, label in batches:
        optimizer.zero_grad()
        loss(model, image, label).backward()
        optimizer.step()


def detector(name: str, parts: Parts, *, work: Path) -> Detector:
    """A method's detector, from what `train_model` left in ``work``.

    Args:
        name: of `METHODS`.
        parts: of the cell; with ``model_file`` where the bundle trained.
        work: of the training.
    """
    method = METHODS[name]
    training = TRAININGS[method.training]
    device = parts.get("device")
    if training.build is None:
        model = parts.get("network")
        parts.get("load_model")
    else:
        model = training.build(parts)
        model.load_state_dict(safetensors.load(_file(work).read_bytes()))
    model.to(device).eval()
    return partial(_on_device, method.found, model, device)


def cell_parts(bundle: str, *, data: Path, work: Path, overrides: Mapping[str, Any]) -> Parts:
    """What evaluates a training's models: no first weights are looked up, they are in the model's file."""
    return Parts(
        bundle, data=data, overrides={**overrides, "encoder_weights": "none", "model_file": str(work / "model.pt")}
    )


def _on_device(found: Callable[[Any, Tensor], Found], model: nn.Module, device: Any, image: Tensor) -> Found:
    return found(model, image.to(device))


def _file(work: Path) -> Path:
    return work / "model.safetensors"
