"""Left and right eyes: the guess on phantoms and mirrored phantoms, the flip and its inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd

from monai_cavga.data import phantom
from monai_cavga.transforms import LateralityFlipd, laterality


def picture(seed: int) -> np.ndarray:
    return np.ascontiguousarray(phantom(seed, size=(96, 144), lesions=seed % 2 == 0)[0].transpose(2, 0, 1) / 255.0)


@pytest.mark.parametrize("seed", range(8))
def test_a_mirrored_eye_is_the_other_one(seed: int) -> None:
    image = picture(seed).astype(np.float32)
    assert {laterality(image), laterality(image[:, :, ::-1])} == {"R", "L"}


def test_the_disc_of_a_right_eye_is_on_the_right() -> None:
    image = np.zeros((3, 60, 90), np.float32)
    rows, columns = np.mgrid[:60, :90]
    image[:, (rows - 30) ** 2 + (columns - 45) ** 2 < 28**2] = 0.4
    image[:, (rows - 30) ** 2 + (columns - 60) ** 2 < 5**2] = 0.9
    assert laterality(image) == "R"
    assert laterality(image[:, :, ::-1]) == "L"


def test_flips_the_other_side_alone_and_back() -> None:
    image, mask = torch.rand(3, 5, 8), torch.rand(1, 5, 8)
    flip = LateralityFlipd(["image", "mask"])
    same = flip({"image": image, "mask": mask, "laterality": "R"})
    assert torch.equal(torch.as_tensor(same["image"]), image)
    mirrored = flip({"image": image, "mask": mask, "laterality": "L"})
    assert torch.equal(torch.as_tensor(mirrored["image"]), image.flip(2))
    assert torch.equal(torch.as_tensor(mirrored["mask"]), mask.flip(2))
    traced = flip({"image": MetaTensor(image), "mask": MetaTensor(mask), "laterality": "L"})
    assert torch.equal(flip.inverse(traced)["image"].as_tensor(), image)
    assert torch.equal(torch.as_tensor(LateralityFlipd(side="L")(same)["image"]), image.flip(2))


def test_the_side_is_guessed_and_stored() -> None:
    image = torch.from_numpy(picture(3)).float()
    item = LateralityFlipd()({"image": image})
    other = LateralityFlipd()({"image": image.flip(2)})
    assert {item["laterality"], other["laterality"]} == {"R", "L"}
    assert torch.equal(torch.as_tensor(item["image"]), torch.as_tensor(other["image"]))


def test_maps_come_back_the_way_the_photograph_was() -> None:
    chain = Compose([LateralityFlipd()])
    item = chain({"image": MetaTensor(torch.rand(3, 5, 8)), "laterality": "L"})
    item["pred"] = item["image"].clone()
    back = Invertd("pred", transform=chain, orig_keys="image", to_tensor=True)(item)
    assert torch.equal(back["pred"].as_tensor(), item["image"].as_tensor().flip(2))


def test_other_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="side is 'B', expected 'R' or 'L'"):
        LateralityFlipd(side="B")
    with pytest.raises(ValueError, match="laterality is 'left', expected 'R' or 'L'"):
        LateralityFlipd()({"image": torch.rand(3, 4, 6), "laterality": "left"})


def test_nothing_lit_is_called_right() -> None:
    assert laterality(np.zeros((3, 8, 9), np.float32), np.zeros((8, 9), bool)) == "R"
