"""Tables 3 and 6 of the paper: localisation and detection on MVTec AD, CAVGA beside the methods it is compared with.

A cell is one category, one method and one seed: `table3_<category>_<method>_seed<n>.json`, for both tables. Run by
``benchmarks/paper.py table3`` (``table6`` is the same). Methods that share a model train it once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ablation
from measuring import measure
from methods import METHODS, TRAININGS, cell_parts, detector, train_model
from parallel import Cell, run_cells
from running import is_trained, record
from table3_text import write_tables

from monai_cavga.data.mvtad import mvtad_categories
from monai_cavga.handlers.files import write_atomic

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
        **{key: value for key, value in TRAININGS[training].overrides.items() if key != "encoder_weights"},
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
            for training in TRAININGS:
                methods = []
                for name in (each for each in args.methods if METHODS[each].training == training):
                    path = cell_path(args, category, name, seed)
                    if path.is_file():
                        read_cell(path, args)
                        print(f"{path} is there already: remove it to measure again", flush=True)
                    else:
                        methods.append(name)
                if methods:
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
    weights = TRAININGS[training].overrides.get("encoder_weights", args.weights)
    overrides = {**cell_overrides(args, category, training, seed), "encoder_weights": weights}
    work = work_folder(args, category, training, overrides=overrides)
    print(f"{category} {', '.join(methods)} seed {seed}: model in {work}", flush=True)
    train_model(training, bundle=BUNDLE, data=args.data, work=work, overrides=overrides)
    for name in methods:
        parts = cell_parts(BUNDLE, data=args.data, work=work, overrides=overrides)
        report = measure(detector(name, parts, work=work), parts, probability=METHODS[name].probability)
        result = {
            "method": name,
            "title": METHODS[name].title,
            "settings": list(METHODS[name].settings),
            "category": category,
            "seed": seed,
            "command": "python benchmarks/paper.py table3 --data MVTEC --weights FILE "
            f"--category {category} --methods {name} --seeds {seed}{_flags(args)}",
            **record(work=work, overrides=overrides, weights=ablation.IMAGENET, report=report),
        }
        write_atomic(cell_path(args, category, name, seed), (json.dumps(result, indent=2) + "\n").encode())


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


def read_cell(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """A finished cell.

    Raises:
        ValueError: if it was measured with other settings than these files'.
    """
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    method = METHODS[result["method"]]
    expected = {
        **cell_overrides(args, result["category"], method.training, result["seed"]),
        "settings": list(method.settings),
    }
    found = {**result["overrides"], "settings": result["settings"]}
    if found != expected:
        raise ValueError(f"{path} was measured with {found}, expected {expected}: remove it")
    return result


def collect(args: argparse.Namespace) -> None:
    """Write both tables and their pictures from the result files of every category."""
    paths = sorted(args.output.glob(f"{_tag(args)}_*_seed*.json"))
    results = [read_cell(path, args) for path in paths]
    if not results:
        sys.exit(f"no results {_tag(args)}_*.json in {args.output}: run `benchmarks/paper.py table3` first")
    settings = {**COMMON, **(FAST if args.fast else {})}
    write_tables(results, output=args.output, settings=settings, fast=args.fast)
    print(f"wrote tables 3 and 6 in {args.output} from {len(results)} cells")


def _tag(args: argparse.Namespace) -> str:
    """Beginning of the names of the result files."""
    return "table3-fast" if args.fast else "table3"


def _flags(args: argparse.Namespace) -> str:
    return " --fast" if args.fast else ""
