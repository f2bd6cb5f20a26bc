"""`python -m monai_cavga`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monai_cavga import __version__
from monai_cavga.__main__ import main, parse_value
from monai_cavga.bundle import BundleDirectoryWorkflow

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that prints what it does; its data set is there."""
    configs = tmp_path / "bundles" / "lag" / "configs"
    configs.mkdir(parents=True)
    train = {
        "dataset_dir": str(tmp_path),
        "epochs": 2,
        "sizes": [1, 2],
        "training": ["$print('trained', repr(@epochs), repr(@sizes))"],
        "finalize": ["$print('finalized')"],
    }
    (configs / "train.json").write_text(json.dumps(train))
    return configs.parent


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_runs_a_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "training", "--config", str(bundle)]
    assert main([*command, "--epochs", "3", "--sizes=[4,5]"]) == 0
    assert capsys.readouterr().out.splitlines() == ["trained 3 [4, 5]", "finalized"]
    assert main([*command, "--epochs", "-1"]) == 0
    assert capsys.readouterr().out.splitlines() == ["trained -1 [1, 2]", "finalized"]


def test_calibrate_is_run_calibrating(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configs = bundle / "configs"
    (configs / "synthetic.json").write_text((configs / "train.json").read_text())
    (configs / "calibrate.json").write_text(json.dumps({"calibrating": ["$print('calibrated', @epochs)"]}))
    for command in (["calibrate"], ["run", "calibrating"]):
        assert main([*command, "--config", str(bundle), "--epochs", "3"]) == 0
        assert capsys.readouterr().out.splitlines() == ["calibrated 3", "finalized"]
    assert main(["calibrate", "--config", str(bundle), "--epoch", "3"]) == 2
    assert "unknown key --epoch: did you mean --epochs?" in _one_line(capsys)
    (configs / "calibrate.json").unlink()
    assert main(["calibrate", "--config", str(bundle)]) == 2
    assert "no bundle for 'calibrating'" in _one_line(capsys)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1e-3", -1e-3),
        ("True", True),
        ("None", None),
        ("[256, 384]", [256, 384]),
        ("256,384", (256, 384)),
        ("[a, b]", ["a", "b"]),
        ("{'x': 1}", {"x": 1}),
        ("bundles/lag", "bundles/lag"),
        ("dir#1/x", "dir#1/x"),
        ("dir#1", "dir#1"),
        ("'3'", "3"),
        ("$@epochs + 1", "$@epochs + 1"),
        ("", ""),
    ],
)
def test_values_are_read_as_monai_reads_them(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--epoch", "3"], "unknown key --epoch: did you mean --epochs?"),
        (["7"], "unexpected argument '7'"),
        (["--run_id", "evaluating"], "--run_id is given after 'run' here"),
        (["--dataset_dir", "nowhere"], "github.com/smilell/AG-CNN"),
        (["--config_file", "x.json"], "got both of config and config_file"),
    ],
)
def test_bad_arguments_of_a_run(bundle: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    assert main(["run", "training", "--config", str(bundle), *words]) == 2
    assert line in _one_line(capsys)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "required: COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["run", "trian", "--config", "x"], "invalid choice: 'trian'"),
        (["run", "training"], "required: --config"),
        (["phantoms", "x", "--normall", "3"], "unknown argument --normall"),
        (["phantoms", "x", "--normal", "many"], "invalid int value: 'many'"),
    ],
)
def test_bad_commands(capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert line in _one_line(capsys)


def test_a_folder_that_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "training", "--config", str(tmp_path)]) == 2
    assert "no bundle for 'training' at" in _one_line(capsys)


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (ValueError("image height 250 is odd:\n resize"), 2, "monai_cavga: image height 250 is odd: resize\n"),
        (FileNotFoundError("no such file"), 2, "monai_cavga: no such file\n"),
        (MemoryError("too big"), 1, "monai_cavga: MemoryError: too big (MONAI_CAVGA_DEBUG=1 shows where)\n"),
        (KeyboardInterrupt(), 130, "monai_cavga: interrupted\n"),
    ],
)
def test_a_run_that_fails_is_one_line(
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
    line: str,
) -> None:
    def fail(_: BundleDirectoryWorkflow) -> None:
        if isinstance(raised, ValueError):
            raise RuntimeError("Failed to instantiate") from raised  # as MONAI wraps it
        raise raised

    monkeypatch.setattr(BundleDirectoryWorkflow, "initialize", fail)
    command = ["run", "training", "--config", str(bundle)]
    assert main(command) == code
    assert capsys.readouterr().err.endswith(line)
    if isinstance(raised, Exception):
        monkeypatch.setenv("MONAI_CAVGA_DEBUG", "1")
        with pytest.raises((RuntimeError, type(raised))):
            main(command)


def test_phantoms_then_check_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "phantoms"
    options = ["--normal", "6", "--anomalous", "2", "--seed", "3", "--size", "64", "96"]
    assert main(["phantoms", str(folder), *options]) == 0
    assert str(folder) in capsys.readouterr().out
    assert main(["check-data", str(folder)]) in (0, 1)  # so few images may be too few for the protocol
    assert "LAG layout" in capsys.readouterr().out
    images = sorted(path.parent.parent.name for path in folder.rglob("image/*.jpg"))
    assert images == ["non_glaucoma"] * 6 + ["suspicious_glaucoma"] * 2


def test_phantoms_of_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "shapes"
    assert main(["phantoms", str(folder), "--kind", "shapes", "--normal", "10", "--anomalous", "2"]) == 0
    assert f"--config bundles/one_class --dataset_dir {folder}" in capsys.readouterr().out
    assert main(["check-data", str(folder)]) == 0
    assert "test, normal class 0: 2 normal, 6 anomalous" in capsys.readouterr().out


def test_phantoms_of_surveillance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "campus"
    options = ["--normal", "3", "--anomalous", "1", "--size", "64", "96"]
    assert main(["phantoms", str(folder), "--kind", "mstc", *options]) == 0
    assert f"--config bundles/mstc --dataset_dir {folder}" in capsys.readouterr().out
    assert main(["check-data", str(folder)]) == 0
    assert "test: 4 normal, 8 anomalous (8 with masks)" in capsys.readouterr().out


def test_phantoms_of_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "parts"
    options = ["--normal", "3", "--anomalous", "1", "--size", "64", "96"]
    assert main(["phantoms", str(folder), "--kind", "mvtad", *options]) == 0
    assert f"--config bundles/mvtad --category bolt --dataset_dir {folder}" in capsys.readouterr().out
    assert main(["check-data", str(folder)]) == 0
    assert "weave test: 1 normal, 2 anomalous (2 with masks)" in capsys.readouterr().out


def test_check_data_of_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-data", str(tmp_path)]) == 1
    assert "no data set that this software knows" in capsys.readouterr().out


def test_phantoms_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantoms", str(tmp_path / "x"), "--normal", "0"]) == 2
    assert "normal is 0" in _one_line(capsys)


def test_help_is_there_at_once() -> None:
    """Far from the seconds that importing torch and MONAI takes."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "monai_cavga", "run", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - start < 2
    assert "--config DIR" in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"monai_cavga {__version__}\n"


def test_our_own_error_is_shown_not_the_library_error_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    """MONAI's RuntimeError on top, our error in the middle, Pillow's at the bottom."""
    from monai_cavga.__main__ import BAD_INPUT, _report
    from monai_cavga.data import ImageReadError

    top = RuntimeError("applying transform <object at 0x7f>")
    top.__cause__ = ours = ImageReadError("cannot read image a.png: got junk,\nexpected a picture")
    ours.__cause__ = OSError("cannot identify image file")
    assert _report(top) == BAD_INPUT
    assert capsys.readouterr().err == "monai_cavga: cannot read image a.png: got junk, expected a picture\n"


def test_what_to_install_is_shown_not_the_missing_module(capsys: pytest.CaptureFixture[str]) -> None:
    from monai_cavga.__main__ import BAD_INPUT, FAILED, _report

    ours = ModuleNotFoundError("ONNX files need onnxruntime: pip install onnxruntime")
    ours.__cause__ = missing = ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
    assert _report(ours) == BAD_INPUT
    assert capsys.readouterr().err == "monai_cavga: ONNX files need onnxruntime: pip install onnxruntime\n"
    assert _report(missing) == FAILED
    assert "ModuleNotFoundError: No module named 'onnxruntime' (MONAI_CAVGA_DEBUG" in capsys.readouterr().err


def test_without_one_of_ours_the_error_at_the_bottom_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    from monai_cavga.__main__ import FAILED, _report

    top = RuntimeError("failed to instantiate")
    top.__cause__ = KeyError("seed")
    assert _report(top) == FAILED
    assert capsys.readouterr().err.startswith("monai_cavga: KeyError: 'seed' (MONAI_CAVGA_DEBUG=1")


def test_the_error_of_a_loading_process_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """torch puts the worker's whole traceback into the text of the error."""
    from monai_cavga.__main__ import BAD_INPUT, _report

    text = (
        "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        "monai_cavga.data.read.ImageReadError: cannot read image a.png: got junk\n\n"
        "The above exception was the direct cause of the following exception:\nRuntimeError: applying transform\n"
    )
    assert _report(RuntimeError(text)) == BAD_INPUT
    assert capsys.readouterr().err == "monai_cavga: cannot read image a.png: got junk\n"
