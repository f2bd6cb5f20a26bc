"""parameter_groups: every parameter that learns is in one group, the encoder's in the slow one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from monai_cavga.engines import parameter_groups
from monai_cavga.networks import CAVGA

SLOW, FAST = 1e-4, 1e-2


def grouped(**options: Any) -> tuple[CAVGA, dict[str, str]]:
    """A network, and for each of its parameters where it went."""
    torch.manual_seed(0)
    net = CAVGA(**{"stages": 2, "latent_channels": 4, **options})
    slow, fast = parameter_groups(net, learning_rate=FAST, encoder_learning_rate=SLOW)
    assert (slow["lr"], fast["lr"]) == (SLOW, FAST)
    places = {id(p): "slow" for p in slow["params"]} | {id(p): "fast" for p in fast["params"]}
    assert len(places) == len(slow["params"]) + len(fast["params"])  # none is there twice
    return net, {name: places.get(id(p), "nowhere") for name, p in net.named_parameters()}


KINDS: list[dict[str, Any]] = [
    {"architecture": "R", "head": "none"},
    {"architecture": "R", "head": "pyramid", "decoder": False},
    {"architecture": "D", "head": "pyramid", "decoder": False},
    {"architecture": "D", "head": "pyramid"},
    {"architecture": "R", "head": "conv", "decoder": False},
]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_where_each_parameter_goes(options: dict[str, Any]) -> None:
    net, places = grouped(**options)
    idle = options["head"] == "pyramid" and not options.get("decoder", True)
    for name, place in places.items():
        part, second = name.split(".")[:2]
        if part == "encoder":
            expected = "nowhere" if second in ("conv1", "bn1") else "slow"
        else:
            expected = "nowhere" if part == "latent" and idle else "fast"
        assert place == expected, name
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad == (places[name] != "nowhere"), name


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_every_parameter_that_is_given_gets_a_gradient(options: dict[str, Any]) -> None:
    net, places = grouped(**options)
    out = net(torch.rand(2, 3, 32, 48))
    tensors = (out.reconstruction_logits, out.logits, out.attention if options["head"] == "none" else None)
    sum((t.square().sum() for t in tensors if t is not None), torch.zeros(())).backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is not None) == (places[name] != "nowhere"), name


def test_an_optimiser_takes_them_and_moves_the_encoder_less() -> None:
    torch.manual_seed(0)
    net = CAVGA(stages=2, latent_channels=4, head="pyramid", decoder=False)
    groups = parameter_groups(net, learning_rate=FAST, encoder_learning_rate=SLOW)
    optimizer = torch.optim.Adam(groups)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    net(torch.rand(2, 3, 32, 48)).logits[:, 1].sum().backward()
    optimizer.step()

    def moved(part: str) -> Tensor:
        changes = [(p - before[n]).abs().max() for n, p in net.named_parameters() if n.startswith(part)]
        return torch.stack(changes).max()

    assert 0 < moved("encoder.layer2") < 2 * SLOW
    assert FAST / 2 < moved("pyramid_classifier") < 2 * FAST
    assert moved("encoder.conv1") == moved("encoder.bn1") == moved("latent") == 0
