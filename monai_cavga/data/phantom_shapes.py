"""Phantoms of many classes: discs, rings, crosses and bars in MNIST's layout, to try one class against the rest.

Results on them say nothing about MNIST.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_cavga.data.phantoms import write_folder

SHAPES = ("disc", "ring", "cross", "bar")  # classes 0 to 3
FOLDER = "MNIST"
_LEAST_SIDE = 16


def shape_image(seed: int, shape: int, *, size: tuple[int, int] = (28, 28)) -> npt.NDArray[np.uint8]:
    """Paint one shape, bright on black, somewhere near the middle and of some size.

    Args:
        seed: 0 or more; decides everything.
        shape: number of the class, of `SHAPES`.
        size: height and width in pixels, each at least 16.

    Returns:
        ``(H, W)``, uint8, rows as displayed.

    Raises:
        ValueError: if the class is unknown, a side too small or the seed negative.
    """
    if not 0 <= shape < len(SHAPES):
        raise ValueError(f"shape is {shape}, expected 0 to {len(SHAPES) - 1}: {', '.join(SHAPES)}")
    if min(size) < _LEAST_SIDE or seed < 0:
        raise ValueError(
            f"size is {size[0]} x {size[1]} and seed {seed}, expected sides of at least {_LEAST_SIDE} and a seed of 0 "
            "or more: change them"
        )
    random = np.random.default_rng([seed, shape])
    scale = min(size)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(float)
    y = (rows - size[0] / 2 - random.uniform(-0.08, 0.08) * scale) / scale
    x = (columns - size[1] / 2 - random.uniform(-0.08, 0.08) * scale) / scale
    radius, width = random.uniform(0.22, 0.34), random.uniform(0.06, 0.1)
    distance = np.hypot(y, x)
    inside = {  # signed distance to the edge, above 0 inside
        "disc": radius - distance,
        "ring": width - abs(distance - radius),
        "cross": np.minimum(width - np.minimum(abs(y), abs(x)), radius - np.maximum(abs(y), abs(x))),
        "bar": np.minimum(width - abs(x), radius - abs(y)),
    }[SHAPES[shape]]
    painted = np.clip(inside * scale + 0.5, 0, 1) * random.uniform(180, 255)
    picture: npt.NDArray[np.uint8] = np.clip(painted + random.normal(0, 4, size), 0, 255).astype(np.uint8)
    return picture


def write_shapes(
    root: str | os.PathLike[str],
    *,
    normal: int = 200,
    anomalous: int = 50,
    size: tuple[int, int] = (28, 28),
    seed: int = 0,
) -> Path:
    """Write shapes as MNIST's four gzipped idx files into ``MNIST`` below ``root``; complete or not at all.

    Args:
        root: made if need be.
        normal: training images of each of the four classes; any of them can be the normal one.
        anomalous: test images of each.
        size: height and width in pixels.
        seed: of the whole set.

    Returns:
        ``root``, the ``dataset_dir`` for the one-class bundle.

    Raises:
        FileExistsError: if ``root`` holds a folder ``MNIST`` that is not of phantoms.
        ValueError: if a number is below 1, a side below 16 pixels or the seed negative.
    """
    if normal < 1 or anomalous < 1:
        raise ValueError(f"normal is {normal} and anomalous {anomalous}, expected at least 1 each: ask for more")
    shape_image(seed, 0, size=size)  # refuses a bad size or seed before anything is written
    record: dict[str, Any] = {"shapes": list(SHAPES), "training": normal, "test": anomalous}

    def write(folder: Path) -> None:
        for part, each, first in (("train", normal, 0), ("t10k", anomalous, normal)):
            labels = np.tile(np.arange(len(SHAPES), dtype=np.uint8), each)
            images = [
                shape_image(seed * 1_000_003 + first + number // len(SHAPES), int(label), size=size)
                for number, label in enumerate(labels)
            ]
            _write_idx(folder / f"{part}-images-idx3-ubyte.gz", np.stack(images))
            _write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)

    write_folder(Path(root) / FOLDER, {**record, "size": list(size), "seed": seed, "version": 1}, write)
    return Path(root)


def _write_idx(path: Path, values: npt.NDArray[np.uint8]) -> None:
    header = bytes((0, 0, 0x08, values.ndim)) + np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(gzip.compress(header + values.tobytes(), mtime=0))
