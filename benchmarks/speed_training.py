"""Figures of training: what attention costs in a step, the closed form against autograd, the roofline."""

from __future__ import annotations

from typing import Any

import torch
from speed_timing import Options, Row, interleaved
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from monai_cavga.attention import grad_cam, normalise_attention
from monai_cavga.engines import CAVGATrainer
from monai_cavga.losses import CAVGAObjective
from monai_cavga.networks import CAVGA, DCGANDiscriminator


class WithoutAttention(CAVGA):
    """The same network whose maps are constants: no attention is computed, and no loss on it has a gradient."""

    def attention(self, features: Tensor) -> Tensor:
        return features.new_ones(features.shape[0], 1, *features.shape[2:])

    def class_attention(self, features: Tensor, latent: Tensor) -> Tensor:
        return latent.new_ones(latent.shape[0], 2, *latent.shape[2:])


class Step:
    """A whole training step of `CAVGATrainer` on one batch."""

    def __init__(
        self,
        network: CAVGA,
        batch: dict[str, Tensor],
        *,
        discriminator: DCGANDiscriminator | None = None,
        attention: bool = True,
    ) -> None:
        discriminator = discriminator or DCGANDiscriminator(network.in_channels)
        weights = {} if attention else {"w_ae": 0.0, "w_cga": 0.0}
        self.trainer = CAVGATrainer(
            "cpu",
            1,
            [batch],
            network,
            discriminator,
            torch.optim.Adam(network.parameters(), lr=1e-4),
            torch.optim.Adam(discriminator.parameters(), lr=1e-4),
            objective=CAVGAObjective(**weights),
        )
        self.batch = batch

    def __call__(self) -> Any:
        """One more step."""
        self.trainer.state.iteration += 1
        return self.trainer._iteration(self.trainer, self.batch)


def attention_losses(options: Options) -> list[Row]:
    """(a) A training step with the attention losses against one without any attention."""
    rows = []
    for head, words in (("none", "CAVGA_u"), ("conv", "CAVGA_w")):
        batch = made_batch(options)
        steps = {
            "with": Step(CAVGA(head=head), batch),
            "without": Step(WithoutAttention(head=head), batch, attention=False),
        }
        timing = interleaved(steps, options.rounds)
        case = f"{words}, batch {options.training_batch}, {options.size[0]} x {options.size[1]}"
        rows.append(Row(case, timing.medians(), timing.ratio("with", "without"), "<= 1.03"))
    return rows


def double_backward(options: Options) -> list[Row]:
    """(b) Encoder, attention and the gradient of a loss on it: closed form against autograd twice over."""
    network, image = CAVGA(decoder=False).train(), made_batch(options)["image"]

    def closed() -> list[Tensor]:
        features, _, _ = network.encode(image)
        return gradients(network, network.attention(features))

    def autograd() -> list[Tensor]:
        features, mean, _ = network.encode(image)
        return gradients(network, normalise_attention(grad_cam(mean.sum(dim=(1, 2, 3)), features, create_graph=True)))

    difference = max(float((one - two).abs().max()) for one, two in zip(closed(), autograd(), strict=True))
    timing = interleaved({"autograd": autograd, "closed form": closed}, options.rounds)
    numbers = {**timing.medians(), "largest difference of a gradient": difference}
    return [
        Row(
            f"batch {len(image)}, {options.size[0]} x {options.size[1]}",
            numbers,
            timing.ratio("autograd", "closed form"),
        )
    ]


def gradients(network: CAVGA, attention: Tensor) -> list[Tensor]:
    """Gradients of the expansion loss with respect to the encoder and the latent's mean."""
    parameters = [*network.encoder.parameters(), network.latent.mean.weight]
    return list(torch.autograd.grad((1 - attention).mean(), parameters))


def roofline(options: Options) -> list[Row]:
    """(h) A training step against the time that its convolutions and products would take at the machine's peak."""
    rows = []
    for architecture in ("R", "D"):
        step = Step(CAVGA(architecture=architecture), made_batch(options))
        with FlopCounterMode(display=False) as counter:
            step()
        flops = counter.get_total_flops()
        timing = interleaved({"step": step, **plain_operations()}, options.rounds)
        peak = max(_flops(name) / timing.median(name) for name in timing.seconds if name != "step")
        speed = flops / timing.median("step")
        numbers: dict[str, float | None] = {
            "step, s": timing.median("step"),
            "counted, GFLOP": flops / 1e9,
            "reached, GFLOP/s": speed / 1e9,
            "peak, GFLOP/s": peak / 1e9,
        }
        case = f"CAVGA-{architecture}, batch {options.training_batch}, {options.size[0]} x {options.size[1]}"
        rows.append(Row(case, numbers, speed / peak, ">= 0.6"))
    return rows


_SIDE = 1024
_PLAIN = {"convolution 64": (64, 64), "convolution 128": (128, 32), "convolution 256": (256, 16)}  # channels, side


def plain_operations() -> dict[str, Any]:
    """A large product and three plain convolutions, the shapes of ResNet's stages at 256 x 256 and batch 4."""
    square = torch.rand(_SIDE, _SIDE)
    calls: dict[str, Any] = {"product": lambda: square @ square}
    for name, (channels, side) in _PLAIN.items():
        image, weight = torch.rand(4, channels, side, side), torch.rand(channels, channels, 3, 3)
        calls[name] = torch.no_grad()(lambda i=image, w=weight: F.conv2d(i, w, padding=1))
    return calls


def _flops(name: str) -> float:
    if name == "product":
        return 2.0 * _SIDE**3
    channels, side = _PLAIN[name]
    return 2.0 * 4 * side**2 * channels**2 * 9


def made_batch(options: Options) -> dict[str, Tensor]:
    """Random images, every other one anomalous."""
    start = torch.Generator().manual_seed(0)
    image = torch.rand(options.training_batch, 3, *options.size, generator=start)
    return {"image": image, "label": torch.arange(options.training_batch) % 2}
