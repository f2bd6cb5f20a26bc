from __future__ import annotations

import csv
from pathlib import Path

import pytest

from monai_cavga.data import DatasetNotFoundError, idrid_items, split_mask_files
from monai_cavga.data.idrid import GRADES, PAIRS, photographs_of_segmentation_test, segmentation_items

TRAINING_LABELS = GRADES["training"]


def names(items: list, label: int | None = None) -> list[str]:  # type: ignore[type-arg]
    return [item["name"] for item in items if label is None or item["label"] == label]


def test_sections(idrid_dir: Path) -> None:
    training = idrid_items(idrid_dir, "training", labelled=2)
    validation = idrid_items(idrid_dir, "validation", labelled=2)
    assert len(names(training, 0)) == 4
    assert len(names(validation)) == 1
    assert set(names(training, 0) + names(validation)) == {f"B_training_IDRiD_{k:03d}" for k in range(1, 6)}
    assert names(training, 1) == ["B_training_IDRiD_007", "B_training_IDRiD_008"]  # grade 1 is no labelled anomaly
    test = idrid_items(idrid_dir, "test")
    assert names(test, 0) == ["B_test_IDRiD_001", "B_test_IDRiD_002"]
    assert names(test, 1) == ["A_test_IDRiD_55", "A_test_IDRiD_56", "B_test_IDRiD_003", "B_test_IDRiD_004"]


def test_masks_are_lesions_never_the_optic_disc(idrid_dir: Path) -> None:
    by_name = {item["name"]: item for item in idrid_items(idrid_dir, "test")}
    files = {name: [Path(f).name for f in split_mask_files(item["mask_files"])] for name, item in by_name.items()}
    assert files["A_test_IDRiD_55"] == ["IDRiD_55_MA.tif", "IDRiD_55_HE.tif", "IDRiD_55_EX.tif"]
    assert files["A_test_IDRiD_56"][-1] == "IDRiD_56_SE.tif"
    assert files["B_test_IDRiD_003"] == []


def test_photographs_of_the_segmentation_test_set_never_train_nor_count_twice(idrid_dir: Path) -> None:
    rows = [
        "a_set,a_image,same_photo_b_set,same_photo_b_image,retinopathy_grade",
        "a. Training Set,IDRiD_01.jpg,a. Training Set,IDRiD_008.jpg,3",  # a training photograph: no matter
        "b. Testing Set,IDRiD_55.jpg,a. Training Set,IDRiD_007.jpg,2",
        "b. Testing Set,IDRiD_56.jpg,b. Testing Set,IDRiD_004.jpg,4",
    ]
    (idrid_dir / PAIRS).write_text("\n".join(rows))
    assert names(idrid_items(idrid_dir, "training", labelled=1), 1) == ["B_training_IDRiD_008"]
    assert names(idrid_items(idrid_dir, "test"), 1) == ["A_test_IDRiD_55", "A_test_IDRiD_56", "B_test_IDRiD_003"]
    with pytest.raises(ValueError, match="labelled is 2, expected 0 to 1"):
        idrid_items(idrid_dir, "training", labelled=2)
    (idrid_dir / PAIRS).write_text("a_set,a_image\n")
    with pytest.raises(ValueError, match="expected also"):
        idrid_items(idrid_dir, "training")


def test_without_the_pairs_file_a_built_in_list_is_used(tmp_path: Path) -> None:
    built_in = photographs_of_segmentation_test(tmp_path)
    assert len(built_in) == 15
    assert ("a. Training Set", "IDRiD_020") in built_in


@pytest.mark.parametrize("missing", ["B. Disease Grading/1. Original Images/a. Training Set", str(TRAINING_LABELS)])
def test_missing_part(idrid_dir: Path, missing: str) -> None:
    (idrid_dir / missing).rename(idrid_dir / "gone")
    with pytest.raises(DatasetNotFoundError, match=r"ieee-dataport.*missing: B"):
        idrid_items(idrid_dir, "training")
    assert len(idrid_items(idrid_dir, "test")) == 6  # which needs only what is there


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="phantoms DIR"):
        idrid_items(tmp_path, "test")


def test_empty_folder(idrid_dir: Path) -> None:
    for image in (idrid_dir / "A. Segmentation/1. Original Images/b. Testing Set").iterdir():
        image.unlink()
    with pytest.raises(ValueError, match=r"no images in .*Testing Set"):
        segmentation_items(idrid_dir, "test")


def test_labels_and_images_must_match(idrid_dir: Path) -> None:
    (idrid_dir / "B. Disease Grading/1. Original Images/a. Training Set/IDRiD_003.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 without a file .*IDRiD_003"):
        idrid_items(idrid_dir, "training")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Image name,Grade\nIDRiD_001,0\n", "expected also"),
        ("", "expected also"),
        ("Image name,Retinopathy grade\nIDRiD_001,5\n", "line 2: grade is '5', expected 0 to 4"),
    ],
)
def test_bad_label_file(idrid_dir: Path, text: str, error: str) -> None:
    (idrid_dir / TRAINING_LABELS).write_text(text)
    with pytest.raises(ValueError, match=error):
        idrid_items(idrid_dir, "training")


def test_real_counts(shared_dir: Path) -> None:
    root = shared_dir / "data" / "idrid"
    training, validation, test = (idrid_items(root, s, labelled=244) for s in ("training", "validation", "test"))
    assert [len(names(training, 0)), len(names(validation)), len(names(training, 1))] == [107, 27, 244]
    assert [len(names(test, 0)), len(names(test, 1))] == [34, 27 + 69]
    assert sum(bool(item["mask_files"]) for item in test) == 27
    assert not set(names(training)) & set(names(validation))
    assert len({item["image"] for item in test}) == 130
    with pytest.raises(ValueError, match="expected 0 to 244"):
        idrid_items(root, "training", labelled=245)
    with (root / PAIRS).open(newline="") as file:  # the built-in list is the file's
        pairs = [row for row in csv.DictReader(file) if row["a_set"].startswith("b") and row["same_photo_b_image"]]
    assert {(r["same_photo_b_set"], Path(r["same_photo_b_image"]).stem) for r in pairs} == (
        photographs_of_segmentation_test(Path("/nowhere"))
    )
