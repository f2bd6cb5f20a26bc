"""From a stack of maps to named maps at the source's size: by hand, and the round trip through a real file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Resized
from monai.utils import convert_to_dst_type
from PIL import Image

from monai_cavga.metrics import image_score
from monai_cavga.transforms import FieldOfViewd, ImageScored, LoadRGBd, SplitMapsd, source_maps

HEIGHT, WIDTH = 60, 100  # of the source
SIZE = (32, 48)  # of the network


# --- SplitMapsd ---


def test_split_by_hand() -> None:
    stack = torch.arange(2 * 2 * 3.0).reshape(2, 2, 3)
    item = {"pred": stack, "name": "eye"}
    out = SplitMapsd("pred", names=["residual", "attention"])(item)
    assert out["residual"].tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert out["attention"].tolist() == [[[6, 7, 8], [9, 10, 11]]]
    assert out["name"] == "eye"
    assert set(item) == {"pred", "name"}  # a copy


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_reconstruction_takes_the_channels_that_remain(channels: int) -> None:
    stack = torch.rand(2 + channels, 2, 3)
    out = SplitMapsd(names=["attention", "residual", "reconstruction"])({"pred": stack})
    assert torch.equal(out["attention"], stack[:1])
    assert torch.equal(out["residual"], stack[1:2])
    assert torch.equal(out["reconstruction"], stack[2:])


def test_split_keeps_meta_data() -> None:
    stack = MetaTensor(torch.rand(1, 2, 3), meta={"filename_or_obj": "eye.png"})
    assert SplitMapsd(names=["attention"])({"pred": stack})["attention"].meta["filename_or_obj"] == "eye.png"


@pytest.mark.parametrize(
    ("channels", "names"),
    [(1, ["attention", "residual"]), (3, ["attention", "residual"]), (2, ["attention", "residual", "reconstruction"]),
     (1, [])],
)  # fmt: skip
def test_channels_that_do_not_fit_the_names(channels: int, names: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"pred has {channels} channels for the maps .*: give SplitMapsd the names"):
        SplitMapsd(names=names)({"pred": torch.rand(channels, 2, 3)})


def test_more_than_one_stack() -> None:
    with pytest.raises(ValueError, match=r"keys is \('a', 'b'\), expected one stack of maps: use one SplitMapsd for"):
        SplitMapsd(["a", "b"], names=["attention"])


# --- ImageScored ---


def test_score_by_hand() -> None:
    # inside the field of view lie 0, 1, 2, 3, 4: the median is 2; with the 100 outside it would be 2.5
    anomaly_map = torch.tensor([[[4.0, 0, 3], [1, 100, 2]]])
    fov = torch.tensor([[[1.0, 1, 1], [1, 0, 1]]])
    assert ImageScored(rule=0.5)({"attention": anomaly_map, "fov": fov})["score"] == 2
    assert ImageScored(rule=0.5)({"attention": anomaly_map})["score"] == 2.5


def test_score_of_other_keys() -> None:
    item = {"residual": torch.full((1, 2, 3), 0.25), "inside": torch.ones(1, 2, 3)}
    out = ImageScored("residual", score_key="points", fov_key="inside")(item)
    assert out["points"] == 0.25
    assert "points" not in item


def test_score_without_a_field_of_view_that_has_pixels() -> None:
    with pytest.raises(ValueError, match="fov has 0 pixels inside"):
        ImageScored()({"attention": torch.rand(1, 2, 3), "fov": torch.zeros(1, 2, 3)})


# --- source_maps: there and back ---


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Any]:
    """A photograph with a dark border left and right, a bright landmark at the bottom left, and its two masks."""
    pixels = np.full((HEIGHT, WIDTH, 3), 100, dtype=np.uint8)
    pixels[:, :20] = pixels[:, 90:] = 0
    pixels[42:54, 25:40] = 255
    Image.fromarray(pixels).save(tmp_path / "eye.png")
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[42:54, 25:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    weak = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    weak[5:10, 60:80] = 80  # below half of full scale
    Image.fromarray(weak).save(tmp_path / "weak.png")
    return {
        "image": str(tmp_path / "eye.png"),
        "label": 1,
        "mask_files": f"{tmp_path / 'mask.png'}\n{tmp_path / 'weak.png'}",
        "name": "eye",
    }


def _evaluated(item: dict[str, Any], names: list[str], **options: Any) -> dict[str, Any]:
    """Preprocess, take the image itself as the maps, postprocess."""
    preprocessing = Compose([LoadRGBd("image"), Resized("image", SIZE, mode="bilinear"), FieldOfViewd("image")])
    made = preprocessing(item)
    assert made["image"].shape == (3, *SIZE)
    brightness = made["image"].mean(dim=0, keepdim=True)
    pictures = {"attention": brightness, "residual": 1 - brightness, "reconstruction": made["image"]}
    stack = torch.cat([pictures[name].as_tensor() for name in names])
    made["pred"] = convert_to_dst_type(stack, made["image"])[0]
    out: dict[str, Any] = source_maps(preprocessing, names, **options)(made)
    return out


def test_maps_come_back_at_the_sources_size(source: dict[str, Any]) -> None:
    out = _evaluated(source, ["attention", "residual", "reconstruction"])
    for name, channels in (("attention", 1), ("residual", 1), ("fov", 1), ("mask", 1), ("reconstruction", 3)):
        assert out[name].shape == (channels, HEIGHT, WIDTH), name
    assert out["image"].shape == (3, *SIZE)  # stays at the network's size
    assert out["attention"].dtype == torch.float32
    rows, columns = torch.nonzero(out["attention"][0] > 0.75, as_tuple=True)
    assert abs(float(rows.float().mean()) - 47.5) < 1  # the landmark's own centre
    assert abs(float(columns.float().mean()) - 32) < 1
    torch.testing.assert_close(out["residual"], 1 - out["attention"])


def test_the_field_of_view_stays_binary(source: dict[str, Any]) -> None:
    fov = _evaluated(source, ["attention"])["fov"]
    assert fov.unique().tolist() == [0, 1]
    assert fov[0, :, 23:87].min() == 1
    assert fov[0, :, :17].max() == 0
    assert fov[0, :, 93:].max() == 0


def test_the_mask_is_read_at_the_sources_size(source: dict[str, Any]) -> None:
    out = _evaluated(source, ["attention"])
    expected = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int8)
    expected[:, 42:54, 25:40] = 1
    expected[out["fov"] == 0] = -1
    assert out["mask"].dtype == torch.int8
    assert torch.equal(out["mask"].as_tensor(), expected)


def test_mask_level(source: dict[str, Any]) -> None:
    mask = _evaluated(source, ["attention"], mask_level=0.3)["mask"]  # 80 / 255 = 0.31
    assert (mask[0, 5:10, 60:80] == 1).all()


def test_the_first_map_scores(source: dict[str, Any]) -> None:
    for names in (["attention", "residual"], ["residual", "attention"]):
        out = _evaluated(source, names, rule=0.9)
        assert out["score"] == image_score(out[names[0]], fov=out["fov"], rule=0.9)
    # the border's residual is 1, the retina's 1 - 100 / 255 = 0.608: the border does not count
    assert _evaluated(source, ["residual"], rule=0.9)["score"] == pytest.approx(1 - 100 / 255, abs=0.01)


def test_inference_has_no_masks(source: dict[str, Any]) -> None:
    out = _evaluated({"image": source["image"], "name": "eye"}, ["attention"])
    assert "mask" not in out
    assert out["attention"].shape == (1, HEIGHT, WIDTH)
