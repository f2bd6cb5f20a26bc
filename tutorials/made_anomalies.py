"""What made anomalies look like: a sheet of phantoms, before, after, and where.

``python tutorials/made_anomalies.py docs/made_anomalies.png`` writes the picture of `docs/made_anomalies.md`;
with ``--images FOLDER`` it takes your own normal images, ``--anomalies defects`` for other things than eyes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from monai_cavga.data import folder_items, phantom, read_image
from monai_cavga.handlers.files import save_png
from monai_cavga.transforms import field_of_view, make_defects, paint_lesions
from monai_cavga.transforms.defects import DEFECTS, object_region
from monai_cavga.transforms.lesions import KINDS, fundus_scene

SIZE = (208, 320)
GAP = 4
Picture = npt.NDArray[np.float32]  # (3, H, W) in [0, 1]


def row(image: Picture, kind: str, *, anomalies: str, seed: int) -> Picture:
    """The image, the image with an anomaly of one kind, and its mask, side by side."""
    random = np.random.RandomState(seed)
    inside = field_of_view(image)
    if anomalies == "lesions":
        made, mask = paint_lesions(image, fundus_scene(image, inside), random, kinds=(kind,))
    else:
        region = object_region(image) & inside
        made, mask = make_defects(image, image[:, ::-1, ::-1], region, random, kinds=(kind,))
    tiles = [image, made, np.repeat(mask[None], 3, axis=0).astype(np.float32)]
    return np.concatenate([np.pad(tile, ((0, 0), (0, GAP), (0, GAP)), constant_values=1) for tile in tiles], axis=2)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--images", type=Path, help="folder of normal images (default: phantoms)")
    parser.add_argument("--anomalies", choices=("lesions", "defects"), default="lesions")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    kinds = KINDS if args.anomalies == "lesions" else tuple(DEFECTS)
    files = [item["image"] for item in folder_items(args.images)] if args.images else []
    rows = []
    for number, kind in enumerate(kinds):
        if files:
            image = np.ascontiguousarray(read_image(files[number % len(files)]).transpose(2, 0, 1))
        else:
            drawn = phantom(args.seed + number, size=SIZE, lesions=False)[0]
            image = np.ascontiguousarray(drawn.transpose(2, 0, 1)).astype(np.float32) / 255
        rows.append(row(image, kind, anomalies=args.anomalies, seed=args.seed + number))
    sheet = np.concatenate(rows, axis=1)
    save_png(args.picture, np.round(255 * sheet.transpose(1, 2, 0)).astype(np.uint8))
    print(f"wrote {args.picture}: one row each for {', '.join(kinds)}; image, with the anomaly, mask")


if __name__ == "__main__":
    main()
