"""Small trees of the owners' layouts, from phantoms."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from monai_cavga.data import phantom, write_phantoms

SIZE = (64, 96)


def write_lag(root: Path) -> Path:
    """Eight normal and four anomalous phantoms in LAG's layout."""
    return write_phantoms(root, normal=8, anomalous=4, size=SIZE, seed=0, progress=False)


def write_idrid(root: Path) -> Path:
    """IDRiD's layout: graded photographs in part B, two photographs with masks in part A."""
    images = root / "B. Disease Grading" / "1. Original Images"
    labels = root / "B. Disease Grading" / "2. Groundtruths"
    labels.mkdir(parents=True)
    for section, table, grades in (
        ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv", [0] * 6 + [2, 3]),
        ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv", [0, 0, 1, 4]),
    ):
        rows = []
        for number, grade in enumerate(grades, start=1):
            name = f"IDRiD_{number:03d}"
            _save(images / section / f"{name}.jpg", phantom(number, size=SIZE, lesions=grade > 0)[0])
            rows.append({"Image name": name, "Retinopathy grade": grade, "Risk of macular edema": 0})
        with (labels / table).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    part = root / "A. Segmentation"
    for number in (55, 56):
        picture, mask = phantom(number, size=SIZE, lesions=True)
        _save(part / "1. Original Images" / "b. Testing Set" / f"IDRiD_{number}.jpg", picture)
        truth = part / "2. All Segmentation Groundtruths" / "b. Testing Set" / "2. Haemorrhages"
        _save(truth / f"IDRiD_{number}_HE.png", 255 * (mask > 0).astype(np.uint8))
    return root


def _save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
