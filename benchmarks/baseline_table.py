"""The table of the baselines, from their result files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from baseline_models import FEATURES, METHODS
from reporting import cell, notes

PROTOCOLS = {
    "retina": "retina (IDRiD): inside the field of view, maps compared at the source's size",
    "screw": "MVTec AD screw: the owners' split, maps compared at the source's size",
    "ped2": "UCSD Ped2: frame-level AUROC only",
}
PIXEL_LABELS = ("retina", "screw")
QUANTILE, MAX_FPR = 0.995, 0.3
COLUMNS = {
    "pixel AUROC": "pixel_auroc",
    "AUPRO": "aupro",
    "IoU* pooled": "iou_oracle_pooled",
    "image AUROC": "image_auroc",
}


def table(results: Sequence[dict[str, Any]], folder: Path) -> str:
    """Markdown of all results, whose files are in ``folder``: a section for each protocol, a row for each run."""
    lines = [
        "# Detectors without training on frozen ResNet-18 features (ImageNet) at stride 8",
        "",
        "Made by `python benchmarks/baselines.py collect` from the JSON files beside it, which hold the commands. "
        f"Image score: {QUANTILE} quantile of the map. AUPRO to a false-positive rate of {MAX_FPR}. `*`: threshold "
        "chosen on the test set (oracle). Brackets: 95 % bootstrap interval over images. images/s: reading, features "
        "and map of a test image. `unit length` was noticed on the retina test set, among five ways of preparing the "
        "features (plain, no antialiasing, 3x3 average, nearest layer3, unit length), so its retina rows are not "
        "blind; screw and Ped2 were looked at only afterwards. Anomaly relative to the training normals; research "
        "use, not for diagnosis.",
    ]
    for protocol, text in PROTOCOLS.items():
        rows = [result for result in results if result["protocol"] == protocol]
        if rows:
            said = notes(folder, f"baselines_{protocol}", [row["machine"]["commit"] for row in rows])
            lines += [
                "",
                f"## {text}",
                "",
                *(f"{each}\n" for each in said),
                *_section(rows, pixels=protocol in PIXEL_LABELS),
            ]
    places = sorted({_place(result["machine"]) for result in results})
    lines += ["", f"Measured on: {'; '.join(places)}.", ""]
    return "\n".join(lines)


def _section(rows: Sequence[dict[str, Any]], *, pixels: bool) -> list[str]:
    columns = {title: key for title, key in COLUMNS.items() if pixels or key == "image_auroc"}
    titles = [
        "method",
        "input",
        "layers",
        "features",
        "training images",
        "seed",
        *columns,
        "images/s",
        "fit, s",
        "peak RSS",
    ]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in sorted(rows, key=_order):
        cells = [
            row["title"],
            "x".join(map(str, row["size"])),
            "+".join(map(str, row["layers"])),
            FEATURES[row["features"]],
            str(row["n_training_images"]),
            str(row["seed"]),
            *(cell(row["metrics"], key) for key in columns.values()),
            f"{row['images_per_second']:.1f}",
            f"{row['fit_seconds']:.0f}",
            f"{row['peak_rss_mib']} MiB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    features, method = list(FEATURES).index(row["features"]), list(METHODS).index(row["method"])
    return (row["size"], row["layers"], -row["n_training_images"], features, method, row["seed"])


def _place(machine: dict[str, Any]) -> str:
    count = f"{machine['threads']} thread{'' if machine['threads'] == '1' else 's'}"
    return f"{machine['cpu']}, {machine['cores']} cores, {count}, {machine['date']}"
