"""Phantoms of surveillance: a street that stays, upright walkers, and in the test clips something round among them.

Results on them say nothing about ShanghaiTech Campus.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from monai_cavga.data.mstc import FOLDERS, FRAME_MASKS, FRAMES, OWNERS_NAME, PIXEL_MASKS
from monai_cavga.data.phantoms import write_folder

SCENES, LENGTH = 2, 30  # of a phantom data set; frames of a clip
_LEAST_SIDE = 64

Array = npt.NDArray[np.uint8]


class CampusClip(NamedTuple):
    """A clip with its exact masks."""

    frames: Array  # (T, H, W, 3), rows as displayed
    masks: Array  # (T, H, W), 1 where anomalous


def campus_clip(
    seed: int, scene: int, *, length: int = LENGTH, size: tuple[int, int] = (96, 160), anomalous: bool = False
) -> CampusClip:
    """Paint one clip of a scene.

    The same seed with and without an anomaly is the same clip: the two differ only where the mask is 1. The anomaly, a
    disc that rolls faster than anybody walks, is there from a third of the clip on.

    Args:
        seed: 0 or more; decides who walks.
        scene: 0 or more; decides street and light, which stay the same in all its clips.
        length: number of frames.
        size: height and width in pixels, each at least 64.
        anomalous: whether the disc comes.

    Raises:
        ValueError: if a side is below 64 pixels, the clip has no frame, or ``seed`` or ``scene`` is negative.
    """
    _check(size, length=length, seed=seed, scene=scene)
    height, width = size
    street = _street(np.random.default_rng([scene, 0]), size)
    people = np.random.default_rng([seed, scene, 1])
    walkers = [_walker(people, size) for _ in range(people.integers(1, 4))]
    disc = _Mover(*_start(np.random.default_rng([seed, scene, 2]), size, speed=2.5), height / 8, height / 8)
    colour = np.random.default_rng([seed, scene, 3]).uniform(20, 235, 3)
    noise = np.random.default_rng([seed, scene, 4])
    rows, columns = np.mgrid[:height, :width]
    frames, masks = np.empty((length, *size, 3), np.uint8), np.zeros((length, *size), np.uint8)
    for time in range(length):
        picture = street.copy()
        for walker, clothes in walkers:
            y, x = walker.place(time, width)
            body = (abs(rows - y) <= walker.half_height) & (abs(columns - x) <= walker.half_width)
            picture[body] = clothes
        if anomalous and time >= length // 3:
            y, x = disc.place(time, width)
            inside = (rows - y) ** 2 + (columns - x) ** 2 <= disc.half_height**2
            picture[inside] = colour
            masks[time] = inside
        grain = noise.normal(0, 2, (*size, 1))
        frames[time] = np.clip(picture + grain, 0, 255)
    return CampusClip(frames, masks)


def write_campus(
    root: str | os.PathLike[str],
    *,
    normal: int = 5,
    anomalous: int = 2,
    size: tuple[int, int] = (96, 160),
    seed: int = 0,
) -> Path:
    """Write clips of two scenes in ShanghaiTech Campus's layout, unpacked, below ``root``; complete or not at all.

    Args:
        root: made if need be.
        normal: training clips of each scene.
        anomalous: test clips of each scene, normal in their first third.
        size: height and width in pixels.
        seed: of the whole set.

    Returns:
        ``root``, the ``dataset_dir`` for the mSTC bundle.

    Raises:
        FileExistsError: if ``root`` holds a folder ``shanghaitech`` that is not of phantoms.
        ValueError: if a number is below 1, a side below 64 pixels or the seed negative.
    """
    if normal < 1 or anomalous < 1:
        raise ValueError(f"normal is {normal} and anomalous {anomalous}, expected at least 1 each: ask for more")
    _check(size, length=LENGTH, seed=seed, scene=0)

    def write(folder: Path) -> None:
        training, test = folder / FOLDERS["training"] / FRAMES, folder / FOLDERS["test"] / FRAMES
        for scene in range(SCENES):
            for number in range(normal + anomalous):
                tested = number >= normal
                clip_seed = seed * 1_000_003 + number
                clip = campus_clip(clip_seed, scene, size=size, anomalous=tested)
                name = f"{scene + 1:02d}_{number + 1:0{4 if tested else 3}d}"
                _write_frames((test if tested else training) / name, clip.frames)
                if tested:
                    _write_array(test.parent / PIXEL_MASKS / f"{name}.npy", clip.masks)
                    _write_array(
                        test.parent / FRAME_MASKS / f"{name}.npy", clip.masks.any(axis=(1, 2)).astype(np.uint8)
                    )

    record: dict[str, object] = {"training": normal, "test": anomalous, "size": list(size), "seed": seed, "version": 1}
    write_folder(Path(root) / OWNERS_NAME, record, write)
    return Path(root)


class _Mover(NamedTuple):
    """Something that crosses the picture and comes in again on the other side."""

    row: float
    column: float
    speed: float  # pixels a frame, below 0 to the left
    half_height: float
    half_width: float

    def place(self, time: int, width: int) -> tuple[float, float]:
        return self.row, (self.column + self.speed * time) % width


def _walker(random: np.random.Generator, size: tuple[int, int]) -> tuple[_Mover, npt.NDArray[np.float64]]:
    tall = random.uniform(0.1, 0.13) * size[0]
    mover = _Mover(*_start(random, size, speed=1.0), half_height=tall, half_width=0.35 * tall)
    return mover, random.uniform(20, 235, 3)


def _start(random: np.random.Generator, size: tuple[int, int], *, speed: float) -> tuple[float, float, float]:
    """Row, column and speed: on the street, somewhere, in either direction."""
    row, column = random.uniform(0.5, 0.8) * size[0], random.uniform(0, size[1])
    return row, column, random.choice([-1, 1]) * random.uniform(0.7, 1.3) * speed * size[1] / 160


def _street(random: np.random.Generator, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The background of a scene ``(H, W, 3)``: sky or wall above, pavement below, and the texture of both."""
    height, width = size
    above, below = (random.uniform(90, 180) + random.uniform(-15, 15, 3) for _ in range(2))
    rows = np.arange(height)[:, None, None] / height
    picture = np.where(rows < random.uniform(0.3, 0.4), above, below) * (0.8 + 0.4 * rows)
    texture = ndimage.gaussian_filter(random.normal(0, 1, size), 3)
    return np.asarray(picture + 12 * (texture / texture.std())[..., None] + np.zeros((height, width, 3)))


def _check(size: tuple[int, int], *, length: int, seed: int, scene: int) -> None:
    if min(size) < _LEAST_SIDE or length < 1 or seed < 0 or scene < 0:
        raise ValueError(
            f"size is {size[0]} x {size[1]}, length {length}, seed {seed} and scene {scene}, expected sides of "
            f"{_LEAST_SIDE} or more, a frame or more, and 0 or more for the others: change them"
        )


def _write_frames(folder: Path, frames: Array) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:03d}.jpg", quality=95, subsampling=0)


def _write_array(path: Path, values: npt.ArrayLike) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
