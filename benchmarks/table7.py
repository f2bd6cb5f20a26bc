"""Table 7 of the paper: one class against the rest on MNIST and CIFAR-10, image AUROC of CAVGA-D_u.

A cell is one data set, one class and one seed: `table7_<data set>_<class>_seed<n>.json`. Run by
``benchmarks/paper.py table7``. Stages and latent channels were chosen once, for all classes, without the test set: by
how well held-out normals of MNIST's class 8 are told from made anomalies (pieces of other held-out normals pasted in):
AUROC 0.93 with a latent of 1 x 1 x 16, 0.89 with 1 x 1 x 100. ``relative_residual`` was thought of when the test set's
numbers had been seen, and so it is in ``fused``, whose weights are equal; its low-pass follows made anomalies, too
(`did_not_help.md`). Epochs are what there was time for, the same for all classes.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bars import draw_bars
from cells import is_finished, read_cells, refuse_mixed_weights
from numpy.typing import NDArray
from parallel import run_cells
from reporting import notes, shown, write_json
from running import evaluate, record, train
from table7_features import features_settings, measure_features
from table7_text import DATA_SETS, FUSED, bars, markdown

from monai_cavga.data.one_class import CLASSES
from monai_cavga.handlers.files import write_atomic
from monai_cavga.metrics import image_auroc

HELP = "table 7: one class of MNIST or CIFAR-10 against the rest"
BUNDLE = "one_class"
# What differs from the bundle's defaults: sized for one CPU thread.
COMMON: dict[str, Any] = {"discriminator_channels": 16, "encoder_weights": "none", "amp": True}
OVERRIDES: dict[str, dict[str, Any]] = {
    "mnist": {"in_channels": 1, "flip_probability": 0.0, "epochs": 12},
    "cifar10": {"in_channels": 3, "flip_probability": 0.5, "epochs": 24},
}
FAST: dict[str, Any] = {"epochs": 1, "discriminator_channels": 8}  # does it run at all


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a run alone."""
    parser.add_argument("--data-mnist", type=Path, help="folder with MNIST's idx files")
    parser.add_argument("--data-cifar10", type=Path, help="folder with CIFAR-10, binary or images, or a tar of images")
    parser.add_argument("--weights", help="also: ImageNet features, nothing trained; file of ResNet-18 or 'imagenet'")
    parser.add_argument("--classes", nargs="+", type=int, choices=range(10), default=list(range(10)), metavar="CLASS")


def add_collect_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that name the result files, of a run and of `collect`."""
    parser.add_argument("--fast", action="store_true", help="one epoch, a small discriminator: whether everything runs")


def cell_overrides(args: argparse.Namespace, data_set: str, number: int, seed: int) -> dict[str, Any]:
    """What a cell changes of the bundle's defaults."""
    return {
        **COMMON,
        "dataset_name": data_set,
        "normal_class": number,
        **OVERRIDES[data_set],
        **(FAST if args.fast else {}),
        "seed": seed,
    }


def run(args: argparse.Namespace) -> None:
    """Every cell asked for that is not finished, then the table."""
    folders = {name: getattr(args, f"data_{name}") for name in DATA_SETS}
    if not any(folders.values()):
        sys.exit("no data: give --data-mnist DIR, --data-cifar10 DIR or both")
    cells = [
        partial(measure_cell, args, data_set, data=data, number=number, seed=seed)
        for seed in args.seeds
        for data_set, data in folders.items()
        for number in (args.classes if data is not None else ())
        if not is_finished(cell_path(args, data_set, number, seed), partial(wanted, args))
    ]
    if args.weights is not None:
        if args.weights == "none":
            sys.exit("--weights is none, expected a file of ResNet-18 or 'imagenet': random features measure nothing")
        cells += [
            partial(measure_features_cell, args, data_set, data=data, number=number)
            for data_set, data in folders.items()
            for number in (args.classes if data is not None else ())
            if not is_finished(features_path(args, data_set, number), lambda _: features_settings(args.weights))
        ]
    run_cells(cells, address=args.ray)
    collect(args)


def features_path(args: argparse.Namespace, data_set: str, number: int) -> Path:
    """The result file of `measure_features`."""
    path: Path = args.output / f"{_tag(args)}_features_{data_set}_{number}.json"
    return path


def measure_features_cell(args: argparse.Namespace, data_set: str, *, data: Path, number: int) -> None:
    """Write the result of `measure_features`."""
    flags = " --fast" if args.fast else ""
    result = measure_features(data_set, data=data, number=number, weights=args.weights, flags=flags)
    write_json(features_path(args, data_set, number), result)


def cell_path(args: argparse.Namespace, data_set: str, number: int, seed: int) -> Path:
    """A cell's result file."""
    path: Path = args.output / f"{_tag(args)}_{data_set}_{number}_seed{seed}.json"
    return path


def measure_cell(args: argparse.Namespace, data_set: str, *, data: Path, number: int, seed: int) -> None:
    """Train and evaluate one cell.

    Args:
        args: of the command line.
        data_set: of `DATA_SETS`.
        data: its folder.
        number: the normal class.
        seed: of everything.
    """
    work = args.work / _tag(args) / data_set / str(number) / f"seed{seed}"
    overrides = cell_overrides(args, data_set, number, seed)
    print(f"{data_set} class {number} seed {seed}: training in {shown(work)}", flush=True)
    train(BUNDLE, data=data, work=work, overrides=overrides)
    report = evaluate(BUNDLE, data=data, work=work, overrides=overrides)
    normals = {**overrides, "dataset::data::section": "validation"}
    evaluate(BUNDLE, data=data, work=work, overrides=normals, folder="normals")
    report["maps"]["fused"] = {
        "image_auroc": fused_auroc(work / "normals" / "scores.csv", work / "eval" / "scores.csv")
    }
    state = torch.load(work / "state.pt", map_location="cpu", weights_only=True)
    copy = _jpeg_images(data, number) if data_set == "cifar10" else 0
    result = {
        "data_set": data_set,
        "class": number,
        "seed": seed,
        "command": f"python benchmarks/paper.py table7 --data-{data_set} DIR --classes {number} --seeds {seed}"
        f"{' --fast' if args.fast else ''}",
        "jpeg_training_images": copy,  # 0: the owners' files
        "validation_psnr": state["best_metric"],
        **record(work=work, overrides=overrides, report=report),
    }
    write_json(cell_path(args, data_set, number, seed), result)


def fused_auroc(normals: Path, test: Path) -> float:
    """AUROC of the sum of an image's scores, each standardised by held-out normals alone.

    Args:
        normals: ``scores.csv`` of held-out normals.
        test: ``scores.csv`` of the test set.
    """
    held_out, _ = _scores(normals)
    scores, labels = _scores(test)
    total = ((scores - held_out.mean(axis=0)) / held_out.std(axis=0)).sum(axis=1)
    return float(image_auroc(total, labels))


def _scores(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scores = np.array([[float(row[name]) for name in FUSED] for row in rows])
    return scores, np.array([float(row["label"]) for row in rows])


def wanted(args: argparse.Namespace, result: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a finished cell must have."""
    return cell_overrides(args, result["data_set"], result["class"], result["seed"])


def collect(args: argparse.Namespace) -> None:
    """Write the table from its result files."""
    results = read_cells(args.output, f"{_tag(args)}_*_seed*.json", partial(wanted, args), table="table7")
    path: Path = args.output / f"{_tag(args)}.md"
    features: dict[str, dict[int, dict[str, Any]]] = {}
    said: dict[str, list[str]] = {}
    for name in DATA_SETS:
        files = {number: features_path(args, name, number) for number in range(10)}
        features[name] = {n: json.loads(file.read_text("utf-8")) for n, file in files.items() if file.is_file()}
        commits = [each["training"]["commit"] for each in results if each["data_set"] == name]
        said[name] = notes(args.output, f"{_tag(args)}_{name}", commits) if commits else []
    refuse_mixed_weights(
        [each for by_class in features.values() for each in by_class.values()], f"{_tag(args)}_features"
    )
    write_atomic(path, markdown(results, features=features, said=said, fast=args.fast).encode())
    draw_bars(path.with_suffix(".png"), bars(results, features=features), title="Table 7: image AUROC")
    print(f"wrote {shown(path)} from {len(results)} cells")


def _jpeg_images(data: Path, number: int) -> int:
    """How many training images of a class a copy in JPEG files has; 0 for the owners' binary version."""
    from monai_cavga.data.one_class import class_images

    name = CLASSES["cifar10"][number]
    images = [each.image for each in class_images(data, "train", dataset="cifar10") if each.class_name == name]
    return len(images) if images and images[0].lower().endswith((".jpg", ".jpeg")) else 0


def _tag(args: argparse.Namespace) -> str:
    """Beginning of the names of files and folders."""
    return "table7-fast" if args.fast else "table7"
