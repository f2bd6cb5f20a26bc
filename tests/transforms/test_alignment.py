"""Pose of an elongated object, its alignment, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCropd, Compose, Invertd

from monai_cavga.transforms import AlignObjectd, object_pose, source_maps
from monai_cavga.transforms.alignment import _warp

SHAPE = 60, 90


def wedge(angle: float, centre: tuple[float, float] = (28.0, 47.0)) -> np.ndarray:
    """A dark bar, wider at one end, with a bright notch above its axis; ``(1, 60, 90)`` on a plain background."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    y, x = rows - centre[0], columns - centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = (np.abs(along) < 18) & (np.abs(across) < np.where(along > 10, 5, 2.5))
    image = np.where(inside, 0.2, 0.8)
    image[inside & (along > 12) & (across < -2)] = 0.5
    return image[None].astype(np.float32)


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.4, 2.6, 3.14, 4.0, 5.5])
def test_every_turn_gives_the_same_picture(angle: float) -> None:
    reference = AlignObjectd("image")({"image": torch.from_numpy(wedge(0.0))})["image"]
    turned = AlignObjectd("image")({"image": torch.from_numpy(wedge(angle, (31.0, 43.0)))})["image"]
    # the region's outline is dilated on the pixel grid: half a pixel of shift at an edge of height 0.6
    assert (turned - reference).abs().mean() < 0.02
    assert np.corrcoef(turned.flatten(), reference.flatten())[0, 1] > 0.95


def test_wider_end_lies_right_and_the_middle_in_the_middle() -> None:
    aligned = AlignObjectd("image")({"image": torch.from_numpy(wedge(2.0))})["image"][0].numpy()
    dark = aligned < 0.4
    columns = np.flatnonzero(dark.any(axis=0))
    assert abs((columns[0] + columns[-1]) / 2 - (SHAPE[1] - 1) / 2) < 1.5
    height = dark.sum(axis=0)
    assert height[columns[-4]] > height[columns[4]]


def test_inverse_brings_back_an_asymmetric_map() -> None:
    transform = Compose([AlignObjectd("image")])
    image = MetaTensor(torch.from_numpy(wedge(0.7)))
    item = transform({"image": image})
    item["map"] = item["image"]
    back = Invertd("map", transform, orig_keys="image", nearest_interp=False, to_tensor=True)(item)["map"]
    assert back.shape == image.shape
    seen = torch.as_tensor(back).as_subclass(torch.Tensor)
    inside = seen > 0
    assert inside[torch.from_numpy(wedge(0.7)) < 0.3].all()  # the object
    assert (seen - torch.from_numpy(wedge(0.7)))[inside].abs().median() < 0.01
    assert not inside.all()  # corners that the turned frame does not reach stay 0


def test_image_comes_back_for_display() -> None:
    transform = Compose([AlignObjectd("image"), CenterSpatialCropd("image", roi_size=(20, 60))])
    item = transform({"image": MetaTensor(torch.from_numpy(wedge(0.7)))})
    item["pred"] = item["image"].clone()
    back = source_maps(transform, ["class"], turned=True)(item)
    shown, seen = (torch.as_tensor(back[key]).as_subclass(torch.Tensor) for key in ("image", "class"))
    assert shown.shape == (1, *SHAPE)
    torch.testing.assert_close(shown, seen)
    dark = torch.from_numpy(wedge(0.7))[0] < 0.3
    assert (shown[0][dark] > 0).float().mean() > 0.99  # the object was seen
    assert shown[0][dark].median() < 0.3


@pytest.mark.parametrize(
    "image",
    [
        np.random.RandomState(0).rand(1, *SHAPE).astype(np.float32),  # a texture
        np.full((3, *SHAPE), 0.5, np.float32),  # nothing
        (np.hypot(*(np.mgrid[: SHAPE[0], : SHAPE[1]] - 30.0)) < 12)[None].astype(np.float32),  # a disc
    ],
)
def test_without_direction_nothing_moves(image: np.ndarray) -> None:
    np.testing.assert_array_equal(object_pose(image), np.eye(2, 3))
    aligned = AlignObjectd("image")({"image": torch.from_numpy(image)})["image"]
    np.testing.assert_allclose(aligned, image, atol=1e-5)


def test_batch_mates_do_not_matter_and_the_input_stays() -> None:
    image = wedge(0.4)
    before = image.copy()
    first = object_pose(image)
    object_pose(wedge(1.1))
    np.testing.assert_array_equal(object_pose(image), first)
    np.testing.assert_array_equal(image, before)


def test_switched_off_it_changes_nothing() -> None:
    transform = AlignObjectd("image", active=False)
    image = MetaTensor(torch.from_numpy(wedge(0.7)))
    item = transform({"image": image})
    assert item["image"] is image
    assert transform.inverse(item)["image"] is image


def test_a_larger_canvas_shows_an_object_longer_than_a_side() -> None:
    rows, columns = np.mgrid[:100, :60].astype(np.float32)
    image = np.where((np.abs(columns - 30) < np.where(rows > 60, 7, 4)) & (np.abs(rows - 50) < 44), 0.2, 0.8)[None]
    image = image.astype(np.float32)
    item = {"image": MetaTensor(torch.from_numpy(image))}
    small = AlignObjectd("image")(item)["image"]
    transform = AlignObjectd("image", canvas=1.6)
    large = transform(item)
    assert large["image"].shape == (1, 160, 96)
    dark = (0.8 - image).sum()
    assert (0.8 - small).sum() < 0.8 * dark
    assert (0.8 - large["image"]).sum() == pytest.approx(dark, rel=0.01)
    back = torch.as_tensor(transform.inverse(large)["image"]).as_subclass(torch.Tensor)
    assert (back - torch.from_numpy(image)).abs().median() < 0.01


def test_ends_alike_take_the_smaller_turn() -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    for seed in range(5):
        bar = np.where((np.abs(rows - 30) < 4) & (np.abs(columns - 45) < 20), 0.2, 0.8)[None]
        noise = np.random.RandomState(seed).normal(0, 0.01, bar.shape)
        matrix = object_pose((bar + noise).astype(np.float32))
        np.testing.assert_allclose(matrix[:, :2], np.eye(2), atol=0.05)


def test_inverse_is_exact_on_a_ramp() -> None:
    transform = AlignObjectd("image", canvas=1.3)
    item = transform({"image": MetaTensor(torch.from_numpy(wedge(0.9)))})
    matrix = object_pose(wedge(0.9), shape=(78, 117))
    rows, columns = np.mgrid[:78, :117].astype(np.float64)
    source = np.stack([rows, columns], axis=-1) @ matrix[:, :2].T + matrix[:, 2]
    for axis in (0, 1):
        ramp = {"image": item["image"].clone()}
        ramp["image"].set_(torch.from_numpy(source[None, ..., axis]).float())
        back = torch.as_tensor(transform.inverse(ramp)["image"]).as_subclass(torch.Tensor)[0].numpy()
        expected = np.mgrid[: SHAPE[0], : SHAPE[1]][axis]
        assert np.abs(back - expected)[15:-15, 25:-25].max() < 1e-2


def test_maps_on_another_device_stay_there() -> None:
    warped = _warp(torch.empty(1, 6, 9, device="meta"), np.eye(2, 3), shape=(7, 5), outside="zeros")
    assert warped.device.type == "meta"
    assert warped.shape == (1, 7, 5)


def test_canvas_is_checked() -> None:
    with pytest.raises(ValueError, match=r"canvas is 0.5, expected at least 1"):
        AlignObjectd("image", canvas=0.5)
