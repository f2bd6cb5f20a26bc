"""What the quality gate of the clinical pipeline passes and refuses: photographs, degraded copies, other pictures.

    python benchmarks/quality.py --idrid DIR [--others DIR ...]

Writes ``results/quality.json``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from reporting import RESULTS, machine, shown, write_json
from scipy import ndimage
from tqdm import tqdm

from monai_cavga.clinical.quality import measure, problem
from monai_cavga.data import phantom, read_image
from monai_cavga.data.read import SUFFIXES

PHOTOGRAPHS = "B. Disease Grading/1. Original Images"
EVERY = 8  # each eighth photograph is degraded
# Pictures that scikit-image brings along; `retina` is one that must pass.
OTHERS = ("astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "colorwheel", "grass", "gravel")
Pixels = np.ndarray[Any, np.dtype[np.float32]]


def degradations() -> dict[str, Callable[[Pixels], Pixels]]:
    """By name; a blur's sigma is in pixels of an image 640 wide."""

    def blurred(sigma: float) -> Callable[[Pixels], Pixels]:
        return lambda image: ndimage.gaussian_filter(image, (*[sigma * max(image.shape) / 640] * 2, 0))

    def scaled(factor: float) -> Callable[[Pixels], Pixels]:
        return lambda image: np.clip(image * factor, 0, 1)

    return {
        "blurred, sigma 1": blurred(1),
        "blurred, sigma 2": blurred(2),
        "blurred, sigma 3": blurred(3),
        "blurred, sigma 4": blurred(4),
        "darkened to 50 %": scaled(0.5),
        "darkened to 20 %": scaled(0.2),
        "darkened to 10 %": scaled(0.1),
        "brightened to 150 %": scaled(1.5),
        "brightened to 300 %": scaled(3),
        "green channel as grey": lambda image: np.repeat(image[..., 1:2], 3, axis=2),
    }


def main() -> None:
    """Measure all groups and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--idrid", type=Path, required=True, help="folder of the Indian Diabetic Retinopathy data set")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="folders of images that are no photographs")
    args = parser.parse_args()
    groups: dict[str, Iterable[Pixels]] = {}
    for section in ("a. Training Set", "b. Testing Set"):
        groups[f"IDRiD, {section[3:].lower()}"] = _images(args.idrid / PHOTOGRAPHS / section, every=1)
    training = args.idrid / PHOTOGRAPHS / "a. Training Set"
    for name, change in degradations().items():
        groups[f"training set, {name}"] = map(change, _images(training, every=EVERY))
    groups["phantoms"] = (phantom(n, lesions=n % 2 == 1)[0].astype(np.float32) / 255 for n in range(40))
    groups["scikit-image's retina"] = [_as_rgb(skimage.data.retina())]
    groups["scikit-image's other pictures"] = (_as_rgb(getattr(skimage.data, name)()) for name in OTHERS)
    groups["the same behind a round aperture"] = (_round(_as_rgb(getattr(skimage.data, name)())) for name in OTHERS)
    for folder in args.others:
        groups[f"{folder.parent.name}/{folder.name}"] = _images(folder, every=20)
    table = {name: _counts(tqdm(images, desc=name, unit="image")) for name, images in groups.items()}
    path = RESULTS / "quality.json"
    write_json(path, {"groups": table, "machine": machine()})
    print(f"wrote {shown(path)}")


def _images(folder: Path, *, every: int) -> Iterator[Pixels]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return (read_image(path) for path in found[::every])


def _as_rgb(picture: np.ndarray[Any, Any]) -> Pixels:
    colour = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture[..., :3]
    return colour.astype(np.float32) / 255


def _round(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    rows, columns = np.ogrid[:height, :width]
    inside = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (0.48 * min(height, width)) ** 2
    return image * inside[..., None]


def _counts(images: Iterable[Pixels]) -> dict[str, Any]:
    reasons = Counter(problem(measure(image)).split(":")[0] for image in images)
    passed, number = reasons.pop("", 0), reasons.total()
    return {"images": passed + number, "pass": passed, "refused": dict(sorted(reasons.items()))}


if __name__ == "__main__":
    main()
