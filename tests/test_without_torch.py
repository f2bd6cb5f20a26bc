"""What runs without torch and MONAI: the clinical command on an exported file, and all that it imports."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_files import dicom_image
from tiny_bundle import PHOTO_SIZE, photo, write_bundle, write_photo

from monai_cavga.__main__ import main

# Python imports it before anything else, in the process that decodes images too
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "monai", "ignite"):
            raise ModuleNotFoundError(f"{name} is not for this test", name=name)

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which torch, MONAI and ignite cannot be imported."""
    folder = tmp_path_factory.mktemp("blocker")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).resolve().parents[1])])}


def run(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["torch", "monai", "monai.data", "ignite.engine"])
def test_the_blocker_blocks(name: str, blocked: dict[str, str]) -> None:
    done = run(["-c", f"import {name}"], blocked)
    assert done.returncode == 1
    assert "is not for this test" in done.stderr


@pytest.mark.parametrize("name", ["handlers", "metrics"])
def test_a_package_imports_its_names_on_first_use(name: str) -> None:
    package = importlib.import_module(f"monai_cavga.{name}")
    assert dir(package) == sorted(package.__all__) == sorted(package._HOMES)
    assert all(getattr(package, each) is not None for each in package.__all__)
    with pytest.raises(AttributeError, match=f"module 'monai_cavga.{name}' has no attribute 'Nothing'"):
        _ = package.Nothing


def test_what_pictures_and_scores_need_is_no_torch(blocked: dict[str, str]) -> None:
    names = "handlers.files, monai_cavga.handlers.colour, monai_cavga.metrics.score, monai_cavga.fundus"
    assert run(["-c", f"import monai_cavga.{names}"], blocked).returncode == 0


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle with its exported file."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    bundle = write_bundle(tmp_path_factory.mktemp("exported") / "tiny")
    assert main(["export", "--bundle", str(bundle)]) == 0
    assert (bundle / "models" / "model.onnx").is_file()
    return bundle


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """What a run says of each image, by the image's name."""
    told = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {Path(each["path"]).name: {**each, "model": dict(told["model"])} for each in told["images"]}


@pytest.mark.slow
def test_localize_on_an_exported_file(exported: Path, blocked: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="writing DICOM objects needs highdicom")
    write_photo(tmp_path / "in" / "photo.png", 1)
    dicom_image("OP8", pixels=photo(2), laterality="L").save_as(tmp_path / "in" / "eye.dcm", enforce_file_format=True)
    kinds = ["map", "overlay", "nifti", "page", "seg", "seg_binary", "sr", "capture"]
    command = ["localize", str(tmp_path / "in"), "--bundle", str(exported), "--write", *kinds]
    assert main([*command, "--output", str(tmp_path / "torch")]) == 0
    words = ["-m", "monai_cavga", *command, "--backend", "onnx", "--output", str(tmp_path / "onnx")]
    done = run(words, blocked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 images: 2 ok")
    theirs, ours = results(tmp_path / "torch"), results(tmp_path / "onnx")
    assert set(ours) == set(theirs) == {"photo.png", "eye.dcm"}
    for name, one in ours.items():
        other = theirs[name]
        assert one["files"] == other["files"]  # the names: files of the same kinds
        assert one["model"].pop("config_sha256") != other["model"].pop("config_sha256")
        assert (one["model"], one["percentile"]) == (other["model"], other["percentile"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
        maps = [
            np.asarray(nibabel.load(tmp_path / which / one["files"]["nifti"]).dataobj)[..., 0].T
            for which in ("torch", "onnx")
        ]
        assert maps[0].shape == PHOTO_SIZE
        assert (maps[0] > 0).mean() > 0.5
        assert np.ptp(maps[0]) > 0.1
        assert np.abs(maps[0] - maps[1]).max() < 1e-4
    assert (tmp_path / "onnx" / "index.html").is_file()
    done = run(words, blocked)
    assert "(2 kept from an earlier run)" in done.stdout


@pytest.mark.slow
def test_another_run_on_torch_keeps_nothing_of_onnx(exported: Path, tmp_path: Path) -> None:
    """Their maps may differ in the last bits, so one is not taken for the other."""
    command = ["localize", str(write_photo(tmp_path / "a.png")), "--bundle", str(exported)]
    command += ["--output", str(tmp_path / "out")]
    keys = []
    for backend in ("onnx", "torch"):
        assert main([*command, "--backend", backend]) == 0
        keys.append(json.loads(next((tmp_path / "out").glob("a-*.json")).read_text())["key"])
    assert keys[0] != keys[1]


def test_the_torch_back_end_says_what_it_needs(exported: Path, blocked: dict[str, str], tmp_path: Path) -> None:
    words = ["-m", "monai_cavga", "localize", str(write_photo(tmp_path / "a.png")), "--bundle", str(exported)]
    done = run([*words, "--output", str(tmp_path / "out")], blocked)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("monai_cavga: back end torch needs ")
    assert "--backend onnx" in done.stderr
