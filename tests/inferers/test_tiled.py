"""TiledMapsInferer against one pass: equal where no tile ends, close elsewhere, and the same scale everywhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import Tensor, nn

from monai_cavga.inferers import LatentGradCAMInferer, TiledMapsInferer
from monai_cavga.networks import CAVGA, CAVGALocalizer

MAPS = ["fused", "class", "latent_distance"]


def _localizer(architecture: str = "D", head: str = "pyramid", *, stages: int = 2) -> CAVGALocalizer:
    """A localiser whose buffers are drawn; its position differs from place to place."""
    torch.manual_seed(0)
    network = CAVGA(architecture=architecture, stages=stages, latent_channels=4, head=head, decoder=head == "none")
    names = MAPS if head == "pyramid" else ["fused", "latent_distance"]
    module = CAVGALocalizer(network, maps=names).eval()
    module.distance.mean.copy_(torch.rand(len(module.distance.mean)))
    module.position = torch.randn(2, 5, 9)
    module.centre.copy_(torch.tensor([-3.0, 1.5] if head == "pyramid" else [0.0, 1.0]))
    module.scale.copy_(torch.tensor([2.0, 1.0]))
    module.weight.copy_(torch.tensor([1.0, 0.5] if head == "pyramid" else [0.0, 1.0]))
    return module


def _images(height: int, width: int, n: int = 1) -> Tensor:
    """Clouds, not noise, so that a map has a shape."""
    coarse = torch.rand(n, 3, height // 16, width // 16, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


def _correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def _peak(one_map: Tensor) -> Tensor:
    place = int(one_map.argmax())
    return torch.tensor([place // one_map.shape[-1], place % one_map.shape[-1]])


# --- one tile ---


@pytest.mark.parametrize("roi_size", [(64, 96), (128, 256), 512])
@pytest.mark.parametrize(("architecture", "stages"), [("D", 2), ("R", 3), ("R", 4)])
@torch.no_grad()
def test_a_tile_that_covers_the_image_gives_the_plain_maps(
    architecture: str, stages: int, roi_size: int | tuple[int, int]
) -> None:
    module, image = _localizer(architecture, stages=stages), _images(64, 96, 2)
    for names in (MAPS, ["latent_distance", "fused"], ["fused"], ["class"], ["latent_distance"]):
        tiled = TiledMapsInferer(names, roi_size)(image, module)
        assert tiled.shape == (2, len(names), 64, 96)
        torch.testing.assert_close(tiled, LatentGradCAMInferer(names)(image, module), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_without_a_pyramid_fused_is_the_distance() -> None:
    module, image = _localizer(head="none"), _images(48, 80)
    names = ["fused", "latent_distance"]
    tiled = TiledMapsInferer(names, 128)(image, module)
    torch.testing.assert_close(tiled, LatentGradCAMInferer(names)(image, module), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_distance_without_weight_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    module, image = _localizer(), _images(48, 80)
    module.weight.copy_(torch.tensor([1.0, 0.0]))
    module.uses_distance = False
    expected = LatentGradCAMInferer(["fused", "class"])(image, module)
    monkeypatch.setattr(module.distance, "forward", lambda pyramid: pytest.fail("computed"))
    torch.testing.assert_close(TiledMapsInferer(["fused", "class"], 128)(image, module), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_class_of_a_network_without_calibration() -> None:
    network, image = _localizer().network, _images(48, 80)
    tiled = TiledMapsInferer(["class"], (48, 64))(image, network)
    assert torch.equal(tiled, TiledMapsInferer(["class"], (48, 64))(image, CAVGALocalizer(network, maps=["class"])))


# --- several tiles ---


@pytest.mark.parametrize("sw_batch_size", [1, 3])
@torch.no_grad()
def test_equal_to_one_pass_where_no_tile_ends_nearby(sw_batch_size: int) -> None:
    # tiles of 96 columns at 0 and 64 end inside the image at columns 96 and 64; the encoder reaches less than 24
    module, image = _localizer(), _images(64, 160, 2)
    tiled = TiledMapsInferer(MAPS, (64, 96), sw_batch_size=sw_batch_size)(image, module)
    difference = (tiled - LatentGradCAMInferer(MAPS)(image, module)).abs().amax(dim=(0, 1, 2))  # (160,)
    assert difference[:40].max() < 1e-5
    assert difference[120:].max() < 1e-5
    assert difference[40:120].max() > 1e-4  # the tiles are told from one pass where they end


@pytest.mark.parametrize(("architecture", "least"), [("D", 0.999), ("R", 0.99)])  # R reaches further
@torch.no_grad()
def test_many_tiles_are_close_to_one_pass(architecture: str, least: float) -> None:
    module, image = _localizer(architecture), _images(160, 272)
    names = ["class", "latent_distance"]
    whole = LatentGradCAMInferer(names)(image, module)[0]
    tiled = TiledMapsInferer(names, (96, 128), overlap=0.5)(image, module)[0]
    for one, other in zip(tiled, whole, strict=True):
        assert _correlation(one, other) > least
        assert torch.equal(_peak(one), _peak(other))
        assert (one - other).abs().max() > 1e-3 * other.std()  # close, not equal


@torch.no_grad()
def test_weights_and_overlap_bring_tiles_closer_to_one_pass() -> None:
    module, image = _localizer("R"), _images(160, 272)
    whole = LatentGradCAMInferer(["class"])(image, module)
    errors = [
        float((TiledMapsInferer(["class"], (96, 128), overlap=overlap)(image, module) - whole).square().mean())
        for overlap in (0.0, 0.5)
    ]
    assert errors[1] < errors[0] / 2


@torch.no_grad()
def test_position_is_a_map_of_the_whole_image() -> None:
    module, image = _localizer(), _images(64, 160)
    inferer = TiledMapsInferer(["fused"], (64, 64))
    module.position = torch.zeros(2, 4, 10)
    without = inferer(image, module)
    module.position[0, :, 5:] = 1.0  # normals have a higher logit in the right half
    with_it = inferer(image, module)
    assert torch.equal(with_it[..., :64], without[..., :64])  # a tile of its own, without a step in its middle
    assert (with_it[..., 96:] < without[..., 96:]).all()


@torch.no_grad()
def test_images_do_not_influence_each_other() -> None:
    module, images = _localizer(), _images(64, 160, 3)
    inferer = TiledMapsInferer(MAPS, (48, 64), sw_batch_size=5)  # tiles of two images in one pass
    together = inferer(images, module)
    for k in range(3):
        torch.testing.assert_close(inferer(images[k : k + 1], module), together[k : k + 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("overlap", [0, 0.1, 0.25, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("stages", [2, 4])
@torch.no_grad()
def test_every_tile_starts_on_the_grid_of_the_stride(overlap: float, stages: int) -> None:
    """Each pixel of the image tells its own place."""
    seen: list[Tensor] = []
    module = _localizer("R", stages=stages)
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(160.0), indexing="ij")
    image = torch.stack([rows, columns, rows])[None]
    original = module.network.encoder.pyramid

    def pyramid(tile: Tensor) -> list[Tensor]:
        seen.append(tile[:, :2, 0, 0])
        return original(tile)

    module.network.encoder.pyramid = pyramid
    result = TiledMapsInferer(["class"], (64, 96), overlap=overlap)(image, module)
    corners = torch.cat(seen)
    assert len(corners) >= 4
    assert (corners % module.network.stride == 0).all()
    assert result.isfinite().all()


# --- the input's type ---


@torch.no_grad()
def test_the_type_of_the_input_is_kept() -> None:
    module, plain = _localizer(), _images(48, 80)
    inferer = TiledMapsInferer(["fused"], (48, 64))
    maps = inferer(plain, module)
    assert type(maps) is Tensor
    with_meta = inferer(MetaTensor(plain, meta={"filename_or_obj": "eye.png"}), module)
    assert isinstance(with_meta, MetaTensor)
    assert with_meta.meta["filename_or_obj"] == "eye.png"
    assert torch.equal(with_meta.as_tensor(), maps)


# --- errors ---


@pytest.mark.parametrize("maps", ["attention", ["attention"], ["fused", "residual"], [], ["heat"]])
def test_maps_without_tiles(maps: Any) -> None:
    with pytest.raises(
        ValueError, match=r"maps is .*expected some of \['fused', 'class', 'latent_distance'\].*one pass"
    ):
        TiledMapsInferer(maps, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"roi_size": 0}, r"roi_size is 0, expected \(H, W\)"),
        ({"roi_size": (64, 64, 64)}, r"roi_size is \(64, 64, 64\), expected \(H, W\)"),
        ({"overlap": 1.0}, r"overlap is 1.0, expected a share of the tile's side in \[0, 1\)"),
        ({"overlap": -0.1}, "overlap is -0.1"),
        ({"sw_batch_size": 0}, "sw_batch_size is 0, expected at least 1"),
    ],
)
def test_options_outside_their_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TiledMapsInferer(["fused"], **{"roi_size": 64, **options})


def test_a_tile_that_the_stride_does_not_divide() -> None:
    with pytest.raises(ValueError, match=r"roi_size is \(50, 64\), expected multiples of 8: e.g. \(48, 64\)"):
        TiledMapsInferer(["fused"], (50, 64))(_images(64, 96), _localizer())


def test_an_image_that_the_stride_does_not_divide() -> None:
    with pytest.raises(ValueError, match="image width 100 is not a multiple of 8: resize or pad to 104"):
        TiledMapsInferer(["fused"], 64)(torch.rand(1, 3, 96, 100), _localizer())


@pytest.mark.parametrize("shape", [(3, 64, 96), (1, 1, 64, 96)])
def test_other_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"image has shape \(.*\), expected \(B, 3, H, W\): convert it"):
        TiledMapsInferer(["fused"], 64)(torch.rand(shape), _localizer())


def test_calibrated_maps_need_a_localizer() -> None:
    network = _localizer().network
    with pytest.raises(
        ValueError, match=r"network is CAVGA, but maps \['fused', 'latent_distance'\] are CAVGALocalizer"
    ):
        TiledMapsInferer(MAPS, 64)(_images(64, 96), network)


@pytest.mark.parametrize("wrapped", [False, True])
def test_class_needs_a_pyramid(wrapped: bool) -> None:
    module = _localizer(head="none")
    with pytest.raises(ValueError, match="map 'class' needs a network with head='pyramid'"):
        TiledMapsInferer(["class"], 64)(_images(64, 96), module if wrapped else module.network)


def test_another_network() -> None:
    with pytest.raises(TypeError, match="network is Identity, expected CAVGALocalizer, or CAVGA for 'class'"):
        TiledMapsInferer(["class"], 64)(_images(64, 96), nn.Identity())
