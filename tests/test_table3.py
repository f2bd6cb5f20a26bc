"""The benchmark of tables 3 and 6: a run of every method, killed and resumed, the paper's numbers, tables by hand."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trees import write_mvtad

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import paper

    return paper


@pytest.fixture
def table3(paper: ModuleType) -> ModuleType:
    return paper.TABLES["table3"]  # type: ignore[no-any-return]


def cell(folder: Path, category: str, method: str, value: float, *, seed: int = 0, **changes: Any) -> Path:
    """A result file, all its numbers alike."""
    import table3
    import table3_text

    training = table3.METHODS[method].training
    overrides = table3.cell_overrides(argparse.Namespace(fast=False), category, training, seed)
    result = {
        "method": method,
        "settings": list(table3.METHODS[method].settings),
        "category": category,
        "seed": seed,
        "overrides": {**overrides, **changes},
        "encoder_weights": "none",
        "training_seconds": 90,
        "training_starts": 1,
        "training": {"cpu": "a CPU", "cores": 2, "threads": "1", "date": "2026-01-01", "commit": "0" * 40},
        "report": {
            "n_images": {"normal": 41, "anomalous": 119, "held out": 64},
            "localisation": dict.fromkeys(table3_text.TABLE3.metrics.values(), value),
            "detection": dict.fromkeys(table3_text.TABLE6.metrics.values(), value),
        },
    }
    path = folder / f"table3_{category}_{method}_seed{seed}.json"
    path.write_text(json.dumps(result))
    return path


def run(paper: ModuleType, folder: Path, *words: str, name: str = "one", methods: list[str]) -> Path:
    """Run `table3 --fast` on ``folder / mvtec``; the folder of the results."""
    output = folder / name / "results"
    common = ["--weights", "none", "--fast", "--work", str(folder / name / "work"), "--output", str(output)]
    paper.main(["table3", "--data", str(folder / "mvtec"), *common, "--methods", *methods, *words])
    return output


def test_numbers_are_the_papers(table3: ModuleType, shared_dir: Path) -> None:
    import methods
    import paper_numbers as ours

    tables = json.loads((shared_dir / "paper" / "tables.json").read_text())
    for name, numbers, rows in (
        ("table3", ours.TABLE3_IOU, tables["table3"]["iou"]),
        ("table6", ours.TABLE6_ACCURACY, tables["table6"]["accuracy"]),
    ):
        assert list(numbers) == tables[name]["methods"]
        for method, values in numbers.items():
            assert dict(zip(ours.CATEGORIES, values, strict=True)) == {each: rows[each][method] for each in rows}
    assert tables["table3"]["mean_auroc"] == ours.TABLE3_AUROC
    named = {*methods.METHODS, *(name for names in methods.LEFT_OUT for name in names.split(", "))}
    assert set(tables["table3"]["methods"]) <= named
    assert set(tables["table5"]["methods"]) <= named


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every method ran: ``mvtec``, ``one/work``, ``one/results``."""
    folder = tmp_path_factory.mktemp("whole")
    write_mvtad(folder / "mvtec")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import methods
        import paper

        run(paper, folder, methods=list(methods.METHODS))
    return folder


@pytest.mark.slow
def test_every_method_runs(paper: ModuleType, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import methods

    output = whole / "one" / "results"
    cells = {f"table3-fast_screw_{method}_seed0.json" for method in methods.METHODS}
    tables = {f"table{number}-fast.{end}" for number in (3, 6) for end in ("md", "png")}
    assert {path.name for path in output.iterdir()} == cells | tables
    for name in cells:
        text = (output / name).read_text()
        assert str(whole) not in text
        report = json.loads(text)["report"]
        labelled = "labelled" in json.loads(text)["overrides"]
        assert report["n_images"] == {"normal": 3, "anomalous": 2 if labelled else 3, "held out": 3}
        assert all(0 <= report["localisation"][key] <= 1 for key in ("pixel_auroc", "iou_held_out_images"))
        assert 0 <= report["detection"]["accuracy_held_out"] <= 1
    trained = sorted(path.name for path in (whole / "one" / "work" / "screw-fast").iterdir())
    assert trained == sorted(methods.TRAININGS)
    cam, guided = (json.loads((output / f"table3-fast_screw_{name}_seed0.json").read_text()) for name in ("CAM", "GBP"))
    assert cam["report"]["detection"] == guided["report"]["detection"]  # one model
    assert cam["report"]["localisation"] != guided["report"]["localisation"]

    run(paper, whole, methods=["CAM"])
    assert "is there already: remove it to measure again" in capsys.readouterr().out


@pytest.mark.slow
def test_killed_and_resumed_is_never_interrupted(paper: ModuleType, whole: Path, tmp_path: Path) -> None:
    """A process is killed in the second of three trainings; what goes on keeps the first cell and ends the same."""
    methods = ["CAVGA-D_u", "AE_L2", "AnoGAN"]
    killed, unbroken = tmp_path / "killed" / "results", tmp_path / "unbroken"
    work = tmp_path / "killed" / "work"
    shutil.copytree(whole / "mvtec", tmp_path / "mvtec")
    words = ["table3", "--data", str(tmp_path / "mvtec"), "--weights", "none", "--fast", "--methods", *methods]
    process = subprocess.Popen(
        [sys.executable, str(BENCHMARKS / "paper.py"), *words, "--work", str(work), "--output", str(killed)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while not (work / "screw-fast" / "ae_l2" / "seed0" / "wall.json").is_file():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, "the run did not reach its second training in two minutes"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    names = [f"table3-fast_screw_{method}_seed0.json" for method in methods]
    assert [path.name for path in killed.iterdir()] == names[:1]
    kept = (killed / names[0]).stat().st_mtime_ns

    run(paper, tmp_path, name="killed", methods=methods)
    assert (killed / names[0]).stat().st_mtime_ns == kept
    assert json.loads((killed / names[1]).read_text())["training_starts"] == 2
    unbroken.mkdir()
    for name in names:
        shutil.copy(whole / "one" / "results" / name, unbroken)
        one, two = (json.loads((each / name).read_text()) for each in (killed, unbroken))
        assert one["report"] == two["report"]
    paper.main(["collect", "table3", "--fast", "--output", str(unbroken)])
    for name in ("table3-fast", "table6-fast"):
        one, two = ((each / f"{name}.md").read_text().split("## Where")[0] for each in (killed, unbroken))
        assert one == two
        assert (killed / f"{name}.png").read_bytes() == (unbroken / f"{name}.png").read_bytes()


def test_tables_by_hand(paper: ModuleType, tmp_path: Path) -> None:
    """hand: screw 0.5 and 0.7 are 0.600 +- 0.100, 0.12 above 0.48; with zipper's 0.3 the mean of seed 0 is 0.4."""
    cell(tmp_path, "screw", "CAVGA-R_u", 0.5)
    cell(tmp_path, "screw", "CAVGA-R_u", 0.7, seed=1)
    cell(tmp_path, "zipper", "CAVGA-R_u", 0.3)
    cell(tmp_path, "screw", "CAM", 0.25)
    paper.main(["collect", "table6", "--output", str(tmp_path)])
    table3, table6 = ((tmp_path / f"table{number}.md").read_text() for number in (3, 6))
    three = " | ".join(["0.600 ± 0.100"] * 6)
    assert f"| CAVGA-R_u | ResNet-18, no labels | 2 | {three} | 0.48 | +0.120 | 0.89 |" in table3
    assert f"| CAM | classifier, class activation map | 1 | {' | '.join(['0.250'] * 6)} | – | – | – |" in table3
    assert "## Mean over 2 of the 15 categories" in table3
    mean = table6.split("## Mean over 2")[1]
    assert "| CAVGA-R_u | ResNet-18, no labels | 1 | 0.400 | 0.400 | 0.400 | 0.86 | -0.460 |" in mean  # (.78 + .94) / 2
    assert "| CAM | classifier, class activation map | 0 | – | – | – | – | – |" in mean
    assert table3.index("## screw") < table3.index("## zipper")
    assert "- AVID: not built here" in table6


def test_a_note_is_for_the_runs_it_names(paper: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell(tmp_path, "screw", "CAVGA-R_u", 0.5)
    cell(tmp_path, "zipper", "CAVGA-R_u", 0.5)
    words = ["collect", "table3", "--output", str(tmp_path)]
    paper.main(words)
    assert "copy" not in (tmp_path / "table3.md").read_text()  # of anybody's data nothing is known
    note = {"text": "This copy is small.", "commits": ["0" * 10]}
    (tmp_path / "notes.json").write_text(json.dumps({"table3_screw": [note]}))
    paper.main(words)
    screw, zipper = (tmp_path / "table3.md").read_text().split("## zipper")
    assert "## screw\n\nThis copy is small.\n\nHeld-out" in screw
    assert "copy" not in zipper
    (tmp_path / "notes.json").write_text(json.dumps({"table3_screw": [note | {"commits": ["1" * 10]}]}))
    capsys.readouterr()
    paper.main(words)
    assert "copy" not in (tmp_path / "table3.md").read_text()
    assert "not said of runs of 0000000000: This copy is small." in capsys.readouterr().out


def test_metric_beside_the_papers(paper: ModuleType, tmp_path: Path) -> None:
    """hand: an autoencoder's best threshold is taken, 0.44 - 0.34; CAVGA's is 0.5, 0.18 - 0.48."""
    for method, key in (("AE_L2", "iou_oracle_images"), ("CAVGA-R_u", "iou@0.5_images")):
        path = cell(tmp_path, "screw", method, 0.1)
        result = json.loads(path.read_text())
        result["report"]["localisation"][key] = 0.44 if method == "AE_L2" else 0.18
        path.write_text(json.dumps(result))
    paper.main(["collect", "table3", "--output", str(tmp_path)])
    text = (tmp_path / "table3.md").read_text()
    assert "| 0.34 | +0.100 | 0.82 |" in text
    assert "| 0.48 | -0.300 | 0.89 |" in text


def test_undefined_is_a_dash(paper: ModuleType, tmp_path: Path) -> None:
    path = cell(tmp_path, "screw", "CAVGA-R_u", 0.5)
    result = json.loads(path.read_text())
    result["report"]["localisation"]["iou@0.5_images"] = None
    path.write_text(json.dumps(result))
    paper.main(["collect", "table3", "--output", str(tmp_path)])
    text = (tmp_path / "table3.md").read_text()
    assert "| CAVGA-R_u | ResNet-18, no labels | 1 | – | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.48 | – |" in text


def test_bars_are_as_long_as_their_values(paper: ModuleType, tmp_path: Path) -> None:
    import bars

    bars.draw_bars(tmp_path / "bars.png", [bars.Bar("a", 0.5, 0.0, 0.25), bars.Bar("b", None, 0.0, None)], title="t")
    picture = np.asarray(Image.open(tmp_path / "bars.png").convert("RGB"))
    start = picture.shape[1] - bars.VALUE - bars.SCALE
    picture = picture[bars.TOP : bars.TOP + 2 * bars.ROW, : start + bars.SCALE]
    ours, theirs = ((picture == colour).all(axis=2) for colour in (bars.OURS, bars.PAPER))
    for found, value in ((ours, 0.5), (theirs, 0.25)):
        columns = np.flatnonzero(found.any(axis=0))
        assert columns[0] == start
        assert columns[-1] == start + round(bars.SCALE * value)
        assert not found[bars.ROW :].any()  # no bar in the second row


def test_models_of_the_ablation_are_taken(table3: ModuleType, paper: ModuleType, tmp_path: Path) -> None:
    args = argparse.Namespace(
        ablation_work=tmp_path / "ablation", work=tmp_path / "own", fast=False, category="screw", paper_weights=False
    )
    for training, column in table3.SAME_MODEL.items():
        overrides = table3.cell_overrides(args, "screw", training, 1)
        assert overrides == paper.ablation.cell_overrides(args, column, 1)
        own = tmp_path / "own" / "screw" / training / "seed1"
        assert table3.work_folder(args, "screw", training, overrides=overrides) == own
        there = tmp_path / "ablation" / "screw" / column / "seed1"
        there.mkdir(parents=True)
        (there / "done.json").write_text(json.dumps({**overrides, "encoder_weights": "a file"}))
        assert table3.work_folder(args, "screw", training, overrides=overrides) == there
        other = {**overrides, "epochs": 77}
        assert table3.work_folder(args, "screw", training, overrides=other) == own


def test_detection_by_hand(paper: ModuleType) -> None:
    """hand: scores 0, 1, 2, 4 cut at 2: normals 0, 1 right, anomalies 2, 4 right; at 3 one of two is missed."""
    import measuring

    scores, labels = [0.0, 1.0, 2.0, 4.0], [0, 0, 1, 1]
    found = measuring.detection(scores, labels, threshold=3.0, probability=False)
    assert (found["accuracy_paper"], found["accuracy_held_out"], found["image_auroc"]) == (1.0, 0.75, 1.0)
    sure = measuring.detection([each / 5 for each in scores], labels, threshold=0.3, probability=True)
    assert (sure["accuracy_paper"], sure["accuracy_held_out"]) == (0.75, 1.0)


def test_refusals(paper: ModuleType, tmp_path: Path) -> None:
    words = ["collect", "table3", "--output", str(tmp_path)]
    with pytest.raises(SystemExit, match="no results table3_"):
        paper.main(words)
    with pytest.raises(SystemExit, match=r"no category in .* expected folders such as screw/train/good"):
        paper.main(["table3", "--data", str(tmp_path)])
    cell(tmp_path, "screw", "AE_L2", 0.5)
    run_words = ["table3", "--data", str(tmp_path), "--category", "screw", "--methods", "AE_L2", *words[2:]]
    with pytest.raises(
        SystemExit, match=r"with encoder_weights none \(expected: ResNet-18, ImageNet, conv1 to layer3\)"
    ):
        paper.main([*run_words, "--weights", "imagenet"])
    cell(tmp_path, "screw", "AE_L2", 0.5, epochs=77)
    with pytest.raises(SystemExit, match=r"was measured with epochs 77 \(expected: \d+\): remove it"):
        paper.main(words)


def test_rows_beyond_the_paper_by_hand(paper: ModuleType, tmp_path: Path) -> None:
    """hand: IoU 0.30 and 0.40 of two seeds mean 0.35, 0.13 below the paper's 0.48 of CAVGA-R_u on screw."""
    cell(tmp_path, "screw", "CAVGA-R_u", 0.1)
    paper.main(["collect", "table3", "--output", str(tmp_path)])
    assert "Beyond the paper" not in (tmp_path / "table3.md").read_text()
    for seed, value in enumerate((0.3, 0.4)):
        row = {"iou@0.5_images": value, "pixel_auroc": 0.9, "accuracy_paper": 0.75, "image_auroc": None}
        report = {"maps": dict.fromkeys(("attention", "class", "fused"), row)}
        (tmp_path / f"synthetic_screw_k0_seed{seed}.json").write_text(json.dumps({"overrides": {}, "report": report}))
    other = {"overrides": {"epochs": 1}, "report": report}
    (tmp_path / "synthetic_screw_k0_seed12.json").write_text(json.dumps(other))  # other settings: not read
    (tmp_path / "synthetic_screw_k0_seed0_peaks.json").write_text("of another rule: not read")
    (tmp_path / "synthetic_screw_k4_seed0.json").write_text("of a training with labels: not read")
    paper.main(["collect", "table3", "--output", str(tmp_path)])
    localisation, detection = ((tmp_path / f"table{number}.md").read_text() for number in (3, 6))
    assert (
        "| attention | A^{c_a} of C | 2 | 0.350 ± 0.050 | – | – | – | – | 0.900 ± 0.000 | 0.48 | -0.130 |"
        in localisation
    )
    assert "| fused | calibrated | 2 | 0.750 ± 0.000 | – | – | 0.78 | -0.030 |" in detection
    import table3_beyond

    bar = table3_beyond.beyond_bar(tmp_path, "screw", key="attention", judged="iou@0.5_images", paper=0.48)
    assert (bar.label, round(bar.ours, 6), round(bar.spread, 6), bar.paper) == (
        "ours, made defects: attention",
        0.35,
        0.05,
        0.48,
    )
    nothing = {"key": "fused", "judged": "image_auroc", "paper": None}
    assert table3_beyond.beyond_bar(tmp_path, "screw", **nothing) is None  # no value
    assert table3_beyond.beyond_bar(tmp_path, "grid", **nothing) is None  # no run


def test_a_mix_of_first_weights_is_refused(paper: ModuleType, tmp_path: Path) -> None:
    """CAVGA-D_u begins with random weights whatever is given, so it may stand beside the others."""
    cell(tmp_path, "screw", "CAVGA-D_u", 0.1)
    for method, start in (("AE_L2", "a" * 12), ("CAVGA-R_u", "b" * 12)):
        path = cell(tmp_path, "screw", method, 0.1)
        result = {**json.loads(path.read_text()), "encoder_weights": "ResNet-18", "encoder_weights_sha256": start}
        path.write_text(json.dumps(result))
    with pytest.raises(SystemExit, match=r"encoders of table3 start from a{12} and b{12}, expected one: remove the"):
        paper.main(["collect", "table3", "--output", str(tmp_path)])
    path.unlink()
    paper.main(["collect", "table3", "--output", str(tmp_path)])
