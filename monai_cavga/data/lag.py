"""LAG, fundus photographs with glaucoma (Li et al., CVPR 2019), in its owners' layout.

``LAG_database_part_*/{non_glaucoma,suspicious_glaucoma}/{image,attention_map,label}/``; files of one image share a
stem. The attention maps (where ophthalmologists looked) are the masks of the anomalous images; they are grey and are
binarised when they are loaded, at a level that the evaluation states. The ``label`` folders are not needed.
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
    draw,
    draw_labelled,
    images_in,
    missing_data_message,
    natural_key,
    split_training,
)
from monai_cavga.data.read import join_mask_files

PARTS = "LAG_database_part_*"
NORMAL_FOLDER, ANOMALOUS_FOLDER = "non_glaucoma", "suspicious_glaucoma"
# The paper (Table 2) trains on 2,632 normal images and tests on 800 normal and 2,392 anomalous ones.
TRAINING_NORMALS, TEST_NORMALS = 2632, 800


def lag_items(
    dataset_dir: str | os.PathLike[str],
    section: Section,
    *,
    labelled: Labelled = 0,
    validation_fraction: float = 0.2,
    seed: int = 0,
    training_normals: int = TRAINING_NORMALS,
) -> list[Item]:
    """List one section of LAG under the paper's split.

    ``training_normals`` normal images, drawn by seed, are for training; the rest are test images. A copy with fewer
    than ``training_normals + 800`` normal images (the public one has 3,143) is divided in the same proportion. A
    ``validation_fraction`` of the training normals is held out for validation, which sees no test image.
    ``labelled`` anomalous images, drawn by seed, join the training section and leave the test section.

    Args:
        dataset_dir: the folder that holds the ``LAG_database_part_*`` folders.
        section: "training", "validation" or "test". Give all three the same options.
        labelled: number of anomalous training images, a fraction of them below 1 (the paper's weak setting: 0.02), or
            their names; 0 = unsupervised.
        validation_fraction: share of the training normals, in [0, 1).
        seed: of all three draws.
        training_normals: normal images for training and validation together.

    Returns:
        Items in natural order of their names, such as ``part_1_non_glaucoma_12``.

    Raises:
        DatasetNotFoundError: if the folder does not hold LAG's layout.
        ValueError: if its image folders are empty, or an option cannot be honoured.
    """
    check_options(section, validation_fraction=validation_fraction, labelled=labelled)
    normal, anomalous = read_layout(Path(dataset_dir))
    supervised = draw_labelled((item["name"] for item in anomalous), labelled, seed=seed)
    count = training_count(len(normal), training_normals=training_normals)
    for_training = draw((item["name"] for item in normal), count, seed=seed, purpose="training_normals")
    if section == "test":
        chosen = [item for item in normal if item["name"] not in for_training]
        return chosen + [item for item in anomalous if item["name"] not in supervised]
    pool = [item for item in normal if item["name"] in for_training]
    part = split_training(pool, section, validation_fraction=validation_fraction, seed=seed)
    if section == "training":
        part += [item for item in anomalous if item["name"] in supervised]
    return part


def training_count(normals: int, *, training_normals: int = TRAINING_NORMALS) -> int:
    """Number of normal images that train, of all there are: the paper's count or the paper's proportion.

    Raises:
        ValueError: if ``training_normals`` is not positive.
    """
    if training_normals < 1:
        raise ValueError(f"training_normals is {training_normals}, expected at least 1: the paper uses 2632")
    complete = training_normals + TEST_NORMALS
    return training_normals if normals >= complete else round(normals * training_normals / complete)


def lag_parts(dataset_dir: Path) -> list[Path]:
    """The ``LAG_database_part_*`` folders in natural order."""
    found = (path for path in dataset_dir.glob(PARTS) if path.is_dir())
    return sorted(found, key=lambda path: natural_key(path.name))


def read_layout(dataset_dir: Path) -> tuple[list[Item], list[Item]]:
    """List all normal and all anomalous images; part and class stand in the name, for parts may repeat a stem.

    Raises:
        DatasetNotFoundError: if the folder does not hold LAG's layout.
        ValueError: if there is no normal or no anomalous image.
    """
    parts = lag_parts(dataset_dir)
    if not any((part / folder).is_dir() for part in parts for folder in (NORMAL_FOLDER, ANOMALOUS_FOLDER)):
        raise DatasetNotFoundError(missing_data_message("lag", dataset_dir))
    lists: dict[str, list[Item]] = {NORMAL_FOLDER: [], ANOMALOUS_FOLDER: []}
    for part in parts:
        for folder, items in lists.items():
            masks = images_in(part / folder / "attention_map") if folder == ANOMALOUS_FOLDER else {}
            for stem, image in images_in(part / folder / "image").items():
                files = [str(masks[stem].absolute())] if stem in masks else []
                items.append(
                    Item(
                        image=str(image.absolute()),
                        label=int(folder == ANOMALOUS_FOLDER),
                        mask_files=join_mask_files(files),
                        name=f"{part.name.removeprefix('LAG_database_')}_{folder}_{stem}",
                    )
                )
    for folder, items in lists.items():
        if not items:
            raise ValueError(
                f"no images in {dataset_dir}/{PARTS}/{folder}/image, expected PNG, JPEG, BMP or TIFF files: "
                "copy the data set again, check-data lists what is there"
            )
    return lists[NORMAL_FOLDER], lists[ANOMALOUS_FOLDER]
