"""UCSD Ped2, frames of a walkway with bicycles, skaters and carts as anomalies (Mahadevan et al., CVPR 2010).

Two layouts are read: the owners' (``Train/Train001/001.tif``, ``Test/Test001/001.tif``, frames counted from 1) and the
one in which the clips circulate as numbered images (``{training,testing}/frames/01/000.jpg``) with the labels in
``frame_labels.csv``. Labels are by frame; the owners' pixel masks are not read.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Literal

from monai_cavga.data.layout import (
    DatasetNotFoundError,
    FrameItem,
    Section,
    check_options,
    images_in,
    missing_data_message,
    natural_key,
    split_training,
)

Subset = Literal["training", "test"]

OWNERS_FOLDERS: dict[Subset, Path] = {"training": Path("Train"), "test": Path("Test")}
COPY_FOLDERS: dict[Subset, Path] = {"training": Path("training", "frames"), "test": Path("testing", "frames")}
OWNERS_NAME = "UCSDped2"
LABELS = "frame_labels.csv"
# First and last anomalous frame of each test clip, counted from 1: the owners' Test/UCSDped2.m, which is MATLAB code.
ANOMALOUS_FRAMES = {
    1: (61, 180),
    2: (95, 180),
    3: (1, 146),
    4: (31, 180),
    5: (1, 129),
    6: (1, 159),
    7: (46, 180),
    8: (1, 180),
    9: (1, 120),
    10: (1, 150),
    11: (1, 180),
    12: (88, 180),
}


def ped2_items(
    dataset_dir: str | os.PathLike[str],
    section: Section,
    *,
    validation_fraction: float = 0.2,
    seed: int = 0,
) -> list[FrameItem]:
    """List one section of Ped2: training frames, all normal, and test frames with frame labels.

    Validation holds out whole training clips, by seed: neighbouring frames are nearly the same picture, so frames of
    one clip never stand on both sides.

    Args:
        dataset_dir: the folder that holds ``Train`` and ``Test``, or ``UCSDped2`` with them, or ``training/frames``.
        section: "training", "validation" or "test". Give all three the same options.
        validation_fraction: share of the training clips held out, in [0, 1).
        seed: of the draw of clips.

    Returns:
        Items clip by clip in natural order, without masks, named such as ``training_01_000`` and ``test_12_175``.

    Raises:
        DatasetNotFoundError: if the folders or the label file of the section are not there.
        ValueError: if a section would be empty, a test frame has no label, or an option cannot be honoured.
    """
    check_options(section, validation_fraction=validation_fraction, labelled=0)
    root = Path(dataset_dir)
    if section == "test":
        return frame_items(root, "test")
    items = frame_items(root, "training")
    return split_training(
        items,
        section,
        validation_fraction=validation_fraction,
        seed=seed,
        group=lambda item: item["patient"],
        groups="training clips",
    )


def frame_items(dataset_dir: Path, subset: Subset) -> list[FrameItem]:
    """All frames of one subset, clip by clip.

    Raises:
        DatasetNotFoundError: if there is neither layout, or no label file in the second.
        ValueError: if there is no frame, a folder's name ends without a number, or a test frame has no label.
    """
    root, owners = _layout(dataset_dir)
    folder = root / (OWNERS_FOLDERS if owners else COPY_FOLDERS)[subset]
    if not folder.is_dir():
        raise DatasetNotFoundError(f"{missing_data_message('ped2', dataset_dir)} (missing: {folder.relative_to(root)})")
    labels = None if owners or subset == "training" else read_frame_labels(root)
    items = []
    for clip in sorted((path for path in folder.iterdir() if _is_clip(path)), key=lambda path: natural_key(path.name)):
        number = _number(clip, clip.name.removeprefix("Train").removeprefix("Test"))
        for stem, image in images_in(clip).items():
            if subset == "training":
                label = 0
            elif labels is None:
                label = _label_by_range(image, number)
            else:
                label = _label_by_file(image, labels, root)
            name = f"{subset}_{number:02d}_{stem}"
            items.append(
                FrameItem(
                    image=str(image.absolute()),
                    label=label,
                    mask_files="",
                    name=name,
                    patient=f"{subset}_{number:02d}",
                )
            )
    if not items:
        raise ValueError(f"no frames in {folder}, expected a folder of images for each clip: copy the data set again")
    return items


def is_ped2(dataset_dir: Path) -> bool:
    """Whether a folder holds one of the two layouts."""
    try:
        _layout(dataset_dir)
    except DatasetNotFoundError:
        return False
    return True


def read_frame_labels(dataset_dir: Path) -> dict[str, int]:
    """Labels by frame path below the data set's folder, with forward slashes, from ``frame_labels.csv``.

    Raises:
        DatasetNotFoundError: if the file is not there.
        ValueError: if a column is missing or a label is neither 0 nor 1.
    """
    path = dataset_dir / LABELS
    if not path.is_file():
        raise DatasetNotFoundError(f"{missing_data_message('ped2', dataset_dir)} (missing: {LABELS})")
    labels: dict[str, int] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"frame", "abnormal"} <= set(reader.fieldnames or ()):
            raise ValueError(
                f"{path} has the columns {reader.fieldnames}, expected frame and abnormal: copy the file again"
            )
        for row in reader:
            if row["abnormal"] not in ("0", "1"):
                raise ValueError(
                    f"{path}, line {reader.line_num}: abnormal is {row['abnormal']!r}, expected 0 or 1: "
                    "correct the file"
                )
            labels[row["frame"]] = int(row["abnormal"])
    return labels


def _layout(dataset_dir: Path) -> tuple[Path, bool]:
    """The folder that holds the subsets, and whether it is the owners' layout."""
    for root in (dataset_dir, dataset_dir / OWNERS_NAME):
        if any(_is_clip(path) for folder in OWNERS_FOLDERS.values() for path in (root / folder).glob("T*[0-9]")):
            return root, True
    if any((dataset_dir / folder).is_dir() for folder in COPY_FOLDERS.values()):
        return dataset_dir, False
    raise DatasetNotFoundError(missing_data_message("ped2", dataset_dir))


def _is_clip(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".") and not path.name.endswith("_gt")


def _label_by_range(image: Path, clip: int) -> int:
    if clip not in ANOMALOUS_FRAMES:
        raise ValueError(
            f"{image.parent} is test clip {clip}, expected 1 to {len(ANOMALOUS_FRAMES)}: this is not Ped2, "
            "or it holds a folder too many"
        )
    first, last = ANOMALOUS_FRAMES[clip]
    return int(first <= _number(image, image.stem) <= last)


def _label_by_file(image: Path, labels: dict[str, int], root: Path) -> int:
    frame = image.relative_to(root).as_posix()
    if frame not in labels:
        raise ValueError(f"{root / LABELS} has no label of {frame}, expected one for each test frame: copy it again")
    return labels[frame]


def _number(path: Path, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{path} has no number as its name, expected such as Test001/001.tif or 01/000.jpg: rename it")
    return int(text)
