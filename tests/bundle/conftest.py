"""A bundle folder small enough to run in no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TRAIN = {
    "bundle_root": ".",
    "dataset_dir": "DATA",
    "epochs": 2,
    "learning_rate": 0.1,
    "amp": False,
    "train": {"dataset": "@data", "dataloader": {"batch_size": 4, "num_workers": 0}, "handlers": [{"a": 1}, {"b": 2}]},
    "data": [],
    "training": ["$print('trained', @epochs, @bundle_root)"],
    "run": "%training",
    "finalize": ["$print('finalized')"],
}
EVALUATE = {
    "threshold": 0.5,
    "+train": {"extra": 1},
    "train::dataloader::batch_size": 1,
    "evaluating": ["$print('evaluated', @train::dataloader::batch_size)"],
}
INFERENCE = {"dataset_dir": "DATA", "inference": ["$print('inferred')"], "failing": ["$1 / 0"]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder that is there: enough for the check of `dataset_dir`."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def bundle(tmp_path: Path, data: Path) -> Path:
    """The bundle, whose data set is there."""
    configs = tmp_path / "bundles" / "lag" / "configs"
    configs.mkdir(parents=True)
    for name, content in (("train", TRAIN), ("evaluate", EVALUATE), ("inference", INFERENCE)):
        text = json.dumps(content, indent=1).replace("DATA", str(data))
        (configs / f"{name}.json").write_text(text, encoding="utf-8")
    return configs.parent
