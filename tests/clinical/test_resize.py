"""The quick resize is MONAI's, and so is the way back."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Invertd, Resized

from monai_cavga.clinical.resize import quick, resize

SIZES = [(1424, 2144), (120, 176), (97, 61), (64, 96), (40, 300), (30, 50)]  # smaller and larger than the network's


def monais(**changed) -> Resized:
    return Resized("image", **{"spatial_size": (64, 96), "mode": "bilinear", "anti_aliasing": True, **changed})


def item(size) -> dict[str, MetaTensor]:
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(sum(size)))
    return {"image": MetaTensor(image, meta={"spatial_shape": list(size)})}


@pytest.mark.parametrize("size", SIZES)
def test_the_same_pixels(size):
    expected = monais()(item(size))["image"].as_tensor()
    found = resize(item(size)["image"].as_tensor(), (64, 96))
    assert found.shape == (3, 64, 96)
    assert (found - expected).abs().max() < 1e-5
    assert expected.std() > 0.01


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint8])
def test_other_types_become_float32_as_by_monai(dtype):
    given = {"image": (item((120, 176))["image"] * 200).to(dtype)}
    expected, found = monais()(given)["image"], quick(monais())(given)["image"]
    assert found.dtype == expected.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-3


@pytest.mark.parametrize("size", [(120, 176), (40, 300)])
def test_the_way_back_is_kept(size):
    back = []
    for transform in (theirs := monais(), ours := monais()):
        done = (quick(ours) if transform is ours else theirs)(item(size))
        done["pred"] = done["image"].clone()
        invert = Invertd("pred", transform=transform, orig_keys="image", nearest_interp=False)
        back.append(invert(done)["pred"].as_tensor())
    assert back[1].shape == (3, *size)
    assert (back[0] - back[1]).abs().max() < 1e-5


@pytest.mark.parametrize(
    "changed",
    [
        {"anti_aliasing": False},
        {"mode": "area"},
        {"anti_aliasing_sigma": 2.0},
        {"align_corners": True},
        {"lazy": True},
        {"size_mode": "longest", "spatial_size": 64},
    ],
)
def test_another_resize_is_left_as_it_is(changed):
    transform = monais(**changed)
    assert quick(transform) is transform
