"""The report of an evaluation as text: a Markdown table and a CSV of scores."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import Any

from monai_cavga.metrics.evaluation import Evaluation
from monai_cavga.metrics.score import rule_words

__all__ = ["scores_to_csv", "to_markdown"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_markdown(report: Mapping[str, Any]) -> str:
    """A table with one row per map, the numbers of images and pixels, and why a cell is empty.

    Args:
        report: what :func:`monai_cavga.metrics.summary.summarise` gives; ``notice``, if there, comes first.
    """
    settings, n_images = report["settings"], report["n_images"]
    fixed = f"iou@{settings['threshold']:g}"
    columns = {
        "pixel AUROC": ("pixel_auroc", "pixel_auroc_interval"),
        "pixel AP": ("pixel_ap", "pixel_ap_error"),
        f"{fixed} pooled": (f"{fixed}_pooled", None),
        f"{fixed} images": (f"{fixed}_images", f"{fixed}_images_interval"),
        "iou oracle pooled": ("iou_oracle_pooled", "iou_oracle_pooled_interval"),
        "iou oracle images": ("iou_oracle_images", None),
        "AUPRO": ("aupro", "aupro_interval"),
        "FROC": ("froc", "froc_interval"),
        "false-positive area": ("false_positive_area", "false_positive_area_interval"),
        "false-positive area, worst": ("false_positive_area_worst", None),
        "image AUROC": ("image_auroc", "image_auroc_interval"),
        "accuracy paper": ("accuracy_paper", None),
        "sensitivity at 95 % specificity, oracle": (
            "sensitivity_at_95_specificity_oracle",
            "sensitivity_at_95_specificity_oracle_interval",
        ),
    }
    if any("accuracy_calibrated" in row for row in report["maps"].values()):
        columns["accuracy calibrated"] = ("accuracy_calibrated", None)
    lines = [f"{report['notice']}\n"] if "notice" in report else []
    lines += ["| map | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for key, row in report["maps"].items():
        cells = (_cell(row.get(value), row.get(spread) if spread else None) for value, spread in columns.values())
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    lines.append(
        f"\nImages: {n_images['normal']} normal, {n_images['anomalous']} anomalous, {n_images['unlabelled']} without a "
        f"label. Image score: {rule_words(settings['score_rule'])} inside the field of view. "
        "`±`: largest possible error of the binning. Brackets: 95 % bootstrap interval over "
        f"{settings['interval_over']} ({settings['n_resamples']} resamples, seed {settings['seed']}). "
        "`oracle`: threshold chosen on this very data. "
        "`paper`: scores brought to [0, 1] over this very data, threshold 0.5. "
        "`pooled`: all pixels in one pool; `images`: mean over the images with anomalous pixels. "
        "`FROC`: mean share of the regions found at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false-positive regions per image, "
        "thresholds that mark over 30 % of the normal pixels left out. "
        "`false-positive area`: share of a normal image's field of view at or above a fixed threshold, "
        "mean and worst image."
    )
    for key, row in report["maps"].items():
        lines.append(
            f"\n{key}: {row['n_pixels_normal']} normal and {row['n_pixels_anomalous']} anomalous pixels, "
            f"{row['n_regions']} regions in {row['n_images_with_anomalous_pixels']} images. "
            f"Threshold of the false-positive area: {row['false_positive_area_threshold']:g}."
        )
        lines += [f"- no {name}: {reason}" for name, reason in row["reasons"].items()]
    if report["maps_absent"]:
        lines.append(f"\nNot in the evaluator's output: {', '.join(report['maps_absent'])}.")
    return "\n".join(lines) + "\n"


def scores_to_csv(evaluation: Evaluation) -> str:
    """One line per image: name, label (empty = unknown), image score of every map (empty = no such map).

    A name that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "label", *evaluation.maps])
    for name, label, scores in zip(evaluation.names, evaluation.labels, evaluation.scores, strict=True):
        safe = f"'{name}" if name.startswith(_FORMULA_STARTS) else name
        cells = ["" if math.isnan(score) else repr(float(score)) for score in scores]
        writer.writerow([safe, int(label) if label >= 0 else "", *cells])
    return text.getvalue()


def _cell(value: float | None, spread: float | list[float] | None) -> str:
    if value is None:
        return "–"
    text = f"{value:.3f}"
    if isinstance(spread, list):
        return f"{text} [{spread[0]:.3f}, {spread[1]:.3f}]"
    return text if spread is None else f"{text} ± {spread:.1g}"
