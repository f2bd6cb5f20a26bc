"""The report handler inside real engines: the files are whole, and say what they must."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from monai.transforms import CopyItemsd

from monai_cavga.handlers import ReportHandler, report
from monai_cavga.metrics.evaluation import Evaluation, accumulate
from monai_cavga.metrics.summary import summarise

Item = dict[str, Any]


def _items(n: int = 6) -> list[Item]:
    items = []
    for number in range(n):
        anomaly_map = torch.rand(1, 12, 17, generator=torch.Generator().manual_seed(number))
        mask = torch.zeros(1, 12, 17, dtype=torch.int8)
        if number % 2:
            mask[:, 4:6, 8:15] = 1
        items.append(
            {
                "attention": anomaly_map + 0.2 * mask,
                "mask": mask,
                "fov": torch.ones(1, 12, 17),
                "label": torch.tensor(number % 2),
                "name": f"eye_{number}",
            }
        )
    return items


def _engine() -> Engine:
    return Engine(lambda _engine, batch: batch)


def _expected(items: list[Item]) -> dict[str, Any]:
    evaluation = Evaluation(["attention", "residual"])
    for item in items:
        accumulate(evaluation, item, name=item["name"])
    return summarise(evaluation)


def test_files_of_an_engine(tmp_path: Path) -> None:
    items, engine = _items(), _engine()
    ReportHandler(tmp_path / "new" / "folder").attach(engine)
    engine.run([items[:4], items[4:]])
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == ["report.json", "report.md", "scores.csv"]
    written = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    notice = written.pop("notice")
    assert "relative to the training normals" in notice
    assert "not for diagnosis" in notice
    assert written == _expected(items)
    assert written["maps_absent"] == ["residual"]
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text.startswith(notice)
    assert "| attention |" in text
    rows = list(csv.DictReader((folder / "scores.csv").open(encoding="utf-8")))
    assert [row["name"] for row in rows] == [f"eye_{n}" for n in range(6)]
    assert [row["label"] for row in rows] == ["0", "1"] * 3


def test_a_second_run_starts_afresh(tmp_path: Path) -> None:
    engine = _engine()
    ReportHandler(tmp_path).attach(engine)
    engine.run([_items()])
    engine.run([_items(4)])
    assert json.loads((tmp_path / "report.json").read_text())["n_images"]["normal"] == 2


def test_a_monai_evaluator(tmp_path: Path) -> None:
    """The item's name comes from the batch, as MONAI's evaluator keeps only image, label and prediction."""
    data = [{"image": item["attention"], "label": item["label"], "name": item["name"]} for item in _items()]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(data), batch_size=4),
        network=torch.nn.Identity(),
        inferer=SimpleInferer(),
        postprocessing=CopyItemsd(keys="pred", names="attention"),
        val_handlers=[ReportHandler(tmp_path, ["attention"], n_resamples=20)],
    )
    evaluator.run()
    written = json.loads((tmp_path / "report.json").read_text())
    row = written["maps"]["attention"]
    assert written["n_images"] == {"normal": 3, "anomalous": 3, "unlabelled": 0}
    assert row["pixel_auroc"] is None  # there was no mask
    assert row["image_auroc"] == _expected(_items())["maps"]["attention"]["image_auroc"]
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [r["name"] for r in rows] == [f"eye_{n}" for n in range(6)]


def test_the_field_of_view_of_the_batch_bounds_the_image_score(tmp_path: Path) -> None:
    """By hand: outside the field of view stands 9, inside nothing above 0.5, so no score may exceed 0.5."""
    items = _items()
    data = []
    for item in items:
        fov = torch.ones(1, 12, 17)
        fov[:, :, 10:] = 0
        attention = torch.where(fov > 0, 0.5 * item["attention"].clamp(0, 1), 9.0)
        data.append({"image": attention, "label": item["label"], "name": item["name"], "fov": fov})
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(data), batch_size=4),
        network=torch.nn.Identity(),
        inferer=SimpleInferer(),
        postprocessing=CopyItemsd(keys="pred", names="attention"),
        val_handlers=[ReportHandler(tmp_path, ["attention"], n_resamples=20)],
    ).run()
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert len(rows) == 6
    assert all(float(row["attention"]) <= 0.5 for row in rows)


def test_images_without_a_name_or_a_file_are_numbered(tmp_path: Path) -> None:
    items, engine = _items(2), _engine()
    for item in items:
        del item["name"]
    ReportHandler(tmp_path).attach(engine)
    engine.run([items])
    assert (tmp_path / "scores.csv").read_text().splitlines()[2].startswith("image_0002,1,")


def test_a_set_of_normal_images_is_reported_with_reasons(tmp_path: Path) -> None:
    engine = _engine()
    ReportHandler(tmp_path).attach(engine)
    engine.run([_items()[::2]])
    row = json.loads((tmp_path / "report.json").read_text())["maps"]["attention"]
    assert row["pixel_auroc"] is None
    assert "0 anomalous scores" in row["reasons"]["pixel_auroc"]


def test_options_reach_the_report(tmp_path: Path) -> None:
    engine = _engine()
    handler = ReportHandler(
        tmp_path,
        ["attention"],
        score_rule=0.5,
        threshold=0.25,
        image_thresholds={"attention": 0.55},
        area_thresholds={"attention": 0.75},
        n_resamples=7,
        seed=9,
        bits=16,
    )
    handler.attach(engine)
    engine.run([_items()])
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["settings"] == {
        "score_rule": 0.5,
        "threshold": 0.25,
        "bits": 16,
        "interval_level": 0.95,
        "interval_over": "images",
        "n_resamples": 7,
        "seed": 9,
    }
    assert written["maps"]["attention"]["image_threshold"] == 0.55
    assert written["maps"]["attention"]["false_positive_area_threshold"] == 0.75
    assert handler.write()["maps"] == written["maps"]


def test_the_patient_of_the_batch_makes_the_groups(tmp_path: Path) -> None:
    items, engine = _items(), _engine()
    for number, item in enumerate(items):
        item["patient"] = f"p{number // 2}"
    ReportHandler(tmp_path, n_resamples=20).attach(engine)
    engine.run([items])
    written = (tmp_path / "report.json").read_text() + (tmp_path / "report.md").read_text()
    assert '"interval_over": "patients"' in written
    assert "bootstrap interval over patients (20 resamples" in written
    assert '"p1"' not in written


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler, engine = ReportHandler(tmp_path), _engine()
    handler.attach(engine)
    engine.run([_items()])
    before = (tmp_path / "report.json").read_bytes()
    handler.add_batch(engine)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        handler.write()
    assert (tmp_path / "report.json").read_bytes() == before


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = ReportHandler(tmp_path)
    accumulate(handler.evaluation, _items()[0], name="a")
    monkeypatch.setattr(report.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(report.dist, "get_rank", lambda: 1)
    monkeypatch.setattr(Evaluation, "synced", lambda self: self)
    assert handler.write()["n_images"]["normal"] == 1
    assert list(tmp_path.iterdir()) == []


def test_none_of_the_maps_is_an_error_that_names_them(tmp_path: Path) -> None:
    engine = _engine()
    ReportHandler(tmp_path, ["attention_map"]).attach(engine)
    with pytest.raises(ValueError, match=r"none of the maps \['attention_map'\] in 6 images: name keys"):
        engine.run([_items()])


def test_an_output_that_was_not_decollated_is_an_error(tmp_path: Path) -> None:
    engine = _engine()
    ReportHandler(tmp_path).attach(engine)
    with pytest.raises(
        TypeError, match=r"output is dict, expected a list of one dict for each image: .*decollate=True"
    ):
        engine.run([{"attention": torch.zeros(2, 1, 3, 4)}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_resamples": 0}, "n_resamples is 0, expected at least 1"),
        ({"image_thresholds": {"class": 0.5}}, r"image_thresholds names \['class'\], expected only maps of"),
        ({"area_thresholds": {"class": 0.5}}, r"area_thresholds is \{'class': 0.5\}, expected finite scores for maps"),
        ({"score_rule": 2.0}, "score_rule is 2.0"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"bits": 4}, "bits is 4"),
        ({"maps": []}, "maps is \\[\\]"),
    ],
)
def test_refusals(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReportHandler(tmp_path, **options)
