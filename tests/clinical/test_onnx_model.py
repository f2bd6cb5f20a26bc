"""The back end on ONNX Runtime: what it takes from an exported file, and which files it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Resize
from tiny_bundle import CONFIGS, photo, write_bundle

from monai_cavga.__main__ import main
from monai_cavga.clinical.model import Model, ModelError, load_model
from monai_cavga.clinical.onnx_model import OnnxModel, nearest
from monai_cavga.clinical.records import Source
from monai_cavga.data import phantom, read_image
from monai_cavga.export import OnnxBackendError
from monai_cavga.export.backend import OUTPUTS

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

TOLD = {
    "maps": ["fused"],
    "channels": 3,
    "scales": {"fused": [0, 1]},
    "bundle": "made up",
    "bundle_version": "1.2",
    "model_file": "model.safetensors",
    "model_sha256": "ab" * 32,
    "calibration_file": None,
    "calibration_sha256": None,
    "field_of_view": False,
    "score_rule": 0.5,
    "false_positive_rate": None,
    "n_normal": None,
    "image_scores_of_normals": None,
}


def half(folder: Path, **changed: object) -> Path:
    """An exported file whose map is half of the red channel; a key of its description can be "left out"."""
    told = {key: value for key, value in {**TOLD, **changed}.items() if value != "left out"}
    from onnx import TensorProto, helper, numpy_helper

    sizes = {"image": ["B", 3, "H", "W"], "network_image": ["B", 3, "H", "W"]}
    image, *outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes.get(name, ["B", 1, "H", "W"]))
        for name in ("image", *OUTPUTS)
    )
    weight = numpy_helper.from_array(np.array([0.5, 0, 0], np.float32).reshape(1, 3, 1, 1), "weight")
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["maps"]),
        helper.make_node("Identity", ["image"], ["network_image"]),
        helper.make_node("Identity", ["maps"], ["network_maps"]),
    ]
    graph = helper.make_graph(nodes, "half", [image], outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"monai_cavga": json.dumps(told)})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def source(number: int) -> Source:
    pixels = photo(number).astype(np.float32) / 255
    return Source(path=Path(f"{number}.png"), pixels=pixels, sha256=f"{number:064x}")


def test_a_file_without_calibration_and_field_of_view(tmp_path: Path) -> None:
    model = OnnxModel(tmp_path, half(tmp_path))
    assert not model.fundus
    (found,) = model.localise([source(1)])
    red = source(1).pixels[..., 0]
    assert found.fov.all()
    assert np.array_equal(found.map, red / 2)
    assert found.score == pytest.approx(np.median(red) / 2)
    assert np.isnan(found.percentile)
    assert np.isnan(found.model.false_positive_rate)
    assert (found.model.name, found.model.version, found.model.normals) == ("made up", "1.2", 0)
    assert (found.model.model_sha256, found.model.calibration_sha256) == ("ab" * 32, "")
    assert found.model.config_sha256 == hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()


def test_field_of_view_and_percentile(tmp_path: Path) -> None:
    changed = {"field_of_view": True, "score_rule": None, "image_scores_of_normals": [0.0, 0.1, 0.9, 1.0]}
    model = OnnxModel(tmp_path, half(tmp_path, **changed))
    assert model.fundus
    one, two = model.localise([source(1), source(2)])
    assert 0.3 < one.fov.mean() < 0.95
    assert not one.map[~one.fov].any()
    assert one.score == pytest.approx(one.map[one.fov].mean(), abs=1e-6)
    assert one.percentile == 50
    assert not np.array_equal(one.map, two.map)
    other = OnnxModel(tmp_path, half(tmp_path, **changed, maps=["class"], scales={"class": [0, 1]}))
    assert np.isnan(other.localise([source(1)])[0].percentile)  # the normals' scores are of the fused map


@pytest.mark.parametrize(
    ("old", "new"), [((5, 7), (5, 7)), ((5, 7), (10, 21)), ((416, 640), (2848, 4288)), ((9, 8), (4, 3))]
)
def test_nearest_is_monais(old: tuple[int, int], new: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(old) > 0.5
    expected = Resize(new, mode="nearest")(torch.from_numpy(mask[None].astype(np.float32)))
    assert np.array_equal(nearest(mask, new), np.asarray(expected)[0] > 0)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(OnnxBackendError, match=r"models/model.onnx does not exist: make it with"):
        OnnxModel(tmp_path)
    with pytest.raises(ModelError, match="says nothing of 'bundle_version': export it again"):
        OnnxModel(tmp_path, half(tmp_path, bundle_version="left out"))
    scales = {"latent_distance": [0, 8]}
    with pytest.raises(ModelError, match=r"map 'latent_distance' of .* is from 0 to 8, expected \[0, 1\]"):
        OnnxModel(tmp_path, half(tmp_path, maps=["latent_distance"], scales=scales))


def test_a_bundle_trained_since_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    file = half(bundle / "models")
    with pytest.raises(ModelError, match=r"was exported from another model.safetensors than .*models holds"):
        load_model(bundle, backend="onnx")
    assert load_model(bundle, backend="onnx", model_file=file).identity.name == "made up"
    (bundle / "models" / "model.safetensors").unlink()
    assert load_model(bundle, backend="onnx").identity.name == "made up"
    with pytest.raises(ModelError, match="an exported file holds its calibration: give --calibration_file to export"):
        load_model(bundle, backend="onnx", calibration_file=tmp_path / "c.safetensors")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    """The trained model of the IDRiD bundle, on torch and exported."""
    pytest.importorskip("onnxscript")
    bundle = shutil.copytree(CONFIGS / "idrid", tmp_path_factory.mktemp("shipped") / "idrid")
    assert main(["export", "--bundle", str(bundle), "--maps", "['fused']"]) == 0
    return load_model(bundle), load_model(bundle, backend="onnx")


def compare(models: tuple[Model, Model], pixels: np.ndarray) -> None:
    theirs, ours = (model.localise([Source(path=Path("a.png"), pixels=pixels, sha256="0" * 64)])[0] for model in models)
    assert ours.map.shape == pixels.shape[:2]
    assert np.array_equal(ours.fov, theirs.fov)
    assert np.ptp(theirs.map) > 0.3
    assert np.abs(ours.map - theirs.map).max() <= 1e-4
    assert ours.score == pytest.approx(theirs.score, abs=1e-4)
    assert 0 <= ours.percentile == pytest.approx(theirs.percentile, abs=4)  # one of 27 normals, if it is that close
    assert ours.area == pytest.approx(theirs.area, abs=1e-4)
    assert ours.model.config_sha256 != theirs.model.config_sha256  # equal to 1e-4 only: no UID in common
    assert replace(ours.model, config_sha256="") == replace(theirs.model, config_sha256="")


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "size"), [(1, (500, 701)), (2, (300, 420)), (3, (416, 640))])
def test_the_shipped_model_on_phantoms(shipped: tuple[Model, Model], seed: int, size: tuple[int, int]) -> None:
    compare(shipped, phantom(seed, size=size, lesions=seed != 3)[0].astype(np.float32) / 255)


@pytest.mark.slow
def test_the_shipped_model_on_a_real_photograph(shipped: tuple[Model, Model], shared_dir: Path) -> None:
    folder = shared_dir / "data" / "idrid" / "A. Segmentation" / "1. Original Images" / "b. Testing Set"
    compare(shipped, read_image(str(folder / "IDRiD_61.jpg")))
