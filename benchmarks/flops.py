"""Multiply-adds of each part at 256 x 256 pixels: ``python benchmarks/flops.py`` writes ``results/flops.md``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from reporting import RESULTS
from torch.utils.flop_counter import FlopCounterMode

from monai_cavga.handlers.files import write_atomic
from monai_cavga.networks import CAVGA, DCGANDiscriminator

SIZE = 256


def gmac(call: Callable[[], Any]) -> float:
    """Billions of multiply-adds of the convolutions and matrix products of one call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops() / 2e9


def main() -> None:
    """Count and write the table."""
    image = torch.rand(1, 3, SIZE, SIZE)
    discriminator = DCGANDiscriminator()
    judge = gmac(lambda: discriminator(image))
    lines = [
        f"# Multiply-adds for one image of {SIZE} x {SIZE}, forward, in billions",
        "",
        "`python benchmarks/flops.py`; counted, so the same on every machine. The attention is one 1x1 convolution. "
        "Decoder and discriminator stay below twice the encoder, but for CAVGA-D with fewer than the paper's 4 stages.",
        "",
        "| network | stages | encoder and latent | decoder | attention | discriminator | (decoder + D) / encoder |",
        "|---|---|---|---|---|---|---|",
    ]
    for architecture in ("R", "D"):
        for stages in (2, 3, 4):
            network = CAVGA(architecture=architecture, stages=stages).eval()
            features, mean, _ = network.encode(image)
            encoder = gmac(lambda n=network: n.encode(image))
            decoder = gmac(lambda n=network, z=mean: n.decode(z))
            attention = gmac(lambda n=network, f=features: n.attention(f))
            ratio = (decoder + judge) / encoder
            lines.append(
                f"| CAVGA-{architecture} | {stages} | {encoder:.2f} | {decoder:.2f} | {attention:.5f} | "
                f"{judge:.2f} | {ratio:.2f} |"
            )
    write_atomic(RESULTS / "flops.md", ("\n".join(lines) + "\n").encode())
    print("\n".join(lines))


if __name__ == "__main__":
    main()
