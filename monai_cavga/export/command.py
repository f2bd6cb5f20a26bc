"""``python -m monai_cavga export``: a bundle's model as one file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["add_export_parser", "export"]

_SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2"}


def add_export_parser(commands: Any) -> None:
    """Add the command to ``argparse``'s sub-parsers."""
    parser = commands.add_parser(
        "export",
        help="write a bundle's model as one file for other runtimes",
        usage="%(prog)s --bundle DIR [--format {onnx,torch_export}] [--output FILE] [--key value ...]",
        description="Write resizing, network, calibration and the way back to the picture's size as one graph: "
        "pictures (B, C, H, W), float32 in [0, 1], any B, H and W, to maps (B, K, H, W) in [0, 1]. The file is checked "
        "against the bundle before it is written. Reading the picture, its field of view and the image score stay "
        "outside. `localize --backend onnx` runs the ONNX file without torch. "
        "TorchScript: MONAI's own `python -m monai.bundle ckpt_export`.",
        epilog="Each --key value overrides an id of the inference config, such as --maps \"['fused']\" or "
        "--model_file FILE.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--bundle", "--config", required=True, metavar="DIR", type=Path, help="bundle folder, such as bundles/idrid"
    )
    parser.add_argument("--format", choices=tuple(_SUFFIXES), default="onnx", help="what to write (default: onnx)")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="where to write (default: models/model.onnx or .pt2 in the bundle)"
    )


def export(args: argparse.Namespace, overrides: Mapping[str, Any]) -> int:
    """Run the command.

    Args:
        args: as `add_export_parser` parses them.
        overrides: config ids and their values.

    Returns:
        Exit code 0.

    Raises:
        FileNotFoundError: if the bundle has no inference config.
        ValueError: for an override that names nothing in it.
        ExportError: if the bundle cannot be exported or the export differs from it.
    """
    from monai_cavga.bundle.directory import config_files, folder_problem, key_problem, read_configs

    if problem := folder_problem(args.bundle, "inference"):
        raise FileNotFoundError(problem)
    config = read_configs(config_files(args.bundle, "inference"))
    if problem := key_problem(config, overrides, arguments=()):
        raise ValueError(problem)

    from monai_cavga.export.bundle import deploy
    from monai_cavga.export.write import FORMATS, largest_difference, quiet
    from monai_cavga.handlers.files import NOTICE, write_atomic

    with quiet():
        deployed = deploy(args.bundle, overrides)
        content, run = FORMATS[args.format](deployed)
        difference = largest_difference(run, deployed)
    output = args.output or args.bundle / "models" / f"model{_SUFFIXES[args.format]}"
    write_atomic(output, content)
    maps = ", ".join(deployed.description["maps"])
    print(f"{output}: {len(content) / 1e6:.1f} MB, maps {maps}; off the bundle by {difference:.1g} at most")
    print(NOTICE)
    return 0
