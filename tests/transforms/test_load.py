from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, Invertd, Resized, SaveImage
from PIL import Image

from monai_cavga.data import ImageReadError, join_mask_files, read_image
from monai_cavga.transforms import LoadMaskd, LoadRGBd, anomaly_mask

SIZES = ((60, 100), (90, 64), (45, 45))


@pytest.fixture
def photographs(tmp_path: Path) -> list[dict[str, str]]:
    """Three pictures of different sizes, each with one bright landmark in the upper right, higher than wide."""
    items = []
    for k, (height, width) in enumerate(SIZES):
        pixels = np.full((height, width, 3), 40, dtype=np.uint8)
        pixels[landmark(height, width)] = (250, 120, 60)
        path = tmp_path / f"photo_{k}.png"
        Image.fromarray(pixels).save(path)
        items.append({"image": str(path), "name": f"photo_{k}"})
    return items


def landmark(height: int, width: int) -> tuple[slice, slice]:
    return slice(height // 10, height // 2), slice(7 * width // 10, 9 * width // 10)


def test_loaded_as_displayed(photographs: list[dict[str, str]]) -> None:
    item = LoadRGBd("image")(photographs[0])
    image = item["image"]
    assert isinstance(image, MetaTensor)
    assert image.shape == (3, 60, 100)
    assert image.dtype == torch.float32
    assert image.meta["filename_or_obj"] == photographs[0]["image"]
    assert list(image.meta["spatial_shape"]) == [60, 100]
    np.testing.assert_array_equal(image.numpy().transpose(1, 2, 0), read_image(photographs[0]["image"]))
    assert item["name"] == "photo_0"
    assert isinstance(photographs[0]["image"], str)  # the data list is not changed
    assert LoadRGBd("image", channels=1)(photographs[0])["image"].shape == (1, 60, 100)
    assert LoadRGBd(["image", "no"], allow_missing_keys=True)(photographs[0])["image"].shape == (3, 60, 100)


def test_maps_come_back_to_each_source(photographs: list[dict[str, str]]) -> None:
    """Round trip: a map made at the network's size returns to three sources of different sizes in one batch."""
    transform = Compose([LoadRGBd("image"), Resized("image", (48, 80), mode="bilinear")])
    loader = DataLoader(Dataset(photographs, transform), batch_size=3)
    batch = next(iter(loader))
    assert batch["image"].shape == (3, 3, 48, 80)
    red = batch["image"].as_tensor()[:, :1]
    batch["attention"] = MetaTensor(red, meta=batch["image"].meta, applied_operations=batch["image"].applied_operations)
    invert = Invertd("attention", transform, orig_keys="image", nearest_interp=False)
    for item, (height, width) in zip(decollate_batch(batch), SIZES, strict=True):
        attention = invert(item)["attention"]
        assert attention.shape == (1, height, width)
        found = attention.numpy()[0] > 0.57
        truth = np.zeros((height, width), dtype=bool)
        truth[landmark(height, width)] = True
        assert (found & truth).sum() / (found | truth).sum() > 0.8


def test_saved_as_displayed(photographs: list[dict[str, str]], tmp_path: Path) -> None:
    image = LoadRGBd("image")(photographs[0])["image"]
    save = SaveImage(
        tmp_path / "out", output_ext=".png", output_postfix="map", scale=255, resample=False, separate_folder=False
    ).set_options(write_kwargs={"reverse_indexing": False})
    save(image)
    np.testing.assert_allclose(read_image(tmp_path / "out" / "photo_0_map.png"), read_image(photographs[0]["image"]))


def test_unreadable_image_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(ImageReadError, match=r"bad\.png"):
        LoadRGBd("image")({"image": str(tmp_path / "bad.png")})


FOV = np.array([[0, 1, 1, 1], [0, 1, 1, 0]], dtype=bool)


@pytest.fixture
def masks(tmp_path: Path) -> str:
    first, second = np.zeros((2, 4), dtype=np.uint8), np.zeros((2, 4), dtype=np.uint8)
    first[0, 1], second[1, 2], second[1, 0] = 255, 130, 255
    paths = [tmp_path / "first.png", tmp_path / "second.png"]
    for path, mask in zip(paths, (first, second), strict=True):
        Image.fromarray(mask).save(path)
    return join_mask_files(paths)


def test_anomaly_mask(masks: str) -> None:
    np.testing.assert_array_equal(anomaly_mask(masks, 1, fov=FOV), [[-1, 1, 0, 0], [-1, 0, 1, -1]])
    np.testing.assert_array_equal(anomaly_mask(masks, 1, fov=FOV, level=0.6), [[-1, 1, 0, 0], [-1, 0, 0, -1]])
    np.testing.assert_array_equal(anomaly_mask("", 0, fov=FOV), [[-1, 0, 0, 0], [-1, 0, 0, -1]])
    np.testing.assert_array_equal(anomaly_mask("", 1, fov=FOV), np.full((2, 4), -1))
    with pytest.raises(ValueError, match="label of the image is 2"):
        anomaly_mask("", 2, fov=FOV)


def test_mask_of_another_size(masks: str) -> None:
    with pytest.raises(ValueError, match=r"first\.png is 2 x 4 .*expected 3 x 4 as image x: replace the mask"):
        anomaly_mask(masks, 1, fov=np.ones((3, 4), dtype=bool), image_name="image x")


def evaluated(masks: str) -> dict[str, object]:
    image = MetaTensor(torch.zeros(3, 8, 8), meta={"filename_or_obj": "/photos/eye.jpg"})
    return {
        "image": image,
        "label": torch.tensor(1),
        "mask_files": masks,
        "attention": MetaTensor(torch.zeros(1, 2, 4), meta={"filename_or_obj": "/photos/eye.jpg"}),
        "fov": torch.from_numpy(FOV)[None].float(),
    }


def test_load_maskd(masks: str) -> None:
    item = LoadMaskd()(evaluated(masks))
    assert item["mask"].dtype == torch.int8
    assert item["mask"].shape == (1, 2, 4)
    assert item["mask"].tolist() == [[[-1, 1, 0, 0], [-1, 0, 1, -1]]]
    assert isinstance(item["mask"], MetaTensor)
    no_fov = evaluated(masks)
    del no_fov["fov"]
    assert LoadMaskd("mask_files", "truth")(no_fov)["truth"].tolist() == [[[0, 1, 0, 0], [1, 0, 1, 0]]]
    assert LoadMaskd(allow_missing_keys=True)({"name": "a"}) == {"name": "a"}


def test_load_maskd_errors(masks: str) -> None:
    wrong = evaluated(masks)
    wrong["attention"] = torch.zeros(1, 3, 4)
    with pytest.raises(ValueError, match=r"field of view of image /photos/eye\.jpg is 2 x 4 .*expected 3 x 4"):
        LoadMaskd()(wrong)
    del wrong["fov"]
    with pytest.raises(ValueError, match=r"first\.png is 2 x 4 .*as image /photos/eye\.jpg"):
        LoadMaskd()(wrong)
    wrong["image"], wrong["name"] = torch.zeros(3, 8, 8), "IDRiD_55"
    with pytest.raises(ValueError, match="as image IDRiD_55"):
        LoadMaskd()(wrong)
    with pytest.raises(ValueError, match="expected one key"):
        LoadMaskd(["a", "b"])
