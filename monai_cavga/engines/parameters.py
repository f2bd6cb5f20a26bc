"""Which parameters of a network learn, and how fast."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["parameter_groups"]


def parameter_groups(network: Any, *, learning_rate: float, encoder_learning_rate: float) -> list[dict[str, Any]]:
    """Two groups for an optimiser: the pretrained encoder, slowly, and everything else.

    The encoder's first convolution and its BatchNorm keep their values, and so do parameters that the network's
    options leave without a loss (the latent's with neither a decoder nor a classifier on it).

    Args:
        network: `CAVGA`; ``requires_grad`` of what does not learn is set to False.
        learning_rate: of the heads, decoder and latent.
        encoder_learning_rate: of the encoder.
    """
    encoder: nn.Module = network.encoder
    for name in ("conv1", "bn1"):
        stem = getattr(encoder, name, None)
        if isinstance(stem, nn.Module):
            stem.requires_grad_(False)
    if network.decoder is None and network.classifier is None:
        network.latent.requires_grad_(False)
    slow = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    known = {id(parameter) for parameter in encoder.parameters()}
    fast = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
    return [{"params": slow, "lr": encoder_learning_rate}, {"params": fast, "lr": learning_rate}]
