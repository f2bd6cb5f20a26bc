"""The report of images alone: scores are means of maps, and their AUROC is scikit-learn's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from monai_cavga.handlers import ImageReportHandler


def engine(maps: torch.Tensor, label: list[int], *, first: int = 0) -> Any:
    batch = {"label": torch.tensor(label), "name": [f"n{first + k}" for k in range(len(label))]}
    return SimpleNamespace(state=SimpleNamespace(output={"pred": maps}, batch=batch))


def test_scores_and_auroc(tmp_path: Path) -> None:
    handler = ImageReportHandler(tmp_path, ["residual", "kl"], n_resamples=50)
    maps = torch.rand(30, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    labels = [int(k % 3 > 0) for k in range(30)]
    for start in (0, 16):
        handler.add_batch(engine(maps[start : start + 16], labels[start : start + 16], first=start))
    report = handler.write()
    assert report["n_images"] == {"normal": 10, "anomalous": 20}
    for channel, name in enumerate(("residual", "kl")):
        row = report["maps"][name]
        assert row["image_auroc"] == pytest.approx(roc_auc_score(labels, maps[:, channel].mean(dim=(1, 2))))
        low, high = row["image_auroc_interval"]
        assert low < row["image_auroc"] < high
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == report
    assert not {"pixel_auroc", "aupro"} & set(report["maps"]["kl"])
    lines = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "name,label,residual,kl"
    name, label, residual, _ = lines[18].split(",")
    assert (name, label) == ("n17", "1")
    assert float(residual) == pytest.approx(float(maps[17, 0].double().mean()))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"| residual | {report['maps']['residual']['image_auroc']:.3f} [" in text
    assert "not for diagnosis" in text
    handler.reset()
    handler.add_batch(engine(maps[:2], labels[:2]))
    assert handler.write()["n_images"] == {"normal": 1, "anomalous": 1}


def test_one_class_has_a_reason_and_no_number(tmp_path: Path) -> None:
    handler = ImageReportHandler(tmp_path, ["residual"])
    handler.add_batch(engine(torch.rand(4, 1, 3, 5), [0, 0, 0, 0]))
    row = handler.write()["maps"]["residual"]
    assert row["image_auroc"] is None
    assert "undefined" in row["reasons"]["image_auroc"]
    assert "| residual | – | – |" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_refusals(tmp_path: Path) -> None:
    for maps in ([], "residual", ["kl", "kl"]):
        with pytest.raises(ValueError, match="expected a list of different names"):
            ImageReportHandler(tmp_path, maps)
    with pytest.raises(ValueError, match="n_resamples is 0"):
        ImageReportHandler(tmp_path, n_resamples=0)
    handler = ImageReportHandler(tmp_path, ["residual"])
    with pytest.raises(ValueError, match=r"maps of shape \(4, 2, 3, 5\), expected pred \(B, 1, H, W\)"):
        handler.add_batch(engine(torch.rand(4, 2, 3, 5), [0] * 4))
    with pytest.raises(ValueError, match="output is list"):
        handler.add_batch(SimpleNamespace(state=SimpleNamespace(output=[], batch=[])))
    with pytest.raises(ValueError, match="NaN or infinite"):
        handler.add_batch(engine(torch.full((1, 1, 3, 5), np.nan), [0]))
