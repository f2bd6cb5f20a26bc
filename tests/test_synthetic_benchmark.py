"""The benchmark of made anomalies: its table by hand, and a finished step that is kept or refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def synthetic(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import synthetic

    return synthetic


def report(rule: Any, auroc: float) -> dict[str, Any]:
    values = {"pixel_auroc": auroc, "image_auroc": auroc, "image_auroc_interval": [auroc - 0.05, auroc + 0.05]}
    return {
        "settings": {"score_rule": rule} if rule == "peaks" else {"image_quantile": rule},
        "maps": {"fused": values},
    }


def result(folder: Path, labelled: int, seed: int, auroc: float, *, rule: Any = "peaks", **overrides: Any) -> Path:
    """A result file of the retina protocol."""
    own = {"supervision": "mixed", "epochs": 12} if labelled else {}
    commit = "a" * 40 if rule == "peaks" else "b" * 40
    step = {"seconds": 120, "cpu": "a CPU", "cores": 2, "threads": "1", "date": "2026-01-01", "commit": commit}
    content = {
        "labelled": labelled,
        "seed": seed,
        "overrides": {**own, **overrides},
        "steps": dict.fromkeys(("synthetic_training", "calibrating", "synthetic_evaluating"), step),
        "report": report(rule, auroc),
    }
    path = folder / f"synthetic_retina_k{labelled}_seed{seed}{'_peaks' if rule == 'peaks' else ''}.json"
    path.write_text(json.dumps(content))
    return path


def test_table_by_hand(synthetic: ModuleType, tmp_path: Path) -> None:
    """hand: 0.8 and 0.9 are 0.850 +- 0.050; one run has its interval; the bundle's rule stands first."""
    for labelled, seed, auroc in ((0, 0, 0.8), (0, 1, 0.9), (4, 0, 0.85)):
        result(tmp_path, labelled, seed, auroc)
    result(tmp_path, 0, 0, 0.7, rule=0.995)
    words = ["collect", "--protocol", "retina", "--output", str(tmp_path)]
    synthetic.main(words)
    text = (tmp_path / "synthetic_retina.md").read_text()
    head, now, earlier = text.split("## Image score: ")
    assert "± 0.000" not in text
    assert "copy" not in head  # no note without notes.json
    assert now.startswith("mean of the map's 5 highest peaks\n\n| labels | seeds |")
    means, single = now.split("Single runs")
    assert "| 0 | 0, 1 | fused | 0.850 ± 0.050 | – | – | – | 0.850 ± 0.050 |" in means
    assert "| 4 | 0 | fused | 0.850 | – | – | – | 0.850 [0.800, 0.900] |" in means
    rows = [line.split(" | ")[:2] for line in single.split("trained at")[0].splitlines() if "fused" in line]
    assert rows == [["| 0", "0"], ["| 0", "4"], ["| 1", "0"]]  # a seed's models stand together
    assert "| 0 | 0 | 2 min | 2 min | a CPU, 2 cores | 1 | 2026-01-01 | aaaaaaaaaa | aaaaaaaaaa |" in single
    assert earlier.startswith("0.995 quantile of the map\n\nOf an earlier version")
    assert "`git checkout bbbbbbbbbb`" in earlier
    assert "Single runs" not in earlier  # they would say the same again
    assert "| 0 | 0 | fused | 0.700 | – | – | – | 0.700 [0.650, 0.750] |" in earlier


def test_other_settings_are_named_or_refused(synthetic: ModuleType, tmp_path: Path) -> None:
    words = ["collect", "--protocol", "retina", "--output", str(tmp_path)]
    with pytest.raises(SystemExit, match="no results of retina"):
        synthetic.main(words)
    result(tmp_path, 4, 0, 0.8, epochs=7)
    synthetic.main(words)
    assert "4 labels: trained with epochs 7 (expected: 12)." in (tmp_path / "synthetic_retina.md").read_text()
    result(tmp_path, 4, 1, 0.8)
    with pytest.raises(SystemExit, match=r"seeds of 4 labels were trained with .*12.* and .*7.*: move"):
        synthetic.main(words)


@pytest.fixture
def run(synthetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the screw protocol with steps that only write what the next needs; the steps that ran."""
    ran: list[str] = []

    def step(bundle: str, run_id: str, **options: Any) -> None:
        ran.append(run_id)
        if run_id == "synthetic_training":
            Path(options["model_file"]).write_text(f"a model of {options.get('epochs')} epochs")
        if run_id == "calibrating":
            Path(options["calibration_file"]).with_suffix(".json").write_text("{}")
        if run_id == "synthetic_evaluating":
            folder = Path(options["evaluation_dir"])
            folder.mkdir(exist_ok=True)
            (folder / "report.json").write_text(json.dumps(report(0.995, 0.5)))

    monkeypatch.setattr(synthetic, "run_bundle", step)

    def call(*words: str) -> list[str]:
        ran.clear()
        common = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--output", str(tmp_path)]
        synthetic.main(["run", "--protocol", "screw", *common, *words])
        return list(ran)

    return call


def test_a_finished_step_is_kept_or_refused(
    synthetic: ModuleType, run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = list(synthetic.STEPS)
    assert run("--set", "epochs=3") == steps
    content = json.loads((tmp_path / "synthetic_screw_k0_seed0.json").read_text())
    assert content["overrides"] == {"epochs": 3}
    assert content["command"].endswith("--set epochs=3")
    assert content["steps"]["synthetic_training"]["overrides"]["category"] == "screw"
    assert str(tmp_path) not in json.dumps(content)
    assert run("--set", "epochs=3") == []
    for words, problem in (
        ([], r"epochs 3 \(expected: the default\)"),
        (["--set", "epochs=4"], r"epochs 3 \(expected: 4\)"),
    ):
        with pytest.raises(SystemExit, match=rf"synthetic_training.json was run with {problem}: remove its folder"):
            run(*words)

    done = tmp_path / "work" / "screw" / "k0" / "seed0" / "synthetic_training.json"
    done.unlink()
    assert run("--set", "epochs=4", "--steps", "synthetic_training") == steps[:1]
    assert run("--set", "epochs=4") == steps[1:]  # those of the model before do not count
    note = json.loads(done.read_text())
    del note["overrides"]
    done.write_text(json.dumps(note))  # as versions before this check wrote it
    with pytest.raises(SystemExit, match="does not say its settings, which --set is to be compared with"):
        run("--set", "epochs=4")
    capsys.readouterr()
    assert run() == []
    assert "synthetic_training.json does not say its settings: kept" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "work")
    with pytest.raises(SystemExit, match="--set image_size: the same in every step of screw"):
        run("--set", "image_size=[64, 64]")
    with pytest.raises(SystemExit, match="--labelled is 4, but ped2 is not trained"):
        run("--protocol", "ped2", "--labelled", "4")


def test_students_of_another_teacher_are_refused(
    synthetic: ModuleType, run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--labelled", "4"]
    assert run(*words) == 2 * list(synthetic.STEPS)
    assert run(*words) == []
    work = tmp_path / "work" / "screw"
    teacher, done = work / "k0" / "seed0" / "model.pt", work / "k4" / "seed0" / "synthetic_training.json"
    assert json.loads(done.read_text())["teacher"] == hashlib.sha256(teacher.read_bytes()).hexdigest()
    assert "teacher" not in json.loads((work / "k0" / "seed0" / done.name).read_text())
    teacher.write_text("trained again")
    with pytest.raises(SystemExit, match=r"had a teacher of SHA-256 \w{12}, .*k0.* is \w{12}: remove its"):
        run(*words)
    teacher.unlink()
    capsys.readouterr()
    assert run(*words) == []
    assert "is not there to be compared with" in capsys.readouterr().out
    note = json.loads(done.read_text())
    del note["teacher"]
    done.write_text(json.dumps(note))  # as versions before this check wrote it
    assert run(*words) == []
    assert "synthetic_training.json does not say its teacher: kept" in capsys.readouterr().out
    shutil.rmtree(done.parent)
    with pytest.raises(
        SystemExit, match=r"no teacher .*model.pt, expected the model without labels: remove its folder"
    ):
        run(*words)
    teacher.write_text("trained again")
    assert run(*words) == list(synthetic.STEPS)


@pytest.mark.parametrize("setting", ["epochs=3", 'supervision="none"', 'teacher_file="a.pt"'])
def test_settings_of_labels_are_their_own(run: Any, setting: str) -> None:
    key = setting.split("=")[0]
    with pytest.raises(SystemExit, match=f"--set {key}: a training with labels has its own of screw"):
        run("--labelled", "0", "4", "--set", setting)


def test_a_calibration_is_run_again_without_its_file(synthetic: ModuleType, run: Any, tmp_path: Path) -> None:
    run()
    done = tmp_path / "work" / "screw" / "k0" / "seed0" / "calibrating.json"
    note = json.loads(done.read_text())
    note["overrides"]["category"] = "pill"
    done.write_text(json.dumps(note))
    with pytest.raises(SystemExit, match=r"calibrating.json was run with category pill .*: remove the file to run it"):
        run()
    done.unlink()
    assert run() == list(synthetic.STEPS[1:])
