from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Resized
from PIL import Image

from monai_cavga.data import phantom, read_image
from monai_cavga.transforms import FieldOfViewd, LoadRGBd, field_of_view


def photograph(height: int = 90, width: int = 150, *, light: float = 0.6, border: float = 0.0) -> tuple:  # type: ignore[type-arg]
    """A lit circle, right of the middle and cut at the top, and the truth."""
    rows, columns = np.mgrid[:height, :width]
    inside = (rows - 40) ** 2 + (columns - 85) ** 2 < 46**2
    red = np.where(inside, light, border).astype(np.float32)
    return np.stack([red, red / 2, red / 4]), inside


def agreement(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize(("light", "border"), [(0.6, 0.0), (0.12, 0.005), (1.0, 0.06)])
def test_lit_circle(light: float, border: float) -> None:
    image, inside = photograph(light=light, border=border)
    image = image + np.random.default_rng(0).normal(0, 0.002, image.shape)
    assert agreement(field_of_view(image), inside) > 0.98


def test_dark_lesion_is_filled_and_stray_light_left_out() -> None:
    image, inside = photograph()
    image[:, 30:42, 80:95] = 0.0  # a black haemorrhage
    image[:, 80:86, 4:20] = 0.5  # a lit patch in the border
    image[:, 10, 3:9] = 0.9  # printed text, one pixel high
    found = field_of_view(image)
    assert found[35, 88]
    assert not found[83, 10]
    assert not found[10, 5]
    assert agreement(found, inside) > 0.98


def test_image_without_border_is_field_of_view_everywhere() -> None:
    random = np.random.default_rng(1)
    for image in (random.uniform(0.3, 0.9, (3, 40, 70)), np.zeros((3, 40, 70)), np.full((1, 40, 70), 0.7)):
        assert field_of_view(image).all()
    corner = np.full((1, 40, 70), 0.7)
    corner[:, :3, :4] = 0  # 0.4 % of the image
    assert field_of_view(corner).all()


@pytest.mark.parametrize("seed", range(5))
def test_phantoms(seed: int) -> None:
    picture, mask = phantom(seed, lesions=True)
    found = field_of_view(picture.transpose(2, 0, 1) / 255)
    assert 0.4 < found.mean() < 0.7
    assert found[mask == 1].all()


def test_bad_images() -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 5\), expected \(C, H, W\)"):
        field_of_view(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="NaN"):
        field_of_view(np.full((1, 4, 5), np.nan))
    with pytest.raises(ValueError, match="expected one image key"):
        FieldOfViewd(["image", "other"])


def test_plain_tensor_and_missing_key() -> None:
    image, _ = photograph()
    fov = FieldOfViewd()({"image": torch.from_numpy(image)})["fov"]
    assert fov.shape == (1, 90, 150)
    assert not isinstance(fov, MetaTensor)
    assert FieldOfViewd(allow_missing_keys=True)({"name": "a"}) == {"name": "a"}


@pytest.mark.parametrize("after", [False, True])
def test_comes_back_to_the_size_of_the_source(tmp_path: Path, after: bool) -> None:
    """Round trip: computed before or after Resized, Invertd brings it back."""
    image, inside = photograph()
    Image.fromarray((image.transpose(1, 2, 0) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    if after:
        steps = [Resized("image", (64, 96)), FieldOfViewd()]
    else:
        steps = [FieldOfViewd(), Resized(["image", "fov"], (64, 96), mode=["bilinear", "nearest"])]
    transform = Compose([LoadRGBd("image"), *steps])
    item = transform({"image": str(tmp_path / "a.png")})
    assert item["fov"].shape == (1, 64, 96)
    assert item["fov"].meta is not item["image"].meta
    back = Invertd("fov", transform, orig_keys="image", nearest_interp=True)(item)["fov"]
    assert back.shape == (1, 90, 150)
    assert set(np.unique(back.numpy())) == {0, 1}
    assert agreement(back.numpy()[0] > 0, inside) > 0.95


def test_real_images(shared_dir: Path) -> None:
    """IDRiD's circle, cut at top and bottom, covers 0.69 to 0.80 of every picture."""
    files = sorted((shared_dir / "data/idrid").glob("[AB]*/1*/*/*.jpg"))[::40]
    areas = [field_of_view(read_image(file).transpose(2, 0, 1)).mean() for file in files]
    assert min(areas) > 0.68
    assert max(areas) < 0.81
