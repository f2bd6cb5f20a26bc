"""Running a bundle from a benchmark, and a training that is kept or goes on where it was killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cells import WEIGHTS_FILE
from reporting import HERE, machine

from monai_cavga.bundle import BundleDirectoryWorkflow
from monai_cavga.handlers.files import file_sha256, write_atomic

IMAGENET = "ResNet-18, ImageNet, conv1 to layer3"


def run_bundle(name: str, run_id: str, *, handlers: Sequence[Any] = (), **overrides: Any) -> None:
    """One run of a bundle of this repository, the same as ``python -m monai_cavga run``.

    Args:
        name: of its folder.
        run_id: such as "training".
        handlers: attached to the run's evaluator beside its own.
        overrides: config ids and their values.
    """
    workflow = BundleDirectoryWorkflow(HERE.parent / "bundles" / name, run_id=run_id, logging_file=False, **overrides)
    workflow.initialize()
    for handler in handlers:
        handler.attach(workflow.parser.get_parsed_content("evaluator"))
    workflow.run()
    workflow.finalize()


def train(bundle: str, *, data: Path, work: Path, overrides: Mapping[str, Any]) -> None:
    """Train the paper's network into ``work``, or go on where it was killed; a finished training is kept.

    Args:
        bundle: of `run_bundle`.
        data: the data set's folder.
        work: for the model, the state and the log; what `evaluate` and `record` read.
        overrides: config ids and their values; they define the model.

    Raises:
        ValueError: as `train_once`.
    """
    files = {
        "model_file": str(work / "model.pt"),
        "state_file": str(work / "state.pt"),
        "output_dir": str(work / "log"),
    }

    def training() -> None:
        run_bundle(bundle, "training", dataset_dir=str(data), state_interval=50, **files, **overrides)

    train_once(training, work=work, overrides=overrides)


def train_once(training: Callable[[], None], *, work: Path, overrides: Mapping[str, Any]) -> None:
    """Run a training and note in ``work`` that it is finished, how long it took and where; a finished one is kept.

    Args:
        training: writes the model into ``work``; called again, and goes on or begins anew, where it was killed.
        work: a folder of this training alone.
        overrides: what defines the model.

    Raises:
        ValueError: if ``work`` holds a finished training with other overrides, its file of weights among them.
    """
    work.mkdir(parents=True, exist_ok=True)
    done = work / "done.json"
    if done.is_file():  # evaluated again, not trained again
        finished, expected = _compared(json.loads(done.read_text()), overrides)
        if finished != expected:
            raise ValueError(
                f"{work} holds a model of {finished}, expected {expected}: remove the folder or give another --work"
            )
        return
    begun = work / "begun.json"
    if not begun.is_file():  # what trains the model, whatever evaluates it later
        write_atomic(begun, json.dumps(machine()).encode())
    clock = work / "wall.json"  # the seconds of a start that is killed are lost, so starts are counted
    wall = json.loads(clock.read_text()) if clock.is_file() else {"seconds": 0.0}
    wall["starts"] = wall.get("starts", 0) + 1
    write_atomic(clock, json.dumps(wall).encode())
    file = weights_file(overrides.get("encoder_weights", "none"))
    start = time.monotonic()
    try:
        training()
    finally:
        wall["seconds"] += time.monotonic() - start
        write_atomic(clock, json.dumps(wall).encode())
    write_atomic(done, json.dumps({**overrides, **file}).encode())


def is_trained(work: Path, overrides: Mapping[str, Any]) -> bool:
    """Whether ``work`` holds the finished model of these overrides and, where it says that, this file of weights."""
    done = work / "done.json"
    if not done.is_file():
        return False
    finished, expected = _compared(json.loads(done.read_text()), overrides)
    return finished == expected


def evaluate(
    bundle: str,
    *,
    data: Path,
    work: Path,
    overrides: Mapping[str, Any],
    handlers: Sequence[Any] = (),
    folder: str = "eval",
) -> dict[str, Any]:
    """Evaluate the model of `train` on the test set; the report.

    Args:
        bundle: as `train`.
        data: as `train`.
        work: as `train`.
        overrides: as `train`.
        handlers: of `run_bundle`.
        folder: in ``work``, for the report and the scores.
    """
    options = {key: value for key, value in overrides.items() if key not in ("epochs", "encoder_weights")}
    files = {"model_file": str(work / "model.pt"), "evaluation_dir": str(work / folder)}
    run_bundle(bundle, "evaluating", handlers=handlers, dataset_dir=str(data), **files, **options)
    report: dict[str, Any] = json.loads((work / folder / "report.json").read_text(encoding="utf-8"))
    return report


def record(*, work: Path, overrides: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """What a result file says about one model of `train`, beside its own title and protocol.

    Args:
        work: as `train`.
        overrides: as `train`.
        report: of `evaluate`.
    """
    wall = json.loads((work / "wall.json").read_text())
    done = json.loads((work / "done.json").read_text())
    return {
        "overrides": _defining(overrides),
        "encoder_weights": weights_words(overrides["encoder_weights"]),
        **{key: done[key] for key in (WEIGHTS_FILE,) if key in done},
        "training_seconds": round(wall["seconds"]),
        "training_starts": wall.get("starts", 1),
        "training": json.loads((work / "begun.json").read_text()),
        "machine": machine(),
        "report": report,
    }


def weights_words(weights: str) -> str:
    """The encoder's first weights without a path of this machine; `weights_file` tells files apart."""
    return "none" if weights == "none" else IMAGENET


def weights_file(weights: str) -> dict[str, str]:
    """The first 12 digits of the SHA-256 of a file of weights, by their key; nothing where none is named."""
    path = Path(weights)
    return {WEIGHTS_FILE: file_sha256(path)[:12]} if path.is_file() else {}


def ped2_data(section: str) -> dict[str, str]:
    """A data list of Ped2 in place of a bundle's own.

    Args:
        section: "training", "validation" or "test".
    """
    reader = "monai_cavga.data.ped2_items"
    common = {"validation_fraction": "@validation_fraction", "seed": "@seed"}
    return {"_target_": reader, "dataset_dir": "@dataset_dir", "section": section, **common}


def _defining(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides without a path of this machine."""
    return {key: value for key, value in overrides.items() if key not in ("encoder_weights", WEIGHTS_FILE)}


def _compared(finished: Mapping[str, Any], overrides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What defines a finished model and the one asked for; their files of weights where both are known."""
    one, two = _defining(finished), _defining(overrides)
    file = weights_file(overrides.get("encoder_weights", "none"))
    if WEIGHTS_FILE in finished and file:
        one, two = one | {WEIGHTS_FILE: finished[WEIGHTS_FILE]}, two | file
    return one, two
