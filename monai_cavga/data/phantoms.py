"""Phantoms: synthetic fundus photographs with lesions and exact masks, to try the software without patients' data.

They look like fundus photographs and exercise the same code; results on them say nothing about real eyes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from monai_cavga.data.lag import ANOMALOUS_FOLDER, NORMAL_FOLDER
from monai_cavga.data.phantom_eye import draw_eye, render

PART = "LAG_database_part_1"
RECORD = "phantoms.json"
_LEAST_SIDE = 64
_COVERED = 0.5  # a pixel belongs to a lesion from this share on


def phantom(
    seed: int, *, size: tuple[int, int] = (192, 288), lesions: bool = False
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Paint one phantom.

    The same seed with and without lesions is the same eye: the two differ only where lesions are.

    Args:
        seed: 0 or more; decides everything.
        size: height and width in pixels, each at least 64.
        lesions: whether the eye has lesions.

    Returns:
        The picture ``(H, W, 3)``, uint8, rows as displayed, and the mask ``(H, W)``, uint8, 1 where at least half of
        the pixel is lesion (all 0 without lesions).

    Raises:
        ValueError: if a side is below 64 pixels or the seed is negative.
    """
    _check_size(size)
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected 0 or more: choose another")
    random = np.random.default_rng([seed, 0])
    eye = draw_eye(random, size)
    picture, covered = render(eye, random, np.random.default_rng([seed, 1]) if lesions else None)
    return np.rint(picture * 255).astype(np.uint8), (covered >= _COVERED).astype(np.uint8)


def _check_size(size: tuple[int, int]) -> None:
    if min(size) < _LEAST_SIDE:
        raise ValueError(f"size is {size[0]} x {size[1]}, expected at least {_LEAST_SIDE} x {_LEAST_SIDE}: enlarge it")


def write_phantoms(
    root: str | os.PathLike[str],
    *,
    normal: int = 60,
    anomalous: int = 20,
    size: tuple[int, int] = (192, 288),
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write a phantom data set in LAG's layout: photographs as JPEG, masks of the anomalous ones as PNG.

    It appears complete or not at all. Where the same phantoms are already, nothing is done; other phantoms are
    replaced; any other data set is refused.

    Args:
        root: the folder to hold ``LAG_database_part_1``; made if need be.
        normal: number of eyes without lesions.
        anomalous: number of eyes with lesions (other eyes than the normal ones).
        size: height and width in pixels.
        seed: of the whole set.
        progress: show a progress bar.

    Returns:
        ``root``, the ``dataset_dir`` for the LAG bundle.

    Raises:
        FileExistsError: if ``root`` holds a LAG data set that is not of phantoms.
        ValueError: if a number is below 1, a side below 64 pixels or the seed negative.
    """
    if normal < 1 or anomalous < 1:
        raise ValueError(f"normal is {normal} and anomalous {anomalous}, expected at least 1 each: ask for more")
    _check_size(size)
    record = {"normal": normal, "anomalous": anomalous, "size": list(size), "seed": seed, "version": 1}

    def write(folder: Path) -> None:
        _write(folder, normal=normal, anomalous=anomalous, size=size, seed=seed, progress=progress)

    write_folder(Path(root) / PART, record, write)
    return Path(root)


def write_folder(target: Path, record: dict[str, object], write: Callable[[Path], None]) -> None:
    """Write a folder of phantoms so that it appears complete or not at all; nothing is done where it is already.

    Args:
        target: the folder; one with other phantoms is replaced.
        record: what makes these phantoms, kept in the folder.
        write: fills an empty folder.

    Raises:
        FileExistsError: if ``target`` holds something that is not phantoms.
    """
    if target.exists():
        if not (target / RECORD).is_file():
            raise FileExistsError(f"{target} exists and holds no phantoms, expected a new folder: choose another one")
        if json.loads((target / RECORD).read_text()) == record:
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".phantoms-", dir=target.parent))
    try:
        write(made)
        (made / RECORD).write_text(json.dumps(record) + "\n")
        made.chmod(0o755)  # mkdtemp makes private folders
        if target.exists():
            shutil.rmtree(target)
        made.replace(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(
    folder: Path,
    *,
    normal: int,
    anomalous: int,
    size: tuple[int, int],
    seed: int,
    progress: bool,
) -> None:
    photographs = {name: folder / name / "image" for name in (NORMAL_FOLDER, ANOMALOUS_FOLDER)}
    masks = folder / ANOMALOUS_FOLDER / "attention_map"
    for path in (*photographs.values(), masks):
        path.mkdir(parents=True)
    width = len(str(normal + anomalous))
    eyes = range(normal + anomalous)
    for index in tqdm(eyes, desc="phantoms", unit="eye") if progress else eyes:
        lesions = index >= normal
        picture, mask = phantom(seed * 1_000_003 + index, size=size, lesions=lesions)
        stem = f"phantom_{index + 1:0{width}d}"
        target = photographs[ANOMALOUS_FOLDER if lesions else NORMAL_FOLDER] / f"{stem}.jpg"
        Image.fromarray(picture).save(target, quality=95, subsampling=0)
        if lesions:
            Image.fromarray(mask * np.uint8(255)).save(masks / f"{stem}.png")
