"""Made anomalies as dictionary transforms: image, label and mask agree; what is not known stays so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from scipy import ndimage

from monai_cavga.data import phantom
from monai_cavga.data.read import ImageReadError
from monai_cavga.transforms import AnomalySited, FieldOfViewd, KnownMaskd, MadeAnomaliesd
from monai_cavga.transforms.anomalies import AnomalySite

SIZE = (96, 144)


def eye_item(*, label: int = 0, seed: int = 0) -> dict[str, Any]:
    """A phantom as a MetaTensor, with its field of view, as the bundles' loaders leave it."""
    picture = phantom(seed, size=SIZE)[0].transpose(2, 0, 1).astype(np.float32) / 255
    return dict(FieldOfViewd()({"image": MetaTensor(torch.from_numpy(picture)), "label": label, "name": "eye"}))


def part_item(*, channels: int = 1, label: int = 0) -> dict[str, Any]:
    """A textured image without a field of view, as a plain tensor."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    grey = 0.5 + 0.2 * np.sin(x / 5 + y / 9) + np.random.RandomState(0).normal(0, 0.01, SIZE)
    return {"image": torch.from_numpy(np.repeat(grey[None], channels, 0).astype(np.float32)), "label": label}


def make(item: dict[str, Any], *, anomalies: str, seed: int = 0, **options: Any) -> dict[str, Any]:
    made = MadeAnomaliesd(**{"prob": 1.0, **options})
    made.set_random_state(seed)
    return dict(made(KnownMaskd()(AnomalySited(anomalies=anomalies)(item))))


ITEMS = [("lesions", eye_item), ("defects", part_item)]


# --- site and mask ---


def test_the_site_of_a_photograph_and_of_a_part() -> None:
    item = eye_item()
    site = AnomalySited(anomalies="lesions", site_key="where")(item)["where"]
    assert isinstance(site, AnomalySite)
    assert site.scene is not None
    assert np.array_equal(site.region, item["fov"].numpy()[0] > 0.5)
    assert not (site.scene.allowed & ~site.region).any()
    assert "where" not in item
    part = AnomalySited(anomalies="defects")(part_item())["site"]
    assert part.scene is None
    assert part.region.all()


def test_a_defect_stays_in_the_field_of_view() -> None:
    fov = torch.zeros(1, *SIZE)
    fov[:, 20:60, 30:110] = 1
    site = AnomalySited(anomalies="defects")({**part_item(), "fov": fov})["site"]
    assert np.array_equal(site.region, fov.numpy()[0] > 0.5)


def test_known_mask_by_hand() -> None:
    image, fov = torch.zeros(3, 2, 3), torch.tensor([[[0.0, 1, 1], [1, 1, 0]]])
    normal = KnownMaskd()({"image": image, "fov": fov, "label": 0})
    assert normal["mask"].dtype == torch.float32
    assert normal["mask"].tolist() == [[[-1, 0, 0], [0, 0, -1]]]
    assert KnownMaskd()({"image": image, "fov": fov, "label": 1})["mask"].tolist() == [[[-1] * 3, [-1] * 3]]
    assert KnownMaskd()({"image": image, "label": 0})["mask"].tolist() == [[[0] * 3, [0] * 3]]


def test_a_mask_that_is_there_stays() -> None:
    mask = torch.ones(1, 2, 3)
    assert KnownMaskd()({"image": torch.zeros(3, 2, 3), "label": 0, "mask": mask})["mask"] is mask


# --- making ---


@pytest.mark.parametrize(("anomalies", "item"), ITEMS)
def test_one_seed_is_one_item(anomalies: str, item: Any) -> None:
    first, second, other = (make(item(), anomalies=anomalies, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first["image"], second["image"])
    assert torch.equal(first["mask"], second["mask"])
    assert not torch.equal(first["image"], other["image"])


@pytest.mark.parametrize(("anomalies", "item"), ITEMS)
@pytest.mark.parametrize("seed", range(6))
def test_image_label_and_mask_change_together(anomalies: str, item: Any, seed: int) -> None:
    before = item()
    made = make(item(), anomalies=anomalies, seed=seed)
    assert type(made["image"]) is type(before["image"])
    assert made["image"].dtype == made["mask"].dtype == torch.float32
    assert "site" not in made
    image, mask = made["image"].numpy(), made["mask"].numpy()
    assert image.shape == before["image"].shape
    assert image.min() >= -1e-6
    assert image.max() <= 1 + 1e-6
    assert set(np.unique(mask)) <= {-1, 0, 1}
    assert made["label"] == int((mask == 1).any()) == 1
    change = np.abs(image - before["image"].numpy()).mean(axis=0)
    assert change[mask[0] == 1].mean() > 0.01
    assert change[~ndimage.binary_dilation(mask[0] == 1, iterations=8)].mean() < 0.001
    inside = before["fov"].numpy() > 0.5 if "fov" in before else np.ones_like(mask, bool)
    assert (mask[~inside] == -1).all()
    assert (mask[inside] >= 0).all()


@pytest.mark.parametrize(("anomalies", "item"), ITEMS)
def test_prob_0_changes_nothing(anomalies: str, item: Any) -> None:
    before = item()
    after = make(item(), anomalies=anomalies, prob=0.0)
    assert torch.equal(after["image"], before["image"])
    assert after["label"] == 0
    assert not (after["mask"] == 1).any()
    assert "site" not in after


@pytest.mark.parametrize(("anomalies", "item"), ITEMS)
def test_anomalous_images_pass_unchanged(anomalies: str, item: Any) -> None:
    before = item(label=1)
    after = make(item(label=1), anomalies=anomalies)
    assert torch.equal(after["image"], before["image"])
    assert after["label"] == 1
    assert (after["mask"] == -1).all()  # an anomaly is somewhere, nobody said where


def test_prob_is_the_share_that_becomes_anomalous() -> None:
    item = KnownMaskd()(AnomalySited(anomalies="defects")(part_item()))
    transform = MadeAnomaliesd(prob=0.4, kinds=["stain"])
    transform.set_random_state(0)
    assert 0.28 < np.mean([transform(item)["label"] for _ in range(150)]) < 0.52


def test_what_is_unknown_stays_unknown() -> None:
    """Where the mask is -1 it stays; an anomaly that is nowhere known is none."""
    item = AnomalySited(anomalies="defects")(part_item())
    transform = MadeAnomaliesd(prob=1.0, kinds=["stain"])
    transform.set_random_state(0)
    made = transform({**item, "mask": torch.full((1, *SIZE), -1.0)})
    assert (made["mask"] == -1).all()
    assert made["label"] == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_defects_take_grey_and_colour(channels: int) -> None:
    made = make(part_item(channels=channels), anomalies="defects")
    assert made["image"].shape == (channels, *SIZE)
    assert made["label"] == 1


def test_kinds_are_those_given() -> None:
    made = make(eye_item(), anomalies="lesions", kinds=["hard_exudate"])
    change = made["image"] - eye_item()["image"]
    assert change[:, made["mask"][0] == 1].mean() > 0
    with pytest.raises(ValueError, match=r"kinds is \['stain'\], expected some of \['microaneurysm'"):
        make(eye_item(), anomalies="lesions", kinds=["stain"])


@pytest.mark.parametrize("channels", [1, 3])
def test_donors_come_from_files_of_any_size(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "donor.png"
    Image.fromarray(np.full((31, 50, 3), (255, 0, 0), np.uint8)).save(path)
    transform = MadeAnomaliesd(donors=[str(path)])
    donor = transform._donor(np.zeros((channels, 20, 30), np.float32))
    assert donor.shape == (channels, 20, 30)
    # without the frame, which MONAI's smoothing before it shrinks an image darkens
    np.testing.assert_allclose(donor[0, 3:-3, 3:-3], 1.0 if channels == 3 else 0.298, atol=0.005)  # luminance of red
    made = make(part_item(channels=channels), anomalies="defects", donors=[str(path)], kinds=["cut_paste"], seed=3)
    alone = make(part_item(channels=channels), anomalies="defects", kinds=["cut_paste"], seed=3)
    assert not torch.equal(made["image"], alone["image"])


def test_without_donors_it_is_the_image_turned_by_half() -> None:
    image = np.random.RandomState(0).rand(1, 4, 6).astype(np.float32)
    assert np.array_equal(MadeAnomaliesd()._donor(image), np.rot90(image, 2, axes=(1, 2)))


def test_a_donor_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"cannot read image .*missing.png: got no such file"):
        make(part_item(), anomalies="defects", donors=[str(tmp_path / "missing.png")])


# --- errors ---


def test_unknown_anomalies() -> None:
    with pytest.raises(ValueError, match="anomalies is 'rust', expected one of 'lesions', 'defects'"):
        AnomalySited(anomalies="rust")


def test_one_image_each() -> None:
    with pytest.raises(ValueError, match="expected one image key: use one AnomalySited for each"):
        AnomalySited(["image", "other"])
    with pytest.raises(ValueError, match="expected one image key: use one MadeAnomaliesd for each"):
        MadeAnomaliesd(["image", "other"])


def test_lesions_are_for_colour() -> None:
    with pytest.raises(ValueError, match="image has 1 channels, expected 3: lesions are painted in colour"):
        AnomalySited(anomalies="lesions")(part_item())


@pytest.mark.parametrize("prob", [-0.1, 1.1])
def test_prob_outside_0_and_1(prob: float) -> None:
    with pytest.raises(ValueError, match=rf"prob is {prob}, expected 0 to 1"):
        MadeAnomaliesd(prob=prob)
