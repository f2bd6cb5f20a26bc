"""What a bundle folder holds, and the one-line refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from monai_cavga.bundle.directory import (
    config_files,
    data_problem,
    folder_problem,
    key_problem,
    read_configs,
    run_id_problem,
)


@pytest.mark.parametrize(
    ("run_id", "names"),
    [
        ("training", ["train.json"]),
        ("evaluating", ["train.json", "evaluate.json"]),
        ("inference", ["inference.json"]),
        ("synthetic_training", ["synthetic.json"]),
        ("calibrating", ["synthetic.json", "calibrate.json"]),
        ("synthetic_evaluating", ["synthetic.json", "evaluate.json", "synthetic_evaluate.json"]),
        ("run", ["train.json"]),
        ("my_own", ["train.json"]),
    ],
)
def test_config_files(run_id: str, names: list[str]) -> None:
    assert config_files(Path("b"), run_id) == [Path("b/configs", name) for name in names]


def test_reference_monai_merges_alike(bundle: Path) -> None:
    files = config_files(bundle, "evaluating")
    assert read_configs(files) == ConfigParser.load_config_files(files)


def test_merge_adds_to_lists_and_reaches_inside_lists(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text('{"steps": [{"x": 1}, {"y": 2}], "n": [1]}')
    second.write_text('{"steps#1#y": 3, "+n": [2], "deep::er": 4, "steps::9::z": 5}')
    assert read_configs([first, second]) == {"steps": [{"x": 1}, {"y": 3}], "n": [1, 2], "deep": {"er": 4}}


@pytest.mark.parametrize(("text", "words"), [("{", "is not valid JSON"), ("[1]", "holds a JSON list")])
def test_refuses_what_is_no_config(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "train.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_configs([file])


@pytest.mark.parametrize(
    "key",
    [
        "epochs",
        "train::dataloader::batch_size",
        "train#dataloader#num_workers",
        "train::dataloader::shuffle",  # a new argument at the end of a path
        "train::handlers::1::b",
        "train::handlers::-1",
        "_meta_::version",
        "config_file",
    ],
)
def test_known_keys(bundle: Path, key: str) -> None:
    config = read_configs(config_files(bundle, "training"))
    assert key_problem(config, ["learning_rate", key], arguments=["config_file"]) == ""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("epoch", "unknown key --epoch: did you mean --epochs?"),
        ("lerning_rate", "unknown key --lerning_rate: did you mean --learning_rate?"),
        ("confg_file", "unknown key --confg_file: did you mean --config_file?"),
        ("trai::dataloader::x", "unknown key --trai::dataloader::x: did you mean --train::dataloader::x?"),
        ("train#datalader#x", "unknown key --train#datalader#x: did you mean --train::dataloader::x?"),
        ("train::zzz::x", "unknown key --train::zzz::x: 'train' has no such part"),
        ("zzz", "unknown key --zzz: the bundle has no such id"),
        ("train::handlers::2", "unknown key --train::handlers::2: 'train::handlers' is a list of 2, counted from 0"),
        ("train::handlers::a", "unknown key --train::handlers::a: 'train::handlers' is a list of 2, counted from 0"),
        ("train::dataset::x", "unknown key --train::dataset::x: 'train::dataset' is '@data', which has no parts"),
    ],
)
def test_unknown_keys_name_the_nearest(bundle: Path, key: str, line: str) -> None:
    config = read_configs(config_files(bundle, "training"))
    assert key_problem(config, ["epochs", key], arguments=["config_file"]) == line


def test_run_ids() -> None:
    config = {"training": [], "my_own": []}
    assert run_id_problem(config, "my_own") == ""
    assert run_id_problem(config, "trainig") == "unknown run 'trainig': did you mean 'training'?"
    runs = "training, evaluating, inference, synthetic_training, synthetic_evaluating, calibrating"
    assert run_id_problem(config, "xyz") == f"unknown run 'xyz': expected {runs}"


def test_absent_folder(bundle: Path) -> None:
    assert folder_problem(bundle, "evaluating") == ""
    (bundle / "configs" / "evaluate.json").unlink()
    assert "evaluate.json does not exist" in folder_problem(bundle, "evaluating")
    assert folder_problem(bundle, "training") == ""


@pytest.mark.parametrize(
    ("folder", "run_id", "parts"),
    [
        ("lag", "training", ["LAG", "github.com/smilell/AG-CNN", "python -m monai_cavga phantoms", "--dataset_dir"]),
        ("my-idrid", "evaluating", ["IDRiD", "ieee-dataport.org", "python -m monai_cavga phantoms", "--dataset_dir"]),
        ("mvtad", "calibrating", ["MVTec AD", "www.mvtec.com", "phantoms DIR --kind mvtad", "--dataset_dir"]),
        (
            "mstc",
            "training",
            ["ShanghaiTech", "svip-lab.github.io", "phantoms DIR --kind mstc", "--dataset_dir"],
        ),
        ("flags", "training", ["no data set in", "--dataset_dir"]),
        ("lag", "inference", ["no images in", "--dataset_dir"]),
    ],
)
@pytest.mark.parametrize("value", ["nowhere/at all", ""])
def test_absent_data_is_one_line(folder: str, run_id: str, parts: list[str], value: str) -> None:
    line = data_problem({"dataset_dir": value}, None, folder=Path(folder), run_id=run_id)
    assert "\n" not in line
    assert all(part in line for part in [*parts, repr(value)])


@pytest.mark.parametrize(("name", "part"), [("cifar10", "cs.toronto.edu"), ("fashion_mnist", "Fashion-MNIST")])
def test_the_key_dataset_name_tells_the_data_set(name: str, part: str) -> None:
    config = {"dataset_dir": "nowhere", "dataset_name": name}
    line = data_problem(config, None, folder=Path("one_class"), run_id="training")
    assert part in line
    assert "phantoms DIR --kind shapes" in line
    assert "no data set in" in data_problem({**config, "dataset_name": "folder"}, None, folder=Path("x"), run_id="y")


@pytest.mark.parametrize("value", ["$@bundle_root + '/data'", "@elsewhere", "%train::data", None, 3])
def test_a_data_folder_that_only_monai_can_work_out_is_left_to_it(value: object) -> None:
    assert data_problem({"dataset_dir": value}, None, folder=Path("lag"), run_id="training") == ""
    assert data_problem({}, None, folder=Path("lag"), run_id="training") == ""


def test_an_override_beats_the_config(tmp_path: Path) -> None:
    config = json.loads('{"dataset_dir": "nowhere"}')
    assert data_problem(config, str(tmp_path), folder=Path("lag"), run_id="training") == ""
    assert data_problem({"dataset_dir": str(tmp_path)}, "nowhere", folder=Path("lag"), run_id="training") != ""
