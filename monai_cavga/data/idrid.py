"""IDRiD, fundus photographs with diabetic retinopathy (Porwal et al., Data 2018), in its owners' layout.

Part A has lesion masks, part B a retinopathy grade for each image. Normal means grade 0; the lesion mask is
microaneurysms, haemorrhages, hard and soft exudates together, never the optic disc, which is normal anatomy.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Literal

from monai_cavga.data.layout import (
    DatasetNotFoundError,
    Item,
    Labelled,
    Section,
    check_options,
    draw_labelled,
    images_in,
    is_image,
    missing_data_message,
    required_folder,
    split_training,
)
from monai_cavga.data.normals import plain_normals
from monai_cavga.data.read import join_mask_files

Subset = Literal["training", "test"]

SUBSET_FOLDERS: dict[Subset, str] = {"training": "a. Training Set", "test": "b. Testing Set"}
SEGMENTATION_IMAGES = Path("A. Segmentation", "1. Original Images")
SEGMENTATION_MASKS = Path("A. Segmentation", "2. All Segmentation Groundtruths")
GRADING_IMAGES = Path("B. Disease Grading", "1. Original Images")
GRADES: dict[Subset, Path] = {
    "training": Path("B. Disease Grading", "2. Groundtruths", "a. IDRiD_Disease Grading_Training Labels.csv"),
    "test": Path("B. Disease Grading", "2. Groundtruths", "b. IDRiD_Disease Grading_Testing Labels.csv"),
}
PARTS = (SEGMENTATION_IMAGES.parts[0], GRADING_IMAGES.parts[0], "C. Localization")
LESIONS = {"MA": "1. Microaneurysms", "HE": "2. Haemorrhages", "EX": "3. Hard Exudates", "SE": "4. Soft Exudates"}
LABELLED_FROM_GRADE = 2

PAIRS = "segmentation_to_grading.csv"
# Part B's training images that show the same photograph as a test image of part A. The owners' download does not say
# so; the pairs were found by comparing the images. A file PAIRS in the data set's folder takes the place of this list.
_A_TEST_IN_B_TRAINING = (20, 27, 28, 57, 58, 59, 66, 128, 186, 309, 313, 328, 329, 356, 375)


def idrid_items(
    dataset_dir: str | os.PathLike[str],
    section: Section,
    *,
    labelled: Labelled = 0,
    validation_fraction: float = 0.2,
    seed: int = 0,
    test_required: bool = True,
) -> list[Item]:
    """List one section of IDRiD under the retina protocol, or of a plain folder of one's own normal photographs.

    - training and validation: the grade-0 images of part B's training set (134), split by seed;
    - ``labelled`` anomalous images, drawn by seed, join the training section: grade 2 and above of part B's training
      set, less the photographs that are also test images of part A (244 remain);
    - test: the grade-0 images of part B's test set (34), part A's test images with their lesion masks (27), and the
      images of grade 1 and above of part B's test set (69) without pixel labels. No photograph stands there twice.

    A folder with photographs in it that is no IDRiD, nor inside one or around one, is one of normals: training and
    validation, no test. Asked for its training section, it is named in a printed line.

    Args:
        dataset_dir: the folder that holds ``A. Segmentation`` and ``B. Disease Grading``, or one of normal photographs.
        section: "training", "validation" or "test". Give all three the same options.
        labelled: number of anomalous training images, a fraction of them below 1, or their names; 0 = unsupervised.
        validation_fraction: share of the training normals held out, in [0, 1).
        seed: of both draws.
        test_required: False gives an empty test section for a plain folder: who has normals only can train and
            calibrate.

    Returns:
        Items in natural order within each group, normal ones first, named such as ``B_training_IDRiD_001``.

    Raises:
        DatasetNotFoundError: if a folder or label file that the section needs is not there; it names the sub-folder
            that holds IDRiD, or photographs, where there is one.
        ValueError: if a folder is empty, labels and images do not match, or an option cannot be honoured.
    """
    check_options(section, validation_fraction=validation_fraction, labelled=labelled)
    root = Path(dataset_dir)
    if section != "test" or not test_required:
        if is_plain_folder(root):
            items = plain_normals(root, section, labelled=labelled, validation_fraction=validation_fraction, seed=seed)
            if section == "training":  # which every run reads once
                count = len(images_in(root))
                print(f"{root} is a plain folder: {count} photographs taken as normal, sub-folders not read")
            return items
        _refuse_what_lies_deeper(root)
    repeated = photographs_of_segmentation_test(root)
    if section == "test":
        graded = _graded(root, "test")
        normal = [_grading_item(image, "test", grade=0) for image, grade in graded if grade == 0]
        others = _anomalous(graded, "test", least_grade=1, without=repeated)
        return normal + segmentation_items(root, "test") + others
    graded = _graded(root, "training")
    normal = [_grading_item(image, "training", grade=0) for image, grade in graded if grade == 0]
    part = split_training(normal, section, validation_fraction=validation_fraction, seed=seed)
    candidates = _anomalous(graded, "training", least_grade=LABELLED_FROM_GRADE, without=repeated)
    supervised = draw_labelled((item["name"] for item in candidates), labelled, seed=seed)
    if section == "training":
        part += [item for item in candidates if item["name"] in supervised]
    return part


def grading_items(dataset_dir: str | os.PathLike[str], subset: Subset) -> list[Item]:
    """All images of part B, of every grade, without pixel labels.

    Raises:
        DatasetNotFoundError: if part B is not there.
        ValueError: if its image folder is empty, or labels and images do not match.
    """
    return [_grading_item(image, subset, grade=grade) for image, grade in _graded(Path(dataset_dir), subset)]


def segmentation_items(dataset_dir: str | os.PathLike[str], subset: Subset) -> list[Item]:
    """The images of part A, all anomalous, with their lesion masks (a missing file = that lesion is absent).

    Raises:
        DatasetNotFoundError: if part A is not there.
        ValueError: if its image folder is empty.
    """
    root, folder = Path(dataset_dir), SUBSET_FOLDERS[subset]
    images = _images(root, SEGMENTATION_IMAGES / folder)
    masks = {
        code: images_in(required_folder("idrid", root, SEGMENTATION_MASKS / folder) / name)
        for code, name in LESIONS.items()
    }
    items = []
    for stem, image in images.items():
        files = [masks[code][f"{stem}_{code}"].absolute() for code in LESIONS if f"{stem}_{code}" in masks[code]]
        name = f"A_{subset}_{stem}"
        items.append(Item(image=str(image.absolute()), label=1, mask_files=join_mask_files(files), name=name))
    return items


def read_grades(path: Path) -> dict[str, int]:
    """Retinopathy grade by image name, from one of part B's label files.

    Raises:
        ValueError: if a column is missing or a grade is not a whole number from 0 to 4.
    """
    name_column, grade_column = "Image name", "Retinopathy grade"
    grades: dict[str, int] = {}
    for number, row in enumerate(_rows(path, (name_column, grade_column)), start=2):
        if not row[name_column]:
            continue  # spreadsheets leave empty rows at the end
        if row[grade_column] not in ("0", "1", "2", "3", "4"):
            raise ValueError(
                f"{path}, line {number}: grade is {row[grade_column]!r}, expected 0 to 4: correct the file"
            )
        grades[row[name_column]] = int(row[grade_column])
    return grades


def photographs_of_segmentation_test(dataset_dir: Path) -> set[tuple[str, str]]:
    """Part B's images that show the same photograph as a test image of part A, as (subset folder, stem).

    Read from ``segmentation_to_grading.csv`` where it is there, otherwise from the list in this module, so that an
    official download never lets a test photograph into training either.

    Raises:
        ValueError: if the file lacks a column.
    """
    path = dataset_dir / PAIRS
    if not path.is_file():
        return {(SUBSET_FOLDERS["training"], f"IDRiD_{number:03d}") for number in _A_TEST_IN_B_TRAINING}
    rows = _rows(path, ("a_set", "same_photo_b_set", "same_photo_b_image"))
    return {
        (row["same_photo_b_set"], Path(row["same_photo_b_image"]).stem)
        for row in rows
        if row["a_set"] == SUBSET_FOLDERS["test"] and row["same_photo_b_image"]
    }


def is_plain_folder(dataset_dir: str | os.PathLike[str]) -> bool:
    """Whether a folder holds images and is no IDRiD, nor inside one, where anomalous ones would pass for normal, nor
    the parent of one, whose stray images are no data set."""
    root = Path(dataset_dir)
    return _has_images(root) and not _has_parts(root) and not _inside(root) and not any(map(_has_parts, _folders(root)))


def _refuse_what_lies_deeper(root: Path) -> None:
    """One folder too high: around IDRiD, or around photographs."""
    if _has_parts(root) or _inside(root):
        return
    for folder in _folders(root):
        if _has_parts(folder):
            raise DatasetNotFoundError(f"no IDRiD in {str(root)!r}, but in {str(folder)!r}: pass that folder")
    for folder in _folders(root):
        if _has_images(folder):
            raise DatasetNotFoundError(
                f"{missing_data_message('idrid', root)}; or a plain folder that itself holds normal photographs: "
                f"sub-folders such as {folder.name!r} are not read"
            )


def _inside(root: Path) -> bool:
    return bool(set(PARTS) & set(root.resolve().parts))


def _has_parts(folder: Path) -> bool:
    return any((folder / part).is_dir() for part in PARTS)


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(map(is_image, folder.iterdir()))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _graded(root: Path, subset: Subset) -> list[tuple[Path, int]]:
    images = _images(root, GRADING_IMAGES / SUBSET_FOLDERS[subset])
    labels = root / GRADES[subset]
    if not labels.is_file():
        raise DatasetNotFoundError(f"{missing_data_message('idrid', root)} (missing: {GRADES[subset]})")
    grades = read_grades(labels)
    absent = [name for name in grades if name not in images]
    unlabelled = [name for name in images if name not in grades]
    if absent or unlabelled:
        raise ValueError(
            f"{labels} and its images do not match: {len(absent)} without a file (first: {absent[:1]}), "
            f"{len(unlabelled)} without a grade (first: {unlabelled[:1]}), expected none: copy the data set again"
        )
    return [(image, grades[stem]) for stem, image in images.items()]


def _anomalous(
    graded: list[tuple[Path, int]], subset: Subset, *, least_grade: int, without: set[tuple[str, str]]
) -> list[Item]:
    """Images from a grade on, less the photographs that part A's test set shows as well."""
    return [
        _grading_item(image, subset, grade=grade)
        for image, grade in graded
        if grade >= least_grade and (SUBSET_FOLDERS[subset], image.stem) not in without
    ]


def _grading_item(image: Path, subset: Subset, *, grade: int) -> Item:
    return Item(image=str(image.absolute()), label=int(grade > 0), mask_files="", name=f"B_{subset}_{image.stem}")


def _images(root: Path, relative: Path) -> dict[str, Path]:
    images = images_in(required_folder("idrid", root, relative))
    if not images:
        raise ValueError(
            f"no images in {root / relative}, expected PNG, JPEG, BMP or TIFF files: copy the data set again, "
            "check-data lists what is there"
        )
    return images


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))
    header = [cell.strip() for cell in lines[0]] if lines else []
    missing = [column for column in columns if column not in header]
    if missing:
        raise ValueError(f"{path} has the columns {header}, expected also {missing}: copy the file again")
    places = {column: header.index(column) for column in columns}
    return [
        {column: line[place].strip() if place < len(line) else "" for column, place in places.items()}
        for line in lines[1:]
    ]
