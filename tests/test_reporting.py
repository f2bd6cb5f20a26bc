"""What the benchmarks' tables share: numbers over seeds, notes on data, and paths in messages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def reporting(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import reporting

    return reporting


def test_one_run_has_an_interval_and_several_a_deviation(reporting: ModuleType) -> None:
    """hand."""
    one, two = {"a": 0.5, "a_interval": [0.25, 0.75], "b": None}, {"a": 0.7, "b": 0.5}
    assert reporting.over_seeds([one], "a") == "0.500 [0.250, 0.750]"
    assert reporting.over_seeds([two], "a") == reporting.spread([0.7]) == "0.700"
    assert reporting.over_seeds([one, two], "a") == "0.600 ± 0.100"
    assert reporting.over_seeds([one, two], "b") == reporting.over_seeds([one], "b") == "–"


def test_notes(reporting: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reporting.notes(tmp_path, "a", ["1" * 40]) == []
    entries = [{"text": "Small.", "commits": ["1" * 10, "2" * 10]}, {"text": "Dark.", "commits": ["2" * 10]}]
    (tmp_path / "notes.json").write_text(json.dumps({"what": "words", "a": entries}))
    assert reporting.notes(tmp_path, "b", ["1" * 40]) == []
    assert reporting.notes(tmp_path, "a", ["2" * 40, "2" * 40]) == ["Small.", "Dark."]
    assert capsys.readouterr().out == ""
    assert reporting.notes(tmp_path, "a", ["2" * 40, "3" * 40]) == [
        "Small. (Runs of 2222222222.)",
        "Dark. (Runs of 2222222222.)",
    ]
    assert capsys.readouterr().out.count("not said of runs of 3333333333") == 2


def test_notes_of_the_results_are_of_files_that_are_there() -> None:
    results = BENCHMARKS / "results"
    notes = json.loads((results / "notes.json").read_text())
    for runs in notes.keys() - {"what"}:
        assert list(results.glob(f"{runs}_*.json")), runs
        assert all(re.fullmatch(r"[0-9a-f]{10}", each) for entry in notes[runs] for each in entry["commits"])


def test_paths_in_messages(reporting: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert reporting.shown(tmp_path / "a" / "b.json") == str(Path("a") / "b.json")
    assert reporting.shown(tmp_path.parent / "b.json") == str(tmp_path.parent / "b.json")
    assert reporting.shown(Path("a")) == "a"
