"""The table of a protocol of `synthetic`: one part for each rule of the image score, means before single runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cells import differences
from reporting import cell, over_seeds

from monai_cavga.metrics.score import ScoreRule, rule_words

Results = Sequence[Mapping[str, Any]]
Overrides = Mapping[str, Any]
COLUMNS = {
    "pixel AUROC": "pixel_auroc",
    "AUPRO": "aupro",
    "IoU* pooled": "iou_oracle_pooled",
    "IoU@0.5 pooled": "iou@0.5_pooled",
    "image AUROC": "image_auroc",
}


def score_rule(result: Mapping[str, Any]) -> ScoreRule:
    """Of a result's image score; the key was ``image_quantile`` until there were other rules."""
    settings = result["report"]["settings"]
    rule: ScoreRule = settings["score_rule"] if "score_rule" in settings else settings["image_quantile"]
    return rule


def markdown(protocol: str, results: Results, *, rule: ScoreRule, notes: Sequence[str], weak: Overrides) -> str:
    """The table.

    Args:
        protocol: its name.
        results: of any labels, seeds and rules, each what a result file holds.
        rule: the bundle's own; runs by another are of an older version and stand below.
        notes: sentences about the data.
        weak: the protocol's overrides for a training with labels; where there are others they are named.
    """
    over = "clips" if protocol == "ped2" else "images"
    lines = [
        f"# {protocol}: made anomalies, labels, calibration",
        "",
        f"Made by `python benchmarks/synthetic.py collect --protocol {protocol}` from the JSON files beside it. Maps "
        "compared at the source's size, inside the field of view where there is one. `*`: threshold chosen on the "
        "test set (oracle). Mean ± standard deviation over seeds where there are several; brackets: 95 % bootstrap "
        f"interval of one run over {over}. Anomaly relative to the training normals; research use, not for diagnosis.",
        *(f"\n{each}" for each in notes),
    ]
    rules = {rule_words(score_rule(each)): score_rule(each) for each in results}
    for words in sorted(rules, key=lambda words: (rules[words] != rule, words)):
        part = [each for each in results if rules[words] == score_rule(each)]
        lines += ["", f"## Image score: {words}", ""]
        if rules[words] != rule:
            lines += [_earlier(part, rule), ""]
        lines += _part(part, weak)
    return "\n".join(lines) + "\n"


def _part(results: Results, weak: Overrides) -> list[str]:
    """The runs of one rule: over seeds, one by one where that says more, and where they were made."""
    groups = {labelled: [each for each in results if each["labelled"] == labelled] for labelled in _labels(results)}
    lines = [*_changes(groups, weak), *_head("labels", "seeds", "map", *COLUMNS)]
    for labelled, group in groups.items():
        seeds = ", ".join(str(each["seed"]) for each in sorted(group, key=lambda each: int(each["seed"])))
        for name in group[0]["report"]["maps"]:
            maps = [each["report"]["maps"][name] for each in group]
            cells = [over_seeds(maps, key) for key in COLUMNS.values()]
            lines.append(f"| {labelled:g} | {seeds} | {name} | {' | '.join(cells)} |")
    ordered = sorted(results, key=lambda each: (each["seed"], each["labelled"]))
    if len(groups) < len(results):
        lines += ["", "Single runs, those of a seed together:", "", *_head("seed", "labels", "map", *COLUMNS)]
        for result in ordered:
            for name, values in result["report"]["maps"].items():
                cells = [cell(values, key) for key in COLUMNS.values()]
                lines.append(f"| {result['seed']} | {result['labelled']:g} | {name} | {' | '.join(cells)} |")
    titles = ("seed", "labels", "training", "calibration", "CPU", "threads", "date", "trained at", "evaluated at")
    return [*lines, "", *_head(*titles), *(_place(each) for each in ordered)]


def _changes(groups: Mapping[float, Results], weak: Overrides) -> list[str]:
    """A line for each group that was trained otherwise; the program ends with one where seeds of a group differ."""
    lines = []
    for labelled, group in groups.items():
        kinds = sorted({json.dumps(each["overrides"], sort_keys=True) for each in group})
        if len(kinds) > 1:
            sys.exit(
                f"seeds of {labelled:g} labels were trained with {' and '.join(kinds)}: move the ones or the others"
            )
        if changes := differences(group[0]["overrides"], weak if labelled else {}):
            lines += [f"{labelled:g} labels: trained with {changes}.", ""]
    return lines


def _earlier(results: Results, rule: ScoreRule) -> str:
    steps = ("calibrating", "synthetic_evaluating")
    commits = sorted({each["steps"][step]["commit"][:10] for each in results for step in steps})
    checkouts = " or ".join(f"`git checkout {commit}`" for commit in commits)
    return (
        f"Of an earlier version, whose rule it was: {checkouts} to measure these again. Now it is the "
        f"{rule_words(rule)}."
    )


def _place(result: Mapping[str, Any]) -> str:
    steps = result["steps"]
    place = steps.get("synthetic_training", steps["calibrating"])
    trained = f"{place['seconds'] / 60:.0f} min" if "synthetic_training" in steps else "none"
    return (
        f"| {result['seed']} | {result['labelled']:g} | {trained} | {steps['calibrating']['seconds'] / 60:.0f} min | "
        f"{place['cpu']}, {place['cores']} cores | {place['threads']} | {place['date']} | {place['commit'][:10]} | "
        f"{steps['synthetic_evaluating']['commit'][:10]} |"
    )


def _head(*titles: str) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]


def _labels(results: Results) -> list[float]:
    return sorted({each["labelled"] for each in results})
