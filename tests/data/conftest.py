"""Small data sets in their owners' layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

SMALL = (12, 8)  # width, height: files are small, names and folders are what these tests are about


def put(path: Path, *, size: tuple[int, int] = SMALL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (120, 60, 30)).save(path)
    return path


@pytest.fixture
def make_lag(tmp_path: Path) -> Callable[..., Path]:
    """LAG in two parts that repeat their stems: ``normal`` and ``anomalous`` images in each part."""

    def make(normal: int = 10, anomalous: int = 4) -> Path:
        root = tmp_path / "lag"
        for part in (1, 2):
            folder = root / f"LAG_database_part_{part}"
            for k in range(normal):
                put(folder / "non_glaucoma" / "image" / f"{k}.jpg")
            for k in range(anomalous):
                put(folder / "suspicious_glaucoma" / "image" / f"{k}.jpg")
                put(folder / "suspicious_glaucoma" / "attention_map" / f"{k}.png")
        return root

    return make


@pytest.fixture
def idrid_dir(tmp_path: Path) -> Path:
    """IDRiD with grades 0, 0, 0, 0, 0, 1, 2, 3 in training, 0, 0, 1, 4 in test, and two test images in part A."""
    root = tmp_path / "idrid"
    images, masks = Path("1. Original Images"), Path("2. All Segmentation Groundtruths")
    for subset, stems in (("a. Training Set", ["IDRiD_01"]), ("b. Testing Set", ["IDRiD_55", "IDRiD_56"])):
        for stem in stems:
            put(root / "A. Segmentation" / images / subset / f"{stem}.jpg")
            for code, folder in (("MA", "1. Microaneurysms"), ("HE", "2. Haemorrhages"), ("EX", "3. Hard Exudates")):
                put(root / "A. Segmentation" / masks / subset / folder / f"{stem}_{code}.tif")
            put(root / "A. Segmentation" / masks / subset / "5. Optic Disc" / f"{stem}_OD.tif")
        (root / "A. Segmentation" / masks / subset / "4. Soft Exudates").mkdir()
    put(root / "A. Segmentation" / masks / "b. Testing Set" / "4. Soft Exudates" / "IDRiD_56_SE.tif")
    labels = root / "B. Disease Grading" / "2. Groundtruths"
    labels.mkdir(parents=True)
    for subset, file, grades in (
        ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv", (0, 0, 0, 0, 0, 1, 2, 3)),
        ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv", (0, 0, 1, 4)),
    ):
        rows = ["Image name,Retinopathy grade,Risk of macular edema ,,"]
        for number, grade in enumerate(grades, start=1):
            put(root / "B. Disease Grading" / images / subset / f"IDRiD_{number:03d}.jpg")
            rows.append(f"IDRiD_{number:03d},{grade},0,,")
        (labels / file).write_text("\r\n".join([*rows, ",,,,", ""]), encoding="utf-8-sig")
    return root


@pytest.fixture
def mvtad_dir(tmp_path: Path) -> Path:
    """Two categories of MVTec AD: 10 training, 3 normal test images, defects of 4 and 2 images with masks."""
    root = tmp_path / "mvtec"
    for category in ("bolt", "felt"):
        for k in range(10):
            put(root / category / "train" / "good" / f"{k:03d}.png")
        for k in range(3):
            put(root / category / "test" / "good" / f"{k:03d}.png")
        for defect, count in (("crack", 4), ("stain", 2)):
            for k in range(count):
                put(root / category / "test" / defect / f"{k:03d}.png")
                put(root / category / "ground_truth" / defect / f"{k:03d}_mask.png")
    return root


@pytest.fixture
def ped2_dir(tmp_path: Path) -> Path:
    """Ped2 as its owners give it out: training clips of 5 frames, test clips 1, 2 and 12 of a few named frames."""
    root = tmp_path / "UCSD" / "UCSDped2"
    for clip in range(1, 6):
        for frame in range(1, 6):
            put(root / "Train" / f"Train{clip:03d}" / f"{frame:03d}.tif")
    for clip, frames in ((1, (1, 60, 61, 180)), (2, (94, 95)), (12, (87, 88))):
        for frame in frames:
            put(root / "Test" / f"Test{clip:03d}" / f"{frame:03d}.tif")
            put(root / "Test" / f"Test{clip:03d}_gt" / f"{frame:03d}.bmp")
        (root / "Test" / f"Test{clip:03d}" / "._001.tif").write_bytes(b"")  # the owners' archive was made on a Mac
    (root / "Test" / "UCSDped2.m").write_text("TestVideoFile = {};")
    return root
