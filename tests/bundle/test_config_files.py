"""What the bundles' JSON files hold: targets, references, dead keys, and that the two bundles stay alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate
from typing import Any

import pytest

from monai_cavga.bundle.directory import config_files, read_configs

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = ("lag", "idrid", "mvtad", "mstc", "one_class")
SYNTHETIC = ("idrid", "mvtad", "mstc")  # trained on made anomalies
FILES = [(path.parts[-3], path.name) for path in sorted(BUNDLES.glob("*/configs/*.json"))]
# Expressions are code in a config: each new one is a decision, so their number is written down.
EXPRESSIONS = {
    "train.json": 15,
    "evaluate.json": 6,
    "inference.json": 8,
    "multi_gpu_train.json": 5,
    "multi_gpu_evaluate.json": 2,
    "metadata.json": 0,
    "synthetic.json": 16,
    "calibrate.json": 1,
    "synthetic_evaluate.json": 3,
}
# More: where a calibration lies, and a model that ships.
SHIPPED = {**{(name, "inference.json"): 1 for name in SYNTHETIC}, ("idrid", "calibrate.json"): 2}
# Fewer: no labels to draw by, no other head's panels; no pages of an evaluation.
UNSUPERVISED = {("one_class", "train.json"): -2, ("one_class", "evaluate.json"): -4}


def load(name: str, file: str) -> dict[str, Any]:
    return json.loads((BUNDLES / name / "configs" / file).read_text(encoding="utf-8"))


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield path, node
        return
    for key, value in items:
        yield from leaves(value, f"{path}::{key}" if path else str(key))


@pytest.mark.parametrize(("name", "file"), FILES)
def test_targets_are_ours_or_a_known_library(name, file):
    for path, value in leaves(load(name, file)):
        if path.endswith("_target_"):
            assert value.split(".")[0] in ("monai", "monai_cavga", "torch", "ignite"), path
            assert locate(value) is not None, f"{path}: {value} does not exist"
        if isinstance(value, str):
            assert not re.match(r"^(/|~|[A-Za-z]:\\)", value), f"{path}: absolute path {value}"


@pytest.mark.parametrize(("name", "file"), FILES)
def test_expressions_are_counted(name, file):
    found = [path for path, value in leaves(load(name, file)) if isinstance(value, str) and value.startswith("$")]
    assert len(found) == EXPRESSIONS[file] + {**SHIPPED, **UNSUPERVISED}.get((name, file), 0), found
    text = json.dumps(load(name, file))
    assert "__import__" not in text
    assert "import " not in text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "files",
    [
        ("train.json", "evaluate.json"),
        ("inference.json",),
        ("train.json", "multi_gpu_train.json"),
        ("train.json", "evaluate.json", "multi_gpu_evaluate.json"),
    ],
)
def test_every_reference_exists_and_no_key_is_dead(name, files):
    merged: dict[str, Any] = {}
    for file in files:
        merged.update(load(name, file))
    text = json.dumps(merged)
    used = set(re.findall(r"@([A-Za-z_]\w*(?:::\w+)*)", text)) | set(re.findall(r"%([A-Za-z_]\w*)", text))
    paths = {path for leaf, _ in leaves(merged) for path in _prefixes(leaf)}
    paths |= {path for key in merged for path in _prefixes(key)}
    assert used <= paths, used - paths
    run_ids = {"initialize", "finalize", "training", "evaluating", "inference", "run", "bundle_root", "deployed"}
    tops = {reference.split("::")[0] for reference in used} | run_ids
    dead = {key for key in merged if "::" not in key} - tops
    assert not dead - ({"evaluator"} if "evaluate.json" in files else set()), dead


@pytest.mark.parametrize("name", SYNTHETIC)
@pytest.mark.parametrize("run_id", ["synthetic_training", "calibrating", "synthetic_evaluating"])
def test_every_reference_of_a_synthetic_run_exists(name, run_id):
    merged = read_configs(config_files(BUNDLES / name, run_id))
    used = set(re.findall(r"[@%]([A-Za-z_]\w*(?:::\w+)*)", json.dumps(merged)))
    paths = {path for leaf, _ in leaves(merged) for path in _prefixes(leaf)}
    assert used <= paths, used - paths


@pytest.mark.parametrize("name", SYNTHETIC)
def test_no_key_of_the_synthetic_runs_is_dead(name):
    """Each is used by one of the runs; being recorded in a model's or a state's settings is not enough."""
    runs = {"initialize", "synthetic_training", "calibrating", "synthetic_evaluating", "evaluating", "run"}
    runs |= {"train::inferer"}  # for MONAI's property check alone: a step is the trainer's own
    keys: set[str] = set()
    used: set[str] = set()
    for run_id in ("synthetic_training", "calibrating", "synthetic_evaluating"):
        merged = read_configs(config_files(BUNDLES / name, run_id))
        keys |= merged.keys() | {f"{top}::{part}" for top in ("train", "validate") for part in merged[top]}
        parts = {key: value for key, value in merged.items() if key not in ("settings", "training_settings")}
        found = re.findall(r"@([A-Za-z_]\w*(?:::\w+)?)", json.dumps(parts))
        used |= {path for reference in found for path in _prefixes(reference)}
        used |= set(re.findall(r"@(\w*settings)", json.dumps(merged)))
    assert keys - used - runs == set()


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split("::")
    for end in range(1, len(parts) + 1):
        yield "::".join(parts[:end])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("file", ["train.json", "inference.json"])
def test_every_option_changes_something_in_its_own_file(name, file):
    """A use in another file, or in `settings`, which only records, does not count."""
    config = load(name, file)
    parts = {key: value for key, value in config.items() if key not in ("settings", "training_settings")}
    used = set(re.findall(r"@([A-Za-z_]\w*)", json.dumps(parts)))
    options = {key for key, value in config.items() if not isinstance(value, dict)}
    runs = {"initialize", "training", "inference", "run", "deployed"}
    assert options - runs - used == set()


@pytest.mark.parametrize("name", NAMES)
def test_other_processes_validate_and_resume_but_write_nothing(name):
    """multi_gpu_train.json takes the first handlers of two lists by position: their order is part of the bundle."""
    train, overlay = load(name, "train.json"), load(name, "multi_gpu_train.json")
    schedules = ["monai_cavga.handlers.CosineScheduleHandler"] * (2 if name == "one_class" else 0)  # of both optimisers
    first = len(schedules) + 2
    assert overlay["train::trainer::train_handlers"].endswith(f"else @train::handlers[:{first}]")
    assert overlay["validate::evaluator::val_handlers"].endswith("else @validate::handlers[:1]")
    kept = [handler["_target_"] for handler in train["train"]["handlers"][:first]]
    assert kept == [*schedules, "monai.handlers.ValidationHandler", "monai_cavga.handlers.TrainingStateHandler"]
    assert train["validate"]["handlers"][0]["_target_"] == "monai_cavga.handlers.BestModelHandler"


@pytest.mark.parametrize("name", NAMES)
def test_all_processes_report_and_one_shows_progress(name):
    """multi_gpu_evaluate.json takes handlers by position, too."""
    overlay = load(name, "multi_gpu_evaluate.json")["evaluator::val_handlers"]
    assert overlay == "$@handlers[:2] if torch.distributed.get_rank() == 0 else @handlers[1:2]"
    progress, report = (handler["_target_"] for handler in load(name, "evaluate.json")["handlers"][:2])
    assert progress == "ignite.handlers.ProgressBar"
    assert report in ("monai_cavga.handlers.ReportHandler", "monai_cavga.handlers.ImageReportHandler")


@pytest.mark.parametrize(
    "file", ["train.json", "evaluate.json", "inference.json", "multi_gpu_train.json", "multi_gpu_evaluate.json"]
)
def test_the_bundles_differ_in_what_is_declared_only(file):
    """Image size, stages, and which data set is read; which model an inference takes, where one is shipped: a change of
    anything else belongs in both."""
    lag, idrid = load("lag", file), load("idrid", file)
    allowed = {"dataset_dir", "image_size::1", "stages"}
    if file == "inference.json":
        assert (lag.pop("maps"), idrid.pop("maps")) == (
            ["attention", "residual"],
            ["fused", "class", "latent_distance"],
        )
        allowed |= {"model_file", "calibration_file", "head", "decoder", "image_size::0", "score_rule"}
    lag, idrid = dict(leaves(lag)), dict(leaves(idrid))
    assert lag.keys() == idrid.keys()
    different = {path for path in lag if lag[path] != idrid[path]}
    data = {"train::data::_target_", "validate::data::_target_", "dataset::data::_target_"}
    assert different <= allowed | data, different - allowed - data


@pytest.mark.parametrize("name", NAMES)
def test_metadata_describe_the_localiser(name):
    metadata, inference = load(name, "metadata.json"), load(name, "inference.json")
    data = metadata["network_data_format"]
    assert data["inputs"]["image"]["num_channels"] == inference["in_channels"]
    assert data["outputs"]["pred"]["spatial_shape"] == inference["image_size"]
    # A range of numbers only where every map has it: latent_distance has no upper end.
    unbounded = "latent_distance" in inference["maps"]
    assert data["outputs"]["pred"]["value_range"] == ([] if unbounded else [0, 1])
    assert data["inputs"]["image"]["spatial_shape"] == inference["image_size"]
    assert list(data["outputs"]["pred"]["channel_def"].values()) == inference["maps"]
    assert data["outputs"]["pred"]["num_channels"] == len(inference["maps"])
    assert metadata["version"] in metadata["changelog"]
    required = ["monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task", "description"]
    assert all(metadata[key] for key in [*required, "authors", "copyright", "schema"])
