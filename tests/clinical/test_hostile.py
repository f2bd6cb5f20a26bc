"""Damaged files through the whole command: no traceback, no hang, no good file lost.

``benchmarks/hostile.py`` does the same with a thousand.
"""

from __future__ import annotations

import json
import time

import pytest
from mutants import good_files, mutants, write_all
from tiny_bundle import write_bundle

from monai_cavga.__main__ import main

NUMBER = 144


@pytest.mark.slow
def test_damaged_files_cost_nobody_anything(tmp_path, capsys):
    good = write_all(tmp_path / "in", number=NUMBER)
    bundle = write_bundle(tmp_path / "bundle")
    begin = time.monotonic()
    command = ["localize", str(tmp_path / "in"), "--bundle", str(bundle), "--output", str(tmp_path / "out")]
    assert main([*command, "--write", "map"]) == 3
    assert time.monotonic() - begin < 300
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert "Müller" not in printed.err + printed.out
    images = json.loads((tmp_path / "out" / "results.json").read_text())["images"]
    states = {each["path"]: each["state"] for each in images}
    assert len(states) == NUMBER + len(good)
    assert {states[str(path)] for path in good} == {"ok"}
    assert list(states.values()).count("refused") > NUMBER / 4
    assert "failed" not in states.values()
    assert all(each["reason"] and "\n" not in each["reason"] for each in images if each["state"] != "ok")


def test_mutants_are_seeded_and_damaged():
    good = good_files()
    first, again = (list(mutants(good, number=24, seed=3)) for _ in range(2))
    assert first == again
    assert first != list(mutants(good, number=24, seed=4))
    assert sum(content != good[name.split("_", 1)[1]] for name, content in first) >= 20
