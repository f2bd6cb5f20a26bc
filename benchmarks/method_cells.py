"""The cells of tables whose rows are methods (3 to 6): what one must have, how it is measured, all of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cells import Wanted, read_cells, refuse_mixed_weights
from measuring import measure
from methods import METHODS, TRAININGS, cell_parts, detector, train_model
from running import weights_file, weights_words


def by_training(methods: Iterable[str]) -> dict[str, list[str]]:
    """Methods grouped by the training whose model they look at, in the order of `methods.TRAININGS`."""
    asked = list(methods)
    groups = {training: [name for name in asked if METHODS[name].training == training] for training in TRAININGS}
    return {training: names for training, names in groups.items() if names}


def training_overrides(training: str) -> dict[str, Any]:
    """What a training changes of a bundle, its first weights apart."""
    return {key: value for key, value in TRAININGS[training].overrides.items() if key != "encoder_weights"}


def first_weights(training: str, *, asked: str) -> str:
    """What a training's encoder begins with: the weights asked for, unless it always begins with random ones."""
    weights: str = TRAININGS[training].overrides.get("encoder_weights", asked)
    return weights


def cell_settings(method: str, args: argparse.Namespace) -> dict[str, Any]:
    """What a finished cell must have beside its overrides; the first weights only where ``args`` name them."""
    settings: dict[str, Any] = {"settings": list(METHODS[method].settings)}
    if "weights" in args:
        weights = first_weights(METHODS[method].training, asked=args.weights)
        settings |= {"encoder_weights": weights_words(weights), **weights_file(weights)}
    return settings


def reports(
    training: str,
    methods: Sequence[str],
    *,
    bundle: str,
    data: Path,
    work: Path,
    overrides: Mapping[str, Any],
    tested: Mapping[str, Any] | None = None,
    pixels: bool = True,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train one model, or take it where it is finished, and measure the methods that look at it, one after the other.

    Args:
        training: of `methods.TRAININGS`.
        methods: of `methods.METHODS`, all of this training.
        bundle: name of the bundle's folder.
        data: the data set's folder.
        work: of this training alone.
        overrides: the cell's, those of the training among them.
        tested: overrides of the evaluation alone.
        pixels: whether the test images have pixel labels.

    Yields:
        A method and its report, of `measuring.measure`.

    Raises:
        ValueError: as `running.train_once`.
    """
    train_model(training, bundle=bundle, data=data, work=work, overrides=overrides)
    for name in methods:
        parts = cell_parts(bundle, data=data, work=work, overrides={**overrides, **(tested or {})})
        found = detector(name, parts, work=work)
        yield name, measure(found, parts, probability=METHODS[name].probability, pixels=pixels)


def read_method_cells(output: Path, tag: str, wanted: Wanted, *, table: str) -> list[dict[str, Any]]:
    """All finished cells of a table; the program ends with one line if there are none, or if first weights differ.

    Args:
        output: folder of the result files.
        tag: beginning of their names.
        wanted: of `cells.read_cell`.
        table: subcommand of ``benchmarks/paper.py``.
    """
    results = read_cells(output, f"{tag}_*_seed*.json", wanted, table=table)
    refuse_mixed_weights([each for each in results if _starts_from_file(each["method"])], tag)
    return results


def _starts_from_file(method: str) -> bool:
    """Whether its encoder starts from the weights that the command line names."""
    return "encoder_weights" not in TRAININGS[METHODS[method].training].overrides
