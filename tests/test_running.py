"""What the paper's tables keep: a finished training or cell, with the file of weights that its encoder began with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
KEY = "encoder_weights_sha256"


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import running

    return running


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two files of weights."""
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for path in paths:
        path.write_bytes(path.name.encode())
    return [str(path) for path in paths]


def digits(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]


def test_a_finished_training_has_its_file_of_weights(running: ModuleType, tmp_path: Path, files: list[str]) -> None:
    work, ran = tmp_path / "work", []

    def train(weights: str) -> dict[str, Any]:
        overrides = {"epochs": 2, "encoder_weights": weights}
        running.train_once(lambda: ran.append(weights), work=work, overrides=overrides)
        return overrides

    asked = [train(files[0]), train(files[0])]
    assert ran == files[:1]
    result = running.record(work=work, overrides=asked[0], report={})
    assert (result["encoder_weights"], result[KEY]) == (running.IMAGENET, digits(files[0]))
    assert str(tmp_path) not in json.dumps(result)
    assert running.is_trained(work, asked[0])
    assert not running.is_trained(work, {**asked[0], "encoder_weights": files[1]})
    with pytest.raises(ValueError, match=rf"holds a model of .*{digits(files[0])}.*, expected .*{digits(files[1])}"):
        train(files[1])

    done = work / "done.json"
    note = json.loads(done.read_text())
    del note[KEY]
    done.write_text(json.dumps(note))  # as versions before this check wrote it
    train(files[1])
    assert ran == files[:1]
    assert KEY not in running.record(work=work, overrides=asked[0], report={})  # not the one asked for now


def test_weights_that_are_no_file(running: ModuleType) -> None:
    assert running.weights_file("none") == running.weights_file("imagenet") == {}


def test_a_finished_cell_has_its_file_of_weights(running: ModuleType, tmp_path: Path, files: list[str]) -> None:
    import cells

    path = tmp_path / "cell.json"
    words = {"encoder_weights": running.IMAGENET}
    result = {"overrides": {"epochs": 2}, **words, **running.weights_file(files[0])}
    expected = [{"epochs": 2, **words, **running.weights_file(each)} for each in (*files, "imagenet")]
    path.write_text(json.dumps(result))
    for same in (expected[0], expected[2]):
        assert cells.read_cell(path, lambda _, same=same: same) == result
    problem = rf"was measured with {KEY} {digits(files[0])} \(expected: {digits(files[1])}\): remove it"
    with pytest.raises(SystemExit, match=problem):
        cells.read_cell(path, lambda _: expected[1])
    del result[KEY]
    path.write_text(json.dumps(result))  # as versions before this check wrote it
    assert cells.read_cell(path, lambda _: expected[1]) == result
