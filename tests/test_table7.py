"""The benchmark of table 7: one run on shapes, the paper's numbers, and the table."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from monai_cavga.data import write_shapes
from monai_cavga.networks import ResNetEncoder

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import paper

    return paper


def cell(folder: Path, data_set: str, number: int, auroc: float, *, seed: int = 0, **changes: Any) -> Path:
    """A result file, its residual of the given AUROC and its other maps at chance."""
    import argparse

    import table7
    import table7_text

    overrides = table7.cell_overrides(argparse.Namespace(fast=False), data_set, number, seed)
    overrides.pop("encoder_weights")
    maps = {key: {"image_auroc": auroc if key == "residual" else 0.5} for key in table7_text.SCORES}
    result = {
        "data_set": data_set,
        "class": number,
        "seed": seed,
        "jpeg_training_images": 2500 if data_set == "cifar10" else 0,
        "validation_psnr": 20.0,
        "overrides": {**overrides, **changes},
        "encoder_weights": "none",
        "training_seconds": 90,
        "training_starts": 1,
        "training": {"cpu": "a CPU", "cores": 2, "threads": "1", "date": "2026-01-01", "commit": "0" * 40},
        "report": {"maps": maps},
    }
    path = folder / f"table7_{data_set}_{number}_seed{seed}.json"
    path.write_text(json.dumps(result))
    return path


def test_numbers_are_the_papers(paper: ModuleType, shared_dir: Path) -> None:
    table = json.loads((shared_dir / "paper" / "tables.json").read_text())["table7"]
    for name, data_set in paper.table7.DATA_SETS.items():
        assert list(data_set.paper) == [table[name][str(number)]["CAVGA-D_u"] for number in range(10)]
        assert data_set.paper_mean == table[f"{name}_mean"]["CAVGA-D_u"]


def test_run_and_keep(paper: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, output = write_shapes(tmp_path / "shapes", normal=80, anomalous=5), tmp_path / "results"
    words = ["table7", "--data-mnist", str(data), "--classes", "1", "--fast", "--work", str(tmp_path / "work")]
    paper.main([*words, "--output", str(output)])
    assert sorted(path.name for path in output.iterdir()) == [
        "table7-fast.md",
        "table7-fast.png",
        "table7-fast_mnist_1_seed0.json",
    ]
    result = json.loads((output / "table7-fast_mnist_1_seed0.json").read_text())
    assert result["report"]["n_images"] == {"normal": 5, "anomalous": 15}
    assert result["validation_psnr"] > 0
    assert 0 <= result["report"]["maps"]["fused"]["image_auroc"] <= 1
    assert str(tmp_path) not in json.dumps(result)
    capsys.readouterr()
    paper.main([*words, "--output", str(output)])
    assert "is there already: remove it to measure again" in capsys.readouterr().out
    assert "1 of 10 classes measured: no mean" in (output / "table7-fast.md").read_text()


def test_table_by_hand(paper: ModuleType, tmp_path: Path) -> None:
    """hand: classes of 0.90 and once 0.80 mean 0.89, 0.096 below the paper's 0.986; class 3 has two seeds."""
    for number in range(10):
        cell(tmp_path, "mnist", number, 0.8 if number == 4 else 0.9)
    cell(tmp_path, "mnist", 3, 0.7, seed=1)
    cell(tmp_path, "cifar10", 5, 0.6)
    paper.main(["collect", "table7", "--output", str(tmp_path)])
    text = (tmp_path / "table7.md").read_text()
    assert "| 4 | 1 | 0.800 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.977 | -0.177 | 20.0 | – |" in text
    assert f"| 3 | 2 | 0.800 ± 0.100 |{' 0.500 ± 0.000 |' * 5} 0.983 | -0.183 | 20.0 | – |" in text
    assert "| mean | 1 | 0.890 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.986 | -0.096 |  | – |" in text
    assert "| 5 dog | 1 | 0.600 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.552 | +0.048 | 20.0 | – |" in text
    assert "| 6 | 1 | 0.900 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.988 | -0.088 | 20.0 | – |" in text
    for number in range(10):
        features = {"image_auroc": 0.9 + number / 100, "machine": {"date": "2026-01-02", "commit": "1" * 40}}
        (tmp_path / f"table7_features_mnist_{number}.json").write_text(json.dumps(features))
    paper.main(["collect", "table7", "--output", str(tmp_path)])
    text = (tmp_path / "table7.md").read_text()
    assert "| 6 | 1 | 0.900 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.988 | -0.088 | 20.0 | 0.960 |" in text
    assert "| mean | 1 | 0.890 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.986 | -0.096 |  | 0.945 |" in text
    assert "ImageNet measured 2026-01-02 at 1111111111." in text
    other = {**features, "encoder_weights": "none"}
    (tmp_path / "table7_features_mnist_0.json").write_text(json.dumps({**features, "encoder_weights": "ResNet-18"}))
    (tmp_path / "table7_features_mnist_1.json").write_text(json.dumps(other))
    with pytest.raises(SystemExit, match="encoders of table7_features start from ResNet-18 and none, expected one"):
        paper.main(["collect", "table7", "--output", str(tmp_path)])
    assert "lossy copy (JPEG) with 2,500 training images" in text


def test_picture_by_hand(paper: ModuleType, tmp_path: Path) -> None:
    """hand: a row for each class, then the mean of each score where one seed has all classes."""
    import table7_text

    one = [json.loads(cell(tmp_path, "mnist", number, 0.5 + number / 100).read_text()) for number in range(10)]
    features = {number: {"image_auroc": 0.75} for number in range(10)}
    rows = table7_text.bars(one, features={"mnist": features, "cifar10": features})
    assert [row.label for row in rows[:2]] == ["MNIST 0, residual", "MNIST 1, residual"]
    assert (rows[1].ours, rows[1].spread, rows[1].paper) == (0.51, 0.0, 0.997)
    assert [row.label for row in rows[10:]] == [
        *(f"MNIST mean, {key}" for key in table7_text.SCORES),
        "MNIST mean, ImageNet",
    ]
    assert rows[10].ours == pytest.approx(0.545)
    assert (rows[-1].ours, rows[-1].paper) == (0.75, 0.986)
    one[3]["seed"] = 1
    assert len(table7_text.bars(one, features={})) == 10
    said = table7_text.markdown(one, features={}, said={}, fast=False)
    assert "no seed has all classes: no mean to set beside the paper's" in said


def test_features_are_measured_without_training(paper: ModuleType, tmp_path: Path) -> None:
    """hand: a tenth of 80 normals is held out, a feature map has 4 x 4 positions of stride 8; weights from a file."""
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    encoder = {key: value.contiguous() for key, value in ResNetEncoder(3, stages=3).state_dict().items()}
    save_file({key: value for key, value in encoder.items() if "num_batches" not in key}, weights)
    data, output = write_shapes(tmp_path / "shapes", normal=80, anomalous=5), tmp_path / "results"
    words = ["table7", "--data-mnist", str(data), "--classes", "1", "--fast", "--work", str(tmp_path / "work")]
    paper.main([*words, "--output", str(output), "--weights", str(weights)])
    result = json.loads((output / "table7-fast_features_mnist_1.json").read_text())
    assert 0 <= result["image_auroc"] <= 1
    assert result["encoder_weights"] == "ResNet-18, ImageNet, conv1 to layer3"
    assert result["command"].endswith("--classes 1 --weights FILE --fast")
    assert result["positions"] == 72 * 16
    row = next(line for line in (output / "table7-fast.md").read_text().splitlines() if line.startswith("| 1 | 1 |"))
    assert row.endswith(f"| {result['image_auroc']:.3f} |")
    save_file({"conv1.weight": torch.ones(64, 3, 7, 7)}, weights)
    with pytest.raises(
        SystemExit, match=r"features_mnist_1.json was measured with encoder_weights_sha256 .* remove it"
    ):
        paper.main([*words, "--output", str(output), "--weights", str(weights)])
    with pytest.raises(SystemExit, match="--weights is none, expected a file of ResNet-18 or 'imagenet'"):
        paper.main([*words, "--output", str(output), "--weights", "none"])


def test_fused_is_standardised_by_held_out_normals(paper: ModuleType, tmp_path: Path) -> None:
    """hand: residual 1 +- 1, kl 10 +- 10, distance 100 +- 100; totals of the test -3, 3, 0 with the anomaly second."""
    head = "name,label,residual,kl,latent_distance,attention,relative_residual\n"
    (tmp_path / "normals.csv").write_text(head + "a,0,0,0,0,9,4\nb,0,2,20,200,9,6\n")
    (tmp_path / "test.csv").write_text(head + "c,0,0,0,0,9,5\nd,1,2,20,200,0,5\ne,0,5,10,-200,99,5\n")
    assert paper.table7.fused_auroc(tmp_path / "normals.csv", tmp_path / "test.csv") == 1.0
    (tmp_path / "test.csv").write_text(head + "c,0,0,0,0,9,5\nd,1,2,10,0,0,5\ne,0,5,10,-200,99,5\n")  # -3, 0, 1
    assert paper.table7.fused_auroc(tmp_path / "normals.csv", tmp_path / "test.csv") == 0.5


def test_refusals(paper: ModuleType, tmp_path: Path) -> None:
    words = ["collect", "table7", "--output", str(tmp_path)]
    with pytest.raises(SystemExit, match="no results table7_"):
        paper.main(words)
    with pytest.raises(SystemExit, match="give --data-mnist DIR"):
        paper.main(["table7", "--output", str(tmp_path)])
    cell(tmp_path, "mnist", 1, 0.5, epochs=77)
    with pytest.raises(SystemExit, match=r"was measured with epochs 77 \(expected: \d+\): remove it"):
        paper.main(words)
