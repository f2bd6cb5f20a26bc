"""The table of keys in each bundle's docs says what the configs hold: every option, no other, with its default."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from monai_cavga.bundle.directory import folder_problem

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = ("lag", "idrid", "mvtad", "mstc", "one_class")
# The files whose keys a run adds to those of the run that it evaluates or calibrates, and one of these keys.
FILES = {
    "training": (("train.json",), "epochs"),
    "evaluating": (("evaluate.json",), "maps"),
    "inference": (("inference.json",), "batch_size"),
    "synthetic_training": (("synthetic.json",), "epochs"),
    "calibrating": (("calibrate.json",), "false_positive_rate"),
    "synthetic_evaluating": (("evaluate.json", "synthetic_evaluate.json"), "maps"),
}
RUNS = [(name, run) for name in NAMES for run in FILES if not folder_problem(BUNDLES / name, run)]
ROW = re.compile(rf"^\| `(\w+)` \| ({'|'.join(FILES)}) \| `(.+?)` \| \S.*\|$", re.MULTILINE)


def load(name: str, run: str) -> dict[str, Any]:
    files = (json.loads((BUNDLES / name / "configs" / file).read_text(encoding="utf-8")) for file in FILES[run][0])
    merged = {key: value for content in files for key, value in content.items()}
    return {key: value for key, value in merged.items() if not re.search("::|#", key)}  # not into another file's part


def is_option(config: dict[str, Any], key: str) -> bool:
    """Whether a top-level key is a plain value: no component, none made from one, and nothing that is run."""
    value = config[key]
    if isinstance(value, list):
        return not any(isinstance(each, dict) or str(each)[:1] in ("$", "@", "%") for each in value)
    if isinstance(value, str):
        used = re.findall(r"@(\w+)", value)
        return not value.startswith("%") and all(is_option(config, each) for each in used if each in config)
    return not isinstance(value, dict)


def options(name: str, run: str) -> dict[str, str]:
    """Each option of a config with its default as the docs write it: JSON, an expression without its dollar."""
    config = load(name, run)
    return {
        key: value[1:] if isinstance(value, str) and value.startswith("$") else json.dumps(value)
        for key, value in config.items()
        if is_option(config, key)
    }


def documented(name: str) -> dict[tuple[str, str], str]:
    """``{(key, run): default}`` of the table."""
    text = (BUNDLES / name / "docs" / "README.md").read_text(encoding="utf-8")
    rows = ROW.findall(text)
    assert len(rows) == len({row[:2] for row in rows}), "a key is there twice"
    assert len(rows) == len(re.findall(r"^\| `\w+` \|", text, re.MULTILINE)), "a row is not key, run, default, meaning"
    return {(key, run): default for key, run, default in rows}


def test_options_are_told_from_components() -> None:
    """hand: one key of each kind."""
    config = {
        "epochs": 4,
        "size": [2, 3],
        "folder": "$@root + '/x'",
        "root": ".",
        "part": {"_target_": "a.B"},
        "made": "$@part.to(@root)",
        "parts": [{"_target_": "a.B"}],
        "first": ["$print(@epochs)"],
        "run": "%first",
    }
    assert [key for key in config if is_option(config, key)] == ["epochs", "size", "folder", "root"]


@pytest.mark.parametrize(("name", "run"), RUNS)
def test_every_option_is_in_the_docs_with_its_default(name: str, run: str) -> None:
    """A run's own row counts; without one, every row of the key must say this run's default too."""
    rows, found = documented(name), options(name, run)
    assert FILES[run][1] in found
    for key, default in found.items():
        said = {rows[key, run]} if (key, run) in rows else {rows[row] for row in rows if row[0] == key}
        assert said == {default}, f"{run}: {key} is {default}, the docs of {name} say {said or 'nothing'}"


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_name_no_other_keys(name: str) -> None:
    for key, run in documented(name):
        assert key in options(name, run), f"{key} is in the docs of {name} but no option of {run}"
