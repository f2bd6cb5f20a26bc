"""`python -m monai_cavga export`: the file computes what the bundle computes, for pictures of any size."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import CenterSpatialCropd, Flipd, Resize, Resized
from PIL import Image
from safetensors.torch import save_file, save_model

from monai_cavga.__main__ import main
from monai_cavga.data import phantom, read_image
from monai_cavga.export import OnnxBackend, OnnxBackendError, backend, bundle, write
from monai_cavga.export.backend import OUTPUTS
from monai_cavga.export.bundle import ExportError, deploy
from monai_cavga.export.graph import resize_matrix
from monai_cavga.handlers.files import NOTICE
from monai_cavga.networks import CAVGA, CAVGALocalizer
from monai_cavga.transforms import AlignObjectd, FieldOfViewd, LoadRGBd

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
SIZE = [48, 64]
TINY: dict[str, Any] = {"image_size": SIZE, "stages": 2, "latent_channels": 4}
DRAWN: dict[str, dict[str, Any]] = {  # options of bundles that ship no model
    "lag": {**TINY},
    "one_class": {**TINY, "in_channels": 1, "architecture": "D"},
    "mvtad": {**TINY, "in_channels": 1, "head": "pyramid", "decoder": False},
    "mstc": {**TINY, "head": "pyramid", "decoder": False},
}


@pytest.fixture(scope="module", autouse=True)
def _needs_onnx() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


def drawn(name: str, folder: Path) -> dict[str, Any]:
    """Overrides of a bundle with a small network and a calibration, both drawn at random."""
    torch.manual_seed(7)
    options = dict(DRAWN[name])
    localizer = CAVGALocalizer(CAVGA(**options), maps=["attention"])
    for module in localizer.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as if trained
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    overrides: dict[str, Any] = {**options, "model_file": str(folder / "model.safetensors")}
    save_model(localizer, overrides["model_file"])
    if options.get("head") == "pyramid":
        channels = len(localizer.distance.mean)
        calibration = {
            "centre": torch.tensor([-3.0, 0.4]),
            "scale": torch.tensor([2.0, 0.3]),
            "weight": torch.tensor([1.0, 0.5]),
            "threshold": torch.tensor(1.5),
            "position": torch.rand(2, 12, 16),
            "mean": 0.1 * torch.rand(channels),
            "whitening": torch.eye(channels) + 0.05 * torch.rand(channels, channels),
        }
        overrides["calibration_file"] = str(folder / "calibration.safetensors")
        save_file(calibration, overrides["calibration_file"], metadata={"features": "unit length"})
    if name == "mvtad":  # the network sees the middle only
        overrides |= {"image_size": [56, 72], "object_size": SIZE}
    if name == "one_class":
        overrides["maps"] = ["residual", "relative_residual", "attention"]
    return overrides


def words(overrides: dict[str, Any]) -> list[str]:
    return [word for key, value in overrides.items() for word in (f"--{key}", str(value))]


def written_maps(folder: Path, name: str) -> np.ndarray[Any, Any]:
    """The maps of an image that ``run inference`` has written, on the files' scale [0, 1]."""
    index = json.loads((folder / "maps.json").read_text(encoding="utf-8"))
    entry = next(each for each in index["images"] if each["name"] == name)
    return np.stack([np.asarray(Image.open(folder / entry["maps"][key]["file"])) / 65535 for key in index["maps"]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["idrid", *DRAWN])
def test_onnx_file_gives_the_maps_of_run_inference(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    overrides = {} if name == "idrid" else drawn(name, tmp_path)
    file = tmp_path / "model.onnx"
    command = ["--config", str(BUNDLES / name)]
    assert main(["export", *command, "--output", str(file), *words(overrides)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == NOTICE

    check_description(file, name, overrides)
    images = tmp_path / "images"
    images.mkdir()
    picture = phantom(3, size=(90, 140), lesions=True)[0]
    for stem, part in (("larger", picture), ("smaller", picture[20:60, 30:82])):
        Image.fromarray(part).save(images / f"{stem}.png")
    where = {"dataset_dir": str(images), "output_dir": str(tmp_path / "maps")}
    assert main(["run", "inference", *command, *words({**overrides, **where})]) == 0
    found = OnnxBackend(file, threads=1)
    for stem in ("larger", "smaller"):
        image = read_image(str(images / f"{stem}.png"), channels=found.channels).transpose(2, 0, 1)
        maps, seen, seen_maps = found.run(np.stack([image, 1 - image]))
        expected = written_maps(tmp_path / "maps", stem)
        assert maps.shape == (2, *expected.shape)
        assert np.abs(maps[0] - expected).max() < 1e-4 + 1 / 131070  # the files' rounding
        assert np.ptp(expected, axis=(1, 2)).min() > 1e-3  # no map is flat
        assert np.abs(maps[1] - maps[0]).max() > 1e-3
        assert seen.shape[1:] == (found.channels, *overrides.get("object_size", found.metadata["image_size"]))
        assert seen_maps.shape == (2, len(found.names), *seen.shape[2:])


def check_description(file: Path, name: str, overrides: dict[str, Any]) -> None:
    """One valid file, of the opset that it states, that says which model and which calibration it holds."""
    import onnx

    model = onnx.load(file, load_external_data=False)
    onnx.checker.check_model(model)
    stored = {each.key: each.value for each in model.metadata_props}
    told = json.loads(stored["monai_cavga"])
    assert stored["notice"] == NOTICE
    assert [each.version for each in model.opset_import if each.domain == ""] == [write.OPSET] == [told["opset"]]
    metadata = json.loads((BUNDLES / name / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert (told["bundle"], told["bundle_version"]) == (metadata["name"], metadata["version"])
    models = BUNDLES / name / "models"
    weights = Path(overrides.get("model_file", models / "model.safetensors"))
    assert (told["model_file"], told["field_of_view"]) == ("model.safetensors", name in ("lag", "idrid"))
    assert told["model_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    if name in ("lag", "one_class"):
        assert told["calibration_sha256"] is None
    else:
        calibration = Path(overrides.get("calibration_file", models / "calibration.safetensors"))
        files = (calibration, calibration.with_suffix(".json"))
        content = b"".join(file.read_bytes() for file in files if file.is_file())
        assert told["calibration_sha256"] == hashlib.sha256(content).hexdigest()
        assert (told["n_normal"], told["false_positive_rate"]) == ((27, 0.01) if name == "idrid" else (None, None))
        assert told["scales"] == {"fused": [0, 1], "class": [0, 1], "latent_distance": [0, 8]}
    axes = [axis.dim_param for axis in model.graph.input[0].type.tensor_type.shape.dim]
    assert all(axes[k] for k in (0, 2, 3))
    assert not any(init.data_location for init in model.graph.initializer)  # nothing beside the file


@pytest.mark.slow
@pytest.mark.parametrize("name", ["idrid", *DRAWN])
def test_torch_export_file_gives_the_bundles_maps_in_any_batch(name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    overrides = {} if name == "idrid" else drawn(name, tmp_path)
    command = ["export", "--bundle", str(BUNDLES / name), "--format", "torch_export", "--output", str(file)]
    assert main([*command, *words(overrides)]) == 0
    extra = {"description.json": ""}
    program = torch.export.load(file, extra_files=extra)
    told = json.loads(extra["description.json"])
    assert told["notice"] == NOTICE
    images = torch.rand(3, told["channels"], 70, 50, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = program.module()(images)
        alone = program.module()(images[1:2])
    assert found[0].shape == (3, len(told["maps"]), 70, 50)
    for one, single, expected in zip(found, alone, deploy(BUNDLES / name, overrides).expected(images), strict=True):
        assert torch.allclose(one, expected, rtol=0, atol=1e-4)
        assert torch.allclose(one[1:2], single, rtol=0, atol=1e-5)
        assert (one[0] - one[1]).abs().max() > 1e-4


@pytest.mark.parametrize(("source", "size"), [(10, 10), (11, 10), (57, 10), (64, 9), (7, 10), (1, 3), (9, 1)])
def test_resizing_is_monais(source: int, size: int) -> None:
    image = torch.rand(2, source, 23, generator=torch.Generator().manual_seed(source))
    matrix = resize_matrix(torch.arange(source, dtype=torch.float32), size)
    expected = Resize((size, 23), mode="bilinear", anti_aliasing=True)(image)
    assert torch.allclose(matrix @ image, expected.as_tensor(), atol=1e-5)


SMALL_GRAPH = """
from pathlib import Path
import sys
import numpy as np
from monai_cavga.export import OnnxBackend
found = OnnxBackend(sys.argv[1])
maps = found.run(np.full((2, 3, 5, 7), 0.25, np.float32)).maps
print(maps.tolist() == np.full((2, 3, 5, 7), 0.5).tolist())
print(sorted({"torch", "monai", "ignite"} & set(sys.modules)))
"""


@pytest.fixture
def doubling(tmp_path: Path) -> Callable[..., Path]:
    """A file that gives twice the picture, with a description of its own."""

    def make(stored: str | None, outputs: Sequence[str] = OUTPUTS) -> Path:
        from onnx import TensorProto, helper

        shape = ["B", 3, "H", "W"]
        image, *maps = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("image", *outputs))
        nodes = [helper.make_node("Add", ["image", "image"], [each]) for each in outputs]
        graph = helper.make_graph(nodes, "g", [image], maps)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", write.OPSET)], ir_version=9)
        if stored is not None:
            helper.set_model_props(model, {"monai_cavga": stored})
        file = tmp_path / "doubling.onnx"
        file.write_bytes(model.SerializeToString())
        return file

    return make


def test_backend_needs_no_torch(doubling: Callable[..., Path]) -> None:
    file = doubling('{"maps": ["a", "b", "c"], "channels": 3}')
    done = subprocess.run([sys.executable, "-c", SMALL_GRAPH, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True", "[]"]


def test_backend_refuses(doubling: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OnnxBackendError, match=r"absent.onnx does not exist: make it with"):
        OnnxBackend(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(OnnxBackendError, match=r"text.onnx cannot be opened"):
        OnnxBackend(tmp_path / "text.onnx")
    for stored, missing in ((None, "description"), ("{", "description"), ("3", "description"), ("{}", "maps")):
        with pytest.raises(OnnxBackendError, match=f"has no {missing}, expected an export of monai_cavga"):
            OnnxBackend(doubling(stored))
    good_text = '{"maps": ["a"], "channels": 3}'
    with pytest.raises(OnnxBackendError, match=r"has the outputs maps, expected an export of monai_cavga"):
        OnnxBackend(doubling(good_text, outputs=["maps"]))
    found = OnnxBackend(doubling(good_text))
    good = np.full((1, 3, 4, 6), 0.5, np.float32)
    for wrong in (good[0], good[:, :1], good[:0], good.astype(np.float64)):
        with pytest.raises(OnnxBackendError, match=r"expected float32 \(B, 3, H, W\)"):
            found.run(wrong)
    for wrong in (good * 255, good - 1, good * np.float32("nan")):
        with pytest.raises(OnnxBackendError, match=r"expected \[0, 1\]"):
            found.run(wrong)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"onnxruntime: pip install onnxruntime"):
        backend.open_session(b"", name="any")


def test_package_has_only_the_backend() -> None:
    import monai_cavga.export

    with pytest.raises(AttributeError, match="no attribute 'TensorRT'"):
        _ = monai_cavga.export.TensorRT


def scaled(scales: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [{"_target_": "monai_cavga.handlers.LocalisationHandler", "output_dir": "x", "scales": scales}]


@pytest.mark.parametrize(("bundle_name", "name"), [("mstc", "kl"), ("one_class", "relative_residual")])
def test_map_without_a_scale_is_refused(bundle_name: str, name: str, tmp_path: Path) -> None:
    for handlers in (scaled({"fused": [0, 1]}), []):
        overrides = {**drawn(bundle_name, tmp_path), "maps": [name], "handlers": handlers}
        with pytest.raises(ExportError, match=f"{name!r} has no upper end and the bundle no scale for it"):
            deploy(BUNDLES / bundle_name, overrides)


def test_steps_that_a_graph_does_not_hold_are_refused() -> None:
    load, resize = LoadRGBd("image"), Resized("image", SIZE, mode="bilinear", anti_aliasing=True)
    crop = CenterSpatialCropd("image", [32, 40])
    assert bundle._steps([AlignObjectd(active=False), resize, crop]) == ((48, 64), (32, 40), False)
    assert bundle._steps([resize, FieldOfViewd()]) == ((48, 64), (48, 64), True)
    with pytest.raises(ExportError, match="does not begin with LoadRGBd"):
        bundle._after_reading([resize, load])
    with pytest.raises(ExportError, match="has no Resized"):
        bundle._steps([])
    area = Resized("image", SIZE, mode="area", anti_aliasing=True)
    sharp = Resized("image", SIZE, mode="bilinear")
    for steps, name in (
        ([AlignObjectd(), resize], "AlignObjectd"),
        ([area], "Resized"),
        ([sharp], "Resized"),
        ([resize, resize], "Resized"),
        ([crop, resize], "CenterSpatialCropd"),
        ([resize, Flipd("image")], "Flipd"),
        ([FieldOfViewd(), resize], "FieldOfViewd"),
        ([resize, crop, FieldOfViewd()], "FieldOfViewd"),
        ([resize, FieldOfViewd(), crop], "CenterSpatialCropd"),
    ):
        with pytest.raises(ExportError, match=f"preprocessing has {name}, expected one bilinear Resized"):
            bundle._steps(steps)


@pytest.mark.parametrize("wrong", [2e-4, float("nan")])
def test_a_file_that_differs_is_not_written(wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = drawn("lag", tmp_path)
    deployed = deploy(BUNDLES / "lag", overrides)
    with torch.no_grad():
        assert write.largest_difference(deployed.graph, deployed) < 1e-5
        with pytest.raises(ExportError, match=r"differ by .* from the bundle's, expected 0\.0001 at most"):
            write.largest_difference(lambda images: [each + wrong for each in deployed.graph(images)], deployed)
    bad = lambda found: (b"", lambda images: [each + wrong for each in found.expected(images)])  # noqa: E731
    monkeypatch.setitem(write.FORMATS, "onnx", bad)
    file = tmp_path / "model.onnx"
    assert main(["export", "--config", str(BUNDLES / "lag"), "--output", str(file), *words(overrides)]) == 2
    assert not file.exists()


def test_onnx_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match=r"need onnxscript: pip install onnx onnxscript onnxruntime"):
        write.onnx_bytes(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (["--config", "absent"], "no bundle for 'inference' at absent"),
        (["--map", "['fused']"], "unknown key --map: did you mean --maps?"),
        (["--run_id", "training"], "unknown key --run_id"),
        (["word"], "unexpected argument 'word'"),
        (["--model_file", "absent.pt"], "weights file absent.pt does not exist"),
    ],
)
def test_bad_commands_are_one_line(
    change: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "--config", str(BUNDLES / "mstc"), "--output", str(tmp_path / "model.onnx")]
    assert main([*command, *change]) == 2
    err = capsys.readouterr().err.splitlines()
    assert text in err[-1]
    assert list(tmp_path.iterdir()) == []
