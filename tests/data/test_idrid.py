from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from monai_cavga.data import DatasetNotFoundError, idrid_items, is_plain_folder, split_mask_files
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


def test_a_plain_folder_is_one_of_normals(idrid_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """hand: two fifths of five are held out; a picture in a sub-folder is none of them."""
    own = tmp_path / "own"
    (own / "other").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "p2.png", "p10.png", "c.tif", "other/d.png"):
        Image.new("RGB", (12, 8), (120, 60, 30)).save(own / name)
    training, validation = (
        idrid_items(own, section, validation_fraction=0.4) for section in ("training", "validation")
    )
    assert (len(training), len(validation)) == (3, 2)
    assert set(names(training + validation, 0)) == {f"normal_{stem}" for stem in ("a", "b", "p2", "p10", "c")}
    assert all(Path(item["image"]).is_file() for item in training + validation)
    assert idrid_items(own, "test", test_required=False) == []
    said = f"{own} is a plain folder: 5 photographs taken as normal, sub-folders not read\n"
    assert capsys.readouterr().out == said  # once for all sections
    with pytest.raises(DatasetNotFoundError, match="no IDRiD in"):
        idrid_items(own, "test")
    with pytest.raises(ValueError, match=r"labelled is 2, and .* is a plain folder, .* expected 0: arrange anomalous"):
        idrid_items(own, "training", labelled=2)
    with pytest.raises(ValueError, match=r"validation_fraction 0.0 of 5 normal images leaves none for validation"):
        idrid_items(own, "validation", validation_fraction=0.0)
    (idrid_dir / "stray.png").write_bytes((own / "a.png").read_bytes())  # IDRiD stays IDRiD
    assert len(names(idrid_items(idrid_dir, "training"), 0)) == 4
    assert len(idrid_items(idrid_dir, "test", test_required=False)) == 6


@pytest.mark.parametrize("part", ["A. Segmentation", "B. Disease Grading", "C. Localization"])
def test_a_folder_inside_idrid_is_no_folder_of_normals(tmp_path: Path, part: str) -> None:
    inside = tmp_path / part / "1. Original Images" / "a. Training Set"
    inside.mkdir(parents=True)
    Image.new("RGB", (12, 8)).save(inside / "IDRiD_001.jpg")
    assert not is_plain_folder(inside)
    for options in ({"section": "training"}, {"section": "test", "test_required": False}):
        with pytest.raises(DatasetNotFoundError, match="no IDRiD in"):
            idrid_items(inside, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["A. Segmentation", "B. Disease Grading", "C. Localization"])
@pytest.mark.parametrize("stray", [True, False])
def test_the_parent_of_idrid_is_refused(tmp_path: Path, part: str, stray: bool) -> None:
    (tmp_path / "data" / "IDRiD" / part).mkdir(parents=True)
    if stray:
        Image.new("RGB", (12, 8)).save(tmp_path / "data" / "screenshot.png")
    assert not is_plain_folder(tmp_path / "data")
    with pytest.raises(DatasetNotFoundError, match=r"no IDRiD in '.*data', but in '.*IDRiD': pass that folder"):
        idrid_items(tmp_path / "data", "training")


def test_photographs_in_sub_folders_only(tmp_path: Path) -> None:
    (tmp_path / "clinic").mkdir()
    Image.new("RGB", (12, 8)).save(tmp_path / "clinic" / "7.png")
    with pytest.raises(DatasetNotFoundError, match=r"no IDRiD in .*; or a plain folder .* such as 'clinic' are not"):
        idrid_items(tmp_path, "training")
    with pytest.raises(DatasetNotFoundError, match=r"missing: B. Disease Grading") as refused:
        idrid_items(tmp_path, "test")  # which no plain folder has
    assert "plain folder" not in str(refused.value)


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
