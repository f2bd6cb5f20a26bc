"""Data sets of many classes, one of which counts as normal: MNIST, Fashion-MNIST, CIFAR-10, folders of images.

Read in their owners' layouts, whole files at once: idx (LeCun et al. 1998; Xiao et al. 2017), CIFAR-10's binary
version (Krizhevsky 2009), and ``{train,test}/<class>/<image>`` as folders or in a tar archive, which is not unpacked.
CIFAR-10's python version is refused: it is pickled, and opening a pickle runs what it says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from monai_cavga.data.errors import ImageReadError
from monai_cavga.data.layout import (
    DatasetNotFoundError,
    Item,
    Section,
    check_options,
    images_in,
    missing_data_message,
    natural_key,
    split_training,
)
from monai_cavga.data.packed import (
    TAR_SUFFIXES,
    archive_names,
    kept_cifar_batch,
    kept_idx,
    packed_name,
)

OneClassName = Literal["mnist", "fashion_mnist", "cifar10", "folder"]
Subset = Literal["train", "test"]

CLASSES: dict[OneClassName, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}
_IDX_FOLDERS: dict[OneClassName, tuple[str, ...]] = {  # where torchvision and others put the owners' files
    "mnist": (".", "raw", "MNIST/raw", "MNIST"),
    "fashion_mnist": (".", "raw", "FashionMNIST/raw", "FashionMNIST"),
}
_IDX_PARTS: dict[Subset, str] = {"train": "train", "test": "t10k"}
_BATCHES: dict[Subset, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
_BINARY, _PICKLED = "cifar-10-batches-bin", "cifar-10-batches-py"


class ClassImage(NamedTuple):
    """One image of a data set of classes."""

    image: str  # absolute path, or a name of `monai_cavga.data.packed`
    class_name: str
    name: str  # unique in its data set


def one_class_items(
    dataset_dir: str | os.PathLike[str],
    section: Section,
    *,
    normal_class: int | str,
    dataset: OneClassName = "mnist",
    validation_fraction: float = 0.1,
    seed: int = 0,
) -> list[Item]:
    """List one section of the protocol one class against the rest (Sec. 4, arXiv:1911.08616).

    Training and validation are the training images of the normal class, split by seed. The test section is the whole
    test set; label 0 for the normal class, 1 for every other.

    Args:
        dataset_dir: the folder of the data set's files, or a tar archive of images.
        section: "training", "validation" or "test". Give all three the same options.
        normal_class: number of the normal class from 0, or its name such as "truck".
        dataset: "mnist", "fashion_mnist", "cifar10", or "folder" for any ``{train,test}/<class>/<image>``, whose
            classes are numbered in natural order.
        validation_fraction: share of the normal training images held out, in [0, 1).
        seed: of that draw.

    Returns:
        Items in the files' order, without masks, named such as ``train_7_00015`` (class, number in the set).

    Raises:
        DatasetNotFoundError: if a file that the section needs is not there.
        ImageReadError: if a file is damaged, or images and labels differ in number.
        ValueError: if the data set or class is unknown, a section would be empty, or an option cannot be honoured.
    """
    check_options(section, validation_fraction=validation_fraction)
    if dataset not in get_args(OneClassName):
        raise ValueError(f"dataset is {dataset!r}, expected one of {', '.join(get_args(OneClassName))}")
    images = class_images(Path(dataset_dir), "test" if section == "test" else "train", dataset=dataset)
    names = CLASSES.get(dataset) or sorted({each.class_name for each in images}, key=natural_key)
    normal = _class_name(normal_class, tuple(names))
    items = [
        Item(image=each.image, label=int(each.class_name != normal), mask_files="", name=each.name) for each in images
    ]
    if all(item["label"] for item in items):
        raise ValueError(f"normal_class is {normal!r}, of which {dataset_dir} has no image: choose another class")
    if section == "test":
        return items
    normals = [item for item in items if item["label"] == 0]
    return split_training(normals, section, validation_fraction=validation_fraction, seed=seed)


def class_images(root: Path, subset: Subset, *, dataset: OneClassName) -> list[ClassImage]:
    """All images of the training or of the test set, whatever their class.

    Raises:
        DatasetNotFoundError: if a file of the subset is not there.
        ImageReadError: if a file is damaged, or images and labels differ in number.
        ValueError: if an archive or folder holds no image of the subset.
    """
    if dataset in _IDX_FOLDERS:
        return list(_idx_images(root, subset, dataset))
    binary = _binary_folder(root)
    if dataset == "cifar10" and binary is not None:
        return list(_binary_images(root, binary, subset))
    archive = _archive(root)
    if (root / subset).is_dir():
        found = list(_folder_images(root / subset, subset))
    elif archive is not None:
        found = list(_archive_images(archive, subset))
    else:
        raise DatasetNotFoundError(_missing(root, subset, dataset))
    if not found:
        where = archive or root
        raise ValueError(f"no images in {where}, expected {subset}/<class>/<image>: correct the folders")
    return found


def subset_items(root: Path, subset: Subset, *, dataset: OneClassName) -> list[Item]:
    """`class_images` as items of a data list, none of them called anomalous; `check-data` decodes them all."""
    images = class_images(root, subset, dataset=dataset)
    return [Item(image=each.image, label=0, mask_files="", name=each.name) for each in images]


def one_class_kind(root: Path) -> OneClassName | None:
    """Which of the data sets a folder or archive holds; "mnist" also for Fashion-MNIST, whose files have its names."""
    for dataset in _IDX_FOLDERS:
        if any(_idx_file(root, dataset, f"{part}-images-idx3") for part in _IDX_PARTS.values()):
            return dataset
    if _binary_folder(root) is not None or _pickled(root):
        return "cifar10"
    archive = _archive(root)
    if (root / "train").is_dir() and (root / "test").is_dir():
        classes = {path.name for path in (root / "train").iterdir() if path.is_dir()}
    elif archive is not None:
        classes = {each.class_name for each in _archive_images(archive, "train")}
    else:
        return None
    if classes == set(CLASSES["cifar10"]):
        return "cifar10"
    return "folder" if classes else None


def _class_name(given: int | str, names: tuple[str, ...]) -> str:
    text = str(given)
    if text in names:
        return text
    if text.isdecimal() and int(text) < len(names):
        return names[int(text)]
    raise ValueError(
        f"normal_class is {given!r}, expected 0 to {len(names) - 1} or one of {', '.join(names)}: correct it"
    )


def _idx_file(root: Path, dataset: OneClassName, name: str) -> Path | None:
    files = (root / folder / f"{name}-ubyte{end}" for folder in _IDX_FOLDERS[dataset] for end in ("", ".gz"))
    return next((file for file in files if file.is_file()), None)


def _idx_images(root: Path, subset: Subset, dataset: OneClassName) -> Iterator[ClassImage]:
    files = []
    for name in (f"{_IDX_PARTS[subset]}-images-idx3", f"{_IDX_PARTS[subset]}-labels-idx1"):
        file = _idx_file(root, dataset, name)
        if file is None:
            raise DatasetNotFoundError(f"{missing_data_message('mnist', root)} (missing: {name}-ubyte[.gz])")
        files.append(file.absolute())
    images, labels = (kept_idx(file) for file in files)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or labels.max() > 9:
        got = f"images {images.shape} and labels {labels.shape} up to {labels.max()}"
        raise ImageReadError(
            f"cannot read {files[0]} with {files[1].name}: got {got}, expected a label 0 to 9 for each image: "
            "copy both files again"
        )
    for number, label in enumerate(labels.tolist()):
        name = f"{subset}_{label}_{number:05d}"
        yield ClassImage(packed_name(files[0], number), CLASSES[dataset][label], name)


def _binary_folder(root: Path) -> Path | None:
    names = [*_BATCHES["train"], *_BATCHES["test"]]
    folders = (root, root / _BINARY)
    return next((folder for folder in folders if any((folder / name).is_file() for name in names)), None)


def _binary_images(root: Path, folder: Path, subset: Subset) -> Iterator[ClassImage]:
    number = 0
    for batch in _BATCHES[subset]:
        file = (folder / batch).absolute()
        if not file.is_file():
            raise DatasetNotFoundError(f"{missing_data_message('cifar10', root)} (missing: {batch})")
        for row, label in enumerate(kept_cifar_batch(file).labels.tolist()):
            yield ClassImage(packed_name(file, row), CLASSES["cifar10"][label], f"{subset}_{label}_{number:05d}")
            number += 1


def _pickled(root: Path) -> bool:
    return any((folder / "data_batch_1").is_file() for folder in (root, root / _PICKLED))


def _archive(root: Path) -> Path | None:
    """The tar archive that ``root`` is, or the first one in it."""
    if root.is_file():
        return root if root.name.endswith(TAR_SUFFIXES) else None
    if not root.is_dir():
        return None
    return next((file for file in sorted(root.iterdir()) if file.name.endswith(TAR_SUFFIXES)), None)


def _folder_images(folder: Path, subset: Subset) -> Iterator[ClassImage]:
    for place in sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: natural_key(path.name)):
        for stem, image in images_in(place).items():
            yield ClassImage(str(image.absolute()), place.name, f"{subset}_{place.name}_{stem}")


def _archive_images(archive: Path, subset: Subset) -> Iterator[ClassImage]:
    file = archive.absolute()
    for member in sorted(archive_names(file), key=natural_key):
        parts = member.split("/")
        if len(parts) >= 3 and parts[-3] == subset:
            name = f"{subset}_{parts[-2]}_{Path(parts[-1]).stem}"
            yield ClassImage(packed_name(file, member), parts[-2], name)


def _missing(root: Path, subset: Subset, dataset: OneClassName) -> str:
    if dataset == "folder":
        return (
            f"no {subset}/<class>/<image> in {str(root)!r}, expected such a folder or tar archive: correct dataset_dir"
        )
    text = missing_data_message("cifar10", root)
    return f"{text} (there is the python version, which is pickled and not read)" if _pickled(root) else text
