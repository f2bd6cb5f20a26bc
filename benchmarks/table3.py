"""Tables 3 and 6 of the paper: localisation and detection on MVTec AD, CAVGA beside the methods it is compared with.

A cell is one category, one method and one seed: `table3_<category>_<method>_seed<n>.json`, for both tables. Run by
``benchmarks/paper.py table3`` (``table6`` is the same). Methods that share a model train it once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ablation
from cells import is_finished
from method_cells import by_training, cell_settings, first_weights, read_method_cells, reports, training_overrides
from methods import METHODS
from parallel import Cell, run_cells
from reporting import shown, write_json
from running import is_trained, record
from table3_text import write_tables

from monai_cavga.data.mvtad import mvtad_categories

HELP = "tables 3 and 6: localisation and detection on MVTec AD, with the paper's baselines"
BUNDLE = "mvtad"
COMMON, FAST = ablation.COMMON, ablation.FAST  # as table 8: its columns c4 and c8 are rows here
SAME_MODEL = {"R_u": "c4", "R_w": "c8"}  # training -> column of `ablation`


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a run alone."""
    parser.add_argument("--data", type=Path, required=True, help="folder of MVTec AD, or of one category")
    parser.add_argument("--category", nargs="+", help="of MVTec AD; default: all that are there")
    parser.add_argument("--weights", default="imagenet", help="file of ResNet-18 weights; default: torchvision's")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument(
        "--ablation-work",
        type=Path,
        default=Path("runs/ablation"),
        help="--work of `ablation`: models of c4 and c8 that are there are not trained again (runs/ablation)",
    )


def add_collect_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that name the result files, of a run and of `collect`."""
    parser.add_argument("--fast", action="store_true", help="64 x 64 pixels, one epoch: whether everything runs")


def cell_overrides(args: argparse.Namespace, category: str, training: str, seed: int) -> dict[str, Any]:
    """What a cell changes of the bundle's defaults, the file of weights apart."""
    return {
        **COMMON,
        **(FAST if args.fast else {}),
        "category": category,
        "in_channels": 1 if category in ablation.GREY else 3,
        **training_overrides(training),
        "seed": seed,
    }


def run(args: argparse.Namespace) -> None:
    """Every cell asked for that is not finished, then the tables."""
    categories = args.category or mvtad_categories(args.data)
    if not categories:
        sys.exit(f"no category in {args.data}, expected folders such as screw/train/good: name MVTec AD's folder")
    run_cells(pending(args, categories), address=args.ray)
    collect(args)


def pending(args: argparse.Namespace, categories: list[str]) -> list[Cell]:
    """What is to be done, one entry for each model."""
    cells: list[Cell] = []
    for seed in args.seeds:
        for category in categories:
            left = [
                name
                for name in args.methods
                if not is_finished(cell_path(args, category, name, seed), partial(wanted, args))
            ]
            for training, methods in by_training(left).items():
                cells.append(partial(measure_cells, args, category, training, methods=methods, seed=seed))
    return cells


def measure_cells(args: argparse.Namespace, category: str, training: str, *, methods: list[str], seed: int) -> None:
    """Train one model, or take it where it is finished, and measure the methods that look at it.

    Args:
        args: of the command line.
        category: of MVTec AD.
        training: of `methods.TRAININGS`.
        methods: of `methods.METHODS`.
        seed: of everything.
    """
    overrides = {
        **cell_overrides(args, category, training, seed),
        "encoder_weights": first_weights(training, asked=args.weights),
    }
    work = work_folder(args, category, training, overrides=overrides)
    print(f"{category} {', '.join(methods)} seed {seed}: model in {shown(work)}", flush=True)
    for name, report in reports(training, methods, bundle=BUNDLE, data=args.data, work=work, overrides=overrides):
        result = {
            "method": name,
            "title": METHODS[name].title,
            "settings": list(METHODS[name].settings),
            "category": category,
            "seed": seed,
            "command": "python benchmarks/paper.py table3 --data MVTEC --weights FILE "
            f"--category {category} --methods {name} --seeds {seed}{_flags(args)}",
            **record(work=work, overrides=overrides, report=report),
        }
        write_json(cell_path(args, category, name, seed), result)


def work_folder(args: argparse.Namespace, category: str, training: str, *, overrides: Mapping[str, Any]) -> Path:
    """Where a model is trained: table 8's folder where it has finished the same model, or else one of our own."""
    tag, seed = f"{category}{'-fast' if args.fast else ''}", f"seed{overrides['seed']}"
    if training in SAME_MODEL:
        there: Path = args.ablation_work / tag / SAME_MODEL[training] / seed
        if is_trained(there, overrides):
            return there
    own: Path = args.work / tag / training / seed
    return own


def cell_path(args: argparse.Namespace, category: str, method: str, seed: int) -> Path:
    """A cell's result file."""
    path: Path = args.output / f"{_tag(args)}_{category}_{method}_seed{seed}.json"
    return path


def wanted(args: argparse.Namespace, result: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a finished cell must have."""
    overrides = cell_overrides(args, result["category"], METHODS[result["method"]].training, result["seed"])
    return overrides | cell_settings(result["method"], args)


def collect(args: argparse.Namespace) -> None:
    """Write both tables and their pictures from the result files of every category."""
    results = read_method_cells(args.output, _tag(args), partial(wanted, args), table="table3")
    settings = {**COMMON, **(FAST if args.fast else {})}
    write_tables(results, output=args.output, settings=settings, fast=args.fast)
    print(f"wrote tables 3 and 6 in {shown(args.output)} from {len(results)} cells")


def _tag(args: argparse.Namespace) -> str:
    """Beginning of the names of the result files."""
    return "table3-fast" if args.fast else "table3"


def _flags(args: argparse.Namespace) -> str:
    return " --fast" if args.fast else ""
