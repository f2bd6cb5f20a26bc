"""Run by torchrun (or alone): one training step on this process's share of four images; saves the gradients.

``python gradients_worker.py OUT.pt`` with a process group under torchrun, without one alone.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_cavga.engines import CAVGATrainer, distribute, local_device, start_process_group, stop_process_group, unwrap
from monai_cavga.networks import CAVGA, CAVGAOutput, DCGANDiscriminator


class FixedCAVGA(CAVGA):
    """BatchNorm keeps its statistics and the noise follows from the image: a batch is the sum of its images."""

    def train(self, mode: bool = True) -> FixedCAVGA:
        super().train(mode)
        return fix_batchnorm(self)

    def forward(self, image: Tensor, noise: Tensor | None = None) -> CAVGAOutput:
        shape = self.noise_shape(image)
        own = 5 * F.adaptive_avg_pool2d(image[:, :1], shape[2:]).expand(shape) - 2.5
        return super().forward(image, own)


class FixedDiscriminator(DCGANDiscriminator):
    def train(self, mode: bool = True) -> FixedDiscriminator:
        super().train(mode)
        return fix_batchnorm(self)


def fix_batchnorm(module):
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.Module.train(part, False)
    return module


def main(out: str, *, alone: bool) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = FixedCAVGA(architecture="R", stages=2, latent_channels=8, head="conv")
    discriminator = FixedDiscriminator(channels=8)
    batch = {"image": torch.rand(4, 3, 64, 96), "label": torch.tensor([0, 1, 0, 0])}
    device = local_device()
    if not alone:
        start_process_group()
        rank = torch.distributed.get_rank()
        batch = {key: value[2 * rank : 2 * rank + 2] for key, value in batch.items()}
        network, discriminator = distribute(network, device), distribute(discriminator, device)
    trainer = CAVGATrainer(
        device,
        1,
        [batch],
        network,
        discriminator,
        torch.optim.SGD(network.parameters(), 0.1),
        torch.optim.SGD(discriminator.parameters(), 0.1),
    )
    trainer.run()
    if alone or torch.distributed.get_rank() == 0:
        parts = {"network": unwrap(network), "discriminator": unwrap(discriminator)}
        torch.save({f"{name}.{key}": p.grad for name, part in parts.items() for key, p in part.named_parameters()}, out)
    if not alone:
        stop_process_group()
        assert not torch.distributed.is_initialized()


if __name__ == "__main__":
    import os

    main(sys.argv[1], alone="LOCAL_RANK" not in os.environ)
