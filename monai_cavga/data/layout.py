"""What the readers of all data sets share: file listing, draws by seed, and the error for an absent data set."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypedDict, TypeVar

from monai_cavga.data.read import SUFFIXES

Section = Literal["training", "validation", "test"]
DatasetName = Literal["lag", "idrid", "mvtad", "ped2", "mstc", "mnist", "cifar10"]
Labelled = float | Sequence[str]  # how many anomalous images have a label, which fraction, or their names
SECTIONS: tuple[Section, ...] = ("training", "validation", "test")

_SOURCES: dict[DatasetName, tuple[str, str, str]] = {
    "lag": (
        "LAG database",
        "LAG_database_part_*/{non_glaucoma,suspicious_glaucoma}/image",
        "its owners' request form at https://github.com/smilell/AG-CNN",
    ),
    "idrid": (
        "IDRiD",
        "'A. Segmentation' and 'B. Disease Grading'",
        "https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid",
    ),
    "mvtad": (
        "MVTec AD",
        "<category>/{train/good,test,ground_truth}",
        "https://www.mvtec.com/company/research/datasets/mvtec-ad",
    ),
    "ped2": (
        "UCSD Ped2",
        "{Train,Test} or {training,testing}/frames with frame_labels.csv",
        "http://www.svcl.ucsd.edu/projects/anomaly/dataset.htm",
    ),
    "mstc": (
        "ShanghaiTech Campus",
        "training/{videos,frames} and testing/{frames,test_frame_mask,test_pixel_mask}",
        "https://svip-lab.github.io/dataset/campus_dataset.html",
    ),
    "mnist": (
        "MNIST or Fashion-MNIST",
        "{train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or .gz",
        "http://yann.lecun.com/exdb/mnist or https://github.com/zalandoresearch/fashion-mnist",
    ),
    "cifar10": (
        "CIFAR-10",
        "the binary version (*_batch*.bin) or images {train,test}/<class>/*, in folders or one .tar",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
}


class Item(TypedDict):
    """One image of a data list."""

    image: str  # absolute path
    label: int  # 0 normal, 1 anomalous
    mask_files: str  # paths joined by line breaks; "" = no anomalous pixel (label 0) or no pixel labels (label 1)
    name: str  # unique in its data set


class FrameItem(Item):
    """One frame of a clip in a data list."""

    patient: str  # its clip: intervals draw whole clips, because neighbouring frames are nearly the same picture


AnyItem = TypeVar("AnyItem", bound=Item)


class DatasetNotFoundError(FileNotFoundError):
    """The folder does not hold the data set: says what is missing, where to get it, and what to try instead."""


def missing_data_message(kind: DatasetName, dataset_dir: str | os.PathLike[str]) -> str:
    """One line: which data set is not there, where its owners give it out, and how to make phantoms instead."""
    name, layout, source = _SOURCES[kind]
    folder = os.fspath(dataset_dir)
    shapes = "shapes (MNIST's layout)"
    other = {"mnist": shapes, "cifar10": shapes, "mstc": "mstc", "mvtad": "mvtad"}.get(kind)
    phantoms = f"DIR --kind {other}" if other else "DIR (LAG's layout)"
    return (
        f"no {name} in {folder!r}: expected {layout}; get it from {source}, "
        f"or try synthetic images: python -m monai_cavga phantoms {phantoms}"
    )


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts "image_9" before "image_10"."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def is_image(path: Path) -> bool:
    """Whether a file's name is that of an image, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def images_in(folder: Path) -> dict[str, Path]:
    """Image files of a folder by stem, in natural order; an absent folder has none.

    Raises:
        ValueError: if two images of the folder share a stem, so that no mask could be told to belong to one.
    """
    found: dict[str, Path] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        if not is_image(path):
            continue
        if path.stem in found:
            raise ValueError(f"{path} and {found[path.stem].name} share a stem, expected one: remove one of the two")
        found[path.stem] = path
    return found


def draw(names: Iterable[str], count: int, *, seed: int, purpose: str) -> set[str]:
    """Choose ``count`` names by seed.

    Names are ranked by a hash of seed, purpose and name: the choice depends neither on the order of the file system
    nor on a library's random stream, and a larger draw contains the smaller one.

    Raises:
        ValueError: if there are fewer than ``count`` names.
    """
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest())
    if not 0 <= count <= len(ranked):
        raise ValueError(f"{purpose} is {count}, expected 0 to {len(ranked)}, the images there are: choose fewer")
    return set(ranked[:count])


def labelled_count(labelled: float, anomalies: int) -> int:
    """How many labels a number asks for: itself, or below 1 that fraction, rounded to at least one image.

    Raises:
        ValueError: if ``labelled`` is negative or neither a whole number nor below 1.
    """
    if 0 < labelled < 1:
        return max(1, round(labelled * anomalies))
    if labelled < 0 or labelled != int(labelled):
        raise ValueError(
            f"labelled is {labelled}, expected 0, a number of anomalous images, a fraction of them below 1, or names: "
            "the paper's weak setting is 0.02"
        )
    return int(labelled)


def draw_labelled(names: Iterable[str], labelled: Labelled, *, seed: int) -> set[str]:
    """The budget of labels: a number of anomalous images or a fraction of them, drawn by seed, or their names.

    Raises:
        ValueError: as `labelled_count`, if there are fewer images, or if a name is not among them.
    """
    ranked = list(names)
    if isinstance(labelled, (int, float)):
        return draw(ranked, labelled_count(labelled, len(ranked)), seed=seed, purpose="labelled")
    wanted = [labelled] if isinstance(labelled, str) else list(labelled)
    unknown = sorted(set(wanted) - set(ranked))
    if unknown:
        near = difflib.get_close_matches(unknown[0], ranked, n=1)
        raise ValueError(
            f"labelled names {unknown[0]!r}, which is no anomalous image that may be labelled: "
            + (f"did you mean {near[0]!r}?" if near else f"names are such as {ranked[0] if ranked else 'none'!r}")
        )
    return set(wanted)


def split_training(
    items: Sequence[AnyItem],
    section: Section,
    *,
    validation_fraction: float,
    seed: int,
    group: Callable[[AnyItem], str] = lambda item: item["name"],
    groups: str = "normal training images",
) -> list[AnyItem]:
    """Split normal training images by seed and return one of the two parts, "training" or "validation".

    Args:
        items: the images.
        section: the part wanted.
        validation_fraction: share of the groups that is held out.
        seed: of the draw.
        group: what never stands on both sides, such as an image's clip; by default each image by itself.
        groups: what groups are called in the error.

    Raises:
        ValueError: if the part would be empty.
    """
    names = dict.fromkeys(group(item) for item in items)
    count = round(len(names) * validation_fraction)
    held_out = draw(names, count, seed=seed, purpose="validation")
    part = [item for item in items if (group(item) in held_out) == (section == "validation")]
    if not part:
        raise ValueError(
            f"validation_fraction {validation_fraction} of {len(names)} {groups} leaves none for "
            f"{section}, expected at least one: choose another fraction or add {groups.split()[-1]}"
        )
    return part


def required_folder(kind: DatasetName, root: Path, relative: Path) -> Path:
    """A folder of a data set.

    Raises:
        DatasetNotFoundError: if it is not there.
    """
    if not (root / relative).is_dir():
        raise DatasetNotFoundError(f"{missing_data_message(kind, root)} (missing: {relative})")
    return root / relative


def check_options(section: str, *, validation_fraction: float, labelled: Labelled = 0) -> None:
    """Refuse options that no data set can honour.

    Raises:
        ValueError: if the section is unknown, the fraction is outside [0, 1), or ``labelled`` is negative.
    """
    if section not in SECTIONS:
        raise ValueError(f"section is {section!r}, expected one of {', '.join(SECTIONS)}: correct the spelling")
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction is {validation_fraction}, expected [0, 1): 0.2 is the usual choice")
    if isinstance(labelled, (int, float)) and labelled < 0:
        raise ValueError(f"labelled is {labelled}, expected 0 or more anomalous training images: use 0 for none")
