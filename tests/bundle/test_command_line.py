"""The rewriting of `python -m monai.bundle run ... --config DIR`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monai_cavga.bundle import command_line
from monai_cavga.bundle.command_line import RefusedCommandError, rewrite

ROOT = Path(__file__).resolve().parents[2]


def _rewrite(
    *words: str, env: dict[str, str] | None = None, start: tuple[str, ...] = ("-m", "monai.bundle")
) -> tuple[list[str], str]:
    return rewrite(["-m", *words], env or {}, orig_argv=["python", *start, *words])


def test_rewrites_the_documented_command(bundle: Path, data: Path) -> None:
    argv, note = _rewrite("run", "training", "--config", str(bundle), "--dataset_dir", str(data))
    train = str(bundle / "configs" / "train.json")
    assert argv == [
        *("-m", "run", "training", "--config_file", train, "--bundle_root", str(bundle)),
        *("--dataset_dir", str(data)),
    ]
    assert note == f"--config {bundle} is read as --config_file {train} --bundle_root {bundle}"


def test_evaluating_lays_one_file_over_the_other(bundle: Path) -> None:
    argv, _ = _rewrite("run", "evaluating", "--config", str(bundle))
    files = [str(bundle / "configs" / name) for name in ("train.json", "evaluate.json")]
    assert argv == ["-m", "run", "evaluating", "--config_file", str(files), "--bundle_root", str(bundle)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--config=BUNDLE", "training"], ["run", "NEW", "training"]),
        (["run", "--run_id", "training", "--config", "BUNDLE"], ["run", "--run_id", "training", "NEW"]),
        (["run", "--run-id=training", "--config", "BUNDLE"], ["run", "--run-id=training", "NEW"]),
        (["run", "--config", "BUNDLE"], ["run", "NEW"]),
        (["run", "--amp", "--config", "BUNDLE", "training"], ["run", "--amp", "NEW", "training"]),
        (["run", "training", "--config", "BUNDLE", "--amp"], ["run", "training", "NEW", "--amp"]),
        (["run", "training", "--config", "BUNDLE", "--", "--trace"], ["run", "training", "NEW", "--", "--trace"]),
    ],
)
def test_forms_of_the_command(bundle: Path, words: list[str], expected: list[str]) -> None:
    argv, _ = _rewrite(*(word.replace("BUNDLE", str(bundle)) for word in words))
    new = ["--config_file", str(bundle / "configs" / "train.json"), "--bundle_root", str(bundle)]
    assert argv == ["-m", *(part for word in expected for part in (new if word == "NEW" else [word]))]


def test_none_reaches_the_config(bundle: Path) -> None:
    """MONAI's `run` ignores arguments that are None, overrides among them."""
    argv, _ = _rewrite(
        "run", "training", "--config", str(bundle), "--epochs", "None", "--amp=None", "--meta_file", "None"
    )
    assert argv[-6:] == ["--epochs", "$None", "--amp", "$None", "--meta_file", "None"]


def test_a_bundle_root_of_ones_own_is_kept(bundle: Path) -> None:
    argv, _ = _rewrite("run", "training", "--config", str(bundle), "--bundle_root", "elsewhere")
    assert argv.count("--bundle_root") == 1
    assert argv[-1] == "elsewhere"


def test_a_folder_that_fire_would_cut_short_is_quoted(bundle: Path) -> None:
    odd = bundle.rename(bundle.with_name("lag#2"))
    argv, _ = _rewrite("run", "training", "--config", str(odd))
    assert argv[-1] == repr(str(odd))


def test_rewriting_twice_is_rewriting_once(bundle: Path) -> None:
    words = ["run", "training", "--config", str(bundle)]
    once, _ = _rewrite(*words)
    again, note = rewrite(once, {}, orig_argv=["python", "-m", "monai.bundle", *words])
    assert (again, note) == (once, "")
    assert _rewrite(*once[1:]) == (once, "")


@pytest.mark.parametrize(
    "start", [("-m", "monai.bundle"), ("-u", "-m", "monai.bundle"), ("-um", "monai.bundle"), ("-mmonai.bundle",)]
)
def test_ways_to_start_the_module(bundle: Path, start: tuple[str, ...]) -> None:
    assert "--config_file" in _rewrite("run", "training", "--config", str(bundle), start=start)[0]


@pytest.mark.parametrize(
    "words",
    [
        ["run", "training"],
        ["run", "training", "--config"],
        ["run", "training", "--config", "nowhere"],
        ["run", "training", "--config", "BUNDLE", "--config_file", "x.json"],
        ["run", "training", "--config", "BUNDLE", "--args_file", "x.json"],
        ["run", "training", "--config", "BUNDLE", "--workflow_name", "a.B"],
        ["run", "training", "initialize", "finalize", "meta.json", "x.json", "--config", "BUNDLE"],
        ["run", "training", "--configs", "BUNDLE"],
        ["run_workflow", "training", "--config", "BUNDLE"],
        ["verify_metadata", "--config", "BUNDLE"],
        ["--config", "BUNDLE", "run", "training"],
        [],
    ],
)
def test_other_commands_stay_as_typed(bundle: Path, words: list[str]) -> None:
    words = [word.replace("BUNDLE", str(bundle)) for word in words]
    assert _rewrite(*words)[0] == ["-m", *words]


@pytest.mark.parametrize(
    "orig_argv",
    [
        ["python", "-m", "monai.apps", "WORDS"],
        ["python", "-m", "torch.distributed.run", "-m", "monai.bundle", "WORDS", "more"],
        ["python", "monai.bundle", "WORDS"],
        ["python", "-c", "monai.bundle", "WORDS"],
        ["WORDS"],
        [],
    ],
)
def test_other_programs_stay_as_typed(bundle: Path, orig_argv: list[str]) -> None:
    words = ["run", "training", "--config", str(bundle)]
    started = [part for word in orig_argv for part in (words if word == "WORDS" else [word])]
    assert rewrite(["-m", *words], {}, orig_argv=started) == (["-m", *words], "")
    assert rewrite(["script.py", *words], {}, orig_argv=["python", "script.py", *words])[0][0] == "script.py"


def test_the_switch(bundle: Path) -> None:
    words = ["run", "training", "--config", str(bundle), "--epoch", "3"]
    assert _rewrite(*words, env={"MONAI_CAVGA_CLI": "0"}) == (["-m", *words], "")


def test_a_folder_without_the_files_is_said_and_left_to_monai(bundle: Path) -> None:
    words = ["run", "inference", "--config", str(bundle)]
    (bundle / "configs" / "inference.json").unlink()
    argv, note = _rewrite(*words)
    assert argv == ["-m", *words]
    assert note.endswith("inference.json does not exist; the arguments go to MONAI as typed")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["training", "--epoch", "3"], "unknown key --epoch: did you mean --epochs?"),
        (["training", "--train::dataloadr::x=3"], "unknown key --train::dataloadr::x: did you mean --train::data"),
        (["trainin"], "unknown run 'trainin': did you mean 'training'?"),
        (["training", "--run_name", "x"], "unknown key --run_name"),
        (["training", "--dataset_dir", "nowhere"], "github.com/smilell/AG-CNN"),
    ],
)
def test_refusals(bundle: Path, words: list[str], line: str) -> None:
    with pytest.raises(RefusedCommandError) as refusal:
        _rewrite("run", *words, "--config", str(bundle))
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_refuses_a_config_that_is_not_json(bundle: Path) -> None:
    (bundle / "configs" / "train.json").write_text("{")
    with pytest.raises(RefusedCommandError, match=r"train\.json is not valid JSON"):
        _rewrite("run", "training", "--config", str(bundle))


def test_tracking_brings_its_own_keys(bundle: Path) -> None:
    argv, _ = _rewrite("run", "training", "--config", str(bundle), "--tracking", "mlflow", "--run_name", "x")
    assert "--config_file" in argv


def test_install_rewrites_in_place_and_never_raises(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "training", "--config", str(bundle)]
    arguments = ["-m", *words]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "monai.bundle", *words])
    command_line.install()
    assert sys.argv is arguments
    assert "--config_file" in sys.argv
    assert capsys.readouterr().err.count("\n") == 1
    command_line.install()
    assert capsys.readouterr().err == ""

    monkeypatch.setattr(sys, "argv", ["-m", *words])
    monkeypatch.setattr(command_line, "rewrite", lambda *_, **__: 1 / 0)
    command_line.install()
    assert sys.argv == ["-m", *words]
    assert "left to MONAI (ZeroDivisionError" in capsys.readouterr().err


def test_one_line_from_all_of_torchruns_processes(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "training", "--config", str(bundle)]
    monkeypatch.setattr(sys, "argv", ["-m", *words])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-u", "-m", "monai.bundle", *words])
    monkeypatch.setenv("RANK", "1")
    command_line.install()
    assert "--config_file" in sys.argv
    assert capsys.readouterr().err == ""


def test_a_refused_command_ends_with_code_2_and_one_line(bundle: Path) -> None:
    words = ["run", "training", "--config", str(bundle), "--epoch", "3"]
    code = (
        "import sys; from monai_cavga.bundle import command_line\n"
        f"sys.argv[:] = {['-m', *words]!r}; sys.orig_argv = {['python', '-m', 'monai.bundle', *words]!r}\n"
        "command_line.install(); print('not reached')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "monai_cavga: unknown key --epoch: did you mean --epochs?\n"


def test_the_package_and_the_command_line_import_neither_torch_nor_monai() -> None:
    code = (
        "import json, sys, monai_cavga, monai_cavga.bundle.command_line, monai_cavga.__main__\n"
        "print(json.dumps([n for n in ('torch', 'monai', 'ignite', 'numpy') if n in sys.modules]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
