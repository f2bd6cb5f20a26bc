"""CAVGALocalizer: the network's maps, and the same after every kind of export."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
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
    with pytest.raises(
        ValueError,
        match=r"maps is .*, expected some of \['attention', 'residual', 'relative_residual', 'kl'",
    ):
        CAVGALocalizer(CAVGA(architecture="D", stages=2), maps=maps)


# --- maps that need a calibration ---

ALL_MAPS = ("fused", "relative_residual", "class", "latent_distance", "attention", "residual")


def calibrated(
    architecture: str = "R", head: str = "pyramid", *, maps: Sequence[str] = ALL_MAPS, stages: int = 3
) -> CAVGALocalizer:
    """A localiser whose buffers are drawn: none is at its default."""
    torch.manual_seed(0)
    net = CAVGA(
        architecture=architecture,
        stages=stages,
        latent_channels=4,
        head=head,
        decoder=any("residual" in m for m in maps),
    )
    module = CAVGALocalizer(net, maps=maps).eval()
    generator = torch.Generator().manual_seed(1)
    channels = len(module.distance.mean)
    module.distance.mean.copy_(torch.rand(channels, generator=generator))
    module.distance.whitening.copy_(torch.eye(channels) + 0.05 * torch.randn(channels, channels, generator=generator))
    module.centre.copy_(torch.tensor([-3.0, 1.5]))
    module.scale.copy_(torch.tensor([4.0, 2.0]))
    module.weight.copy_(torch.tensor([1.0, 0.5]))
    module.threshold.fill_(0.7)
    return module


def large(n: int = 2, *, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, 32, 48, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_fuse_by_hand() -> None:
    module = calibrated()
    # ((1 + 3) / 4, (5.5 - 1.5) / 2) = (1, 2), weighted 1 + 1 = 2, above the threshold by 1.3
    fused = module.fuse(torch.tensor([[[[1.0]]]]), torch.tensor([[[[5.5]]]]))
    torch.testing.assert_close(fused, torch.sigmoid(torch.tensor([[[[2 * 1.3]]]])))
    at_threshold = module.fuse(torch.tensor([[[[1.0]]]]), torch.tensor([[[[2.9 - 2.0]]]]))  # 1 - 0.15 = 0.85
    torch.testing.assert_close(at_threshold, torch.sigmoid(torch.tensor([[[[2 * 0.15]]]])))


@torch.no_grad()
def test_the_threshold_is_a_half_and_more_of_either_map_is_more() -> None:
    module = calibrated()
    logit, distance = torch.full((1, 1, 2, 3), -0.2), torch.full((1, 1, 2, 3), 1.5)  # (-0.2 + 3) / 4 = 0.7
    torch.testing.assert_close(module.fuse(logit, distance), torch.full((1, 1, 2, 3), 0.5))
    assert (module.fuse(logit + 0.1, distance) > 0.5).all()
    assert (module.fuse(logit, distance + 0.1) > 0.5).all()


@torch.no_grad()
def test_fused_is_made_of_the_two_others() -> None:
    module = calibrated(maps=("fused", "class", "latent_distance", "attention"))
    network = module.network
    pyramid = network.pyramid(large())
    logit, distance = network.class_logit(pyramid), module.distance(pyramid)
    assert logit.shape == (2, 1, 8, 12)
    assert distance.shape == (2, 1, 4, 6)
    maps = module(large())
    assert maps.shape == (2, 4, 32, 48)

    def up(small: Tensor) -> Tensor:
        return F.interpolate(small, size=(32, 48), mode="bilinear", align_corners=False)

    finer = F.interpolate(distance, size=(8, 12), mode="bilinear", align_corners=False)
    total = (logit + 3) / 4 + 0.5 * (finer - 1.5) / 2
    torch.testing.assert_close(maps[:, :1], up(torch.sigmoid(2 * (total - 0.7))))
    torch.testing.assert_close(maps[:, 1:2], up(torch.sigmoid(logit)))
    torch.testing.assert_close(maps[:, 2:3], up(distance))
    assert torch.equal(maps[:, 3:], network.anomaly_maps(large(), ["attention"]))


@pytest.mark.parametrize("head", ["none", "conv"])
@torch.no_grad()
def test_without_a_pyramid_fused_is_the_distance(head: str) -> None:
    module = calibrated(head=head, maps=("fused", "latent_distance"))
    module.weight.copy_(CAVGALocalizer(module.network, maps=["fused"]).weight)
    assert module.weight.tolist() == [0, 1]
    distance = module.distance(module.network.encoder.pyramid(large()))
    expected = torch.sigmoid(2 * ((distance - 1.5) / 2 - 0.7))
    expected = F.interpolate(expected, size=(32, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(module(large())[:, :1], expected)


@torch.no_grad()
def test_before_calibration_fused_is_the_class() -> None:
    module = CAVGALocalizer(calibrated().network, maps=("fused",)).eval()
    assert module.weight.tolist() == [1, 0]
    logit = module.network.class_logit(module.network.pyramid(large()))
    expected = F.interpolate(torch.sigmoid(2 * logit), size=(32, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(module(large()), expected)


def test_the_calibration_is_no_part_of_a_model_file() -> None:
    assert {name.split(".")[0] for name in calibrated().state_dict()} == {"network"}


@torch.no_grad()
def test_the_networks_maps_keep_their_places_and_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = calibrated(maps=ALL_MAPS)
    decoded: list[Tensor] = []
    decode = module.network.decode
    monkeypatch.setattr(module.network, "decode", lambda latent: decoded.append(latent) or decode(latent))
    maps = module.anomaly_maps(large(), [*ALL_MAPS, "reconstruction"])
    assert len(decoded) == 1
    own = [1, 4, 5, 6, 7, 8]  # relative residual, attention, residual, three channels of the reconstruction
    names = ["relative_residual", "attention", "residual", "reconstruction"]
    torch.testing.assert_close(maps[:, own], module.network.anomaly_maps(large(), names))
    for number, name in ((0, "fused"), (2, "class"), (3, "latent_distance")):
        torch.testing.assert_close(maps[:, [number]], module.anomaly_maps(large(), [name]))


@pytest.mark.parametrize(("architecture", "head"), [("R", "pyramid"), ("D", "pyramid"), ("R", "none")])
@torch.no_grad()
def test_a_map_alone_is_the_map_in_a_batch(architecture: str, head: str) -> None:
    names = [name for name in ALL_MAPS if name != "class" or head == "pyramid"]
    module = calibrated(architecture, head, maps=names)
    images = torch.cat([large(), 0.1 * large(1, seed=4)])
    together = module(images)
    for k in range(3):
        torch.testing.assert_close(module(images[k : k + 1]), together[k : k + 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("architecture", "head"), [("R", "pyramid"), ("D", "pyramid"), ("D", "none")])
@torch.no_grad()
def test_script_and_trace_with_fused(architecture: str, head: str) -> None:
    names = [name for name in ALL_MAPS if name != "class" or head == "pyramid"]
    module = calibrated(architecture, head, maps=names)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), file)
        file.seek(0)
        scripted, traced = torch.jit.load(file), torch.jit.trace(module, large())
    assert float(scripted.threshold) == pytest.approx(0.7)  # the calibration travels with the script
    for n in (1, 3):
        expected = module(large(n, seed=n))
        for exported in (scripted, traced):
            torch.testing.assert_close(exported(large(n, seed=n)), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_export_with_fused() -> None:
    module = calibrated(maps=("fused", "relative_residual"))
    exported = torch.export.export(module, (large(),), dynamic_shapes=({0: Dim("batch")},)).module()
    torch.testing.assert_close(exported(large(3, seed=3)), module(large(3, seed=3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head", ["none", "conv"])
def test_class_needs_a_pyramid(head: str) -> None:
    with pytest.raises(ValueError, match="map 'class' needs a network with head='pyramid'"):
        CAVGALocalizer(CAVGA(architecture="D", stages=2, head=head), maps=("class",))


@pytest.mark.parametrize("name", ["residual", "relative_residual"])
def test_residuals_need_a_decoder(name: str) -> None:
    net = CAVGA(architecture="D", stages=2, head="pyramid", decoder=False)
    with pytest.raises(ValueError, match=f"map '{name}' needs a network with a decoder: pass decoder=True or leave"):
        CAVGALocalizer(net, maps=("class", name))
