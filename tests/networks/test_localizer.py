"""CAVGALocalizer: the network's maps, and the same after every kind of export."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.export import Dim

from monai_cavga.networks import CAVGA, CAVGALocalizer

HEIGHT, WIDTH = 16, 24
KINDS = [("R", "conv", "none"), ("D", "conv", "conv"), ("R", "conv", "flat"), ("D", "flat", "flat")]


def localizer(
    architecture: str, latent: str, head: str, *, maps: Sequence[str] = ("attention", "residual")
) -> CAVGALocalizer:
    torch.manual_seed(0)
    net = CAVGA(
        architecture=architecture, stages=2, latent=latent, latent_channels=4, head=head, image_size=(HEIGHT, WIDTH)
    )
    return CAVGALocalizer(net, maps=maps).eval()


def image(n: int = 2, *, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_gives_the_networks_maps_in_order() -> None:
    module = localizer("R", "conv", "none", maps=("residual", "attention"))
    maps = module(image())
    assert maps.shape == (2, 2, HEIGHT, WIDTH)
    assert maps.dtype == torch.float32
    assert torch.equal(maps, module.network.anomaly_maps(image(), ["residual", "attention"]))
    assert torch.equal(module.anomaly_maps(image(), ["attention"]), maps[:, 1:])


def test_shares_the_network() -> None:
    net = CAVGA(stages=2, latent_channels=4)
    assert CAVGALocalizer(net).network is net
    assert {name.split(".")[0] for name in CAVGALocalizer(net).state_dict()} == {"network"}


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@torch.no_grad()
def test_script(kind: tuple[str, str, str]) -> None:
    module = localizer(*kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; MONAI's ckpt_export uses it
        scripted = torch.jit.script(module)
        file = io.BytesIO()
        torch.jit.save(scripted, file)
        file.seek(0)
        loaded = torch.jit.load(file)
    for n in (1, 3):  # any batch
        torch.testing.assert_close(loaded(image(n, seed=n)), module(image(n, seed=n)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@torch.no_grad()
def test_trace(kind: tuple[str, str, str]) -> None:
    module = localizer(*kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, image(2))
    torch.testing.assert_close(traced(image(3, seed=3)), module(image(3, seed=3)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[3]], ids="-".join)
@torch.no_grad()
def test_export(kind: tuple[str, str, str]) -> None:
    module = localizer(*kind)
    exported = torch.export.export(module, (image(2),), dynamic_shapes=({0: Dim("batch")},)).module()
    for n in (1, 3):
        torch.testing.assert_close(exported(image(n, seed=n)), module(image(n, seed=n)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("maps", [(), ("attention", "heat"), ("reconstruction",)])
def test_maps_that_are_none(maps: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"maps is \[.*\], expected some of \['attention', 'residual', 'class', 'latent_distance', 'fused'\]"):
        CAVGALocalizer(CAVGA(architecture="D", stages=2), maps=maps)
