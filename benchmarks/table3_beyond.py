"""Rows of ours below tables 3 and 6: CAVGA that learns from made anomalies, measured by ``benchmarks/synthetic.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bars import Bar
from reporting import spread

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


def beyond_bar(folder: Path, category: str, *, judged: str, paper: float | None) -> Bar | None:
    """The row of the table's picture: the attention's, which the paper's number is of; None where none was measured."""
    values = [run["report"]["maps"]["attention"].get(judged) for run in _runs(folder, category)]
    if not values or None in values:
        return None
    return Bar("ours, made defects: A", float(np.mean(values)), float(np.std(values)), paper)


def _runs(folder: Path, category: str) -> list[dict[str, Any]]:
    """Without labels and by the protocol's own rule, seed by seed."""
    files = sorted(folder.glob(f"synthetic_{category}_k0_seed?.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def _row(
    key: str, runs: Sequence[Mapping[str, Any]], *, metrics: Mapping[str, str], judged: str, paper: float | None
) -> str:
    values = {metric: [run["report"]["maps"][key].get(metric) for run in runs] for metric in metrics.values()}
    ours = " | ".join(spread(values[metric]) for metric in metrics.values())
    known = [value for value in values[judged] if value is not None]
    both = paper is not None and len(known) == len(runs)
    difference = f"{sum(known) / len(known) - paper:+.3f}" if both and paper is not None else "–"
    return f"| {key} | {MAPS[key]} | {len(runs)} | {ours} | {'–' if paper is None else f'{paper:.2f}'} | {difference} |"
