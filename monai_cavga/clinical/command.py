"""``python -m monai_cavga localize``: photographs in, localisation maps out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from monai_cavga.clinical.write import DEFAULT_KINDS, KINDS

__all__ = ["add_localize_parser", "add_model_arguments", "localize"]


def add_localize_parser(commands: Any) -> None:
    """Add the command to ``argparse``'s sub-parsers."""
    parser = commands.add_parser(
        "localize",
        help="localise what differs from normal in photographs: files, folders, DICOM",
        usage="%(prog)s INPUT [INPUT ...] --bundle DIR --output OUT [--write KIND ...] [options]",
        description="Read photographs (DICOM, PNG, JPEG, TIFF, NIfTI slices) in a process with limits, stop those that "
        "cannot be assessed, localise the rest, and write maps at the photographs' own size. A second run keeps what "
        "an earlier one left in OUT.",
        epilog="Exit code: 0 all images were localised, 3 some were, 1 none was, 2 the command is wrong. Every image's "
        "outcome is in OUT/results.json. Anomaly relative to the training normals; research use, not for diagnosis.",
        allow_abbrev=False,
    )
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="file, folder (with its sub-folders) or pattern")
    parser.add_argument(
        "--bundle", "--config", required=True, metavar="DIR", type=Path, help="bundle folder, such as bundles/idrid"
    )
    parser.add_argument("--output", required=True, metavar="OUT", type=Path, help="folder of all that is written")
    parser.add_argument(
        "--write",
        metavar="KIND",
        nargs="+",
        choices=KINDS,
        default=list(DEFAULT_KINDS),
        help=f"some of {', '.join(KINDS)}; json is always written; seg, seg_binary, sr and capture are of DICOM images "
        f"(default: {' '.join(DEFAULT_KINDS)})",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--batch_size", metavar="N", type=int, default=1, help="images at a time; pays on a GPU (default: 1)"
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what chooses a bundle's model, its calibration and what runs it; see `load_model`."""
    parser.add_argument(
        "--model_file", metavar="F", type=Path, help="weights, or an exported file, in place of the bundle's"
    )
    parser.add_argument("--calibration_file", metavar="F", type=Path, help="calibration in place of the bundle's")
    parser.add_argument(
        "--backend",
        choices=("torch", "onnx"),
        default="torch",
        help="what runs the network; onnx takes models/model.onnx of the bundle, which `export` writes, and needs no "
        "torch (default: torch)",
    )


def localize(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: as `add_localize_parser` parses them.

    Returns:
        Exit code, see `monai_cavga.clinical.outcome.exit_code`.

    Raises:
        FileNotFoundError: if an input, the bundle or a file of it does not exist.
        ValueError: if an option or the bundle cannot be used.
    """
    from tqdm import tqdm

    from monai_cavga.clinical.find import find_images

    paths = find_images(args.inputs, output=args.output)

    from monai_cavga.clinical.localize import Localizer, write_results
    from monai_cavga.clinical.model import load_model
    from monai_cavga.clinical.outcome import Outcome, exit_code, summary
    from monai_cavga.clinical.read import Reader

    model = load_model(
        args.bundle, model_file=args.model_file, calibration_file=args.calibration_file, backend=args.backend
    )
    with Reader() as reader, tqdm(total=len(paths), unit="image", desc="localize") as bar:

        def report(outcome: Outcome) -> None:
            bar.update()
            if outcome.state != "ok":
                bar.write(f"{outcome.state}: {outcome.path}: {outcome.reason}", file=sys.stderr)

        localizer = Localizer(model, reader, kinds=args.write, batch_size=args.batch_size)
        outcomes = localizer.run(paths, args.output, report=report)
    written = write_results(outcomes, args.output, model=model.identity, kinds=args.write)
    print(f"{summary(outcomes)}; see {written}")
    return exit_code(outcomes)
