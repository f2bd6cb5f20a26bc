"""Table 8 of the paper: what the convolutional latent, L_ae and L_cga add, and three columns of ours beside it.

A cell is one column and one seed: `ablation_<category>_<column>_seed<n>.json`. Run by ``benchmarks/paper.py ablation``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bars import Bar, draw_bars, seeds_bar
from cells import is_finished, read_cells, refuse_mixed_weights
from parallel import run_cells
from reporting import notes, places, shown, spread, write_json
from running import evaluate, record, train, weights_file, weights_words

from monai_cavga.handlers.files import write_atomic

HELP = "table 8: flat or convolutional latent, with and without L_ae or L_cga"
BUNDLE = "mvtad"
# What differs from the bundle's defaults: sized for two CPU cores. 256 x 256 pixels, three ResNet stages (stride 16).
COMMON: dict[str, Any] = {"image_size": [256, 256], "batch_size": 4, "epochs": 2, "discriminator_channels": 32}
FAST: dict[str, Any] = {"image_size": [64, 64], "epochs": 1, "discriminator_channels": 8}  # does it run at all
PAPER_WEIGHTS: dict[str, Any] = {"w_adv": 1.0}  # the bundle's other weights are the paper's
WEAK: dict[str, Any] = {"head": "flat", "labelled": 0.02, "anomalous_fraction": 0.25}
GREY = ("grid", "screw", "zipper")  # categories whose images have one channel


class Column(NamedTuple):
    """One column of the table."""

    title: str
    paper: float  # IoU, mean over all 15 categories; NaN: not in the paper
    overrides: dict[str, Any]  # beside `COMMON`


COLUMNS: dict[str, Column] = {
    "c1": Column("CAVGA-R_u*, flat z", 0.24, {"latent": "flat", "w_ae": 0.0}),
    "c2": Column("CAVGA-R_u*, flat z + L_ae", 0.34, {"latent": "flat"}),
    "c3": Column("CAVGA-R_u, conv z", 0.33, {"w_ae": 0.0}),
    "c4": Column("CAVGA-R_u, conv z + L_ae", 0.47, {}),
    "c4_barrier": Column("ours: c4, barrier in place of L_ae", math.nan, {"attention_loss": "barrier"}),
    "c4_entropy": Column("ours: c4, entropy in place of L_ae", math.nan, {"attention_loss": "entropy"}),
    "c5": Column("CAVGA-R_w*, flat z", 0.39, {**WEAK, "latent": "flat", "w_cga": 0.0}),
    "c6": Column("CAVGA-R_w*, flat z + L_cga", 0.52, {**WEAK, "latent": "flat"}),
    "c7": Column("CAVGA-R_w, conv z", 0.48, {**WEAK, "w_cga": 0.0}),
    "c8": Column("CAVGA-R_w, conv z + L_cga", 0.60, WEAK),
    "c8_conv": Column("ours: c8, C at every position", math.nan, {**WEAK, "head": "conv"}),
}
EFFECTS = {  # name -> (column without, column with)
    "L_ae, flat z": ("c1", "c2"),
    "L_ae, conv z": ("c3", "c4"),
    "conv z for flat, CAVGA-R_u with L_ae": ("c2", "c4"),
    "L_cga, flat z": ("c5", "c6"),
    "L_cga, conv z": ("c7", "c8"),
    "conv z for flat, CAVGA-R_w with L_cga": ("c6", "c8"),
}
METRICS = {
    "IoU@0.5 images": "iou@0.5_images",
    "IoU@0.5 pooled": "iou@0.5_pooled",
    "IoU* images": "iou_oracle_images",
    "IoU* pooled": "iou_oracle_pooled",
    "pixel AUROC": "pixel_auroc",
    "image AUROC": "image_auroc",
}
SHOWN = 0.01  # the paper's digits: a smaller difference could not be told from none there
JUDGED = "iou@0.5_images"  # what the paper's IoU is taken to be: A at 0.5, as it states, the mean over images


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a run alone."""
    parser.add_argument("--data", type=Path, required=True, help="data set folder")
    parser.add_argument("--weights", default="imagenet", help="file of ResNet-18 weights; default: torchvision's")
    parser.add_argument("--columns", nargs="+", choices=list(COLUMNS), default=list(COLUMNS))


def add_collect_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that name the result files, of a run and of `collect`."""
    parser.add_argument("--category", default="screw", help="of MVTec AD (default screw)")
    parser.add_argument("--fast", action="store_true", help="64 x 64 pixels, one epoch: whether everything runs")
    parser.add_argument("--paper-weights", action="store_true", help="weight of L_adv 1 as in the paper, not 0.01")


def cell_overrides(args: argparse.Namespace, column: str, seed: int) -> dict[str, Any]:
    """What a cell changes of the bundle's defaults, the file of weights apart."""
    return {
        **COMMON,
        **(FAST if args.fast else {}),
        **(PAPER_WEIGHTS if args.paper_weights else {}),
        "category": args.category,
        "in_channels": 1 if args.category in GREY else 3,
        **COLUMNS[column].overrides,
        "seed": seed,
    }


def run(args: argparse.Namespace) -> None:
    """Every cell asked for that is not finished, then the table."""
    cells = [
        partial(measure_cell, args, column, seed=seed)
        for seed in args.seeds
        for column in args.columns
        if not is_finished(cell_path(args, column, seed), partial(wanted, args))
    ]
    run_cells(cells, address=args.ray)
    collect(args)


def measure_cell(args: argparse.Namespace, column: str, *, seed: int) -> None:
    """Train and evaluate one cell.

    Args:
        args: of the command line.
        column: of `COLUMNS`.
        seed: of everything.
    """
    work = args.work / _tag(args) / column / f"seed{seed}"
    overrides = {**cell_overrides(args, column, seed), "encoder_weights": args.weights}
    print(f"{args.category} {column} seed {seed}: training in {shown(work)}", flush=True)
    train(BUNDLE, data=args.data, work=work, overrides=overrides)
    report = evaluate(BUNDLE, data=args.data, work=work, overrides=overrides)
    result = {
        "column": column,
        "title": COLUMNS[column].title,
        "category": args.category,
        "seed": seed,
        "command": "python benchmarks/paper.py ablation --data MVTEC --weights FILE "
        f"--category {args.category} --columns {column} --seeds {seed}{_flags(args)}",
        **record(work=work, overrides=overrides, report=report),
    }
    write_json(cell_path(args, column, seed), result)


def cell_path(args: argparse.Namespace, column: str, seed: int) -> Path:
    """A cell's result file."""
    path: Path = args.output / f"ablation_{_tag(args)}_{column}_seed{seed}.json"
    return path


def wanted(args: argparse.Namespace, result: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a finished cell must have."""
    expected = cell_overrides(args, result["column"], result["seed"])
    if "weights" in args:
        expected |= {"encoder_weights": weights_words(args.weights), **weights_file(args.weights)}
    return expected


def collect(args: argparse.Namespace) -> None:
    """Write the category's table from its result files."""
    results = read_cells(args.output, f"ablation_{_tag(args)}_c*_seed*.json", partial(wanted, args), table="ablation")
    refuse_mixed_weights(results, _tag(args))
    path: Path = args.output / f"ablation_{_tag(args)}.md"
    write_atomic(path, table(results, args).encode())
    bars = [_bar(f"{name} {column.title}", results, name) for name, column in COLUMNS.items()]
    title = f"Table 8: {JUDGED} on {args.category} (paper: mean of 15 categories)"
    draw_bars(path.with_suffix(".png"), [bar for bar in bars if bar is not None], title=title)
    print(f"wrote {shown(path)} from {len(results)} cells")


def table(results: Sequence[dict[str, Any]], args: argparse.Namespace) -> str:
    """Markdown of the cells of one category: the columns, the effects, where they were measured."""
    settings = {**COMMON, **(FAST if args.fast else {})}
    height, width = settings["image_size"]
    command = f"python benchmarks/paper.py collect ablation --category {args.category}{_flags(args)}"
    lines = [
        f"# Table 8 of the paper on MVTec AD, {args.category}",
        "",
        f"Made by `{command}` from the JSON files beside it. Map: attention, compared at the source's size. `*`: "
        "threshold chosen on the test set (oracle). `images`: mean over the anomalous test images; `pooled`: over all "
        f"pixels. {height} x {width} pixels, batch {settings['batch_size']}, epochs: {settings['epochs']}, weight of "
        f"L_adv {'1' if args.paper_weights else '0.01 (paper: 1)'}, three stages of ResNet-18 (paper: four), "
        f"discriminator of width {settings['discriminator_channels']}, a fifth of the training normals held out, "
        "encoder's first weights: "
        f"{results[0]['encoder_weights']}. The trainings are short: a sign of ours speaks of these. c5 to c8 learn "
        "from 2 % of the test anomalies with an image label, drawn for a quarter of each epoch; these leave the test "
        "set. Mean ± standard deviation over seeds where there are several. Paper: mean over all 15 categories.",
        *(f"\n{each}" for each in notes(args.output, f"ablation_{_tag(args)}", _commits(results))),
        "",
        f"| column | | seeds | {' | '.join(METRICS)} | paper's IoU |",
        "|" + "---|" * (len(METRICS) + 4),
    ]
    for name, column in COLUMNS.items():
        rows = list(_by_seed(results, name).values())
        if rows:
            cells = " | ".join(spread([row[key] for row in rows]) for key in METRICS.values())
            paper = "–" if math.isnan(column.paper) else f"{column.paper:.2f}"
            lines.append(f"| {name} | {column.title} | {len(rows)} | {cells} | {paper} |")
    lines += [
        "",
        "Signs of the differences, judged on the mean of IoU@0.5 images, the paper's metric, and on that of pixel "
        "AUROC, which says something of maps that are below 0.5 everywhere, too; over the seeds that both have. One "
        f"seed gives a sign without a spread; a difference below {SHOWN:g}, the paper's last digit, is called none.",
        "",
        "| effect | columns | paper | ours, IoU@0.5 images | | ours, pixel AUROC | | seeds |",
        "|" + "---|" * 8,
        *(_effect(results, name) for name in EFFECTS),
        "",
        *places(results, [f"{result['column']} seed {result['seed']}" for result in results]),
    ]
    lines += ["", "Anomaly relative to the training normals."]
    return "\n".join(lines) + "\n"


def _bar(label: str, results: Sequence[dict[str, Any]], name: str) -> Bar | None:
    """A column's row of the picture; None where it was not measured."""
    values = [row[JUDGED] for row in _by_seed(results, name).values()]
    if not values or None in values:
        return None
    paper = COLUMNS[name].paper
    return seeds_bar(label, values, None if math.isnan(paper) else paper)


def _effect(results: Sequence[dict[str, Any]], name: str) -> str:
    """The row of one effect: a difference of the paper, the same of ours, and whether the signs agree."""
    without, with_ = EFFECTS[name]
    one, two = _by_seed(results, without), _by_seed(results, with_)
    paper = COLUMNS[with_].paper - COLUMNS[without].paper
    row = f"| {name} | {without} to {with_} | {paper:+.2f} |"
    seeds = sorted(one.keys() & two.keys())
    judged = (JUDGED, "pixel_auroc")
    seeds = [seed for seed in seeds if all(each[seed][key] is not None for each in (one, two) for key in judged)]
    if not seeds:
        return f"{row} – | not measured | – | not measured | 0 |"
    for key in judged:
        differences = [two[seed][key] - one[seed][key] for seed in seeds]
        row += f" {spread(differences, sign='+')} | {_verdict(float(np.mean(differences)), paper)} |"
    return f"{row} {len(seeds)} |"


def _verdict(ours: float, paper: float) -> str:
    if abs(ours) < SHOWN:
        return "no difference"
    return "confirmed" if ours * paper > 0 else "refuted"


def _commits(results: Sequence[dict[str, Any]]) -> list[str]:
    return [each["training"]["commit"] for each in results]


def _by_seed(results: Sequence[dict[str, Any]], column: str) -> dict[int, dict[str, Any]]:
    return {each["seed"]: each["report"]["maps"]["attention"] for each in results if each["column"] == column}


def _tag(args: argparse.Namespace) -> str:
    """The category in names of files and folders, and what changes the numbers."""
    return f"{args.category}{'-paper-weights' if args.paper_weights else ''}{'-fast' if args.fast else ''}"


def _flags(args: argparse.Namespace) -> str:
    return f"{' --paper-weights' if args.paper_weights else ''}{' --fast' if args.fast else ''}"
