"""Small trees of the owners' layouts, from phantoms."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from films import write_film
from PIL import Image

from monai_cavga.data import phantom, write_phantoms
from monai_cavga.data.phantom_campus import campus_clip

SIZE = (64, 96)


def write_lag(root: Path) -> Path:
    """Eight normal and four anomalous phantoms in LAG's layout."""
    return write_phantoms(root, normal=8, anomalous=4, size=SIZE, seed=0, progress=False)


def write_idrid(root: Path, *, normal: int = 6) -> Path:
    """IDRiD's layout: graded photographs in part B (``normal`` of grade 0 to train on), two with masks in part A."""
    images = root / "B. Disease Grading" / "1. Original Images"
    labels = root / "B. Disease Grading" / "2. Groundtruths"
    labels.mkdir(parents=True)
    for section, table, grades in (
        ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv", [0] * normal + [2, 3]),
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


def write_mvtad(root: Path, *, category: str = "screw", normal: int = 16) -> Path:
    """MVTec AD's layout, one category: a grey disc before a dark ground, with a dark bar across it as the defect."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = (rows - SIZE[0] / 2) ** 2 + (columns - SIZE[1] / 2) ** 2 < 24**2
    folder = root / category

    def part(number: int) -> np.ndarray:
        noise = np.random.default_rng(number).normal(0, 8, SIZE)
        return np.clip(np.where(disc, 160 + 40 * np.sin(columns / 3), 30) + noise, 0, 255).astype(np.uint8)

    for number in range(normal):
        _save(folder / "train" / "good" / f"{number:03d}.png", part(number))
    for number in range(3):
        _save(folder / "test" / "good" / f"{number:03d}.png", part(100 + number))
        picture, bar = part(200 + number), disc & (abs(rows - 20 - 8 * number) < 3)
        picture[bar] = 20
        _save(folder / "test" / "scratch" / f"{number:03d}.png", picture)
        _save(folder / "ground_truth" / "scratch" / f"{number:03d}_mask.png", 255 * bar.astype(np.uint8))
    return root


def write_mstc(root: Path, *, clips: int = 16) -> Path:
    """ShanghaiTech Campus's layout, scene 1: training clips as films of one frame, test clips of six frames.

    A film shows its frames as the first of a phantom clip; in the test clips the disc comes with the third frame.
    """
    for number in range(clips):
        frames = campus_clip(number, 0, length=1, size=SIZE).frames
        write_film(root / "training" / "videos" / f"01_{number + 1:03d}.avi", frames, codec="mjpeg")
    for number in range(clips, clips + 3):
        clip, name = campus_clip(number, 0, length=6, size=SIZE, anomalous=True), f"01_{number + 1:04d}"
        for frame, picture in enumerate(clip.frames):
            _save(root / "testing" / "frames" / name / f"{frame:03d}.jpg", picture)
        for kind, values in (("pixel", clip.masks.transpose(1, 2, 0)), ("frame", clip.masks.any(axis=(1, 2)))):
            path = root / "testing" / f"test_{kind}_mask" / f"{name}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, values)
    return root


def _save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
