"""Table 4 of the paper: anomalous frames of surveillance cameras, on UCSD Ped2, and on mSTC where a user has it.

A cell is a scene, a method and a seed: `table4_<scene>_<method>_seed<n>.json`, the scene ``ped2`` or ``mstc-01``.
Run by ``benchmarks/paper.py table4``. The paper has no number for Ped2: mSTC's mean stands beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bars import draw_bars, seeds_bar
from cells import is_finished
from measuring import IMAGE_QUANTILE
from method_cells import (
    cell_settings,
    first_weights,
    read_method_cells,
    reports,
    training_overrides,
)
from methods import LEFT_OUT, METHODS
from paper_numbers import TABLE4_ACCURACY, TABLE4_IOU, TABLE4_SCENES
from parallel import run_cells
from reporting import difference, notes, places, shown, spread, write_json
from running import ped2_data, record

from monai_cavga.data.mstc import list_clips
from monai_cavga.handlers.files import NOTICE, write_atomic

HELP = "table 4: frames of UCSD Ped2, and of mSTC where you have it"
# Sized for one CPU thread: about the frames' own proportions.
COMMON: dict[str, Any] = {"image_size": [128, 192], "batch_size": 4, "epochs": 4, "discriminator_channels": 32}
FAST: dict[str, Any] = {"image_size": [64, 96], "epochs": 1, "discriminator_channels": 8}  # does it run at all
ROWS = ("CAVGA-R_u", "CAVGA-D_u", "AE_L2", "AE_SSIM", "gamma-VAE_g")  # what needs no labelled anomaly
DEFAULT = ROWS[:2]
DETECTION = {
    "accuracy, paper's rule": "accuracy_paper",
    "accuracy, held-out": "accuracy_held_out",
    "AUROC": "image_auroc",
}
LOCALISATION = {"IoU@0.5 images": "iou@0.5_images", "pixel AUROC": "pixel_auroc"}


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a run alone."""
    parser.add_argument("--data-ped2", type=Path, help="folder of UCSD Ped2")
    parser.add_argument("--data-mstc", type=Path, help="folder of ShanghaiTech Campus")
    parser.add_argument("--scenes", nargs="+", type=int, help="of mSTC; default: all that are there")
    parser.add_argument("--weights", default="imagenet", help="file of ResNet-18 weights; default: torchvision's")
    parser.add_argument("--methods", nargs="+", choices=ROWS, default=list(DEFAULT))


def add_collect_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that name the result files, of a run and of `collect`."""
    parser.add_argument("--fast", action="store_true", help="64 x 96 pixels, one epoch: whether everything runs")


def cell_overrides(args: argparse.Namespace, scene: str, training: str, seed: int) -> dict[str, Any]:
    """What a cell changes of the bundle's defaults, the file of weights and Ped2's data lists apart."""
    ped2 = scene == "ped2"
    return {
        **COMMON,
        **(FAST if args.fast else {}),
        **({"category": "ped2", "in_channels": 1} if ped2 else {"scene": int(scene.removeprefix("mstc-"))}),
        **training_overrides(training),
        "seed": seed,
    }


def run(args: argparse.Namespace) -> None:
    """Every cell asked for that is not finished, then the table."""
    scenes = ["ped2"] if args.data_ped2 else []
    if args.data_mstc:
        there = sorted({clip.scene for clip in list_clips(args.data_mstc, "test")})
        scenes += [f"mstc-{number:02d}" for number in args.scenes or there]
    if not scenes:
        sys.exit("no data: give --data-ped2 DIR, --data-mstc DIR or both")
    cells = [
        partial(measure_cell, args, scene, method=method, seed=seed)
        for seed in args.seeds
        for scene in scenes
        for method in args.methods
        if not is_finished(cell_path(args, scene, method, seed), partial(wanted, args))
    ]
    run_cells(cells, address=args.ray)
    collect(args)


def measure_cell(args: argparse.Namespace, scene: str, *, method: str, seed: int) -> None:
    """Train and evaluate one cell.

    Args:
        args: of the command line.
        scene: "ped2" or such as "mstc-01".
        method: of `ROWS`.
        seed: of everything.
    """
    ped2, training = scene == "ped2", METHODS[method].training
    bundle, data = ("mvtad", args.data_ped2) if ped2 else ("mstc", args.data_mstc)
    overrides = {
        **cell_overrides(args, scene, training, seed),
        "encoder_weights": first_weights(training, asked=args.weights),
    }
    lists = {"train#data": ped2_data("training"), "validate#data": ped2_data("validation")} if ped2 else {}
    work = args.work / f"{scene}{'-fast' if args.fast else ''}" / training / f"seed{seed}"
    print(f"{scene} {method} seed {seed}: model in {shown(work)}", flush=True)
    ((_, report),) = reports(
        training,
        [method],
        bundle=bundle,
        data=data,
        work=work,
        overrides={**overrides, **lists},
        tested={"dataset#data": ped2_data("test")} if ped2 else {},
        pixels=not ped2,
    )
    where = "--data-ped2 DIR" if ped2 else f"--data-mstc DIR --scenes {overrides['scene']}"
    result = {
        "scene": scene,
        "method": method,
        "settings": list(METHODS[method].settings),
        "seed": seed,
        "command": f"python benchmarks/paper.py table4 {where} --weights FILE --methods {method} --seeds {seed}"
        f"{' --fast' if args.fast else ''}",
        **record(work=work, overrides=overrides, report=report),
    }
    write_json(cell_path(args, scene, method, seed), result)


def cell_path(args: argparse.Namespace, scene: str, method: str, seed: int) -> Path:
    """A cell's result file."""
    path: Path = args.output / f"{_tag(args)}_{scene}_{method}_seed{seed}.json"
    return path


def wanted(args: argparse.Namespace, result: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a finished cell must have."""
    overrides = cell_overrides(args, result["scene"], METHODS[result["method"]].training, result["seed"])
    return overrides | cell_settings(result["method"], args)


def collect(args: argparse.Namespace) -> None:
    """Write the table and its picture from its result files."""
    results = read_method_cells(args.output, _tag(args), partial(wanted, args), table="table4")
    path: Path = args.output / f"{_tag(args)}.md"
    write_atomic(path, table(results, args).encode())
    bars = [
        seeds_bar(
            f"{scene} {method}",
            _values(results, scene, method, part="detection", key="accuracy_paper"),
            _paper(TABLE4_ACCURACY, scene, method),
        )
        for scene, method in _rows(results)
    ]
    draw_bars(path.with_suffix(".png"), bars, title="Detection: accuracy by the paper's rule (paper: mSTC)")
    print(f"wrote {shown(path)} from {len(results)} cells")


def table(results: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> str:
    """Markdown of the cells: detection, localisation where a scene has pixel labels, where they were measured."""
    settings = {**COMMON, **(FAST if args.fast else {})}
    height, width = settings["image_size"]
    lines = [
        "# Table 4 of the paper: frames of surveillance cameras",
        "",
        f"Made by `python benchmarks/paper.py collect table4{' --fast' if args.fast else ''}` from the JSON files "
        "beside it. The paper's data are mSTC (every 5th frame of ShanghaiTech Campus); UCSD Ped2 is another set, with "
        "frame labels alone, and the paper's mean over mSTC's scenes stands beside it without a difference. Score: the "
        "mean of |x - x^| (Sec. 3.1), of its map for the other methods. Accuracy: mean of that on normal and on "
        "anomalous frames; by the paper's rule scores are brought to [0, 1] over the test set and cut at 0.5; "
        f"`held-out`: cut at the {IMAGE_QUANTILE:g} quantile of held-out training clips' scores. {height} x {width} "
        f"pixels, batch {settings['batch_size']}, epochs: {settings['epochs']}, three stages of ResNet-18 (paper: "
        f"four), discriminator of width {settings['discriminator_channels']}, weight of L_adv 0.01 (paper: 1). Short "
        "trainings, of which CAVGA keeps the epoch that reconstructs held-out frames best, the others their "
        "last. Mean ± standard deviation over seeds where there are several.",
        *_notes(results, args),
        "",
        "## Detection",
        "",
        f"| scene | method | seeds | {' | '.join(DETECTION)} | paper's accuracy | ours - paper |",
        "|" + "---|" * (len(DETECTION) + 5),
    ]
    lines += [_row(results, each, DETECTION, part="detection", paper=TABLE4_ACCURACY) for each in _rows(results)]
    labelled = [each for each in _rows(results) if each[0] != "ped2"]
    if labelled:
        lines += [
            "",
            "## Localisation",
            "",
            f"| scene | method | seeds | {' | '.join(LOCALISATION)} | paper's IoU | ours - paper |",
            "|" + "---|" * (len(LOCALISATION) + 5),
        ]
        lines += [_row(results, each, LOCALISATION, part="localisation", paper=TABLE4_IOU) for each in labelled]
    lines += ["", "## Systems of the paper that are left out", ""]
    lines += [f"- {name}: {LEFT_OUT[name]}." for name in ("AVID", "LSA")]
    lines.append("- CAVGA-D_w, CAVGA-R_w: they need labelled anomalous training frames, which Ped2 does not have.")
    names = [f"{each['scene']} {each['method']} seed {each['seed']}" for each in results]
    return "\n".join([*lines, "", "## Where it was measured", "", *places(results, names), "", NOTICE]) + "\n"


def _notes(results: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> list[str]:
    scenes = dict.fromkeys(scene for scene, _ in _rows(results))
    commits = {scene: [each["training"]["commit"] for each in results if each["scene"] == scene] for scene in scenes}
    return [f"\n{each}" for scene in scenes for each in notes(args.output, f"{_tag(args)}_{scene}", commits[scene])]


def _row(
    results: Sequence[Mapping[str, Any]],
    row: tuple[str, str],
    metrics: Mapping[str, str],
    *,
    part: str,
    paper: Mapping[str, tuple[float, ...]],
) -> str:
    scene, method = row
    values = [_values(results, scene, method, part=part, key=key) for key in metrics.values()]
    number = _paper(paper, scene, method)
    less = difference(values[0], None if scene == "ped2" else number)
    beside = "–" if number is None else f"{number:.3f}{' (mSTC)' if scene == 'ped2' else ''}"
    return f"| {scene} | {method} | {len(values[0])} | {' | '.join(map(spread, values))} | {beside} | {less} |"


def _rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    scenes = sorted({each["scene"] for each in results}, key=lambda scene: (scene != "ped2", scene))
    there = {(each["scene"], each["method"]) for each in results}
    return [(scene, method) for scene in scenes for method in ROWS if (scene, method) in there]


def _values(
    results: Sequence[Mapping[str, Any]], scene: str, method: str, *, part: str, key: str
) -> list[float | None]:
    cells = [each for each in results if (each["scene"], each["method"]) == (scene, method)]
    return [each["report"][part][key] for each in cells]


def _paper(numbers: Mapping[str, tuple[float, ...]], scene: str, method: str) -> float | None:
    """The paper's number of a scene, or its mean over mSTC's scenes for Ped2."""
    if scene == "ped2":
        return float(np.mean(numbers[method]))
    number = int(scene.removeprefix("mstc-"))
    return numbers[method][TABLE4_SCENES.index(number)] if number in TABLE4_SCENES else None


def _tag(args: argparse.Namespace) -> str:
    """Beginning of the names of the result files."""
    return "table4-fast" if args.fast else "table4"
