"""Made anomalies, then a few labels, then calibration: every protocol, seed and budget of labels, and their table.

``python benchmarks/synthetic.py run --protocol retina --data IDRID --weights FILE --seeds 0 1 2 --labelled 0 4 20 244``
trains what is not finished (a killed training resumes), calibrates, evaluates on the test set, and writes
``benchmarks/results/synthetic_<protocol>_k<labelled>_seed<n>.json`` and ``.png``. The model without labels comes first
for each seed: it is the teacher and the beginning of the others. ``collect`` makes ``synthetic_<protocol>.md``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from reporting import RESULTS, cell, machine
from running import run_bundle

from monai_cavga.handlers.files import write_atomic
from monai_cavga.metrics.score import ScoreRule, rule_words


def _ped2(section: str) -> dict[str, Any]:
    """A data list of Ped2 in place of a bundle's own."""
    reader = "monai_cavga.data.ped2_items"
    common = {"validation_fraction": "@validation_fraction", "seed": "@seed"}
    return {"_target_": reader, "dataset_dir": "@dataset_dir", "section": section, **common}


# Screws, aligned, are up to 290 pixels long and a band of about 100 of the 256 rows high: at three times their own size
# the band costs less than twice the whole image.
SCREW = {
    "category": "screw",
    "align": True,
    "canvas": 1.25,
    "image_size": [960, 960],
    "object_size": [320, 960],
    "crop_reach": [48, 368],
}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "retina": {"bundle": "idrid", "options": {}, "weak_epochs": 12},
    "screw": {"bundle": "mvtad", "weak_epochs": 8, "options": SCREW},
    # No classifier and no training: ImageNet's features and their calibration. Twice the frames' own size.
    "ped2": {
        "bundle": "mvtad",
        "steps": ("calibrating", "synthetic_evaluating"),
        "options": {
            "head": "none",
            "align": False,
            "image_size": [480, 720],
            "localizer": {
                "_target_": "monai_cavga.networks.CAVGALocalizer",
                "network": "@network_def",
                "maps": ["latent_distance"],
            },
            "train#data": _ped2("training"),
            "validate#data": _ped2("validation"),
        },
        "calibrating": {
            "fit_data": _ped2("training"),
            "test_data": _ped2("test"),
            "load_model": {
                "_target_": "monai_cavga.networks.load_encoder_weights",
                "encoder": "$@network_def.encoder",
                "source": "@encoder_weights",
            },
        },
        "synthetic_evaluating": {"dataset#data": _ped2("test"), "maps": ["fused", "latent_distance"]},
    },
}
STEPS = ("synthetic_training", "calibrating", "synthetic_evaluating")
COLUMNS = {
    "pixel AUROC": "pixel_auroc",
    "AUPRO": "aupro",
    "IoU* pooled": "iou_oracle_pooled",
    "IoU@0.5 pooled": "iou@0.5_pooled",
    "image AUROC": "image_auroc",
}
COMMAND = (
    "python benchmarks/synthetic.py run --protocol {protocol} --data DIR --weights FILE "
    "--seeds {seed} --labelled {labelled}"
)


def one(args: argparse.Namespace, seed: int, labelled: float) -> None:
    """Train, calibrate and evaluate one model, whatever of it is not done yet."""
    protocol = args.protocol
    if labelled and "synthetic_training" not in _steps(protocol):
        sys.exit(f"--labelled is {labelled:g}, but {protocol} is not trained and learns from no label: leave it out")
    name = f"k{labelled:g}"
    work = args.work / protocol / name / f"seed{seed}"
    work.mkdir(parents=True, exist_ok=True)
    common: dict[str, Any] = {
        "dataset_dir": str(args.data),
        "seed": seed,
        "labelled": labelled,
        "model_file": str(work / "model.pt"),
        "state_file": str(work / "state.pt"),
        "output_dir": str(work / "log"),
        "calibration_file": str(work / "calibration.safetensors"),
        "deployed_file": str(work / "model.safetensors"),
        **PROTOCOLS[protocol]["options"],
    }
    training: dict[str, Any] = {"encoder_weights": args.weights, **args.set}
    if labelled:
        teacher = str(args.work / protocol / "k0" / f"seed{seed}" / "model.pt")
        training |= {"teacher_file": teacher, "initial_file": teacher, "supervision": "mixed"}
        training |= {"epochs": PROTOCOLS[protocol]["weak_epochs"]}
    bundle, own = PROTOCOLS[protocol]["bundle"], {step: PROTOCOLS[protocol].get(step, {}) for step in STEPS}
    steps = {
        "synthetic_training": training,
        "calibrating": {"encoder_weights": args.weights, **own["calibrating"]},
        "synthetic_evaluating": {"evaluation_dir": str(work / "eval"), **own["synthetic_evaluating"]},
    }
    needed = _steps(protocol)
    for step, options in steps.items():
        done = work / f"{step}.json"
        if done.is_file() or step not in args.steps or step not in needed:
            continue
        print(f"{protocol} {name} seed {seed}: {step} in {work}", flush=True)
        start = time.monotonic()
        run_bundle(bundle, step, **common, **options)
        note = {"seconds": round(time.monotonic() - start), **machine()}
        write_atomic(done, json.dumps(note).encode())
    if all((work / f"{step}.json").is_file() for step in needed):
        write_result(protocol, seed, labelled, work=work, overrides=training)


def write_result(protocol: str, seed: int, labelled: float, *, work: Path, overrides: Mapping[str, Any]) -> None:
    """One JSON for a finished model, and its contact sheet."""
    shown = {key: value for key, value in overrides.items() if not key.endswith(("_file", "weights"))}
    result = {
        "protocol": protocol,
        "labelled": labelled,
        "seed": seed,
        "command": COMMAND.format(protocol=protocol, seed=seed, labelled=f"{labelled:g}"),
        "overrides": shown,
        "steps": {step: json.loads((work / f"{step}.json").read_text()) for step in _steps(protocol)},
        "calibration": json.loads((work / "calibration.json").read_text()),
        "report": json.loads((work / "eval" / "report.json").read_text(encoding="utf-8")),
    }
    rule = score_rule(result)
    name = f"synthetic_{protocol}_k{labelled:g}_seed{seed}{'_peaks' if rule == 'peaks' else ''}"
    write_atomic(RESULTS / f"{name}.json", (json.dumps(result, indent=2) + "\n").encode())
    sheet = next(iter(sorted((work / "eval").glob("*sheet*.png"))), None)
    if sheet is not None:
        shutil.copyfile(sheet, RESULTS / f"{name}.png")


def score_rule(result: Mapping[str, Any]) -> ScoreRule:
    """Of the image score; the key was ``image_quantile`` until there were other rules."""
    settings = result["report"]["settings"]
    rule: ScoreRule = settings["score_rule"] if "score_rule" in settings else settings["image_quantile"]
    return rule


def run(args: argparse.Namespace) -> None:
    """Everything asked for, the model without labels first."""
    for seed in args.seeds:
        for labelled in sorted({0.0, *args.labelled}) if any(args.labelled) else [0.0]:
            one(args, seed, int(labelled) if labelled == int(labelled) else labelled)
    if set(args.steps) == set(STEPS):
        collect(args)


def collect(args: argparse.Namespace) -> None:
    """Write the protocol's table from its result files."""
    paths = sorted(RESULTS.glob(f"synthetic_{args.protocol}_k*_seed*.json"))
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if not results:
        sys.exit(f"no results of {args.protocol} in {RESULTS}: run it first")
    results.sort(key=lambda result: (rule_words(score_rule(result)), result["labelled"], result["seed"]))
    lines = [
        f"# {args.protocol}: made anomalies, labels, calibration",
        "",
        f"Made by `python benchmarks/synthetic.py collect --protocol {args.protocol}` from the JSON files beside it. "
        "Maps compared at the source's size, inside the field of view where there is one. `*`: threshold chosen on the "
        "test set (oracle). Brackets: 95 % bootstrap interval over "
        f"{'clips' if args.protocol == 'ped2' else 'images'}. Anomaly relative to the training normals; "
        "research use, not for diagnosis.",
        "",
        f"| labels | seed | map | {' | '.join(COLUMNS)} | image score |",
        "|" + "---|" * (len(COLUMNS) + 4),
    ]
    for result in results:
        for name, values in result["report"]["maps"].items():
            cells = [cell(values, key) for key in COLUMNS.values()]
            words = rule_words(score_rule(result))
            lines.append(f"| {result['labelled']:g} | {result['seed']} | {name} | {' | '.join(cells)} | {words} |")
    lines += ["", f"| labels | seeds | map | {' | '.join(COLUMNS)} | image score |", "|" + "---|" * (len(COLUMNS) + 4)]
    kinds = dict.fromkeys((result["labelled"], rule_words(score_rule(result))) for result in results)
    for labelled, words in kinds:
        group = [each for each in results if (each["labelled"], rule_words(score_rule(each))) == (labelled, words)]
        for name in group[0]["report"]["maps"]:
            values = [[each["report"]["maps"][name].get(key) for each in group] for key in COLUMNS.values()]
            cells = ["–" if None in row else f"{np.mean(row):.3f} ± {np.std(row):.3f}" for row in values]
            lines.append(f"| {labelled:g} | {len(group)} | {name} | {' | '.join(cells)} | {words} |")
    lines += ["", "| labels | seed | training | calibration | CPU | threads | date | trained at |", "|" + "---|" * 8]
    for result in results:
        steps = result["steps"]
        place = steps.get("synthetic_training", steps["calibrating"])
        trained = f"{place['seconds'] / 60:.0f} min" if "synthetic_training" in steps else "none"
        lines.append(
            f"| {result['labelled']:g} | {result['seed']} | {trained} | "
            f"{steps['calibrating']['seconds'] / 60:.0f} min | {place['cpu']}, {place['cores']} cores | "
            f"{place['threads']} | {place['date']} | {place['commit'][:10]} |"
        )
    write_atomic(RESULTS / f"synthetic_{args.protocol}.md", ("\n".join(lines) + "\n").encode())
    print(f"wrote {RESULTS / f'synthetic_{args.protocol}.md'} from {len(results)} runs")


def _steps(protocol: str) -> tuple[str, ...]:
    """What a protocol needs; one without training has the features of the initial weights."""
    steps: tuple[str, ...] = PROTOCOLS[protocol].get("steps", STEPS)
    return steps


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, json.loads(value)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="train, calibrate, evaluate, collect")
    runner.add_argument("--data", type=Path, required=True, help="data set folder")
    runner.add_argument("--weights", default="imagenet", help="file of ResNet-18 weights; default: torchvision's")
    runner.add_argument("--seeds", nargs="+", type=int, default=[0])
    runner.add_argument("--labelled", nargs="+", type=float, default=[0.0], help="labelled anomalous images")
    runner.add_argument("--work", type=Path, default=Path("runs/synthetic"), help="models and logs")
    runner.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="do these only")
    runner.add_argument("--set", nargs="+", type=_setting, default=[], metavar="KEY=JSON", help="training overrides")
    runner.set_defaults(run=run)
    table = commands.add_parser("collect", help="table from the result files")
    table.set_defaults(run=collect)
    for each in (runner, table):
        each.add_argument("--protocol", choices=list(PROTOCOLS), required=True)
    args = parser.parse_args()
    if args.command == "run":
        args.set = dict(args.set)
    args.run(args)


if __name__ == "__main__":
    main()
