"""The benchmark of the paper's tables: what a cell trains, one run on made parts, and the signs of the effects."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from trees import write_mvtad

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import paper

    return paper


@pytest.fixture
def ablation(paper: ModuleType) -> ModuleType:
    return paper.ablation


def cell(folder: Path, column: str, seed: int, iou: float, **overrides: Any) -> Path:
    """A result file of `ablation --category leather`, all its numbers alike."""
    import ablation

    keys = ablation.METRICS.values()
    settings = {**ablation.COMMON, "category": "leather", "in_channels": 3, **ablation.COLUMNS[column].overrides}
    result = {
        "column": column,
        "seed": seed,
        "overrides": {**settings, "seed": seed, **overrides},
        "encoder_weights": "none",
        "training_seconds": 90,
        "training_starts": 1,
        "training": {"cpu": "a CPU", "cores": 2, "threads": "1", "date": "2026-01-01", "commit": "0" * 40},
        "report": {"maps": {"attention": dict.fromkeys(keys, iou)}},
    }
    path = folder / f"ablation_leather_{column}_seed{seed}.json"
    path.write_text(json.dumps(result))
    return path


def test_columns_are_the_papers(ablation: ModuleType, shared_dir: Path) -> None:
    mean = json.loads((shared_dir / "paper" / "tables.json").read_text())["table8"]["mean"]
    assert {name: column.paper for name, column in ablation.COLUMNS.items() if not math.isnan(column.paper)} == mean
    for without, with_ in ablation.EFFECTS.values():
        one, two = (ablation.COLUMNS[name].overrides for name in (without, with_))
        assert len(set(one.items()) ^ set(two.items())) == 1  # one thing changes


def test_run_keep_and_collect(paper: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, output, work = write_mvtad(tmp_path / "mvtec"), tmp_path / "results", tmp_path / "work"
    columns = ["--columns", "c4_barrier", "c8"]
    words = ["ablation", "--data", str(data), "--weights", "none", "--fast", "--work", str(work), *columns]
    paper.main([*words, "--output", str(output)])
    files = sorted(path.name for path in output.iterdir())
    assert files == [
        "ablation_screw-fast.md",
        "ablation_screw-fast.png",
        "ablation_screw-fast_c4_barrier_seed0.json",
        "ablation_screw-fast_c8_seed0.json",
    ]
    result = json.loads((output / files[3]).read_text())
    assert result["overrides"]["labelled"] == 0.02
    assert result["report"]["n_images"] == {"normal": 3, "anomalous": 2, "unlabelled": 0}  # one of three is learnt from
    assert str(tmp_path) not in json.dumps(result)
    state = torch.load(work / "screw-fast" / "c4_barrier" / "seed0" / "state.pt", weights_only=True)
    assert (state["settings"]["attention_loss"], state["settings"]["w_adv"]) == ("barrier", 0.01)

    (output / files[3]).write_text(json.dumps({**result, "kept": True}))
    (output / files[2]).unlink()  # evaluated again from its finished training
    capsys.readouterr()
    paper.main([*words, "--output", str(output)])
    assert "is there already: remove it to measure again" in capsys.readouterr().out
    assert json.loads((output / files[3]).read_text())["kept"]
    assert (output / files[2]).is_file()
    with pytest.raises(ValueError, match=r"holds a model of .* give another --work"):
        paper.ablation.train(paper.ablation.BUNDLE, data=data, work=work / "screw-fast/c8/seed0", overrides={"seed": 3})


def test_signs_of_the_effects(paper: ModuleType, tmp_path: Path) -> None:
    """hand: c2 - c1 is +0.1 and -0.05 where both have a seed, +0.025 +- 0.075; c4 - c2 is -0.05; c6 equals c5."""
    for column, seed, iou in [
        ("c1", 0, 0.1),
        ("c1", 1, 0.2),
        ("c1", 2, 0.9),
        ("c2", 0, 0.2),
        ("c2", 1, 0.15),
        ("c4", 0, 0.15),
        ("c5", 0, 0.0),
        ("c6", 0, 0.0),
    ]:
        cell(tmp_path, column, seed, iou)
    paper.main(["collect", "ablation", "--category", "leather", "--output", str(tmp_path)])
    text = (tmp_path / "ablation_leather.md").read_text()
    assert "| L_ae, flat z | c1 to c2 | +0.10 | +0.025 ± 0.075 | confirmed | +0.025 ± 0.075 | confirmed | 2 |" in text
    assert "| c2 to c4 | +0.13 | -0.050 | refuted | -0.050 | refuted | 1 |" in text
    assert "| c5 to c6 | +0.13 | +0.000 | no difference | +0.000 | no difference | 1 |" in text
    assert "| L_ae, conv z | c3 to c4 | +0.14 | – | not measured | – | not measured | 0 |" in text
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("ablation_leather_c[1-6]_*.json"))]
    bar = paper.ablation._bar("c1", results, "c1")
    assert (bar.label, round(bar.ours, 3), round(bar.spread, 3), bar.paper) == ("c1", 0.4, 0.356, 0.24)
    assert paper.ablation._bar("c8", results, "c8") is None
    assert "| c1 | CAVGA-R_u*, flat z | 3 | 0.400 ± 0.356 |" in text  # hand: sqrt((0.09 + 0.04 + 0.25) / 3)
    (tmp_path / "ablation_leather.md").unlink()
    paper.main(["collect", "table8", "--category", "leather", "--output", str(tmp_path)])  # the paper's name of it
    assert (tmp_path / "ablation_leather.md").read_text() == text


def test_refusals(paper: ModuleType, tmp_path: Path) -> None:
    words = ["collect", "ablation", "--category", "leather", "--output", str(tmp_path)]
    with pytest.raises(SystemExit, match="no results ablation_leather"):
        paper.main(words)
    path = cell(tmp_path, "c1", 0, 0.5, epochs=77)
    with pytest.raises(SystemExit, match=r"was measured with epochs 77 \(expected: \d+\): remove it"):
        paper.main(words)
    cell(tmp_path, "c1", 0, 0.5)
    other = json.loads(path.read_text()) | {"encoder_weights": "ResNet-18", "seed": 1}
    other["overrides"]["seed"] = 1
    (tmp_path / "ablation_leather_c1_seed1.json").write_text(json.dumps(other))
    with pytest.raises(SystemExit, match="start from ResNet-18 and none, expected one"):
        paper.main(words)
    for seed, digits in enumerate(("a" * 12, "b" * 12)):
        result = json.loads(cell(tmp_path, "c1", seed, 0.5).read_text()) | {"encoder_weights_sha256": digits}
        (tmp_path / f"ablation_leather_c1_seed{seed}.json").write_text(json.dumps(result))
    with pytest.raises(SystemExit, match=r"start from a{12} and b{12}, expected one"):
        paper.main(words)
