"""The whole of monai_cavga in a few minutes on synthetic photographs: phantoms, training, evaluation, maps.

``python tutorials/demo.py [--folder demo] [--epochs 16]``: no data, weights or network needed. Everything runs through
the bundle `bundles/lag` and the same engines as on real images. CAVGA_w with a few labelled images, an encoder from
scratch and a small size make it fast; the settings differ from the paper's, so the numbers say nothing about it.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "lag"
SETTINGS = {
    "image_size": [128, 192],
    "stages": 2,
    "head": "conv",
    "latent_channels": 32,
}
TRAINING = {
    "encoder_weights": None,
    "labelled": 24,
    "anomalous_fraction": 0.5,
    "discriminator_channels": 16,
    "batch_size": 8,
    "learning_rate": 5e-4,
    "w_adv": 0.01,
    "w_c": 3.0,
    "panel_interval": 100,
    "resume": False,
}


def main() -> None:
    """Run the demo and print where to look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything goes (default: demo)")
    parser.add_argument("--epochs", type=int, default=16, help="epochs of training (default: 16)")
    parser.add_argument("--normal", type=int, default=60, help="normal phantoms (default: 60)")
    parser.add_argument("--anomalous", type=int, default=48, help="phantoms with lesions (default: 48)")
    args = parser.parse_args()
    start = time.monotonic()

    from monai_cavga.bundle import BundleDirectoryWorkflow
    from monai_cavga.data import lag_items, write_phantoms

    logging.disable(logging.INFO)
    folder: Path = args.folder
    data = folder / "phantoms"
    say(start, "1/4 synthetic photographs")
    write_phantoms(data, normal=args.normal, anomalous=args.anomalous, size=(192, 288), seed=0)

    common = {**SETTINGS, "model_file": str(folder / "model" / "model.pt")}
    data_options = {"dataset_dir": str(data), "labelled": TRAINING["labelled"]}
    runs = {
        "training": {
            **TRAINING,
            **data_options,
            "epochs": args.epochs,
            "output_dir": str(folder / "tensorboard"),
            "state_file": str(folder / "model" / "training_state.pt"),
        },
        "evaluating": {
            **data_options,
            "evaluation_dir": str(folder),
            "page_title": "monai_cavga demo: lesions in synthetic photographs",
        },
        "inference": {"dataset_dir": str(folder / "new"), "output_dir": str(folder / "maps")},
    }
    titles = {
        "training": f"2/4 training, {args.epochs} epochs",
        "evaluating": "3/4 evaluation on images that training has not seen",
        "inference": "4/4 maps of new photographs",
    }
    make_new_photographs(data, folder / "new", lag_items(data, "test", labelled=TRAINING["labelled"]))
    for run_id, options in runs.items():
        say(start, titles[run_id])
        workflow = BundleDirectoryWorkflow(BUNDLE, run_id=run_id, logging_file=False, **common, **options)
        workflow.initialize()
        workflow.run()
        workflow.finalize()

    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))["maps"]["attention"]
    say(start, "done")
    print(
        f"\npixel AUROC {report['pixel_auroc']:.3f}, AUPRO {report['aupro']:.3f}, "
        f"image AUROC {report['image_auroc']:.3f} (synthetic lesions; research use, not for diagnosis)\n"
        f"look at   {(folder / 'index.html').resolve()}\n"
        f"panels    {(folder / 'contact_sheet.png').resolve()}\n"
        f"maps      {(folder / 'maps' / 'index.html').resolve()}\n"
        f"losses    tensorboard --logdir {(folder / 'tensorboard').resolve()}"
    )


def make_new_photographs(data: Path, folder: Path, items: list) -> None:
    """A folder of plain photographs, as a user has them: eight test images by link to their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for item in [*items[:4], *items[-4:]]:
        source = Path(item["image"])
        (folder / f"{item['name']}{source.suffix}").write_bytes(source.read_bytes())


def say(start: float, text: str) -> None:
    """One line with the time since the start."""
    print(f"[{time.monotonic() - start:4.0f} s] {text}", flush=True)


if __name__ == "__main__":
    main()
