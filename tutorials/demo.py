"""The whole of monai_cavga in minutes on synthetic photographs: phantoms, training, calibration, evaluation, maps.

``python tutorials/demo.py [--folder demo] [--epochs 90]``: no data, weights or network needed. Everything runs through
the bundle `bundles/idrid` and the same engines as on real images: a classifier learns lesions that are painted on
normal photographs, and sees no other before the evaluation. An encoder from scratch and a small size make it fast.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "idrid"
SIZE = (192, 288)
NETWORK = {"image_size": list(SIZE), "stages": 2, "latent_channels": 8}
TRAINING = {
    "encoder_weights": "none",
    "discriminator_channels": 8,
    "crop_size": [96, 96],
    "crop_reach": [48, 96],
    "batch_size": 8,
    "learning_rate": 2e-3,
    "encoder_learning_rate": 2e-3,
    "resume": False,
}


def main() -> None:
    """Run the demo and print where to look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything goes (default: demo)")
    parser.add_argument("--epochs", type=int, default=90, help="epochs of training (default: 90)")
    parser.add_argument("--normal", type=int, default=60, help="normal phantoms (default: 60)")
    parser.add_argument("--anomalous", type=int, default=24, help="phantoms with lesions (default: 24)")
    args = parser.parse_args()
    start = time.monotonic()

    from monai_cavga.bundle import BundleDirectoryWorkflow
    from monai_cavga.data import lag_items, write_phantoms

    logging.disable(logging.INFO)
    folder: Path = args.folder
    data, model = folder / "phantoms", folder / "model"
    say(start, "1/5 synthetic photographs")
    write_phantoms(data, normal=args.normal, anomalous=args.anomalous, size=SIZE, seed=0)
    make_new_photographs(folder / "new", lag_items(data, "test"))

    files = {"calibration_file": str(model / "calibration.safetensors")}
    trained = {
        **NETWORK,
        **files,
        "dataset_dir": str(data),
        "model_file": str(model / "trained.pt"),
        "deployed_file": str(model / "model.safetensors"),
        "num_workers": 0,
    }
    lists = {"train#data": items("training"), "validate#data": items("validation")}
    runs: dict[str, dict[str, Any]] = {
        "synthetic_training": {
            **trained,
            **lists,
            **TRAINING,
            "epochs": args.epochs,
            "val_interval": max(args.epochs // 4, 1),
            "output_dir": str(folder / "tensorboard"),
            "state_file": str(model / "state.pt"),
        },
        "calibrating": {**trained, **lists, "fit_data": items("training"), "test_data": items("test")},
        "synthetic_evaluating": {
            **trained,
            "dataset#data": items("test"),
            "evaluation_dir": str(folder),
            "page_title": "monai_cavga demo: lesions in synthetic photographs",
        },
        "inference": {
            **NETWORK,
            **files,
            "model_file": trained["deployed_file"],
            "dataset_dir": str(folder / "new"),
            "output_dir": str(folder / "maps"),
        },
    }
    titles = (
        f"2/5 training on painted lesions, {args.epochs} epochs",
        "3/5 calibration on normal photographs held out",
        "4/5 evaluation on photographs that training has not seen",
        "5/5 maps of new photographs",
    )
    for (run_id, options), title in zip(runs.items(), titles, strict=True):
        say(start, title)
        workflow = BundleDirectoryWorkflow(BUNDLE, run_id=run_id, logging_file=False, **options)
        workflow.initialize()
        workflow.run()
        workflow.finalize()

    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))["maps"]["fused"]
    say(start, "done")
    print(
        f"\npixel AUROC {report['pixel_auroc']:.3f}, AUPRO {report['aupro']:.3f}, "
        f"image AUROC {report['image_auroc']:.3f} (synthetic lesions; research use, not for diagnosis)\n"
        f"look at   {(folder / 'index.html').resolve()}\n"
        f"panels    {(folder / 'contact_sheet.png').resolve()}\n"
        f"maps      {(folder / 'maps' / 'index.html').resolve()}\n"
        f"losses    tensorboard --logdir {(folder / 'tensorboard').resolve()}"
    )


def items(section: str) -> dict[str, Any]:
    """A data list of the phantoms, which have LAG's layout, in place of the bundle's own."""
    options = {"dataset_dir": "@dataset_dir", "validation_fraction": "@validation_fraction", "seed": "@seed"}
    return {"_target_": "monai_cavga.data.lag_items", "section": section, **options}


def make_new_photographs(folder: Path, photographs: list) -> None:
    """A folder of plain photographs, as a user has them: eight test images by link to their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for item in [*photographs[:4], *photographs[-4:]]:
        source = Path(item["image"])
        (folder / f"{item['name']}{source.suffix}").write_bytes(source.read_bytes())


def say(start: float, text: str) -> None:
    """One line with the time since the start."""
    print(f"[{time.monotonic() - start:4.0f} s] {text}", flush=True)


if __name__ == "__main__":
    main()
