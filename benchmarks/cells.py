"""A table's result files, one a cell: a finished cell is kept if it has the settings that are asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reporting import shown

Wanted = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # a cell -> the settings it must have
WEIGHTS_FILE = "encoder_weights_sha256"  # the beginning of it, where a file was given; older ones do not say it
BESIDE = ("settings", "encoder_weights", WEIGHTS_FILE, "size")  # of a cell's settings, those that are not config ids
DEFAULT = "the default"


def read_cell(path: Path, wanted: Wanted) -> dict[str, Any]:
    """A finished cell; the program ends with one line if it was measured with other settings.

    Args:
        path: of its file.
        wanted: called with the cell; config ids and their values, and those of `BESIDE` that are to be compared.
    """
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    expected = dict(wanted(result))
    if WEIGHTS_FILE not in result:
        expected.pop(WEIGHTS_FILE, None)
    found = result.get("overrides", {}) | {key: result.get(key) for key in BESIDE if key in expected}
    if problem := differences(found, expected):
        sys.exit(f"{shown(path)} was measured with {problem}: remove it, or give another --output")
    return result


def is_finished(path: Path, wanted: Wanted) -> bool:
    """Whether a cell need not be measured: its file is there, with the settings of `read_cell`."""
    if not path.is_file():
        return False
    read_cell(path, wanted)
    print(f"{shown(path)} is there already: remove it to measure again", flush=True)
    return True


def read_cells(output: Path, pattern: str, wanted: Wanted, *, table: str) -> list[dict[str, Any]]:
    """All finished cells of a table, in the order of their names; the program ends with one line if there are none.

    Args:
        output: folder of the result files.
        pattern: of their names.
        wanted: of `read_cell`.
        table: subcommand of ``benchmarks/paper.py``.
    """
    results = [read_cell(path, wanted) for path in sorted(output.glob(pattern))]
    if not results:
        sys.exit(f"no results {pattern} in {shown(output)}: run `benchmarks/paper.py {table}` first")
    return results


def refuse_mixed_weights(results: Sequence[Mapping[str, Any]], what: str) -> None:
    """End the program with one line if encoders of one table start from different weights.

    Args:
        results: cells whose encoder starts from what the command line named.
        what: the table, in words.
    """
    for key in ("encoder_weights", WEIGHTS_FILE):
        weights = sorted({result[key] for result in results if key in result})
        if len(weights) > 1:
            sys.exit(f"encoders of {what} start from {' and '.join(weights)}, expected one: remove the others' cells")


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """What differs, e.g. "epochs 3 (expected: 2)"; empty if nothing does."""
    pairs = [(key, found.get(key, DEFAULT), expected.get(key, DEFAULT)) for key in sorted({*found, *expected})]
    return ", ".join(f"{key} {one} (expected: {two})" for key, one, two in pairs if one != two)
