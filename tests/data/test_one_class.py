"""One class against the rest: each layout, written small, and what is refused."""

from __future__ import annotations

import gzip
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_cavga.data import DatasetNotFoundError, check_data, one_class_items, read_image, write_shapes
from monai_cavga.data.one_class import CLASSES, one_class_kind
from monai_cavga.data.phantom_shapes import SHAPES, shape_image
from monai_cavga.data.read import ImageReadError

LABELS = {"train": np.array([0, 1, 2, 1, 1, 0, 1, 1], dtype=np.uint8), "t10k": np.array([1, 0, 2, 1], dtype=np.uint8)}


def write_idx(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, dtype=">u4").tobytes() + values.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(root: Path, *, end: str = "") -> Path:
    """Images of 4 x 6 whose values are ten times their number."""
    for part, labels in LABELS.items():
        images = (
            np.ones((len(labels), 4, 6), dtype=np.uint8) * (10 * np.arange(len(labels), dtype=np.uint8))[:, None, None]
        )
        write_idx(root / f"{part}-images-idx3-ubyte{end}", images)
        write_idx(root / f"{part}-labels-idx1-ubyte{end}", labels)
    return root


def write_cifar(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    for number, name in enumerate(names):
        record = np.full((6, 3073), number, dtype=np.uint8)
        record[:, 0] = (0, 3, 9, 0, 3, 9)
        (root / name).write_bytes(record.tobytes())
    return root


def write_folders(root: Path, classes: tuple[str, ...] = ("cat", "dog10", "dog9")) -> Path:
    for subset, count in (("train", 10), ("test", 2)):
        for name in classes:
            for number in range(count):
                path = root / subset / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (6, 4), (number, 0, 0)).save(path)
    return root


def sections(root: Path, **options: Any) -> dict[str, list[Any]]:
    return {section: one_class_items(root, section, **options) for section in ("training", "validation", "test")}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("folder", "end", "dataset"),
    [(".", "", "mnist"), ("MNIST/raw", ".gz", "mnist"), ("FashionMNIST/raw", "", "fashion_mnist")],
)
def test_idx_by_hand(tmp_path: Path, folder: str, end: str, dataset: Any) -> None:
    write_mnist(tmp_path / folder, end=end)
    found = sections(tmp_path, normal_class=1, dataset=dataset, validation_fraction=0.4)
    names = {name: [item["name"] for item in items] for name, items in found.items()}
    assert sorted(names["training"] + names["validation"]) == [f"train_1_0000{k}" for k in (1, 3, 4, 6, 7)]
    assert len(names["validation"]) == 2
    assert names["test"] == ["test_1_00000", "test_0_00001", "test_2_00002", "test_1_00003"]
    assert [item["label"] for item in found["test"]] == [0, 1, 1, 0]
    assert all(item["label"] == 0 and item["mask_files"] == "" for item in found["training"])
    for item in (*found["training"], *found["test"]):
        number = int(item["name"][-1])
        np.testing.assert_allclose(read_image(item["image"], channels=1), np.full((4, 6, 1), 10 * number / 255))
    again = sections(tmp_path, normal_class=CLASSES[dataset][1], dataset=dataset, validation_fraction=0.4)
    assert again == found
    other = sections(tmp_path, normal_class=1, dataset=dataset, validation_fraction=0.4, seed=5)
    assert other["test"] == found["test"]
    assert other["validation"] != found["validation"]


@pytest.mark.parametrize("folder", [".", "cifar-10-batches-bin"])
def test_cifar_binary(tmp_path: Path, folder: str) -> None:
    write_cifar(tmp_path / folder)
    found = sections(tmp_path, normal_class="cat", dataset="cifar10", validation_fraction=0.2)
    assert [len(items) for items in found.values()] == [8, 2, 6]
    assert [item["label"] for item in found["test"]] == [1, 0, 1, 1, 0, 1]
    train = found["training"] + found["validation"]
    assert sorted(item["name"] for item in train) == [f"train_3_000{k:02d}" for k in range(1, 30, 3)]
    values = {item["name"]: read_image(item["image"])[0, 0, 0] * 255 for item in train}
    assert values["train_3_00013"] == pytest.approx(2)  # the second record of the third batch
    assert one_class_kind(tmp_path) == "cifar10"


@pytest.mark.parametrize("packed", [False, True])
def test_folders_and_an_archive_of_them(tmp_path: Path, packed: bool) -> None:
    write_folders(tmp_path / "images")
    root = tmp_path / "images"
    if packed:
        root = tmp_path / "archive"
        root.mkdir()
        with tarfile.open(root / "images.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "images", arcname="some/folder")
    found = sections(root, normal_class="dog9", dataset="folder", validation_fraction=0.2)
    assert [len(items) for items in found.values()] == [8, 2, 6]
    assert [item["name"] for item in found["test"] if item["label"] == 0] == ["test_dog9_0", "test_dog9_1"]
    assert sections(root, normal_class=1, dataset="folder", validation_fraction=0.2) == found  # cat, dog9, dog10
    assert read_image(found["test"][1]["image"]).shape == (4, 6, 3)
    assert one_class_kind(root) == "folder"
    if packed:
        assert sections(root / "images.tar.gz", normal_class=1, dataset="folder", validation_fraction=0.2) == found
    report = check_data(root, progress=False)
    assert (report.ok, report.kind) == (True, "folder")
    assert report.counts["train/dog10"] == 10


def test_pickles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps({}))
    with pytest.raises(DatasetNotFoundError, match=r"binary version .* python version, which is pickled and not read"):
        one_class_items(tmp_path, "training", normal_class=0, dataset="cifar10")
    assert "pickled" in check_data(tmp_path, progress=False).text()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dataset": "imagenet", "normal_class": 0}, "dataset is 'imagenet', expected one of mnist"),
        ({"normal_class": 10}, "normal_class is 10, expected 0 to 9"),
        ({"normal_class": "six"}, "normal_class is 'six'"),
        ({"normal_class": -1}, "normal_class is -1"),
        ({"normal_class": 7}, "normal_class is '7', of which .* has no image"),
        ({"normal_class": 2}, "leaves none for validation"),
    ],
)
def test_options_that_cannot_be_honoured(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    write_mnist(tmp_path)
    with pytest.raises(ValueError, match=text):
        one_class_items(tmp_path, "validation", **options)


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


@pytest.mark.parametrize(
    ("write", "damage", "dataset", "text"),
    [
        (write_mnist, remove("t10k-labels-idx1-ubyte"), "mnist", r"\(missing: t10k-labels-idx1-ubyte"),
        (write_cifar, remove("test_batch.bin"), "cifar10", r"\(missing: test_batch.bin"),
        (lambda root: root, lambda root: None, "cifar10", "no CIFAR-10 in"),
        (lambda root: root, lambda root: None, "folder", "no test/<class>/<image> in"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, write: Any, damage: Any, dataset: Any, text: str) -> None:
    damage(write(tmp_path))
    with pytest.raises(DatasetNotFoundError, match=text):
        one_class_items(tmp_path, "test", normal_class=1, dataset=dataset)


def test_images_and_labels_that_do_not_fit(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS["train"][:-1])
    with pytest.raises(ImageReadError, match=r"got images \(8, 4, 6\) and labels \(7,\)"):
        one_class_items(tmp_path, "training", normal_class=1)
    report = check_data(tmp_path, progress=False)
    assert report.kind == "mnist"
    assert any("copy both files again" in problem for problem in report.problems)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz"):
        pass
    with pytest.raises(ValueError, match=r"no images in .*python\.tar\.gz, expected train/<class>/<image>"):
        one_class_items(tmp_path, "training", normal_class=1, dataset="cifar10")
    assert check_data(tmp_path, progress=False).kind == "unknown"
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"no archive")
    report = check_data(tmp_path, progress=False)
    assert not report.ok
    assert any("expected a complete tar archive" in problem for problem in report.problems)


def test_check_data(tmp_path: Path) -> None:
    report = check_data(write_mnist(tmp_path / "m"), progress=False)
    assert report.kind == "mnist"
    assert (report.counts["train/1"], report.counts["test/2"]) == (5, 1)
    assert report.sections["test, normal class 0"] == "1 normal, 3 anomalous (0 with masks)"
    report = check_data(write_cifar(tmp_path / "c"), progress=False)
    assert (report.ok, report.kind, report.counts["train/cat"]) == (True, "cifar10", 10)


def test_shapes(tmp_path: Path) -> None:
    root = write_shapes(tmp_path, normal=6, anomalous=2, size=(18, 24), seed=3)
    found = sections(root, normal_class=2, validation_fraction=0.34)
    assert [len(items) for items in found.values()] == [4, 2, 8]
    first = {int(item["name"].split("_")[1]): item for item in found["test"][:4]}
    for shape in range(len(SHAPES)):
        expected = shape_image(3 * 1_000_003 + 6, shape, size=(18, 24)).astype(np.float32) / 255
        np.testing.assert_allclose(read_image(first[shape]["image"], channels=1)[..., 0], expected)
    before = (root / "MNIST" / "phantoms.json").stat().st_mtime_ns
    write_shapes(tmp_path, normal=6, anomalous=2, size=(18, 24), seed=3)
    assert (root / "MNIST" / "phantoms.json").stat().st_mtime_ns == before
    (root / "MNIST" / "phantoms.json").unlink()
    with pytest.raises(FileExistsError, match="holds no phantoms"):
        write_shapes(tmp_path)
    with pytest.raises(ValueError, match="expected at least 1 each"):
        write_shapes(tmp_path, normal=0)
    with pytest.raises(ValueError, match="size is 15 x 20"):
        write_shapes(tmp_path, size=(15, 20))
    with pytest.raises(ValueError, match="shape is 4"):
        shape_image(0, 4)


@pytest.mark.slow
def test_real_data(shared_dir: Path) -> None:
    found = sections(shared_dir / "data" / "mnist", normal_class=3)
    assert [len(items) for items in found.values()] == [5518, 613, 10_000]
    assert sum(item["label"] == 0 for item in found["test"]) == 1010
    found = sections(shared_dir / "data" / "cifar10", normal_class="cat", dataset="cifar10")
    assert [len(items) for items in found.values()] == [2250, 250, 10_000]
