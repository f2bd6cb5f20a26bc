"""A bundle folder as a MONAI workflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import monai.bundle
import pytest

import monai_cavga.bundle
from monai_cavga.bundle import BundleDirectoryWorkflow


def _printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    words = ("trained", "evaluated", "inferred", "finalized")
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(words)]


@pytest.mark.parametrize(
    ("run_id", "line", "kind"),
    [("training", "trained 3 {}", "train"), ("evaluating", "evaluated 1", "infer"), ("inference", "inferred", "infer")],
)
def test_runs_a_folder(bundle: Path, capsys: pytest.CaptureFixture[str], run_id: str, line: str, kind: str) -> None:
    overrides = {} if run_id == "inference" else {"epochs": 3}
    workflow = BundleDirectoryWorkflow(bundle, run_id=run_id, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    workflow.finalize()
    ends = [] if run_id == "inference" else ["finalized"]  # inference.json has no such section
    assert _printed(capsys) == [line.format(bundle), *ends]
    assert workflow.workflow_type == kind


@pytest.mark.filterwarnings("ignore:parsing config_file")
def test_monais_own_command_takes_it(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "monai_cavga.bundle.BundleDirectoryWorkflow"
    monai.bundle.run(run_id="training", workflow_name=name, config=str(bundle), epochs=5)
    assert _printed(capsys) == [f"trained 5 {bundle}", "finalized"]
    train = str(bundle / "configs" / "train.json")
    monai.bundle.run(workflow_name=name, config_file=train, bundle_root="there")
    assert _printed(capsys) == ["trained 2 there", "finalized"]


def test_finalizes_once_when_the_run_fails(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = bundle / "configs" / "train.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "training": ["$1 / 0"]}))
    workflow = BundleDirectoryWorkflow(bundle, run_id="training")
    workflow.initialize()
    with pytest.raises(RuntimeError, match="1 / 0"):
        workflow.run()
    assert _printed(capsys) == ["finalized"]
    workflow.finalize()
    assert _printed(capsys) == []


def test_an_absent_data_set_is_one_line(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workflow = BundleDirectoryWorkflow(bundle, run_id="training", dataset_dir="nowhere")
    workflow.initialize()
    with pytest.raises(FileNotFoundError, match=r"smilell/AG-CNN.*phantoms"):
        workflow.run()
    assert _printed(capsys) == ["finalized"]


@pytest.mark.parametrize(
    ("options", "error", "line"),
    [
        ({"epoch": 3}, ValueError, "unknown key --epoch: did you mean --epochs"),
        ({"args_file": "x"}, ValueError, "unknown key --args_file"),
        ({"run_id": "trainin"}, ValueError, "unknown run 'trainin'"),
        ({"config_file": "x.json"}, ValueError, "got both of config and config_file"),
        ({"config": None}, ValueError, "got neither of config and config_file"),
        ({"config": "nowhere"}, FileNotFoundError, "no bundle for 'run' at nowhere"),
    ],
)
def test_refusals(bundle: Path, options: dict[str, Any], error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line):
        BundleDirectoryWorkflow(**{"config": bundle, **options})


def test_the_kind_of_workflow_can_be_chosen(bundle: Path) -> None:
    assert BundleDirectoryWorkflow(bundle, run_id="training", workflow_type="infer").workflow_type == "infer"


def test_config_files_in_a_folder_of_another_name(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = bundle.parent / "idrid"
    (bundle / "configs").rename(plain)
    workflow = BundleDirectoryWorkflow(config_file=[str(plain / "train.json")], dataset_dir="nowhere")
    workflow.initialize()
    with pytest.raises(FileNotFoundError, match="ieee-dataport"):
        workflow.run()
    assert _printed(capsys) == ["finalized"]


def test_the_lazy_package_names_what_it_has() -> None:
    assert dir(monai_cavga.bundle) == ["BundleDirectoryWorkflow"]
    with pytest.raises(AttributeError, match="no attribute 'DirWorkflow'"):
        monai_cavga.bundle.DirWorkflow  # noqa: B018 - the look-up is what is tested
