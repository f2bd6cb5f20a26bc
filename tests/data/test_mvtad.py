from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from monai_cavga.data import DatasetNotFoundError, mvtad_items
from monai_cavga.data.layout import labelled_count
from monai_cavga.data.mvtad import category_folder, mvtad_categories, normal_items


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
