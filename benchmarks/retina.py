"""CAVGA on the retina protocol of IDRiD: train, evaluate, and put the numbers beside the reference rows.

``python benchmarks/retina.py run --data IDRID --weights FILE`` trains what is not finished (it resumes after a kill),
evaluates each variant and seed, and writes ``benchmarks/results/retina_<variant>_seed<n>.json`` and ``.png``.
``python benchmarks/retina.py collect`` makes the table ``benchmarks/results/retina.md`` from those files.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from reporting import HERE, RESULTS, cell, notes, shown, write_json
from running import evaluate, record, train

from monai_cavga.handlers.files import save_png, write_atomic
from monai_cavga.handlers.panels import contact_sheet, panel
from monai_cavga.metrics import PixelHistogram

BUNDLE = "idrid"
# What differs from the bundle's defaults: sized for two CPU cores. 256 x 384 pixels, three ResNet stages (stride 16).
COMMON: dict[str, Any] = {"batch_size": 4, "discriminator_channels": 32}
VARIANTS: dict[str, dict[str, Any]] = {
    "R_u": {"epochs": 16, "w_adv": 1.0},
    "D_u": {"epochs": 16, "w_adv": 1.0, "architecture": "D", "encoder_weights": "none"},
    "R_w": {"epochs": 12, "w_adv": 1.0, "head": "flat", "labelled": 4, "anomalous_fraction": 0.25},
    "R_u_adv0.01": {"epochs": 16, "w_adv": 0.01},
    "R_w_conv": {
        "epochs": 12,
        "head": "conv",
        "labelled": 4,
        "anomalous_fraction": 0.25,
        "w_adv": 0.01,
        "w_c": 1.0,
    },
}
TITLES = {
    "R_u": "CAVGA-R_u, eq. 4 with the paper's weights",
    "D_u": "CAVGA-D_u, eq. 4 with the paper's weights, from scratch",
    "R_w": "CAVGA-R_w, eq. 6 with the paper's weights, 4 labels drawn for a quarter of each epoch",
    "R_u_adv0.01": "CAVGA-R_u, ours: weight of L_adv 0.01 in place of 1",
    "R_w_conv": "CAVGA-R_w, ours: conv head, weights of L_adv 0.01 and L_bce 1, the same 4 labels",
}
COMMAND = "python benchmarks/retina.py run --data IDRID --weights FILE --variants {variant} --seeds {seed}"
TILE = 180  # pixels of a picture in the panels: a sheet of ten stays below one MiB or so
COLUMNS = {
    "pixel AUROC": "pixel_auroc",
    "AP": "pixel_ap",
    "AUPRO": "aupro",
    "IoU@0.5 pooled": "iou@0.5_pooled",
    "IoU@0.5 images": "iou@0.5_images",
    "IoU* pooled": "iou_oracle_pooled",
    "IoU* images": "iou_oracle_images",
    "image AUROC": "image_auroc",
    "accuracy (paper)": "accuracy_paper",
    "sens. at 95 % spec.*": "sensitivity_at_95_specificity_oracle",
}


class Extremes:
    """Panels of the best, middle and worst test images by their own pixel AUROC."""

    def __init__(self, *, attends: str) -> None:
        self.attends = attends
        self.rows: list[tuple[float, str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Listen to the evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)

    def _add(self, engine: Engine) -> None:
        for item, source in zip(engine.state.output, engine.state.batch, strict=True):
            if not (item["mask"] == 1).any():
                continue
            histogram = PixelHistogram()
            histogram.update(item["attention"], item["mask"])
            auroc = histogram.auroc()
            title = f"{source['name']}   pixel AUROC {auroc:.3f}"
            self.rows.append((auroc, source["name"], panel(item, name=title, attends=self.attends, tile=TILE)))

    def sheet(self) -> Any:
        """Three best, four in the middle, three worst, in this order, as one picture."""
        ordered = sorted(self.rows, key=lambda row: -row[0])
        middle = len(ordered) // 2
        chosen = [*ordered[:3], *ordered[middle - 2 : middle + 2], *ordered[-3:]]
        return contact_sheet([row[2] for row in chosen])


def run(args: argparse.Namespace) -> None:
    """Train and evaluate everything asked for."""
    for seed in args.seeds:
        for variant in args.variants:
            work = args.work / variant / f"seed{seed}"
            overrides = {**COMMON, "encoder_weights": args.weights, **VARIANTS[variant], "seed": seed}
            print(f"{variant} seed {seed}: training in {shown(work)}", flush=True)
            train(BUNDLE, data=args.data, work=work, overrides=overrides)
            extremes = Extremes(attends="normal" if overrides.get("head", "none") == "none" else "anomalous")
            report = evaluate(BUNDLE, data=args.data, work=work, overrides=overrides, handlers=[extremes])
            result = {
                "variant": variant,
                "title": TITLES[variant],
                "protocol": "retina (IDRiD): maps compared at the source's size",
                "command": COMMAND.format(variant=variant, seed=seed),
                **record(work=work, overrides=overrides, report=report),
            }
            name = f"retina_{variant}_seed{seed}"
            write_json(RESULTS / f"{name}.json", result)
            save_png(RESULTS / f"{name}.png", np.asarray(extremes.sheet()))
    collect(args)


def collect(args: argparse.Namespace) -> None:
    """Write the table from the result files and the reference rows."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("retina_*_seed*.json"))]
    if not results:
        sys.exit(
            f"no results in {shown(RESULTS)}: run `python benchmarks/retina.py run --data IDRID --weights FILE` first"
        )
    order = list(VARIANTS)
    results.sort(key=lambda result: (order.index(result["variant"]), result["overrides"]["seed"]))
    counts = results[0]["report"]["n_images"]
    commits = [result["training"]["commit"] for result in results]
    lines = [
        "# Retina protocol (IDRiD), CAVGA beside the reference rows",
        "",
        "Made by `python benchmarks/retina.py collect` from the JSON files beside it. Ours: maps compared at the "
        f"source's size, inside the field of view; {counts['normal']} normal test images and {counts['anomalous']} "
        "anomalous ones, with masks or image labels. `*`: threshold chosen on the test set (oracle). Brackets: 95 % "
        "bootstrap interval over images. "
        "Anomaly relative to the training normals; research use, not for diagnosis.",
        *(f"\n{each}" for each in notes(RESULTS, "retina", commits)),
        "",
        f"| variant | seed | map | {' | '.join(COLUMNS)} |",
        f"|{'---|' * (len(COLUMNS) + 3)}",
    ]
    for result in results:
        for name, values in result["report"]["maps"].items():
            cells = [cell(values, key) for key in COLUMNS.values()]
            lines.append(f"| {result['title']} | {result['overrides']['seed']} | {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "| run | epochs | training, wall time | CPU | threads | date | trained at | evaluated at |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        place = result["machine"]
        lines.append(
            f"| {result['variant']} seed {result['overrides']['seed']} | {result['overrides']['epochs']} | "
            f"{result['training_seconds'] / 60:.0f} min | {place['cpu']}, {place['cores']} cores | "
            f"{place['threads']} | {place['date']} | {result['training']['commit'][:10]} | {place['commit'][:10]} |"
        )
    reference = json.loads((HERE / "reference" / "retina.json").read_text(encoding="utf-8"))
    lines += ["", f"Reference rows. {reference['what']}", ""]
    lines += ["| method | input | labels | pixel AUROC | AUPRO | IoU* | image AUROC |", "|" + "---|" * 7]
    for row in reference["rows"]:
        numbers = (row[key] for key in ("pixel_auroc", "aupro", "iou_oracle", "image_auroc"))
        lines.append(f"| {row['method']} | {row['input']} | {row['labels']} | {' | '.join(numbers)} |")
    path = RESULTS / "retina.md"
    write_atomic(path, ("\n".join(lines) + "\n").encode())
    print(f"wrote {shown(path)} from {len(results)} runs")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="train, evaluate, collect")
    runner.add_argument("--data", type=Path, required=True, help="IDRiD folder")
    runner.add_argument(
        "--weights", default="imagenet", help="file of ResNet-18 weights; default: torchvision's, by URL"
    )
    runner.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=["R_u", "D_u", "R_w"])
    runner.add_argument("--seeds", nargs="+", type=int, default=[0])
    runner.add_argument("--work", type=Path, default=Path("runs/retina"), help="models and logs (default runs/retina)")
    runner.set_defaults(run=run)
    commands.add_parser("collect", help="table from the result files").set_defaults(run=collect)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
