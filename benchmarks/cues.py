"""What a test set gives away: how well an image's mean grey value alone tells normal from anomalous images.

    python benchmarks/cues.py --data MVTEC [--category screw]

Far from 0.5, a good image score may rest on the lamp. Writes ``results/cues.json``, category by category.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from reporting import RESULTS, machine, shown, write_json
from tqdm import tqdm

from monai_cavga.data import mvtad_items, read_image
from monai_cavga.data.mvtad import mvtad_categories
from monai_cavga.metrics import image_auroc


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the categories that are asked for; the file keeps its others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of MVTec AD, or of one category")
    parser.add_argument("--category", nargs="+", help="default: all that are there")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of cues.json (benchmarks/results)")
    args = parser.parse_args(arguments)
    path = args.output / "cues.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["categories"] if path.is_file() else {}
    for category in args.category or mvtad_categories(args.data):
        rows[category] = {**cue(args.data, category), "machine": machine()}
        print(f"{category}: {rows[category]['image_auroc of the mean']} by the mean grey value")
    write_json(path, {"command": "python benchmarks/cues.py --data DIR", "categories": dict(sorted(rows.items()))})
    print(f"wrote {shown(path)}")


def cue(data: Path, category: str) -> dict[str, float]:
    """Mean grey values in [0, 1], and the AUROC of their distance from the training normals' mean."""
    grey: dict[str, list[float]] = {}
    for section in ("training", "test"):
        for item in tqdm(mvtad_items(data, section, category=category), desc=f"{category} {section}", unit="image"):
            group = section if section == "training" else ("anomalous" if item["label"] else "normal")
            grey.setdefault(group, []).append(float(read_image(item["image"]).mean()))
    scores = np.array(grey["normal"] + grey["anomalous"])
    labels = np.array([0.0] * len(grey["normal"]) + [1.0] * len(grey["anomalous"]))
    return {
        **{f"mean of {group}": round(float(np.mean(values)), 4) for group, values in grey.items()},
        "image_auroc of the mean": round(float(image_auroc(scores, labels)), 4),
        "image_auroc of the distance to training": round(
            float(image_auroc(np.abs(scores - np.mean(grey["training"])), labels)), 4
        ),
    }


if __name__ == "__main__":
    main()
