"""MVTec AD, photographs of industrial parts with defects (Bergmann et al., CVPR 2019), in its owners' layout.

``<category>/train/good``, ``<category>/test/{good,<defect>}`` and ``<category>/ground_truth/<defect>/<stem>_mask.png``,
grey or RGB. A reduced copy that keeps folders and stems is read the same way, whatever the kind of its image files.
"""

from __future__ import annotations

import os
from pathlib import Path

from monai_cavga.data.layout import (
    DatasetNotFoundError,
    Item,
    Labelled,
    Section,
    check_options,
    draw_labelled,
    images_in,
    missing_data_message,
    natural_key,
    required_folder,
    split_training,
)
from monai_cavga.data.read import join_mask_files

TRAINING, TEST, MASKS = Path("train", "good"), Path("test"), Path("ground_truth")
GOOD = "good"


def mvtad_items(
    dataset_dir: str | os.PathLike[str],
    section: Section,
    *,
    category: str,
    labelled: Labelled = 0,
    validation_fraction: float = 0.2,
    seed: int = 0,
    test_required: bool = True,
) -> list[Item]:
    """List one section of one category of MVTec AD under the owners' split.

    Training and validation are ``train/good``, split by seed; the test section is ``test``. The owners' training set
    has no anomaly: ``labelled`` ones, drawn by seed over all defects together, join the training section and leave
    the test section, so a weak setting is tested on fewer images than the owners' (say so beside its numbers).

    Args:
        dataset_dir: the folder that holds the category's folder, or that folder itself.
        section: "training", "validation" or "test". Give all three the same options.
        category: such as "screw".
        labelled: number of anomalous training images; below 1 the fraction of the test anomalies, rounded to at least
            one image (the paper's weak setting: 0.02); or their names; 0 = unsupervised.
        validation_fraction: share of the training normals held out, in [0, 1).
        seed: of both draws.
        test_required: False gives an empty test section where there is no folder ``test``: who has normals only can
            train and calibrate.

    Returns:
        Items in natural order, normal ones first, named such as ``screw_train_good_000``, ``screw_test_scratch_000``.

    Raises:
        DatasetNotFoundError: if a folder that the section needs is not there.
        ValueError: if a folder is empty, an anomalous image has no mask, or an option cannot be honoured.
    """
    check_options(section, validation_fraction=validation_fraction, labelled=0)
    folder = category_folder(Path(dataset_dir), category)
    if section == "test" and not test_required and not labelled and not (folder / TEST).is_dir():
        return []
    anomalous = anomalous_items(folder, category) if labelled or section == "test" else []
    supervised = draw_labelled((item["name"] for item in anomalous), labelled, seed=seed)
    if section == "test":
        normal = _items(_folder(folder, TEST / GOOD), f"{category}_test_{GOOD}")
        return normal + [item for item in anomalous if item["name"] not in supervised]
    normal = _items(_folder(folder, TRAINING), f"{category}_train_{GOOD}")
    part = split_training(normal, section, validation_fraction=validation_fraction, seed=seed)
    if section == "training":
        part += [item for item in anomalous if item["name"] in supervised]
    return part


def mvtad_categories(dataset_dir: Path) -> list[str]:
    """The categories below a folder in natural order; a category's own folder has one, its own."""
    if (dataset_dir / TRAINING).is_dir():
        return [dataset_dir.absolute().name]
    if not dataset_dir.is_dir():
        return []
    found = (path.name for path in dataset_dir.iterdir() if (path / TRAINING).is_dir())
    return sorted(found, key=natural_key)


def category_folder(dataset_dir: Path, category: str) -> Path:
    """The folder of a category, below ``dataset_dir`` or ``dataset_dir`` itself.

    Raises:
        DatasetNotFoundError: if there is neither.
    """
    if (dataset_dir / category / TRAINING.parent).is_dir():
        return dataset_dir / category
    if dataset_dir.absolute().name == category and (dataset_dir / TRAINING.parent).is_dir():
        return dataset_dir
    there = ", ".join(mvtad_categories(dataset_dir)) or "none"
    raise DatasetNotFoundError(
        f"{missing_data_message('mvtad', dataset_dir)} (missing: category {category!r}; there: {there})"
    )


def anomalous_items(folder: Path, category: str) -> list[Item]:
    """All anomalous test images of a category with their masks, defect by defect.

    Args:
        folder: the category's own folder.
        category: the first part of the items' names.

    Raises:
        DatasetNotFoundError: if ``test`` or ``ground_truth`` is not there.
        ValueError: if there is no anomalous image, or one has no mask (the owners' have one each).
    """
    defects = sorted((path.name for path in _folder(folder, TEST).iterdir() if path.is_dir()), key=natural_key)
    ground_truth = _folder(folder, MASKS)
    items: list[Item] = []
    for defect in defects:
        if defect == GOOD or defect.startswith("."):
            continue
        masks = images_in(ground_truth / defect)
        for stem, image in images_in(folder / TEST / defect).items():
            mask = masks.get(f"{stem}_mask")
            if mask is None:
                raise ValueError(
                    f"{image} has no mask, expected {ground_truth / defect / f'{stem}_mask.png'}: "
                    "copy the data set again"
                )
            files = join_mask_files([mask.absolute()])
            name = f"{category}_test_{defect}_{stem}"
            items.append(Item(image=str(image.absolute()), label=1, mask_files=files, name=name))
    if not items:
        raise ValueError(f"no anomalous images in {folder / TEST}, expected {TEST}/<defect>: copy the data set again")
    return items


def normal_items(folder: Path, category: str) -> list[Item]:
    """All normal images of a category, of both the training and the test set.

    Raises:
        DatasetNotFoundError: if one of the two folders is not there.
        ValueError: if one of them is empty.
    """
    training = _items(_folder(folder, TRAINING), f"{category}_train_{GOOD}")
    return training + _items(_folder(folder, TEST / GOOD), f"{category}_test_{GOOD}")


def _folder(folder: Path, relative: Path) -> Path:
    return required_folder("mvtad", folder.parent, folder.name / relative)


def _items(folder: Path, prefix: str) -> list[Item]:
    items = [
        Item(image=str(image.absolute()), label=0, mask_files="", name=f"{prefix}_{stem}")
        for stem, image in images_in(folder).items()
    ]
    if not items:
        raise ValueError(f"no images in {folder}, expected PNG, JPEG, BMP or TIFF files: copy the data set again")
    return items
