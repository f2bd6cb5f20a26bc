"""A bundle folder: which config files a run reads, and what is wrong with a command for it.

Standard library only; the words about an absent data set are loaded when they are needed.

The functions named ``*_problem`` return one line for the user, or "" if there is nothing to say.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

RUN_FILES: Mapping[str, tuple[str, ...]] = {
    "training": ("train.json",),
    "evaluating": ("train.json", "evaluate.json"),  # evaluate.json changes and adds to train.json
    "inference": ("inference.json",),
    "synthetic_training": ("synthetic.json",),
    "synthetic_evaluating": ("synthetic.json", "evaluate.json", "synthetic_evaluate.json"),
    "calibrating": ("synthetic.json", "calibrate.json"),
}
_NAMED: Mapping[str, Literal["mnist", "cifar10"]] = {  # value of the key `dataset_name`
    "mnist": "mnist",
    "fashion_mnist": "mnist",
    "cifar10": "cifar10",
}
# words of a bundle's name
_DATA_SETS: tuple[Literal["lag", "idrid", "mvtad", "mstc"], ...] = ("lag", "idrid", "mvtad", "mstc")
WORKFLOW_ARGUMENTS = (
    "config_file",
    "meta_file",
    "logging_file",
    "init_id",
    "run_id",
    "final_id",
    "tracking",
    "workflow_type",
    "properties_path",
)
TRACKING_IDS = ("output_dir", "tracking_uri", "experiment_name", "run_name", "save_execute_config")


def config_files(folder: Path, run_id: str) -> list[Path]:
    """The config files of a run, first to last; later ones win. Any id but those of `RUN_FILES` reads train.json."""
    return [folder / "configs" / name for name in RUN_FILES.get(run_id, RUN_FILES["training"])]


def folder_problem(folder: Path, run_id: str) -> str:
    """A folder that lacks a config file of the run."""
    missing = next((file for file in config_files(folder, run_id) if not file.is_file()), None)
    return f"no bundle for '{run_id}' at {folder}: {missing} does not exist" if missing else ""


def read_configs(files: Sequence[Path]) -> dict[str, Any]:
    """Merge JSON config files by MONAI's rules: later ids win, ``+id`` adds, ``a::b`` or ``a#b`` reaches inside.

    Raises:
        ValueError: if a file is not a JSON object.
    """
    merged: dict[str, Any] = {}
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as err:
            raise ValueError(f"{file} is not valid JSON: {err}") from err
        if not isinstance(content, dict):
            raise ValueError(f"{file} holds a JSON {type(content).__name__}: expected an object of config ids")
        for key, value in content.items():
            _merge(merged, key, value)
    return merged


def _merge(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = _segments(key.removeprefix("+"))
    node: Any = config
    for parent in parents:
        node = node.setdefault(parent, {}) if isinstance(node, dict) else _item(node, parent)
    old = node.get(last) if isinstance(node, dict) else None
    if key.startswith("+") and isinstance(old, dict) and isinstance(value, dict):
        node[last] = {**old, **value}
    elif key.startswith("+") and isinstance(old, list) and isinstance(value, list):
        node[last] = [*old, *value]
    elif isinstance(node, dict):
        node[last] = value
    # An item of a list or of something that is no section: MONAI replaces or refuses it; the ids stay the same.


def _segments(key: str) -> list[str]:
    return key.replace("#", "::").split("::")


def _item(node: Any, segment: str) -> Any:
    """One step down a list; {} where there is nothing."""
    if isinstance(node, list) and segment.removeprefix("-").isdigit() and -len(node) <= int(segment) < len(node):
        return node[int(segment)]
    return {}


def key_problem(config: Mapping[str, Any], keys: Iterable[str], *, arguments: Collection[str]) -> str:
    """The first override that names nothing in the config: MONAI would add it silently and change nothing.

    The last part of a longer path may be new (an argument that the config leaves at its default).

    Args:
        config: the merged config.
        keys: ids to override, such as ``epochs`` or ``train::dataloader::batch_size``.
        arguments: keys that are not config ids but options of the command.
    """
    for key in keys:
        top, *rest = _segments(key)
        if (top in arguments and not rest) or top == "_meta_":
            continue
        if top not in config:
            return _unknown(key, near=_nearest(top, [*config, *arguments]), rest=rest)
        node: Any = config[top]
        for depth, segment in enumerate(rest):
            path = "::".join([top, *rest[:depth]])
            if isinstance(node, dict):
                if segment in node:
                    node = node[segment]
                elif depth == len(rest) - 1:
                    break
                else:
                    return _unknown(key, near=_nearest(segment, node), before=path, rest=rest[depth + 1 :])
            elif isinstance(node, list):
                if not segment.removeprefix("-").isdigit() or not -len(node) <= int(segment) < len(node):
                    return f"unknown key --{key}: '{path}' is a list of {len(node)}, counted from 0"
                node = node[int(segment)]
            else:
                return f"unknown key --{key}: '{path}' is {node!r}, which has no parts"
    return ""


def _nearest(name: str, names: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), "")


def _unknown(key: str, *, near: str, rest: Sequence[str], before: str = "") -> str:
    if not near:
        return f"unknown key --{key}: {f'{before!r} has no such part' if before else 'the bundle has no such id'}"
    return f"unknown key --{key}: did you mean --{'::'.join([*([before] if before else []), near, *rest])}?"


def run_id_problem(config: Mapping[str, Any], run_id: str) -> str:
    """A run id that the config does not hold."""
    if run_id in config:
        return ""
    near = _nearest(run_id, [*RUN_FILES, *config])
    return f"unknown run '{run_id}': " + (f"did you mean '{near}'?" if near else f"expected {', '.join(RUN_FILES)}")


def data_problem(config: Mapping[str, Any], dataset_dir: object, *, folder: Path, run_id: str) -> str:
    """A data set that is not there.

    Args:
        config: the merged config.
        dataset_dir: the override, or None to take the config's. Anything but a plain string (an expression, a
            reference, an id that the config lacks) is not looked at.
        folder: the bundle; its name ("lag", "my-idrid") tells the data set where ``dataset_name`` does not.
        run_id: "inference" reads any folder of images, the others a data set.
    """
    value = config.get("dataset_dir") if dataset_dir is None else dataset_dir
    if not isinstance(value, (str, Path)) or str(value)[:1] in ("$", "@", "%"):
        return ""
    if value and Path(value).exists():
        return ""
    if run_id == "inference":
        return f"no images in {str(value)!r}: pass --dataset_dir DIR, a folder of images"
    words = re.split("[^a-z0-9]+", folder.resolve().name.lower())
    named = next((kind for kind in _DATA_SETS if kind in words), None)
    kind = _NAMED.get(str(config.get("dataset_name"))) or named
    if kind is None:
        return f"no data set in {str(value)!r}: pass --dataset_dir DIR"
    from monai_cavga.data import missing_data_message

    return f"{missing_data_message(kind, value)}; then pass --dataset_dir DIR"
