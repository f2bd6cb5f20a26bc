from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from monai_cavga.data import mvtad_items, write_parts
from monai_cavga.data.phantom_parts import DEFECTS, part_image

KINDS = [(category, defect) for category, defects in DEFECTS.items() for defect in defects]


@pytest.mark.parametrize(("category", "channels"), [("weave", (3,)), ("bolt", ())])
def test_shape_and_seed(category: str, channels: tuple[int, ...]) -> None:
    picture, mask = part_image(3, category, size=(70, 110))
    assert picture.shape == (70, 110, *channels)
    assert mask.shape == (70, 110)
    assert picture.dtype == mask.dtype == np.uint8
    assert not mask.any()
    np.testing.assert_array_equal(picture, part_image(3, category, size=(70, 110))[0])
    assert (picture != part_image(4, category, size=(70, 110))[0]).mean() > 0.5


@pytest.mark.parametrize("size", [(128, 160), (96, 64)])
@pytest.mark.parametrize(("category", "defect"), KINDS)
def test_with_and_without_defect_differ_where_the_mask_is(category: str, defect: str, size: tuple[int, int]) -> None:
    for seed in range(8):
        good, _ = part_image(seed, category, size=size)
        picture, mask = part_image(seed, category, size=size, defect=defect)
        changed = (good != picture).reshape(*size, -1).any(axis=2)
        assert set(np.unique(mask)) == {0, 1}
        assert 0.001 < mask.mean() < 0.1
        assert ndimage.label(mask, np.ones((3, 3)))[1] == 1
        assert not changed[mask == 0].any()
        assert changed[mask == 1].mean() > 0.9


def test_the_weave_fills_the_image_and_is_in_colour() -> None:
    picture = part_image(1, "weave")[0].astype(float)
    tiles = picture.reshape(4, 32, 5, 32, 3).swapaxes(1, 2)
    assert (tiles.std(axis=(2, 3)) > 20).all()
    assert np.abs(picture[..., 0] - picture[..., 2]).mean() > 20


@pytest.mark.parametrize("size", [(128, 160), (160, 96)])
def test_the_bolt_lies_whole_on_a_plain_ground_turned_and_shifted(size: tuple[int, int]) -> None:
    inside = np.stack(
        [np.abs(p - float(np.median(p))) > 15 for p in (part_image(s, "bolt", size=size)[0] for s in range(8))]
    )
    assert not np.concatenate([inside[:, 0], inside[:, -1]]).any()
    assert not np.concatenate([inside[:, :, 0], inside[:, :, -1]]).any()
    axes, middles = [], []
    for each in inside:
        points = np.argwhere(each).astype(float)
        middles.append(points.mean(axis=0))
        values, vectors = np.linalg.eigh(np.cov(points.T))
        assert values[1] > 5 * values[0]  # elongated
        axes.append(abs(vectors[int(np.argmax(size)), 1]))  # the axis' share along the longer side
    assert 0.97 < min(axes) < 0.999  # cos(0.2) = 0.98
    assert np.ptp(middles, axis=0).min() > 2
    assert (inside[0] != inside[0][::-1, ::-1]).sum() > 0.2 * inside[0].sum()


def test_written_complete_or_not_at_all(tmp_path: Path) -> None:
    root = write_parts(tmp_path / "new", normal=3, anomalous=2, size=(64, 96), seed=5)
    assert sorted(path.name for path in root.iterdir()) == ["bolt", "weave"]
    for category, mode in (("bolt", "L"), ("weave", "RGB")):
        sections = {s: mvtad_items(root, s, category=category) for s in ("training", "validation", "test")}
        assert {section: len(items) for section, items in sections.items()} == {
            "training": 2,
            "validation": 1,
            "test": 6,
        }
        assert sum(bool(item["mask_files"]) for item in sections["test"]) == 4
        with Image.open(root / category / "train/good/002.png") as image:
            assert (image.size, image.mode) == ((96, 64), mode)
            np.testing.assert_array_equal(np.asarray(image), part_image(5 * 1_000_003 + 2, category, size=(64, 96))[0])
    picture, mask = part_image(5 * 1_000_003 + 8, "bolt", size=(64, 96), defect="missing_part")  # hand: 3 + 2 + 2 + 1
    with Image.open(root / "bolt/test/missing_part/001.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture)
    with Image.open(root / "bolt/ground_truth/missing_part/001_mask.png") as image:
        np.testing.assert_array_equal(np.asarray(image), mask * 255)
    (tmp_path / "mine" / "bolt").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="holds no phantoms"):
        write_parts(tmp_path / "mine", normal=1, anomalous=1, size=(64, 64))
    assert not list((tmp_path / "mine" / "bolt").iterdir())


def test_bad_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at least 1 each"):
        write_parts(tmp_path, anomalous=0)
    for options in ({"size": (63, 80)}, {"seed": -1}):
        with pytest.raises(ValueError, match="expected sides of 64 or more"):
            write_parts(tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="category is 'nut', expected one of weave, bolt"):
        part_image(0, "nut")
    with pytest.raises(ValueError, match="defect is 'hole', expected one of scratch, missing_part"):
        part_image(0, "bolt", defect="hole")
    assert not list(tmp_path.iterdir())
