"""Cells in order, or as Ray's tasks: every one runs, and an error names itself in a line."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def parallel(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import parallel

    return parallel


def test_in_order_until_an_error(parallel: ModuleType, tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("this cell is wrong")

    one, two = tmp_path / "one", tmp_path / "two"
    with pytest.raises(ValueError, match="this cell is wrong"):
        parallel.run_cells([one.touch, fail, two.touch])
    assert one.is_file()
    assert not two.exists()


def test_ray_is_asked_for(parallel: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match=r"--ray needs Ray, which is not installed: pip install ray"):
        parallel.run_cells([], address="local")


@pytest.mark.slow
def test_ray_runs_all_and_names_the_failed(parallel: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an extra")
    cells = [
        partial(Path.write_text, tmp_path / "one", "1"),
        partial(Path.write_text, tmp_path / "no folder" / "two", "2"),
        partial(Path.write_text, tmp_path / "three", "3"),
    ]
    with pytest.raises(SystemExit, match=r"1 of 3 cells failed, the others are kept:\nFileNotFoundError: .*no folder"):
        parallel.run_cells(cells, address="local")
    assert [(tmp_path / name).read_text() for name in ("one", "three")] == ["1", "3"]
