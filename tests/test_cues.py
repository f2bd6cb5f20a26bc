"""What a test set gives away by its brightness: measured category by category, into one file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trees import write_mvtad

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_other_categories_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import cues

    data = write_mvtad(tmp_path / "mvtec", normal=2)
    write_mvtad(data, category="leather", normal=2)
    for category in ("screw", "leather"):
        cues.main(["--data", str(data), "--category", category, "--output", str(tmp_path)])
    rows = json.loads((tmp_path / "cues.json").read_text())["categories"]
    assert list(rows) == ["leather", "screw"]
    assert rows["screw"]["image_auroc of the mean"] == 0.0  # the bar across the disc is dark
    assert rows["screw"]["machine"]["commit"] == rows["leather"]["machine"]["commit"]
