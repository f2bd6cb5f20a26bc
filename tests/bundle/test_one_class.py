"""The bundle of one class against the rest, run on shapes: training, evaluation, inference, MONAI's checks, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ckpt_export, verify_metadata, verify_net_in_out
from PIL import Image

from monai_cavga.bundle import BundleDirectoryWorkflow
from monai_cavga.data import write_shapes
from monai_cavga.networks import CAVGA, CAVGALocalizer, WeightsError, load_model

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "one_class"
SIZE = [32, 48]
TINY: dict[str, Any] = {"image_size": SIZE, "stages": 2, "latent_channels": 8}
OPTIONS = {**TINY, "normal_class": 1, "validation_fraction": 0.25, "batch_size": 16}
TRAINING = {**OPTIONS, "discriminator_channels": 8, "panel_interval": 1, "flip_probability": 0.5}


def run(run_id: str, **overrides: Any) -> BundleDirectoryWorkflow:
    workflow = BundleDirectoryWorkflow(BUNDLE, run_id=run_id, logging_file=False, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow


def files(folder: Path) -> dict[str, str]:
    return {"model_file": str(folder / "m.pt"), "state_file": str(folder / "s.pt"), "output_dir": str(folder / "log")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes"), normal=32, anomalous=6, size=(20, 28))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run("training", dataset_dir=str(data), epochs=2, **TRAINING, **files(folder))
    return folder


class KilledError(Exception):
    pass


def train(data: Path, folder: Path, *, kill: bool = False) -> None:
    """Two epochs, or die when the second begins. Compare only with another training through here."""
    workflow = BundleDirectoryWorkflow(
        BUNDLE, run_id="training", logging_file=False, dataset_dir=str(data), epochs=2, **TRAINING, **files(folder)
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train::trainer")

    def die(engine: Any) -> None:
        raise KilledError

    if kill:
        trainer.add_event_handler(Events.EPOCH_STARTED(once=2), die)
        with pytest.raises(RuntimeError) as raised:
            workflow.run()
        assert isinstance(raised.value.__cause__, KilledError)
    else:
        workflow.run()
    workflow.finalize()


def test_training_goes_on_from_its_state(data: Path, tmp_path: Path) -> None:
    """Killed after the first epoch and started again equals two at once, to the bit, flips and schedule included."""
    train(data, tmp_path / "killed", kill=True)
    state = torch.load(tmp_path / "killed" / "s.pt", weights_only=True)
    assert state["iteration"] == state["epoch_length"]
    train(data, tmp_path / "killed")
    train(data, tmp_path / "whole")
    one, two = (
        torch.load(tmp_path / each / "s.pt", weights_only=True)["parts"]["network"] for each in ("killed", "whole")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
    with pytest.raises(RuntimeError) as raised:
        run("training", dataset_dir=str(data), epochs=2, **{**TRAINING, "normal_class": 2}, **files(tmp_path / "whole"))
    assert "got normal_class 1, expected 2" in str(raised.value.__cause__.__cause__ or raised.value.__cause__)
    with pytest.raises(RuntimeError) as raised:  # another schedule
        run("training", dataset_dir=str(data), epochs=3, **TRAINING, **files(tmp_path / "whole"))
    assert "got epochs 2, expected 3" in str(raised.value.__cause__.__cause__ or raised.value.__cause__)


def test_evaluating_reports_images_only(trained: Path, data: Path, tmp_path: Path) -> None:
    run(
        "evaluating",
        dataset_dir=str(data),
        model_file=str(trained / "m.pt"),
        evaluation_dir=str(tmp_path),
        **OPTIONS,
    )
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(report["maps"]) == ["residual", "relative_residual", "kl", "latent_distance", "attention"]
    assert report["n_images"] == {"normal": 6, "anomalous": 18}
    for row in report["maps"].values():
        assert 0 <= row["image_auroc"] <= 1
        assert not [key for key in row if "pixel" in key or "pro" in key]
    lines = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:2] for line in lines[1:4]] == [
        ["test_0_00000", "1"],
        ["test_1_00001", "0"],
        ["test_2_00002", "1"],
    ]


def test_an_evaluation_of_another_class_than_the_trainings_is_refused(trained: Path, data: Path) -> None:
    options = {**OPTIONS, "normal_class": 0}
    with pytest.raises(RuntimeError) as raised:
        run("evaluating", dataset_dir=str(data), model_file=str(trained / "m.pt"), **options)
    cause: BaseException = raised.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert isinstance(cause, WeightsError)
    assert "was trained with normal_class 1, got 0: pass --normal_class 1" in str(cause)


def test_inference_scores_by_the_mean_of_the_map(trained: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (40, 30), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(picture).save(tmp_path / "images" / "a.png")
    run(
        "inference",
        dataset_dir=str(tmp_path / "images"),
        model_file=str(trained / "m.pt"),
        output_dir=str(tmp_path / "maps"),
        **TINY,
    )
    with Image.open(tmp_path / "maps" / "a_residual.png") as written:
        assert written.size == (30, 40)
        mean = np.asarray(written, dtype=float).mean() / 65535
    (image,) = json.loads((tmp_path / "maps" / "maps.json").read_text(encoding="utf-8"))["images"]
    assert image["score"] == pytest.approx(mean, abs=1e-3)


def test_monais_checks_find_nothing(data: Path, tmp_path: Path, shared_dir: Path) -> None:
    options = {**TRAINING, **files(tmp_path)}
    train = BundleDirectoryWorkflow(BUNDLE, run_id="training", logging_file=False, dataset_dir=str(data), **options)
    train.initialize()
    assert train.check_properties() == []
    Image.new("L", (60, 50)).save(tmp_path / "a.png")
    inference = BundleDirectoryWorkflow(
        BUNDLE, run_id="inference", logging_file=False, dataset_dir=str(tmp_path), **TINY
    )
    inference.initialize()
    assert inference.check_properties() == []
    meta, config = BUNDLE / "configs" / "metadata.json", BUNDLE / "configs" / "inference.json"
    verify_net_in_out("network_def", meta_file=str(meta), config_file=str(config), device="cpu")
    verify_metadata(meta_file=str(meta), filepath=str(shared_dir / "notes" / "samples" / "meta_schema_20240725.json"))


def test_export_equals_the_localiser(trained: Path, tmp_path: Path) -> None:
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained / "m.pt"),
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        config_file=str(BUNDLE / "configs" / "inference.json"),
        key_in_ckpt="model",
        **TINY,
        maps=["residual", "relative_residual", "kl", "attention"],
    )
    network = CAVGALocalizer(
        CAVGA(architecture="D", in_channels=1, stages=2, latent_channels=8),
        maps=["residual", "relative_residual", "kl", "attention"],
    ).eval()
    load_model(network, trained / "m.pt")
    image = torch.rand(3, 1, *SIZE)
    with torch.no_grad():
        assert torch.allclose(torch.jit.load(tmp_path / "model.ts").eval()(image), network(image), atol=1e-6)
