"""The tables of the README and of docs/results.md say what the results files say, row by row, digit by digit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from markdown_text import links

ROOT = Path(__file__).resolve().parents[1]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "results.md"
RESULTS = ROOT / "benchmarks" / "results"
SECTIONS = {"IDRiD": "retina"}  # what a results file calls a data set, where that is not its name
NAMES = ("labels", "class")  # columns that name a row, beside those with rules of their own


class Row(NamedTuple):
    """A table's row: its headings in the text above it, and its cells by column."""

    context: str
    cells: dict[str, str]


def rows(text: str) -> list[Row]:
    """Every row of every table: the first line of a table names its columns."""
    found, titles, columns = [], ["", "", ""], None
    for line in text.splitlines():
        if heading := re.match(r"(#{1,3}) (.+)", line):
            level = len(heading[1])
            titles[level - 1 :] = [heading[2], *[""] * (3 - level)]
        if not line.startswith("|"):
            columns = None
        elif columns is None:
            columns = cells_of(line)
        elif not re.fullmatch(r"[|\-: ]+", line):
            found.append(Row(" / ".join(titles), dict(zip(columns, cells_of(line), strict=True))))
    return found


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def is_row(claim: Row, row: Row) -> bool:
    """Whether a row of results is the one that a claim names: data, labels, method, seeds.

    A method is named by what stands before its semicolon, part by part: `code` is a cell of the row, other words stand
    somewhere in it or in its headings, and "320 training images" is the number in that column.
    """
    data = claim.cells["data"]
    if SECTIONS.get(data, data).lower() not in row.context.lower():
        return False
    if any(claim.cells[name] != row.cells.get(name, "0") for name in NAMES if name in claim.cells):
        return False
    if (seeds := claim.cells["seeds"]) != "–" and seeds not in seeds_of(row):
        return False
    text = f"{row.context} {' '.join(row.cells.values())}"
    for part in claim.cells.get("method", "").partition(";")[0].split(", "):
        if code := re.fullmatch(r"`(.+)`", part):
            named = code[1] in row.cells.values()
        elif counted := re.fullmatch(r"(\d+) training images", part):
            named = row.cells.get("training images") == counted[1]
        else:
            named = part in text
        if not named:
            return False
    return True


def seeds_of(row: Row) -> set[str]:
    """A run's "seed 0", or the number of seeds of a mean; a list such as "0, 1, 2" has three."""
    several = row.cells.get("seeds", "")
    found = {f"seed {row.cells['seed']}"} if "seed" in row.cells else set()
    if several:
        found |= {str(len(several.split(",")))} if "," in several else {several, f"seed {several}"}
    return found


def row_problem(claim: Row, results: list[Row]) -> str:
    """Why a claim is not what the results say, or ""."""
    named = [row for row in results if is_row(claim, row)]
    if not named:
        return "no such row"
    figures = {
        key: value for key, value in claim.cells.items() if key not in ("data", "method", "seeds", "from", *NAMES)
    }
    if len({tuple(row.cells.get(key, "–").split(" ")[0] for key in figures) for row in named}) > 1:
        return f"{len(named)} rows that differ: name the map, the labels, the rule"
    if not any(all(row.cells.get(key, "–") == value for key, value in figures.items()) for row in named):
        return f"the results have {[{key: row.cells.get(key, '–') for key in figures} for row in named]}"
    return ""


def claims(path: Path) -> list[tuple[Row, list[Row]]]:
    """Each row with a link to results, beside the rows of the file it links to."""
    found = []
    for row in rows(path.read_text(encoding="utf-8")):
        for link in links(row.cells.get("from", "")):
            file = (path.parent / link.path).resolve()
            assert file.parent == RESULTS
            found.append((row, rows(file.read_text(encoding="utf-8"))))
    return found


def test_rows_of_a_text() -> None:
    """hand: two tables under headings of two levels."""
    text = "# A\n## B\n| x | y |\n|---|---|\n| 1 | 2 |\n\n### C\n| z |\n|---|\n| 3 |\n## D\n| z |\n|---|\n| 4 |\n"
    expected = [("A / B / ", {"x": "1", "y": "2"}), ("A / B / C", {"z": "3"}), ("A / D / ", {"z": "4"})]
    assert [tuple(row) for row in rows(text)] == expected


@pytest.mark.parametrize("path", [README, PAGE], ids=lambda path: path.name)
def test_every_row_is_that_of_the_results(path: Path) -> None:
    found = claims(path)
    assert len(found) > 10
    for row, results in found:
        assert not row_problem(row, results), f"{path.name}: {row.cells}: {row_problem(row, results)}"


@pytest.mark.parametrize("path", [README, PAGE], ids=lambda path: path.name)
def test_no_digit_can_be_wrong(path: Path) -> None:
    """Each digit of each figure in turn is made another, each row's name that of another row."""
    for row, results in claims(path):
        for key, value in row.cells.items():
            if key in ("data", "method", "from"):
                continue
            for digit in re.finditer(r"\d", value):
                wrong = value[: digit.start()] + str((int(digit[0]) + 5) % 10) + value[digit.end() :]
                assert row_problem(Row("", {**row.cells, key: wrong}), results), f"{row.cells} with {key} {wrong}"
        for key, wrong in (("data", "LAG"), ("method", "`absent`")):
            if key in row.cells:
                assert row_problem(Row("", {**row.cells, key: wrong}), results)


@pytest.mark.parametrize("path", [README, PAGE], ids=lambda path: path.name)
def test_no_table_with_figures_is_passed_over(path: Path) -> None:
    for row in rows(path.read_text(encoding="utf-8")):
        if re.search(r"\d\.\d", " ".join(row.cells.values())):
            assert "from" in row.cells or "measured" in row.cells, row.cells


def test_rows_that_share_a_name_are_told_apart() -> None:
    """hand: one rule of the image score and another; the claim must say which."""
    head = {"labels": "0", "seeds": "0, 1, 2", "map": "fused"}
    results = [
        Row("retina / Image score: mean of the map's 5 highest peaks", {**head, "image AUROC": "0.92 ± 0.01"}),
        Row("retina / Image score: 0.995 quantile of the map", {**head, "image AUROC": "0.88 ± 0.01"}),
    ]
    claim = {"data": "IDRiD", "labels": "0", "seeds": "3", "image AUROC": "0.92 ± 0.01"}
    assert "2 rows that differ" in row_problem(Row("", {**claim, "method": "`fused`"}), results)
    assert not row_problem(Row("", {**claim, "method": "`fused`, peaks; ships"}), results)
    assert "0.88" in row_problem(Row("", {**claim, "method": "`fused`, quantile"}), results)


# --- speed ---

# The cases of a section of speed.json by their beginnings, and which number of each stands in the README.
SPEED: dict[str, list[tuple[str, str]]] = {
    "a": [("CAVGA_u", "ratio"), ("CAVGA_w", "ratio")],
    "c": [("attention; batch 1,", "ratio"), ("fused; batch 1,", "ratio")],
    "d": [("batch 1,", "ratio"), ("batch 32,", "ratio")],
    "e": [("ONNX Runtime; batch 1,", "ratio")],
    "h": [("CAVGA-R", "ratio"), ("CAVGA-D", "ratio")],
    "i": [("fused, 8,000 patches", "ratio"), ("fused, 44,000 patches", "ratio")],
    "g2": [("update", "ratio")],
    "g": [("100,000 images", "peak growth, MiB"), ("100,000 images", "held, MiB")],
    "j": [
        ("what is written by default; 1424 x 2144", key)
        for key in ("ratio", "images/s", "memory: localize and decoding / encoder")
    ],
}


def speed_cells(section: dict[str, Any], wanted: list[tuple[str, str]]) -> tuple[str, str]:
    """The cells `measured` and `goal` that a section of speed.json gives, the goal "" where it has none."""
    measured, goals, met = [], [], []
    for beginning, key in wanted:
        (case,) = (row for row in section["rows"] if row["case"].startswith(beginning))
        measured.append(f"{case['ratio'] if key == 'ratio' else case['numbers'][key]:.3g}")
        if key == "ratio" and case["goal"]:
            goals.append(case["goal"])
            met.append("met" if case["met"] else "**missed**")
    goal = f"{', '.join(dict.fromkeys(goals))}: {', '.join(dict.fromkeys(met))}" if goals else ""
    return ", ".join(measured), goal


def speed_problems(text: str) -> list[str]:
    """What of the README's table of costs is not what speed.json holds."""
    content = json.loads((RESULTS / "speed.json").read_text(encoding="utf-8"))
    found = {row.cells[""]: row.cells for row in rows(text) if "measured" in row.cells}
    problems = [f"sections {sorted(found)}, expected {sorted(SPEED)}"] if found.keys() != SPEED.keys() else []
    for letter in found.keys() & SPEED.keys():
        measured, goal = speed_cells(content[letter], SPEED[letter])
        cells = found[letter]
        if cells["measured"] != measured or (goal and cells["goal"] != goal):
            problems.append(f"({letter}) has {measured} | {goal}, the README {cells['measured']} | {cells['goal']}")
    said = text.partition("### What it costs")[2].partition("\n## ")[0]
    for letter in SPEED:
        machine, command = content[letter]["machine"], content[letter]["command"]
        program, _, options = command.partition(" --only ")
        for word in (machine["date"], machine["cpu"], program, *([options] if "--long" in options else [])):
            if word not in said:
                problems.append(f"({letter}) was measured with {word!r}, which the README does not say")
    if max(row["numbers"]["largest difference, share of the maximum"] for row in content["d"]["rows"]) > 5e-6:
        problems.append("(d) maps are not equal to 5e-6")
    return problems


def test_the_costs_are_those_that_were_measured() -> None:
    assert speed_problems(README.read_text(encoding="utf-8")) == []


def test_no_digit_of_the_costs_can_be_wrong() -> None:
    text = README.read_text(encoding="utf-8")
    lines = [match for match in re.finditer(r"^\| (\w+) \|.*$", text, re.MULTILINE) if match[1] in SPEED]
    assert len(lines) == len(SPEED)
    for line in lines:
        measured = cells_of(line[0])[2]
        start = line.start() + line[0].index(f"| {measured} |") + 2
        for digit in re.finditer(r"\d", measured):
            place = start + digit.start()
            assert speed_problems(text[:place] + str((int(digit[0]) + 5) % 10) + text[place + 1 :])
    assert speed_problems(text.replace("2026-", "2025-"))
    assert speed_problems(text.replace("**missed**", "met"))
