"""`python -m monai_cavga`: run a bundle, make phantoms, check a data set.

Bad input is one line and exit code 2. torch and MONAI are imported only once the arguments are found good.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from monai_cavga import __version__
from monai_cavga.bundle.directory import RUN_FILES
from monai_cavga.bundle.words import Word, split_words
from monai_cavga.clinical.command import add_localize_parser
from monai_cavga.clinical.pacs.command import add_pacs_parser
from monai_cavga.export.command import add_export_parser

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
DEBUG = "MONAI_CAVGA_DEBUG"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: arguments after the program's name; by default the process's.

    Returns:
        Exit code: 0 done, 1 failed (or `check-data` found a problem), 2 bad input, 3 done in part (`localize`), 130
        interrupted.
    """
    parser = _make_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.command not in ("run", "calibrate", "export"):
        parser.error(f"unknown argument {rest[0]}")
    try:
        return _COMMANDS[args.command](args, rest)
    except KeyboardInterrupt:
        print("monai_cavga: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as err:
        if os.environ.get(DEBUG) == "1":
            raise
        return _report(err)


def _report(err: Exception) -> int:
    """Print one line: the user's mistake if that is what is at the bottom of it, else the error and its type."""
    chain: list[BaseException] = [err]
    while chain[-1].__cause__ is not None:  # MONAI wraps what a config's objects raise
        chain.append(chain[-1].__cause__)
    # Our own error says more than the library's below it (a file that cannot be read, a URL that does not answer).
    ours = [
        each for each in chain if type(each).__module__.split(".")[0] == "monai_cavga" or _tells_what_to_install(each)
    ]
    cause = ours[0] if ours else chain[-1]
    text = " ".join(str(cause).split())
    from_worker = re.findall(r"^monai_cavga[\w.]*Error: (.+)$", str(cause), re.MULTILINE)
    if text.startswith("Caught ") and from_worker:  # a loading process's traceback, as text
        print(f"monai_cavga: {from_worker[-1]}", file=sys.stderr)
        return BAD_INPUT
    if _tells_what_to_install(cause) or isinstance(
        cause, (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError)
    ):
        print(f"monai_cavga: {text}", file=sys.stderr)
        return BAD_INPUT
    print(f"monai_cavga: {type(cause).__name__}: {text} ({DEBUG}=1 shows where)", file=sys.stderr)
    return FAILED


def _tells_what_to_install(err: BaseException) -> bool:
    """Whether it is our own remark on a package that is missing: Python's has the package's name beside its text."""
    return isinstance(err, ModuleNotFoundError) and err.name is None


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m monai_cavga",
        description="Anomaly maps from the attention of a convolutional variational autoencoder, for MONAI.",
        epilog="Research use only, not for diagnosis.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"monai_cavga {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = commands.add_parser(
        "run",
        help="train, evaluate or apply a bundle",
        usage=f"%(prog)s {{{','.join(RUN_FILES)}}} --config DIR [--key value ...]",
        description="Run a bundle: the same as `python -m monai.bundle run`, for a bundle folder.",
        epilog="Each --key value overrides an id of the config, such as --dataset_dir DIR, --epochs 2 or "
        "--train::dataloader::batch_size 4.",
        allow_abbrev=False,
    )
    run.add_argument("run_id", choices=tuple(RUN_FILES), help="what to do")
    calibrate = commands.add_parser(
        "calibrate",
        help="scale and fuse a trained model's maps on held-out normal images",
        usage="%(prog)s --config DIR [--key value ...]",
        description="The same as `run calibrating`: for a model of `run synthetic_training`.",
        epilog="Each --key value overrides an id of the config: give those of the training, such as --dataset_dir DIR.",
        allow_abbrev=False,
    )
    calibrate.set_defaults(run_id="calibrating")
    for each, example in ((run, "bundles/lag"), (calibrate, "bundles/idrid")):
        each.add_argument("--config", required=True, metavar="DIR", type=Path, help=f"bundle folder, such as {example}")

    add_export_parser(commands)
    add_localize_parser(commands)
    add_pacs_parser(commands)
    phantoms = commands.add_parser(
        "phantoms",
        help="write synthetic images in a data set's layout",
        description="Write seeded synthetic images to try a bundle on: fundus photographs with lesion masks in LAG's "
        "layout, simple shapes of four classes in MNIST's, "
        "a cloth in colour and a grey bolt with defects and their masks in MVTec AD's, "
        "or surveillance clips with a rolling disc in ShanghaiTech Campus's.",
        allow_abbrev=False,
    )
    phantoms.add_argument("folder", metavar="DIR", type=Path, help="where to write")
    phantoms.add_argument(
        "--kind", choices=("eyes", "shapes", "mvtad", "mstc"), default="eyes", help="what to paint (default: eyes)"
    )
    for option, kind, text in (
        (
            "normal",
            int,
            "normal images; of shapes training images of each class, of mvtad of each category, of mstc training "
            "clips of each scene",
        ),
        (
            "anomalous",
            int,
            "images with lesions; of shapes test images of each class, of mvtad of each defect and as many good ones, "
            "of mstc test clips of each scene",
        ),
    ):
        phantoms.add_argument(f"--{option}", metavar="N", type=kind, default=argparse.SUPPRESS, help=text)
    phantoms.add_argument("--seed", metavar="S", type=int, default=argparse.SUPPRESS, help="seed of all images")
    phantoms.add_argument(
        "--size", metavar=("H", "W"), nargs=2, type=int, default=argparse.SUPPRESS, help="height and width in pixels"
    )

    check = commands.add_parser(
        "check-data",
        help="say what a data set folder holds and lacks",
        description="Say which data set a folder holds, what of it is there and what is missing.",
        allow_abbrev=False,
    )
    check.add_argument("folder", metavar="DIR", type=Path, help="data set folder")
    return parser


def _run(args: argparse.Namespace, words: Sequence[str]) -> int:
    from monai_cavga.bundle.command_line import check
    from monai_cavga.bundle.directory import folder_problem

    found = _overrides(words)
    if any(word.key == "run_id" for word in found):
        raise ValueError(f"--run_id is given after 'run' here: run {args.run_id} --config {args.config}")
    if problem := folder_problem(args.config, args.run_id):
        raise FileNotFoundError(problem)
    check(args.config, args.run_id, {word.key: word.value for word in found})

    from monai_cavga.bundle.workflow import BundleDirectoryWorkflow

    overrides = {word.key: parse_value(word.value) for word in found}
    workflow = BundleDirectoryWorkflow(args.config, run_id=args.run_id, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return 0


def _overrides(words: Sequence[str]) -> list[Word]:
    found = split_words(words)
    stray = next((word.value for word in found if not word.key), None)
    if stray is not None:
        raise ValueError(f"unexpected argument {stray!r}: overrides are --key value")
    return found


def _export(args: argparse.Namespace, words: Sequence[str]) -> int:
    from monai_cavga.export.command import export

    return export(args, {word.key: parse_value(word.value) for word in _overrides(words)})


def _localize(args: argparse.Namespace, _: Sequence[str]) -> int:
    from monai_cavga.clinical.command import localize

    return localize(args)


def _pacs(args: argparse.Namespace, _: Sequence[str]) -> int:
    from monai_cavga.clinical.pacs.command import pacs

    return pacs(args)


def parse_value(text: str) -> Any:
    """Read a value as MONAI's command line does: Python literals, also with bare words (``[a, b]``), else the text.

    A word or path stays whole where Fire cuts it at a ``#``.
    """
    from fire.parser import DefaultParseValue

    value = DefaultParseValue(text)
    return text if isinstance(value, str) and text[:1] not in ("'", '"') else value


def _phantoms(args: argparse.Namespace, _: Sequence[str]) -> int:
    from monai_cavga.data import write_campus, write_parts, write_phantoms, write_shapes

    options = {name: getattr(args, name) for name in ("normal", "anomalous", "seed") if hasattr(args, name)}
    if hasattr(args, "size"):
        options["size"] = tuple(args.size)
    write, bundle = {
        "eyes": (write_phantoms, "lag"),
        "shapes": (write_shapes, "one_class"),
        "mvtad": (write_parts, "mvtad --category bolt"),
        "mstc": (write_campus, "mstc"),
    }[args.kind]
    write(args.folder, **options)
    print(f"phantoms in {args.folder}; train on them: ", end="")
    print(f"python -m monai_cavga run training --config bundles/{bundle} --dataset_dir {args.folder}")
    return 0


def _check_data(args: argparse.Namespace, _: Sequence[str]) -> int:
    from monai_cavga.data.check import check_data

    report = check_data(args.folder)
    print(report.text())
    return report.exit_code


_COMMANDS = {
    "run": _run,
    "calibrate": _run,
    "export": _export,
    "localize": _localize,
    "pacs": _pacs,
    "phantoms": _phantoms,
    "check-data": _check_data,
}

if __name__ == "__main__":
    sys.exit(main())
