"""Rows of ours below tables 3 and 6: CAVGA that learns from made anomalies, measured by ``benchmarks/synthetic.py``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bars import Bar, seeds_bar
from reporting import difference, spread

SET_BESIDE = "CAVGA-R_u"  # ResNet-18 and no label, as these
MAPS = {
    "attention": "A^{c_a} of C",
    "class": "C's probability at every position",
    "fused": "calibrated",
}


def beyond(
    folder: Path, category: str, *, metrics: Mapping[str, str], name: str, judged: str, paper: float | None
) -> list[str]:
    """Markdown lines; none where the protocol was not measured on this category.

    Args:
        folder: of the result files.
        category: of MVTec AD.
        metrics: the table's columns and their names in a report; one that these reports lack is a dash.
        name: of the paper's metric.
        judged: metric that is set beside the paper's number.
        paper: that of `SET_BESIDE`.
    """
    runs = _runs(folder, category)
    if not runs:
        return []
    titles = ["map", "", "seeds", *metrics, f"paper's {name}, {SET_BESIDE}", "ours - paper"]
    lines = [
        f"Beyond the paper: CAVGA with a C at every position that learns from made defects, no anomaly of the data set "
        f"and no label seen (`synthetic_{category}.md`: larger images, objects aligned, longer trainings, other image "
        "scores).",
        "",
        f"| {' | '.join(titles)} |",
        "|" + "---|" * len(titles),
    ]
    return lines + [_row(key, runs, metrics=metrics, judged=judged, paper=paper) for key in MAPS]


def beyond_bar(folder: Path, category: str, *, key: str, judged: str, paper: float | None) -> Bar | None:
    """A row of the table's picture: one of `MAPS`; None where it was not measured."""
    values = [run["report"]["maps"].get(key, {}).get(judged) for run in _runs(folder, category)]
    if not values or None in values:
        return None
    return seeds_bar(f"ours, made defects: {key}", values, paper)


def _runs(folder: Path, category: str) -> list[dict[str, Any]]:
    """Without labels, with the protocol's own settings and rule, seed by seed."""
    name = re.compile(rf"synthetic_{re.escape(category)}_k0_seed\d+\.json")
    files = sorted(path for path in folder.iterdir() if name.fullmatch(path.name))
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return [run for run in runs if not run["overrides"]]


def _row(
    key: str, runs: Sequence[Mapping[str, Any]], *, metrics: Mapping[str, str], judged: str, paper: float | None
) -> str:
    values = {metric: [run["report"]["maps"].get(key, {}).get(metric) for run in runs] for metric in metrics.values()}
    ours = " | ".join(spread(values[metric]) for metric in metrics.values())
    number, less = "–" if paper is None else f"{paper:.2f}", difference(values[judged], paper)
    return f"| {key} | {MAPS[key]} | {len(runs)} | {ours} | {number} | {less} |"
