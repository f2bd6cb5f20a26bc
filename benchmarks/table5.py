"""Table 5 of the paper: glaucoma in fundus photographs of LAG, CAVGA beside what a classifier looks at.

A cell is a method and a seed: `table5_<method>_seed<n>.json`. Run by ``benchmarks/paper.py table5``, with the settings
of `bundles/lag`. LAG's owners give it out on request and do not let it be passed on: it was not at hand, so there are
no numbers of ours; the table is for those who have LAG.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bars import draw_bars, seeds_bar
from cells import is_finished
from measuring import IMAGE_QUANTILE
from method_cells import (
    by_training,
    cell_settings,
    first_weights,
    read_method_cells,
    reports,
    training_overrides,
)
from methods import METHODS
from paper_numbers import TABLE5_ACCURACY, TABLE5_IOU
from parallel import run_cells
from reporting import difference, notes, places, shown, spread, write_json
from running import record
from saliency import SAMPLES
from table3_text import TABLE3, TABLE6

from monai_cavga.data.lag import read_layout
from monai_cavga.handlers.files import NOTICE, write_atomic

HELP = "table 5: glaucoma on LAG, where you have it"
BUNDLE = "lag"
COMMON: dict[str, Any] = {"image_size": [256, 256], "batch_size": 16, "epochs": 40, "discriminator_channels": 64}
# Does it run at all, on a CPU.
FAST: dict[str, Any] = {"image_size": [64, 64], "batch_size": 4, "epochs": 1, "discriminator_channels": 8}
ROWS = ("CAM", "GBP", "SmoothGrad", "CAVGA-D_u", "CAVGA-R_u")  # the paper's, and its R_u, which it has not on LAG
LOCALISATION = {"IoU@0.5 images": "iou@0.5_images", "IoU* images": "iou_oracle_images", "pixel AUROC": "pixel_auroc"}
DETECTION = TABLE6.metrics


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a run alone."""
    parser.add_argument("--data", type=Path, required=True, help="folder of LAG, that holds LAG_database_part_*")
    parser.add_argument("--weights", default="imagenet", help="file of ResNet-18 weights; default: torchvision's")
    parser.add_argument("--methods", nargs="+", choices=ROWS, default=list(ROWS))


def add_collect_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that name the result files, of a run and of `collect`."""
    parser.add_argument("--fast", action="store_true", help="64 x 64 pixels, one epoch: whether everything runs")


def cell_overrides(args: argparse.Namespace, training: str, seed: int) -> dict[str, Any]:
    """What a cell changes of the bundle's defaults, the file of weights apart."""
    return {**COMMON, **(FAST if args.fast else {}), **training_overrides(training), "seed": seed}


def run(args: argparse.Namespace) -> None:
    """Every cell asked for that is not finished, then the table."""
    try:
        read_layout(args.data)
    except (FileNotFoundError, ValueError) as err:
        sys.exit(str(err))
    cells = []
    for seed in args.seeds:
        left = [name for name in args.methods if not is_finished(cell_path(args, name, seed), partial(wanted, args))]
        for training, methods in by_training(left).items():
            cells.append(partial(measure_cells, args, training, methods=methods, seed=seed))
    run_cells(cells, address=args.ray)
    collect(args)


def measure_cells(args: argparse.Namespace, training: str, *, methods: list[str], seed: int) -> None:
    """Train one model, or take it where it is finished, and measure the methods that look at it.

    Args:
        args: of the command line.
        training: of `methods.TRAININGS`.
        methods: of `ROWS`, all of this training.
        seed: of everything.
    """
    overrides = {
        **cell_overrides(args, training, seed),
        "encoder_weights": first_weights(training, asked=args.weights),
    }
    work = args.work / f"lag{_flag(args)}" / training / f"seed{seed}"
    print(f"LAG {', '.join(methods)} seed {seed}: model in {shown(work)}", flush=True)
    for name, report in reports(training, methods, bundle=BUNDLE, data=args.data, work=work, overrides=overrides):
        result = {
            "method": name,
            "title": METHODS[name].title,
            "settings": list(METHODS[name].settings),
            "seed": seed,
            "command": f"python benchmarks/paper.py table5 --data LAG --weights FILE --methods {name} --seeds {seed}"
            f"{' --fast' if args.fast else ''}",
            **record(work=work, overrides=overrides, report=report),
        }
        write_json(cell_path(args, name, seed), result)


def cell_path(args: argparse.Namespace, method: str, seed: int) -> Path:
    """A cell's result file."""
    path: Path = args.output / f"{_tag(args)}_{method}_seed{seed}.json"
    return path


def wanted(args: argparse.Namespace, result: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a finished cell must have."""
    overrides = cell_overrides(args, METHODS[result["method"]].training, result["seed"])
    return overrides | cell_settings(result["method"], args)


def collect(args: argparse.Namespace) -> None:
    """Write the table and its picture from its result files."""
    results = read_method_cells(args.output, _tag(args), partial(wanted, args), table="table5")
    path: Path = args.output / f"{_tag(args)}.md"
    write_atomic(path, table(results, args).encode())
    bars = []
    for name in ROWS:
        if cells := _of(results, name):
            iou = _values(cells, "localisation", TABLE3.judged(name))
            accuracy = _values(cells, "detection", "accuracy_paper")
            bars.append(seeds_bar(f"{name}, IoU", iou, TABLE5_IOU.get(name)))
            bars.append(seeds_bar(f"{name}, accuracy", accuracy, TABLE5_ACCURACY.get(name)))
    draw_bars(path.with_suffix(".png"), bars, title="LAG: IoU, and accuracy by the paper's rule")
    print(f"wrote {shown(path)} from {len(results)} cells")


def table(results: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> str:
    """Markdown of the cells: localisation, detection, how to read them, where they were measured."""
    settings = {**COMMON, **(FAST if args.fast else {})}
    height, width = settings["image_size"]
    weights = sorted({each["encoder_weights"] for each in results} - {"none"}) or ["none"]
    lines = [
        "# Table 5 of the paper: glaucoma on LAG",
        "",
        f"Made by `python benchmarks/paper.py collect table5{' --fast' if args.fast else ''}` from the JSON files "
        "beside it, with the bundle `lag`: the paper's split, in proportion where there are fewer normal photographs "
        "(the paper's test set: 800 normal, 2392 anomalous); the masks are the owners' attention maps, anomalous from "
        f"half of full scale on. {height} x {width} pixels, batch {settings['batch_size']}, epochs: "
        f"{settings['epochs']}, weight of L_adv 0.01 (paper: 1), four stages of ResNet-18, discriminator of width "
        f"{settings['discriminator_channels']}, a fifth of the training normals held out, encoder's first weights for "
        f"R and the classifier: {' and '.join(weights)}; D's are drawn at random (the paper's are pretrained on "
        "CelebA). CAVGA keeps the epoch that reconstructs held-out normals best, the classifier its last. Mean ± "
        "standard deviation over seeds where there are several.",
        "",
        "CAM, GBP and SmoothGrad: by captum, of one classifier: CAVGA-R's encoder, a mean over positions, two outputs. "
        "It learns from 2 % of the anomalous photographs, drawn for a quarter of each epoch, which leave the test set; "
        f"the paper does not say how many it takes. {SAMPLES} noisy copies for SmoothGrad (its authors': 50).",
        *(f"\n{each}" for each in notes(args.output, _tag(args), [each["training"]["commit"] for each in results])),
        "",
        "## Localisation",
        "",
        "Mean IoU over the anomalous test photographs; `@0.5`: the paper's threshold for CAVGA; `*`: threshold chosen "
        "on the test set (oracle). The difference is of IoU@0.5 for CAVGA and of IoU* for the others, whose threshold "
        "the paper does not state: a comparison that favours the others.",
        "",
        *_head(LOCALISATION, "IoU"),
    ]
    there = [(name, cells) for name in ROWS if (cells := _of(results, name))]
    for name, cells in there:
        lines.append(_row(name, cells, "localisation", LOCALISATION, judged=TABLE3.judged(name), paper=TABLE5_IOU))
    lines += [
        "",
        "## Detection",
        "",
        "Accuracy: mean of that on normal and on anomalous photographs. The paper's rule: CAVGA_u's score, the mean of "
        "|x - x^|, is brought to [0, 1] over the test set and cut at 0.5; the classifier decides by its own two "
        "outputs, so that its three rows are the same here, which they are not in the paper. `held-out`: cut at the "
        f"{IMAGE_QUANTILE:g} quantile of held-out normals' scores.",
        "",
        *_head(DETECTION, "accuracy"),
    ]
    for name, cells in there:
        lines.append(_row(name, cells, "detection", DETECTION, judged="accuracy_paper", paper=TABLE5_ACCURACY))
    lines += [
        "",
        "## Systems of the paper that are left out",
        "",
        f"- Patho-GAN (the paper's IoU {TABLE5_IOU['Patho-GAN']:.2f}, accuracy {TABLE5_ACCURACY['Patho-GAN']:.2f}): "
        "not built here: a network of its own, not the paper's.",
    ]
    names = [f"{each['method']} seed {each['seed']}" for each in results]
    return "\n".join([*lines, "", "## Where it was measured", "", *places(results, names), "", NOTICE]) + "\n"


def _head(metrics: Mapping[str, str], name: str) -> list[str]:
    titles = ["method", "", "normal + anomalous", "seeds", *metrics, f"paper's {name}", "ours - paper"]
    return [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]


def _row(
    method: str,
    cells: Sequence[Mapping[str, Any]],
    part: str,
    metrics: Mapping[str, str],
    *,
    judged: str,
    paper: Mapping[str, float],
) -> str:
    counts = dict.fromkeys("{normal} + {anomalous}".format(**each["report"]["n_images"]) for each in cells)
    ours = " | ".join(spread(_values(cells, part, key)) for key in metrics.values())
    number = f"{paper[method]:.2f}" if method in paper else "–"
    less = difference(_values(cells, part, judged), paper.get(method))
    return f"| {method} | {METHODS[method].title} | {', '.join(counts)} | {len(cells)} | {ours} | {number} | {less} |"


def _of(results: Sequence[Mapping[str, Any]], method: str) -> list[Mapping[str, Any]]:
    return [each for each in results if each["method"] == method]


def _values(cells: Sequence[Mapping[str, Any]], part: str, key: str) -> list[float | None]:
    return [each["report"][part][key] for each in cells]


def _flag(args: argparse.Namespace) -> str:
    return "-fast" if args.fast else ""


def _tag(args: argparse.Namespace) -> str:
    """Beginning of the names of the result files."""
    return f"table5{_flag(args)}"
