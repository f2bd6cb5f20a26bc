"""The shipped model calibrated on a plain folder of one's own normal photographs, with the command of the docs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_bundles import BUNDLES
from trees import SIZE, write_idrid

from monai_cavga.__main__ import main
from monai_cavga.data import phantom
from monai_cavga.networks import CAVGA, CAVGALocalizer, WeightsError, load_model, trained_or_shipped
from monai_cavga.networks.weights import half_precision_bytes

NETWORK: dict[str, Any] = {"image_size": list(SIZE), "stages": 2, "latent_channels": 8}
OPTIONS = [word for key, value in NETWORK.items() for word in (f"--{key}", str(value))]
SHIPPED = BUNDLES / "idrid" / "models" / "model.safetensors"


def settings_of(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        return dict(json.loads(opened.metadata()["settings"]))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of bundles/idrid that ships a tiny network, with all settings of the real one, and was never trained."""
    folder = tmp_path / "my_idrid"
    shutil.copytree(BUNDLES / "idrid" / "configs", folder / "configs", ignore=shutil.ignore_patterns("logging.conf"))
    (folder / "models").mkdir()
    torch.manual_seed(0)
    network = CAVGA(stages=2, latent_channels=8, head="pyramid", decoder=False, image_size=SIZE)
    model = half_precision_bytes(CAVGALocalizer(network, maps=["class"]), settings={**settings_of(SHIPPED), **NETWORK})
    (folder / "models" / "model.safetensors").write_bytes(model)
    return folder


def calibrate(bundle: Path, normals: Path, *options: str) -> int:
    return main(["calibrate", "--config", str(bundle), "--dataset_dir", str(normals), *OPTIONS, *options])


def test_a_folder_of_normal_photographs_is_enough(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """hand: a fifth of 16 is 3; the model stays as it is to the bit, and what belongs to it is beside it."""
    normals, model = tmp_path / "normals", bundle / "models" / "model.safetensors"
    normals.mkdir()
    for number in range(16):
        Image.fromarray(phantom(number, size=(70, 110), lesions=False)[0]).save(normals / f"{number}.jpg")
    before = load_file(model)
    assert calibrate(bundle, normals) == 0
    assert "synthetic.pt is not there: taking" in capsys.readouterr().out
    after = load_file(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    report = json.loads((bundle / "models" / "calibration.json").read_text())
    assert (report["n_fit"], report["n_normal"], len(report["image_scores_of_normals"])) == (13, 3, 3)
    assert report["score_rule"] == "peaks"
    assert (bundle / "models" / "calibration.safetensors").is_file()
    # a name that was given and is wrong is not passed over
    assert calibrate(bundle, normals, "--model_file", str(tmp_path / "mine.pt")) == 2
    assert "mine.pt does not exist" in capsys.readouterr().err


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A folder of twelve normal photographs."""
    folder = tmp_path / "few"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(phantom(number, size=(70, 110), lesions=False)[0]).save(folder / f"{number}.jpg")
    return folder


def test_few_normals_are_split_as_one_likes(bundle: Path, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """hand: half of 12. The model's file keeps how its training on IDRiD was split, so another run may differ again."""
    model = bundle / "models" / "model.safetensors"
    before = settings_of(model)
    assert (before["validation_fraction"], before["seed"]) == (0.2, 0)
    assert calibrate(bundle, few, "--validation_fraction", "0.5", "--seed", "8") == 0
    assert f"{few} is a plain folder: 12 photographs taken as normal" in capsys.readouterr().out
    report = json.loads((bundle / "models" / "calibration.json").read_text())
    assert (report["n_fit"], report["n_normal"], report["seed"]) == (6, 6, 8)
    assert settings_of(model) == report["settings"] == before
    assert calibrate(bundle, few, "--validation_fraction", "0.5", "--seed", "9") == 0
    assert settings_of(model) == before
    assert calibrate(bundle, few, "--stages", "3") == 2  # another network stays another network
    assert "was trained with stages 2, got 3" in capsys.readouterr().err


def test_a_model_of_the_same_kind_of_data_keeps_its_split(
    bundle: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its held-out photographs would be ones that it was trained on."""
    idrid = write_idrid(tmp_path / "idrid")
    assert calibrate(bundle, idrid, "--seed", "3") == 2
    assert "was trained with seed 0, got 3: pass --seed 0" in capsys.readouterr().err
    model = bundle / "models" / "model.safetensors"
    metadata = {"settings": json.dumps({**settings_of(model), "own_normals": True})}
    save_file(load_file(model), model, metadata=metadata)
    assert calibrate(bundle, few, "--validation_fraction", "0.5") == 2
    assert "was trained with validation_fraction 0.2, got 0.5" in capsys.readouterr().err


def test_what_is_no_folder_of_normals_is_refused_in_a_line(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anomalous photographs of IDRiD lie in one folder with its normal ones."""
    empty, inside = tmp_path / "empty", write_idrid(tmp_path / "idrid") / "B. Disease Grading" / "1. Original Images"
    empty.mkdir()
    for folder in (empty, inside / "a. Training Set"):
        assert calibrate(bundle, folder) == 2
        error = capsys.readouterr().err
        assert "no IDRiD in" in error
        assert "Traceback" not in error
    assert not (bundle / "models" / "calibration.json").exists()


def test_a_training_goes_before_what_is_shipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained, shipped = str(tmp_path / "synthetic.pt"), str(tmp_path / "model.safetensors")
    assert trained_or_shipped(trained, shipped) == trained  # whose reader says that it is missing
    with pytest.raises(WeightsError, match=r"synthetic.pt does not exist"):
        load_model(torch.nn.Linear(2, 1), trained)
    Path(shipped).touch()
    assert trained_or_shipped(trained, shipped) == shipped
    assert capsys.readouterr().out == f"{trained} is not there: taking {shipped}\n"
    Path(trained).touch()
    assert trained_or_shipped(trained, shipped) == trained
    assert not capsys.readouterr().out
