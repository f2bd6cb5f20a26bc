"""The report as text: a cell for every number, a reason for every gap, a CSV that reads back."""

from __future__ import annotations

import csv
import io
import math

import torch

from monai_cavga.handlers.report_text import scores_to_csv, to_markdown
from monai_cavga.metrics.evaluation import Evaluation, accumulate
from monai_cavga.metrics.summary import summarise

NAMES = ['left, "eye"', "=1+1", "Ärzte\n2"]


def _evaluation(*, anomalous: bool = True) -> Evaluation:
    evaluation = Evaluation(["attention", "class"], score_rule=1.0)
    for number, name in enumerate(NAMES):
        anomaly_map = torch.arange(6.0).reshape(1, 2, 3) / 10 + number
        mask = (anomaly_map > 2.3).to(torch.int8) * anomalous
        accumulate(evaluation, {"attention": anomaly_map, "mask": mask, "label": int(mask.any())}, name=name)
    return evaluation


def test_table() -> None:
    report = summarise(_evaluation(), n_resamples=20, seed=4, image_thresholds={"attention": 2.4})
    lines = to_markdown({"notice": "NOTICE", **report}).splitlines()
    assert lines[0] == "NOTICE"
    header, rule, row = (line for line in lines if line.startswith("|"))
    assert header.count("|") == rule.count("|") == row.count("|")
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["pixel AUROC"] == cells["AUPRO"] == "1.000 [1.000, 1.000]"
    assert cells["pixel AP"] == "1.000 ± 0"
    assert cells["FROC"].startswith("1.000 [")
    # of 6 pixels, 1 of the first image and all of the second are at or above 0.5
    assert cells["false-positive area, worst"] == "1.000"
    assert cells["false-positive area"].startswith("0.583 [0.167, ")
    assert cells["iou@0.5 pooled"] == "0.154"  # 2 anomalous pixels, 1 + 6 + 6 of 18 at or above 0.5
    assert cells["iou@0.5 images"] == "0.333 [0.333, 0.333]"
    assert cells["image AUROC"] == "1.000 [1.000, 1.000]"
    assert cells["accuracy calibrated |"] == "1.000 |"
    text = "\n".join(lines)
    assert "2 normal, 1 anomalous, 0 without a label" in text
    assert "over images (20 resamples, seed 4)" in text
    assert "Threshold of the false-positive area: 0.5." in text
    assert "16 normal and 2 anomalous pixels, 1 regions in 1 images" in text
    assert "Not in the evaluator's output: class." in text
    assert "nan" not in text


def test_gaps_have_reasons() -> None:
    text = to_markdown(summarise(_evaluation(anomalous=False), n_resamples=20))
    assert "| attention | – | – | – |" in text
    assert "- no pixel_auroc: AUROC is undefined: 18 normal and 0 anomalous scores" in text
    assert "- no image_auroc: " in text
    assert "- no froc: FROC is undefined: 0 lesions in 3 images" in text
    assert "accuracy calibrated" not in text


def test_scores_read_back() -> None:
    evaluation = _evaluation()
    evaluation.rows[2][0] = -1.0
    header, *rows = list(csv.reader(io.StringIO(scores_to_csv(evaluation))))
    assert header == ["name", "label", "attention", "class"]
    assert [row[0] for row in rows] == [NAMES[0], "'=1+1", NAMES[2]]
    assert [row[1] for row in rows] == ["0", "0", ""]
    assert [float(row[2]) for row in rows] == evaluation.scores[:, 0].tolist()
    assert all(row[3] == "" for row in rows)
    assert math.isnan(evaluation.scores[0, 1])
