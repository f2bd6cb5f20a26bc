from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cavga.data import DatasetNotFoundError, check_data, mvtad_items, read_image, read_mask
from monai_cavga.data.layout import labelled_count
from monai_cavga.data.mvtad import category_folder, mvtad_categories, normal_items

DEFECTS = {  # some of each category's, by their owners' names
    "bottle": ["broken_large", "contamination"],
    "cable": ["bent_wire", "missing_cable"],
    "capsule": ["crack", "squeeze"],
    "carpet": ["cut", "thread"],
    "grid": ["bent", "metal_contamination"],
    "hazelnut": ["hole", "print"],
    "leather": ["fold", "glue"],
    "metal_nut": ["flip", "scratch"],
    "pill": ["color", "pill_type"],
    "screw": ["manipulated_front", "thread_side"],
    "tile": ["glue_strip", "oil"],
    "toothbrush": ["defective"],
    "transistor": ["bent_lead", "misplaced"],
    "wood": ["combined", "liquid"],
    "zipper": ["broken_teeth", "fabric_border"],
}
GREY = {"grid", "screw", "zipper"}


def names(items: list, label: int | None = None) -> list[str]:  # type: ignore[type-arg]
    return [item["name"] for item in items if label is None or item["label"] == label]


def test_sections(mvtad_dir: Path) -> None:
    training, validation, test = (
        mvtad_items(mvtad_dir, s, category="bolt") for s in ("training", "validation", "test")
    )
    assert [len(training), len(validation), len(test)] == [8, 2, 9]
    assert set(names(training) + names(validation)) == {f"bolt_train_good_{k:03d}" for k in range(10)}
    assert names(test, 0) == [f"bolt_test_good_{k:03d}" for k in range(3)]
    assert names(test, 1)[-2:] == ["bolt_test_stain_000", "bolt_test_stain_001"]
    item = test[-1]
    assert Path(item["image"]).is_absolute()
    assert Path(item["mask_files"]) == mvtad_dir / "bolt/ground_truth/stain/001_mask.png"
    assert {item["mask_files"] for item in test[:3]} == {""}


def test_labelled_anomalies_leave_the_test_set(mvtad_dir: Path) -> None:
    options = {"category": "felt", "labelled": 2, "seed": 1}
    training, validation, test = (mvtad_items(mvtad_dir, s, **options) for s in ("training", "validation", "test"))
    assert [len(names(training, 1)), len(names(validation, 1)), len(names(test, 1))] == [2, 0, 4]
    assert not set(names(training)) & set(names(test))
    assert all(item["mask_files"] for item in training if item["label"])
    fraction = mvtad_items(mvtad_dir, "test", category="felt", labelled=0.34, seed=1)  # hand: 0.34 * 6 = 2.04
    assert names(fraction) == names(test)
    with pytest.raises(ValueError, match="labelled is 7, expected 0 to 6"):
        mvtad_items(mvtad_dir, "training", category="felt", labelled=7)


@pytest.mark.parametrize(("labelled", "count"), [(0, 0), (3, 3), (0.02, 2), (0.001, 1), (0.5, 60)])
def test_labelled_count(labelled: float, count: int) -> None:
    assert labelled_count(labelled, 119) == count  # hand: 0.02 * 119 = 2.38; 0.5 * 119 = 59.5, rounded to even


@pytest.mark.parametrize("labelled", [-1, -0.1, 1.5])
def test_labelled_must_be_a_number_or_a_fraction(labelled: float) -> None:
    with pytest.raises(ValueError, match="expected 0, a number of anomalous images, a fraction"):
        labelled_count(labelled, 10)


def test_the_category_folder_itself_will_do(mvtad_dir: Path) -> None:
    assert mvtad_items(mvtad_dir / "bolt", "test", category="bolt") == mvtad_items(mvtad_dir, "test", category="bolt")
    assert mvtad_categories(mvtad_dir) == ["bolt", "felt"]
    assert mvtad_categories(mvtad_dir / "felt") == ["felt"]
    assert mvtad_categories(mvtad_dir / "absent") == []


def test_missing_category_or_data_set(mvtad_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="missing: category 'screw'; there: bolt, felt"):
        mvtad_items(mvtad_dir, "test", category="screw")
    with pytest.raises(DatasetNotFoundError, match=r"no MVTec AD in .*there: none"):
        category_folder(tmp_path / "absent", "bolt")


@pytest.fixture
def all_categories(tmp_path: Path) -> Path:
    """The owners' 15 categories, each of its own height, in grey or colour as theirs, with their texts beside."""
    root = tmp_path / "mvtec_anomaly_detection"
    for number, (category, defects) in enumerate(DEFECTS.items()):
        folder, size = root / category, (9 + number, 7)
        places = [("train/good", 5), ("test/good", 2), *((f"test/{defect}", 2) for defect in defects)]
        for place, count in places:
            (folder / place).mkdir(parents=True)
            for k in range(count):
                pixels = np.full((*size, 3), (200, 100, 50 + k), np.uint8)
                Image.fromarray(pixels[..., 0] if category in GREY else pixels).save(folder / place / f"{k:03d}.png")
        for defect in defects:
            (folder / "ground_truth" / defect).mkdir(parents=True)
            for k in range(2):
                mask = np.zeros(size, np.uint8)
                mask[1, 2 : 4 + k] = 255
                Image.fromarray(mask).save(folder / "ground_truth" / defect / f"{k:03d}_mask.png")
        (folder / "license.txt").touch()
    (root / "readme.txt").touch()
    return root


def test_the_owners_15_categories(all_categories: Path) -> None:
    assert mvtad_categories(all_categories) == sorted(DEFECTS)
    assert len(DEFECTS) == 15
    for number, (category, defects) in enumerate(DEFECTS.items()):
        training, validation, test = (
            mvtad_items(all_categories, s, category=category) for s in ("training", "validation", "test")
        )
        assert [len(training), len(validation)] == [4, 1]
        assert names(test, 0) == [f"{category}_test_good_00{k}" for k in range(2)]
        assert names(test, 1) == [f"{category}_test_{defect}_00{k}" for defect in defects for k in range(2)]
        size = (9 + number, 7)
        with Image.open(training[0]["image"]) as image:
            assert image.mode == ("L" if category in GREY else "RGB")
        colour = (200, 200, 200) if category in GREY else (200, 100, 51)
        np.testing.assert_allclose(read_image(test[1]["image"])[0, 0] * 255, colour, rtol=1e-6)
        for channels in (1, 3):
            assert read_image(test[-1]["image"], channels=channels).shape == (*size, channels)  # type: ignore[arg-type]
        mask = read_mask(test[-1]["mask_files"])
        assert mask.shape == size
        assert np.argwhere(mask).tolist() == [[1, 2], [1, 3], [1, 4]]


def test_check_data_knows_the_15_categories(all_categories: Path) -> None:
    report = check_data(all_categories, progress=False)
    assert report.ok
    assert report.kind == "mvtad"
    assert len(report.sections) == 3 * 15
    assert report.sections["zipper training"] == "4 normal, 0 anomalous (0 with masks)"
    assert report.sections["zipper test"] == "2 normal, 4 anomalous (4 with masks)"
    assert report.sections["toothbrush test"] == "2 normal, 2 anomalous (2 with masks)"
    assert report.counts["toothbrush/ground_truth/defective"] == 2


def test_sections_need_only_what_they_list(mvtad_dir: Path) -> None:
    shutil.rmtree(mvtad_dir / "bolt/ground_truth")
    assert len(mvtad_items(mvtad_dir, "training", category="bolt")) == 8
    for options in ({"section": "test"}, {"section": "training", "labelled": 1}):
        with pytest.raises(DatasetNotFoundError, match="missing: bolt/ground_truth"):
            mvtad_items(mvtad_dir, category="bolt", **options)  # type: ignore[arg-type]


def test_normals_only(mvtad_dir: Path) -> None:
    """Training and calibration of who has no test set; with labels, or where a test is wanted, it is missed."""
    shutil.rmtree(mvtad_dir / "bolt" / "test")
    assert mvtad_items(mvtad_dir, "test", category="bolt", test_required=False) == []
    for options in ({}, {"test_required": False, "labelled": 1}):
        with pytest.raises(DatasetNotFoundError, match="test"):
            mvtad_items(mvtad_dir, "test", category="bolt", **options)  # type: ignore[arg-type]


def test_a_defect_without_its_mask_is_refused(mvtad_dir: Path) -> None:
    (mvtad_dir / "bolt/ground_truth/crack/002_mask.png").unlink()
    with pytest.raises(ValueError, match=r"crack/002.png has no mask, expected .*002_mask.png"):
        mvtad_items(mvtad_dir, "test", category="bolt")


def test_empty_folders(mvtad_dir: Path) -> None:
    for image in (mvtad_dir / "bolt/test/good").iterdir():
        image.unlink()
    with pytest.raises(ValueError, match=r"no images in .*bolt/test/good"):
        normal_items(mvtad_dir / "bolt", "bolt")
    for defect in ("crack", "stain"):
        shutil.rmtree(mvtad_dir / "felt/test" / defect)
    with pytest.raises(ValueError, match="no anomalous images"):
        mvtad_items(mvtad_dir, "test", category="felt")


def test_real_counts(shared_dir: Path) -> None:
    root = shared_dir / "data" / "mvtec"
    options = {"category": "screw", "labelled": 0.02}
    training, validation, test = (mvtad_items(root, s, **options) for s in ("training", "validation", "test"))
    assert [len(names(training, 0)), len(names(validation)), len(names(training, 1))] == [256, 64, 2]
    assert [len(names(test, 0)), len(names(test, 1))] == [41, 117]
    assert mvtad_items(root / "screw", "test", category="screw", labelled=0.02) == test
