"""The bundles of the paper's protocol, run: training, evaluation, inference, and MONAI's own checks and exports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ckpt_export, onnx_export, verify_metadata, verify_net_in_out
from PIL import Image
from trees import SIZE, write_idrid, write_lag, write_mstc, write_mvtad

from monai_cavga.bundle import BundleDirectoryWorkflow
from monai_cavga.losses.attention import attention_entropy_loss
from monai_cavga.networks import CAVGA, CAVGALocalizer, WeightsError, load_model

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = ["lag", "idrid", "mvtad", "mstc"]
CHANNELS = {"lag": 3, "idrid": 3, "mvtad": 1, "mstc": 3}
TINY: dict[str, Any] = {"image_size": list(SIZE), "stages": 2, "latent_channels": 8}
# The paper's network, whatever the bundle's inference is set to.
INFERENCE = {**TINY, "head": "none", "decoder": True, "maps": ["attention", "residual"], "calibration_file": "none"}
TRAINING = {**TINY, "encoder_weights": "none", "discriminator_channels": 8, "batch_size": 2, "panel_interval": 1}


def run(name: str, run_id: str, **overrides: Any) -> BundleDirectoryWorkflow:
    workflow = BundleDirectoryWorkflow(BUNDLES / name, run_id=run_id, logging_file=False, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow


def root_cause(error: BaseException) -> BaseException:
    """What MONAI's errors wrap."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def cause_of(error: BaseException) -> str:
    """The text of `root_cause`."""
    return str(root_cause(error))


def files(folder: Path) -> dict[str, str]:
    return {
        "model_file": str(folder / "model.pt"),
        "state_file": str(folder / "state.pt"),
        "output_dir": str(folder / "log"),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("data")
    mvtad = write_mvtad(root / "mvtad", normal=8)
    mstc = write_mstc(root / "mstc", clips=8)
    return {"lag": write_lag(root / "lag"), "idrid": write_idrid(root / "idrid"), "mvtad": mvtad, "mstc": mstc}


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest, data: dict[str, Path], tmp_path_factory: Any) -> tuple[str, Path]:
    """Name of the bundle and the folder with its model, trained for one epoch."""
    folder = tmp_path_factory.mktemp(request.param)
    run(request.param, "training", dataset_dir=str(data[request.param]), epochs=1, **TRAINING, **files(folder))
    return request.param, folder


def test_training_leaves_a_model_a_state_and_a_log(trained):
    _, folder = trained
    assert (folder / "model.pt").is_file()
    assert (folder / "state.pt").is_file()
    assert list((folder / "log").glob("events.out.tfevents.*"))
    assert not [path for path in folder.rglob("*") if ".tmp" in path.name]


def test_a_finished_training_started_again_does_nothing(trained, data):
    name, folder = trained
    workflow = run(name, "training", dataset_dir=str(data[name]), epochs=1, **TRAINING, **files(folder))
    trainer = workflow.parser.get_parsed_content("train::trainer")
    assert trainer.state.epoch == 1
    assert trainer.state.output is None  # nothing left to do


def epochs_run(name: str, **overrides: Any) -> list[int]:
    """Train, and say which epochs were run.

    Compare only with another training through here: the trainer is asked for before the run, networks are then built
    in another order, and one seed gives other first weights than it does to `run`.
    """
    workflow = BundleDirectoryWorkflow(BUNDLES / name, run_id="training", logging_file=False, **overrides)
    workflow.initialize()
    started: list[int] = []
    trainer = workflow.parser.get_parsed_content("train::trainer")
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: started.append(engine.state.epoch))
    workflow.run()
    workflow.finalize()
    return started


@pytest.mark.parametrize("name", NAMES)
def test_training_goes_on_from_its_state(name, data, tmp_path):
    """One epoch and then the second equal two at once, to the bit; `resume` false starts with the first again."""
    halves, whole = tmp_path / "halves", tmp_path / "whole"
    options = {"dataset_dir": str(data[name]), **TRAINING}
    assert epochs_run(name, **options, **files(halves), epochs=1) == [1]
    options["epochs"] = 2
    assert epochs_run(name, **options, **files(halves)) == [2]
    assert epochs_run(name, **options, **files(whole)) == [1, 2]
    one, two = (torch.load(each / "state.pt", weights_only=True)["parts"] for each in (halves, whole))
    assert one.keys() == two.keys()
    for part in ("network", "discriminator"):
        assert one[part].keys() == two[part].keys()
        assert all(torch.equal(one[part][key], two[part][key]) for key in one[part])
    assert epochs_run(name, **options, **files(halves), resume=False) == [1, 2]


def test_two_trainings_with_one_seed_give_the_same_model(trained, data, tmp_path):
    name, folder = trained
    run(name, "training", dataset_dir=str(data[name]), epochs=1, **TRAINING, **files(tmp_path))
    one = torch.load(folder / "model.pt", weights_only=True)["model"]
    two = torch.load(tmp_path / "model.pt", weights_only=True)["model"]
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_evaluating_writes_report_panels_and_page(trained, data, tmp_path):
    name, folder = trained
    run(
        name,
        "evaluating",
        dataset_dir=str(data[name]),
        model_file=str(folder / "model.pt"),
        evaluation_dir=str(tmp_path),
        **TINY,
    )
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert set(report["maps"]) == {"attention", "residual"}
    for row in report["maps"].values():
        assert 0 <= row["pixel_auroc"] <= 1
        assert 0 <= row["aupro"] <= 1
        assert 0 <= row["image_auroc"] <= 1
    normal, anomalous = {"lag": (2, 4), "idrid": (2, 4), "mvtad": (3, 3), "mstc": (3, 3)}[name]
    expected = {"normal": normal, "anomalous": anomalous}
    assert {key: report["n_images"][key] for key in expected} == expected
    lines = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + sum(expected.values())
    assert "not for diagnosis" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "not for diagnosis" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "contact_sheet.png").is_file()
    # Both labels have their panels although the normals come first; `max_panels` is not reached.
    assert len(list(tmp_path.glob("*_panel.png"))) == sum(expected.values())


def test_inference_writes_maps_at_the_size_of_each_source(trained, tmp_path):
    """Two photographs of different sizes, neither the network's."""
    name, folder = trained
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    sizes = {"a": (70, 130), "b": (150, 90)}
    for stem, size in sizes.items():
        picture = np.random.default_rng(1).integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(picture).save(photographs / f"{stem}.png")
    run(
        name,
        "inference",
        dataset_dir=str(photographs),
        model_file=str(folder / "model.pt"),
        output_dir=str(tmp_path / "maps"),
        **INFERENCE,
    )
    for stem, (height, width) in sizes.items():
        with Image.open(tmp_path / "maps" / f"{stem}_attention.png") as picture:
            assert picture.size == (width, height)
    index = json.loads((tmp_path / "maps" / "maps.json").read_text(encoding="utf-8"))
    assert [(each["name"], each["height"], each["width"]) for each in index["images"]] == [
        (stem, *size) for stem, size in sizes.items()
    ]
    assert (tmp_path / "maps" / "index.html").is_file()


@pytest.mark.parametrize("run_id", ["evaluating", "inference"])
def test_a_checkpoint_of_another_architecture_is_one_clear_error(trained, data, tmp_path, run_id):
    name, folder = trained
    base = INFERENCE if run_id == "inference" else TINY
    options = {**base, "head": "conv", "model_file": str(folder / "model.pt")}
    where = data[name] if run_id == "evaluating" else BUNDLES.parent / "benchmarks"
    if run_id == "inference":
        where = tmp_path
        Image.new("RGB", (60, 50)).save(tmp_path / "a.png")
    with pytest.raises(RuntimeError) as raised:
        run(name, run_id, dataset_dir=str(where), **options)
    cause = root_cause(raised.value)
    assert isinstance(cause, WeightsError)
    assert "was trained with head none, got conv: pass --head none" in str(cause)


def test_an_evaluation_with_another_split_than_the_training_is_refused(trained, data):
    """With other options the test set would hold images that were trained on."""
    name, folder = trained
    with pytest.raises(RuntimeError) as raised:
        run(name, "evaluating", dataset_dir=str(data[name]), model_file=str(folder / "model.pt"), **TINY, labelled=1)
    cause = root_cause(raised.value)
    assert "was trained with labelled 0, got 1: pass --labelled 0" in str(cause)


@pytest.mark.parametrize("name", NAMES)
def test_the_form_of_the_attention_loss_is_an_option(name, data, tmp_path):
    """It reaches the objective, an unknown one is refused, and a state of another is no state of this training."""
    options = {"dataset_dir": str(data[name]), "epochs": 1, **TRAINING, **files(tmp_path)}
    workflow = run(name, "training", **options, attention_loss="entropy")
    objective = workflow.parser.get_parsed_content("loss")
    assert objective.attention_loss is attention_entropy_loss
    with pytest.raises(RuntimeError) as raised:
        run(name, "training", **options)
    assert "got attention_loss entropy, expected expansion" in cause_of(raised.value)
    with pytest.raises(RuntimeError) as raised:
        run(name, "training", **options, attention_loss="wide")
    assert "attention_loss is 'wide', expected one of expansion, barrier, entropy" in cause_of(raised.value)


@pytest.mark.parametrize("name", NAMES)
def test_monais_property_check_finds_nothing(name, data, tmp_path):
    train = BundleDirectoryWorkflow(
        BUNDLES / name,
        run_id="training",
        logging_file=False,
        dataset_dir=str(data[name]),
        **TRAINING,
        **files(tmp_path),
    )
    train.initialize()
    assert train.check_properties() == []
    Image.new("RGB", (60, 50)).save(tmp_path / "a.png")
    inference = BundleDirectoryWorkflow(
        BUNDLES / name, run_id="inference", logging_file=False, dataset_dir=str(tmp_path), **INFERENCE
    )
    inference.initialize()
    assert inference.check_properties() == []


@pytest.mark.parametrize("name", NAMES)
def test_metadata_follow_monais_schema(name, shared_dir):
    verify_metadata(
        meta_file=str(BUNDLES / name / "configs" / "metadata.json"),
        filepath=str(shared_dir / "notes" / "samples" / "meta_schema_20240725.json"),
    )


@pytest.mark.parametrize("name", NAMES)
def test_network_takes_and_gives_what_the_metadata_say(name):
    configs = BUNDLES / name / "configs"
    verify_net_in_out(
        "network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
    )


def test_monais_exports_equal_the_localiser(trained, tmp_path):
    name, folder = trained
    configs = BUNDLES / name / "configs"
    common: dict[str, Any] = {
        "net_id": "network_def",
        "ckpt_file": str(folder / "model.pt"),
        "meta_file": str(configs / "metadata.json"),
        "config_file": str(configs / "inference.json"),
        "key_in_ckpt": "model",
        **INFERENCE,
    }
    channels = CHANNELS[name]
    network = CAVGALocalizer(CAVGA(in_channels=channels, stages=2, latent_channels=8)).eval()
    load_model(network, folder / "model.pt")
    image = torch.rand(3, channels, *SIZE)
    with torch.no_grad():
        expected = network(image)

    script = tmp_path / "model.ts"
    ckpt_export(filepath=str(script), **common)
    with torch.no_grad():
        assert torch.allclose(torch.jit.load(script).eval()(image), expected, atol=1e-6)

    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    graph = tmp_path / "model.onnx"
    names = {"input_names": ["image"], "output_names": ["pred"], "dynamic_axes": {"image": {0: "batch"}}}
    onnx_export(filepath=str(graph), input_shape=[2, channels, *SIZE], converter_kwargs=names, **common)
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"image": image.numpy()})
    assert np.abs(got - expected.numpy()).max() < 1e-4


@pytest.fixture
def a_png(tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        path = tmp_path / name
        Image.new("RGB", (60, 50), (200, 90, 40)).save(path)
        return path

    return write


def test_one_bad_photograph_is_named(trained, tmp_path, a_png):
    name, folder = trained
    a_png("good.png")
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(RuntimeError) as raised:
        run(name, "inference", dataset_dir=str(tmp_path), model_file=str(folder / "model.pt"), **INFERENCE)
    texts = []
    cause: BaseException | None = raised.value
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__
    assert any("bad.png" in text for text in texts)
