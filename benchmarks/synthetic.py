"""Made anomalies, then a few labels, then calibration: every protocol, seed and budget of labels, and their table.

``python benchmarks/synthetic.py run --protocol retina --data IDRID --weights FILE --seeds 0 1 2 --labelled 0 4 20 244``
trains what is not finished (a killed training resumes), calibrates, evaluates on the test set, and writes
``benchmarks/results/synthetic_<protocol>_k<labelled>_seed<n>.json`` and ``.png``. The model without labels comes first
for each seed: it is the teacher and the beginning of the others. ``collect`` makes ``synthetic_<protocol>.md``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cells import differences
from reporting import HERE, RESULTS, machine, notes, shown, write_json
from running import ped2_data, run_bundle
from synthetic_table import markdown, score_rule

from monai_cavga.handlers.files import file_sha256, write_atomic

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
            "train#data": ped2_data("training"),
            "validate#data": ped2_data("validation"),
        },
        "calibrating": {
            "fit_data": ped2_data("training"),
            "test_data": ped2_data("test"),
            "load_model": {
                "_target_": "monai_cavga.networks.load_encoder_weights",
                "encoder": "$@network_def.encoder",
                "source": "@encoder_weights",
            },
        },
        "synthetic_evaluating": {"dataset#data": ped2_data("test"), "maps": ["fused", "latent_distance"]},
    },
}
STEPS = ("synthetic_training", "calibrating", "synthetic_evaluating")
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
    if fixed := sorted(common.keys() & args.set.keys()):
        sys.exit(f"--set {' '.join(fixed)}: the same in every step of {protocol}, expected a key of the training alone")
    training: dict[str, Any] = {"encoder_weights": args.weights, **args.set}
    teacher = args.work / protocol / "k0" / f"seed{seed}" / "model.pt" if labelled else None
    if teacher:
        training |= {"teacher_file": str(teacher), "initial_file": str(teacher), **weak_overrides(protocol)}
    bundle, own = PROTOCOLS[protocol]["bundle"], {step: PROTOCOLS[protocol].get(step, {}) for step in STEPS}
    steps = {
        "synthetic_training": training,
        "calibrating": {"encoder_weights": args.weights, **own["calibrating"]},
        "synthetic_evaluating": {"evaluation_dir": str(work / "eval"), **own["synthetic_evaluating"]},
    }
    needed = _steps(protocol)
    for number, step in enumerate(needed):
        options, done = common | steps[step], work / f"{step}.json"
        if done.is_file():
            check_step(done, options, changed=bool(args.set))
            if teacher and step == "synthetic_training":
                check_teacher(done, teacher)
        elif step in args.steps:
            for later in needed[number + 1 :]:
                (work / f"{later}.json").unlink(missing_ok=True)  # of the model before
            print(f"{protocol} {name} seed {seed}: {step} in {shown(work)}", flush=True)
            of = {}
            if teacher and step == "synthetic_training":
                if not teacher.is_file():
                    sys.exit(f"no teacher {shown(teacher)}, expected the model without labels: remove its folder")
                of["teacher"] = file_sha256(teacher)
            start = time.monotonic()
            run_bundle(bundle, step, **options)
            seconds = round(time.monotonic() - start)
            write_json(done, {"seconds": seconds, **machine(), "overrides": without_paths(options), **of})
    if all((work / f"{step}.json").is_file() for step in needed):
        write_result(args, seed, labelled, work=work, overrides=training)


def weak_overrides(protocol: str) -> dict[str, Any]:
    """What a training with labels changes, its files apart."""
    return {"supervision": "mixed", "epochs": PROTOCOLS[protocol].get("weak_epochs")}


def check_step(done: Path, options: Mapping[str, Any], *, changed: bool) -> None:
    """End the program with one line if a finished step was run with other settings than those asked for.

    Args:
        done: the step's file.
        options: config ids and their values that it would be run with now.
        changed: whether some of them are from the command line.
    """
    finished = json.loads(done.read_text(encoding="utf-8")).get("overrides")
    # a training would go on from its state, which lies beside the file
    training = done.stem == "synthetic_training"
    remedy = f"remove {'its folder' if training else 'the file'} to run it again, or give another --work"
    if finished is None:  # by a version that did not write them
        if changed:
            sys.exit(f"{shown(done)} does not say its settings, which --set is to be compared with: {remedy}")
        print(f"{shown(done)} does not say its settings: kept", flush=True)
    elif problem := differences(finished, without_paths(options)):
        sys.exit(f"{shown(done)} was run with {problem}: {remedy}")


def check_teacher(done: Path, teacher: Path) -> None:
    """End the program with one line if a finished training with labels had another teacher than the present one.

    Args:
        done: the training's file.
        teacher: the model without labels of the same seed.
    """
    noted = json.loads(done.read_text(encoding="utf-8")).get("teacher")
    if noted is None:  # by a version that did not write it
        print(f"{shown(done)} does not say its teacher: kept", flush=True)
    elif not teacher.is_file():
        print(f"{shown(teacher)} is not there to be compared with {shown(done)}: kept", flush=True)
    elif (present := file_sha256(teacher)) != noted:
        sys.exit(
            f"{shown(done)} had a teacher of SHA-256 {noted[:12]}, {shown(teacher)} is {present[:12]}: remove its "
            "folder to run it again, or give another --work"
        )


def without_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    """Config ids and values that define a step, as JSON has them, without folders and files of this machine."""
    ends = ("_file", "_dir", "weights")
    kept: dict[str, Any] = json.loads(
        json.dumps({key: each for key, each in options.items() if not key.endswith(ends)})
    )
    return kept


def write_result(
    args: argparse.Namespace, seed: int, labelled: float, *, work: Path, overrides: Mapping[str, Any]
) -> None:
    """One JSON for a finished model, and its contact sheet."""
    settings = [f"{key}={json.dumps(value)}" for key, value in args.set.items()]
    result = {
        "protocol": args.protocol,
        "labelled": labelled,
        "seed": seed,
        "command": COMMAND.format(protocol=args.protocol, seed=seed, labelled=f"{labelled:g}")
        + (f" --set {shlex.join(settings)}" if settings else ""),
        "overrides": without_paths(overrides),
        "steps": {step: json.loads((work / f"{step}.json").read_text()) for step in _steps(args.protocol)},
        "calibration": json.loads((work / "calibration.json").read_text()),
        "report": json.loads((work / "eval" / "report.json").read_text(encoding="utf-8")),
    }
    rule = score_rule(result)
    name = f"synthetic_{args.protocol}_k{labelled:g}_seed{seed}{'_peaks' if rule == 'peaks' else ''}"
    write_json(args.output / f"{name}.json", result)
    sheet = next(iter(sorted((work / "eval").glob("*sheet*.png"))), None)
    if sheet is not None:
        shutil.copyfile(sheet, args.output / f"{name}.png")


def run(args: argparse.Namespace) -> None:
    """Everything asked for, the model without labels first."""
    fixed = sorted({"teacher_file", "initial_file", *weak_overrides(args.protocol)} & args.set.keys())
    if fixed and any(args.labelled):
        sys.exit(
            f"--set {' '.join(fixed)}: a training with labels has its own of {args.protocol}, expected another key or "
            "no --labelled"
        )
    for seed in args.seeds:
        for labelled in sorted({0.0, *args.labelled}) if any(args.labelled) else [0.0]:
            one(args, seed, int(labelled) if labelled == int(labelled) else labelled)
    if set(args.steps) == set(STEPS):
        collect(args)


def collect(args: argparse.Namespace) -> None:
    """Write the protocol's table from its result files."""
    name = f"synthetic_{args.protocol}"
    paths = sorted(args.output.glob(f"{name}_k*_seed*.json"))
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if not results:
        sys.exit(f"no results of {args.protocol} in {shown(args.output)}: run it first")
    calibrate = HERE.parent / "bundles" / PROTOCOLS[args.protocol]["bundle"] / "configs" / "calibrate.json"
    text = markdown(
        args.protocol,
        results,
        rule=json.loads(calibrate.read_text(encoding="utf-8"))["score_rule"],
        notes=notes(args.output, name, [each["steps"]["synthetic_evaluating"]["commit"] for each in results]),
        weak=weak_overrides(args.protocol),
    )
    path = args.output / f"{name}.md"
    write_atomic(path, text.encode())
    print(f"wrote {shown(path)} from {len(results)} runs")


def _steps(protocol: str) -> tuple[str, ...]:
    """What a protocol needs; one without training has the features of the initial weights."""
    steps: tuple[str, ...] = PROTOCOLS[protocol].get("steps", STEPS)
    return steps


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, json.loads(value)


def main(arguments: Sequence[str] | None = None) -> None:
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
        each.add_argument("--output", type=Path, default=RESULTS, help="result files (benchmarks/results)")
    args = parser.parse_args(arguments)
    if args.command == "run":
        args.set = dict(args.set)
    args.run(args)


if __name__ == "__main__":
    main()
