"""Every command of the README in its order, as typed, in a folder that has what it names, with small settings.

What needs a network, an environment of its own or a package that may be missing is run by the tests named in ELSEWHERE;
that its words are right is checked in `test_docs_site.py`.
"""

from __future__ import annotations

import json
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from markdown_text import shell_commands
from PIL import Image
from tiny_bundle import write_photo
from trees import write_idrid

from monai_cavga.__main__ import main
from monai_cavga.bundle.command_line import rewrite

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = shell_commands((ROOT / "README.md").read_text(encoding="utf-8"))
NETWORK = "--image_size [64,96] --stages 2 --latent_channels 8"
TRAINED = "--encoder_weights none --discriminator_channels 8 --epochs 1 --num_workers 0"
SPLIT = "--validation_fraction 0.4 --batch_size 2"
CROPS = "--crop_size [32,32] --crop_reach [16,32]"
# What is added to a command, by its beginning.
SMALL = {
    "python -m monai_cavga localize": "",
    "python -m monai_cavga phantoms": "--normal 16 --anomalous 4 --size 64 96",
    "python -m monai_cavga check-data": "",
    "python -m monai.bundle run training": f"{NETWORK} {TRAINED} --batch_size 4",
    "python -m monai_cavga run synthetic_training": f"{NETWORK} {TRAINED} {SPLIT} {CROPS}",
    "python -m monai_cavga calibrate": f"{NETWORK} {SPLIT}",
    "python -m monai_cavga run synthetic_evaluating": f"{NETWORK} {SPLIT} --num_workers 0",
}
# Why a command is not run here, and the test that runs it, by its beginning.
ELSEWHERE = {
    "make demo": ("makes an environment first", "journeys/test_training.py", "def test_the_demo"),
    "make test": ("is this", "test_readme_commands.py", "def test_the_commands_as_typed"),
    "pip install": ("needs an environment of its own", "test_packaging.py", "def test_monais_command_as_typed"),
    "python -m monai_cavga pacs": ("needs an archive", "clinical/test_pacs_command.py", "def test_both_protocols_with"),
    "python -m monai_cavga export": ("needs ONNX packages", "test_export.py", "def test_onnx_file_gives_the_maps"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the README is followed: the bundles as in a clone, photographs, and IDRiD."""
    for name in ("lag", "idrid"):
        ignored = shutil.ignore_patterns("logging.conf", "*.pt", "*.onnx", "runs")
        shutil.copytree(ROOT / "bundles" / name, tmp_path / "bundles" / name, ignore=ignored)
    write_photo(tmp_path / "PHOTOGRAPHS" / "eye.png")
    write_idrid(tmp_path / "IDRID", normal=16)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def beginning(command: str, known: dict[str, object]) -> str:
    return next((each for each in known if command.startswith(each)), "")


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line in this process: ours by its `main`, MONAI's rewritten as the interpreter's start does it."""
    if words[2] == "monai_cavga":
        assert main(words[3:]) == 0
        return
    argv, _ = rewrite(["-m", *words[3:]], {}, orig_argv=words)
    monkeypatch.setattr(sys, "argv", argv)
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


@pytest.mark.slow
def test_the_commands_as_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    for command in COMMANDS:
        if beginning(command, ELSEWHERE):
            continue
        small = SMALL[beginning(command, SMALL)]
        words = shlex.split(command.replace("/tmp/phantoms", "phantoms"), comments=True) + shlex.split(small)
        run(words, monkeypatch)
        done.append(beginning(command, SMALL))
    assert done == list(SMALL)
    with (
        Image.open(folder / "PHOTOGRAPHS" / "eye.png") as photograph,
        Image.open(next(folder.glob("maps/**/*.png"))) as m,
    ):
        assert m.size == photograph.size
    assert (folder / "maps" / "index.html").is_file()
    assert (folder / "bundles" / "lag" / "models" / "model.pt").is_file()
    idrid = folder / "bundles" / "idrid"
    assert json.loads((idrid / "models" / "calibration.json").read_text())["n_fit"] == 10
    assert (idrid / "synthetic_eval" / "index.html").is_file()


def test_every_command_is_run_here_or_elsewhere() -> None:
    for command in COMMANDS:
        assert bool(beginning(command, SMALL)) != bool(beginning(command, ELSEWHERE)), command
    for start, (why, file, test) in ELSEWHERE.items():
        assert any(command.startswith(start) for command in COMMANDS), f"{start} is no command of the README any more"
        assert why
        assert test in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{start}: {file} has no {test}"
