"""Table 7 of the paper: one class against the rest on MNIST and CIFAR-10, image AUROC of CAVGA-D_u.

A cell is one data set, one class and one seed: `table7_<data set>_<class>_seed<n>.json`. Run by
``benchmarks/paper.py table7``. Nothing is chosen on the test set: stages and latent channels were chosen once, for all
classes, by how well held-out normals of MNIST's class 8 are told from made anomalies (pieces of other held-out normals
pasted in): AUROC 0.93 with a latent of 1 x 1 x 16, 0.89 with 1 x 1 x 100. `relative_residual`'s low-pass was chosen in
the same way, on CIFAR-10 with quarter turns as made anomalies (`did_not_help.md`). The weights of ``fused`` are equal.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from cells import is_finished, read_cells
from numpy.typing import NDArray
from parallel import run_cells
from reporting import notes, places, shown, spread, write_json
from running import evaluate, record, train

from monai_cavga.data.one_class import CLASSES
from monai_cavga.handlers.files import write_atomic
from monai_cavga.metrics import image_auroc

HELP = "table 7: one class of MNIST or CIFAR-10 against the rest"
BUNDLE = "one_class"
# What differs from the bundle's defaults: sized for one CPU thread.
COMMON: dict[str, Any] = {"discriminator_channels": 16, "encoder_weights": "none", "amp": True}
FAST: dict[str, Any] = {"epochs": 1, "discriminator_channels": 8}  # does it run at all


class DataSet(NamedTuple):
    """One half of the table."""

    title: str
    paper: tuple[float, ...]  # CAVGA-D_u by class
    overrides: dict[str, Any]  # beside `COMMON`


DATA_SETS: dict[str, DataSet] = {
    "mnist": DataSet(
        "MNIST",
        (0.994, 0.997, 0.989, 0.983, 0.977, 0.968, 0.988, 0.986, 0.988, 0.991),
        {"in_channels": 1, "flip_probability": 0.0, "epochs": 12},
    ),
    "cifar10": DataSet(
        "CIFAR-10",
        (0.653, 0.784, 0.761, 0.747, 0.775, 0.552, 0.813, 0.745, 0.801, 0.741),
        {"in_channels": 3, "flip_probability": 0.5, "epochs": 24},
    ),
}
PAPER_MEANS = {"mnist": 0.986, "cifar10": 0.737}
JPEG = (
    "CIFAR-10 is a lossy copy (JPEG) with {n} training images of a class where the owners have 5,000: its numbers are "
    "not those of the owners' images."
)
# Of "fused": each less the mean of held-out normals, over their deviation; summed.
FUSED = ("residual", "relative_residual", "kl", "latent_distance")
SCORES = (*FUSED, "attention", "fused")
JUDGED = "residual"  # the paper's score
LEFT_OUT = "LSA, OCGAN, ULSLM, CapsNet_PP, CapsNet_RE, ADGAN: networks of their own, not CAVGA's with another loss"


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a run alone."""
    parser.add_argument("--data-mnist", type=Path, help="folder with MNIST's idx files")
    parser.add_argument("--data-cifar10", type=Path, help="folder with CIFAR-10, binary or images, or a tar of images")
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
        **DATA_SETS[data_set].overrides,
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
    run_cells(cells, address=args.ray)
    collect(args)


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
    write_atomic(path, table(results, args).encode())
    print(f"wrote {shown(path)} from {len(results)} cells")


def table(results: Sequence[dict[str, Any]], args: argparse.Namespace) -> str:
    """Markdown of the cells: a table for each data set, then where they were measured."""
    lines = [
        "# Table 7 of the paper: one class against the rest",
        "",
        f"Made by `python benchmarks/paper.py collect table7{' --fast' if args.fast else ''}` from the JSON files "
        "beside it. Image AUROC of CAVGA-D_u over the whole test set, the class in the first column normal. Score: "
        f"the mean of a map; `{JUDGED}`, |x - x^|, is the paper's (its sum), the others are of the same network: "
        "`kl` of the posterior from N(0, 1), `latent_distance` to a Gaussian of the training normals' features, "
        f"`attention` 1 - A, `fused` the sum of {', '.join(FUSED)}, each standardised by held-out normals. 32 x 32 "
        "pixels, latent of 1 x 1 x 16, weights drawn at random (the paper's DCGAN is pretrained on CelebA), weight of "
        "L_adv 0.01 (paper: 1). Short trainings. PSNR: of held-out normals' reconstruction. Mean ± standard deviation "
        f"over seeds where there are several. The paper's other systems are left out: {LEFT_OUT}; AnoGAN and "
        "gamma-VAE_g are rows of tables 3 and 4.",
    ]
    for name in DATA_SETS:
        cells = [each for each in results if each["data_set"] == name]
        if cells:
            said = notes(args.output, f"{_tag(args)}_{name}", [each["training"]["commit"] for each in cells])
            lines += ["", *_half(name, cells, said=said)]
    names = [f"{each['data_set']} {each['class']} seed {each['seed']}" for each in results]
    lines += ["", *places(results, names)]
    return "\n".join([*lines, "", "Anomaly relative to the training normals."]) + "\n"


def _half(name: str, cells: Sequence[dict[str, Any]], *, said: Sequence[str]) -> list[str]:
    """The table of one data set; a mean over classes stands only where all ten were measured with the same seeds."""
    data_set = DATA_SETS[name]
    lines = [f"## {data_set.title}, epochs: {cells[0]['overrides']['epochs']}", ""]
    copies = sorted({each["jpeg_training_images"] for each in cells} - {0})
    if copies:
        said = [JPEG.format(n=" or ".join(f"{n:,}" for n in copies)), *said]
    if said:
        lines += [" ".join(said), ""]
    lines += [
        f"| class | seeds | {' | '.join(SCORES)} | paper | {JUDGED} - paper | PSNR |",
        "|" + "---|" * (len(SCORES) + 5),
    ]
    by_class = {
        number: {each["seed"]: each for each in cells if each["class"] == number}
        for number in sorted({each["class"] for each in cells})
    }
    for number, by_seed in by_class.items():
        aurocs = {key: [_auroc(each, key) for each in by_seed.values()] for key in SCORES}
        psnr = [each["validation_psnr"] for each in by_seed.values()]
        label = f"{number} {CLASSES['cifar10'][number]}" if name == "cifar10" else str(number)
        lines.append(_row(label, len(by_seed), aurocs, data_set.paper[number], f"{np.mean(psnr):.1f}"))
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in by_class.values())))
    if len(by_class) == len(data_set.paper) and seeds:
        means = {
            key: [float(np.mean([_auroc(by_seed[seed], key) for by_seed in by_class.values()])) for seed in seeds]
            for key in SCORES
        }
        lines.append(_row("mean", len(seeds), means, PAPER_MEANS[name], ""))
    else:
        lines += ["", f"{len(by_class)} of {len(data_set.paper)} classes measured: no mean to set beside the paper's."]
    return lines


def _row(label: str, seeds: int, aurocs: dict[str, list[float]], paper: float, psnr: str) -> str:
    ours = " | ".join(spread(aurocs[key]) for key in SCORES)
    return f"| {label} | {seeds} | {ours} | {paper:.3f} | {np.mean(aurocs[JUDGED]) - paper:+.3f} | {psnr} |"


def _auroc(cell: dict[str, Any], key: str) -> float:
    return float(cell["report"]["maps"][key]["image_auroc"])


def _jpeg_images(data: Path, number: int) -> int:
    """How many training images of a class a copy in JPEG files has; 0 for the owners' binary version."""
    from monai_cavga.data.one_class import class_images

    name = CLASSES["cifar10"][number]
    images = [each.image for each in class_images(data, "train", dataset="cifar10") if each.class_name == name]
    return len(images) if images and images[0].lower().endswith((".jpg", ".jpeg")) else 0


def _tag(args: argparse.Namespace) -> str:
    """Beginning of the names of files and folders."""
    return "table7-fast" if args.fast else "table7"
