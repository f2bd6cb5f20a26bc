"""Weights from files and URLs: what is filled, what is reported, what is refused."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from monai_cavga.networks import (
    CAVGA,
    CAVGALocalizer,
    DCGANEncoder,
    ResNetEncoder,
    WeightReport,
    WeightsError,
    load_encoder_weights,
    load_model,
    read_weights,
)
from monai_cavga.networks.weights import IMAGENET_RESNET18

STATE = {"a.weight": torch.tensor([[1.0, -2.0, 3.0]]), "b": torch.tensor(4)}


def drawn_state(*, seed: int = 7, **options: Any) -> dict[str, Tensor]:
    """A state of a ResNet encoder other than that of any encoder made later."""
    torch.manual_seed(seed)
    return {
        k: torch.randn(v.shape) if v.is_floating_point() else v
        for k, v in ResNetEncoder(**options).state_dict().items()
    }


def small_model(**options: Any) -> CAVGA:
    return CAVGA(**{"architecture": "D", "stages": 2, "latent_channels": 4, **options})


class Malicious:
    """Makes a file when unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.made),)


# --- reading ---


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "wrapped.pt"])
def test_read_round_trip(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(STATE, path)
    else:
        torch.save({"model": STATE} if name.startswith("wrapped") else STATE, path)
    for source in (path, str(path)):
        state = read_weights(source, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        assert set(state) == set(STATE)
        assert all(torch.equal(state[key], STATE[key]) for key in STATE)


def test_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(STATE, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=f"w.safetensors has sha256 {digest}, expected {'0' * 64}: fetch it again"):
        read_weights(path, sha256="0" * 64)


@pytest.mark.parametrize("name", ["missing.pth", "missing.safetensors", ""])
def test_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        WeightsError, match=r"does not exist: give a \.safetensors, \.pt or \.pth file .*'imagenet' or 'none'"
    ):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["garbage.safetensors", "garbage.pth", "empty.pth", "empty.safetensors", "cut.pth"])
def test_garbage(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    torch.save(STATE, path)
    content = {"garbage": b"<html>not found</html>", "empty": b"", "cut": path.read_bytes()[:-200]}
    path.write_bytes(content[path.stem])
    with pytest.raises(WeightsError, match=rf"weights file .*{name} (cannot be read|is refused) \(\w") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["pickle", "torch", "wrapped"])
def test_code_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    made, path = tmp_path / "made", tmp_path / "evil.pth"
    evil = {"a.weight": STATE["a.weight"], "code": Malicious(made)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(Malicious(made), protocol=2))
    else:
        torch.save({"model": evil} if form == "wrapped" else evil, path)
    with pytest.raises(WeightsError, match=r"evil.pth is refused \(UnpicklingError\): it is damaged, or holds more"):
        read_weights(path)
    assert not made.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert made.exists()  # the file was a real threat


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"model": {"a": "b"}}, torch.zeros(2)], ids=str)
def test_other_than_names_and_tensors(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"w.pth holds no mapping of names to tensors: save a state_dict\(\)"):
        read_weights(path)


# --- URLs; nothing is fetched in a test ---


def test_url_is_read_with_its_hash_and_without_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def fetch(url: str, **options: Any) -> dict[str, Tensor]:
        asked.update(url=url, **options)
        return drawn_state()

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    report = load_encoder_weights(ResNetEncoder(), "imagenet")
    assert report.not_filled == []
    assert asked == {"url": IMAGENET_RESNET18, "map_location": "cpu", "check_hash": True, "weights_only": True}


@pytest.mark.parametrize(
    "error", [URLError("no route"), RuntimeError("invalid hash value"), pickle.UnpicklingError("code")], ids=str
)
def test_url_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fetch(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    with pytest.raises(
        WeightsError, match=r"https://x.org/w.pth cannot be fetched \(.*\): give a local file, or 'none'"
    ):
        read_weights("https://x.org/w.pth")


def test_url_of_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: [1])
    with pytest.raises(WeightsError, match=r"https://x.org/w.pth holds no mapping of names to tensors"):
        read_weights("https://x.org/w.pth")


# --- filling an encoder ---


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_whole_file_fills_everything(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    state = drawn_state(stages=2)
    encoder = ResNetEncoder(stages=2)
    save_file(state, tmp_path / name) if name.endswith("s") else torch.save(state, tmp_path / name)
    report = load_encoder_weights(encoder, tmp_path / name)
    assert report == WeightReport(sorted(state), [], [])
    assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())
    assert capsys.readouterr().out == "weights: 60 entries filled, 0 not filled\n"


def test_a_partial_file_is_legal_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = drawn_state(stages=2)
    state = {name: value for name, value in full.items() if not name.startswith("layer2.1.")}
    state |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    save_file(state, tmp_path / "w.safetensors")
    encoder = ResNetEncoder(stages=2)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    report = load_encoder_weights(encoder, tmp_path / "w.safetensors")
    left = [name for name in full if name.startswith("layer2.1.")]
    assert report.not_filled == [name for name in left if not name.endswith("num_batches_tracked")]
    assert report.not_used == ["fc.bias", "fc.weight"]
    assert report.filled == sorted(set(full) - set(left))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name] if name in left else full[name])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "weights: 48 entries filled, 10 not filled"
    assert "  not filled (stays as initialised): layer2.1.conv1.weight" in printed
    assert printed[-2:] == ["  not used: fc.bias", "  not used: fc.weight"]


def test_half_precision_is_widened(tmp_path: Path) -> None:
    state = {k: v.half() if v.is_floating_point() else v for k, v in drawn_state(stages=2).items()}
    save_file(state, tmp_path / "w.safetensors")
    encoder = ResNetEncoder(stages=2)
    load_encoder_weights(encoder, tmp_path / "w.safetensors")
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert torch.equal(encoder.conv1.weight, state["conv1.weight"].float())
    assert encoder.conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_grey_encoder_takes_the_sum_over_colours(tmp_path: Path) -> None:
    state = drawn_state(stages=2)
    torch.save(state, tmp_path / "w.pth")
    encoder = ResNetEncoder(1, stages=2)
    assert load_encoder_weights(encoder, tmp_path / "w.pth").not_filled == []
    assert torch.equal(encoder.conv1.weight, state["conv1.weight"].sum(dim=1, keepdim=True))


@pytest.mark.parametrize("source", [None, "none"])
def test_no_weights(source: str | None) -> None:
    encoder = ResNetEncoder(stages=2)
    before = encoder.conv1.weight.clone()
    report = load_encoder_weights(encoder, source)
    assert (report.filled, report.not_used) == ([], [])
    assert report.not_filled == [name for name, _ in encoder.named_parameters()]
    assert torch.equal(encoder.conv1.weight, before)


def test_no_entry_fits(tmp_path: Path) -> None:
    torch.save(drawn_state(stages=2), tmp_path / "w.pth")
    with pytest.raises(
        WeightsError, match=r"no entry of .*w.pth fits this encoder: expected names such as 'layers.0.weig"
    ):
        load_encoder_weights(DCGANEncoder(stages=2), tmp_path / "w.pth")


def test_an_entry_of_another_shape(tmp_path: Path) -> None:
    torch.save(drawn_state(stages=2), tmp_path / "w.pth")
    encoder = ResNetEncoder(4, stages=2)
    before = encoder.layer1[0].conv1.weight.clone()
    with pytest.raises(WeightsError, match=r"conv1.weight has shape \(64, 3, 7, 7\), expected \(64, 4, 7, 7\)"):
        load_encoder_weights(encoder, tmp_path / "w.pth")
    assert torch.equal(encoder.layer1[0].conv1.weight, before)  # nothing was changed half way


def test_the_real_file(shared_dir: Path) -> None:
    path = shared_dir / "data/weights/resnet18_imagenet_to_layer3.safetensors"
    encoder = ResNetEncoder(stages=3)
    assert load_encoder_weights(encoder, path).not_filled == []
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    report = load_encoder_weights(ResNetEncoder(stages=4), path)
    assert report.not_filled
    assert all(name.startswith("layer4.") for name in report.not_filled)


# --- filling a model ---


@pytest.mark.parametrize("wrapped", [True, False])
def test_model_round_trip(tmp_path: Path, wrapped: bool) -> None:
    model, other = CAVGALocalizer(small_model()).eval(), CAVGALocalizer(small_model()).eval()
    torch.save({"model": model.state_dict()} if wrapped else model.state_dict(), tmp_path / "m.pt")
    image = torch.rand(2, 3, 16, 24)
    assert not torch.equal(model(image), other(image))
    load_model(other, tmp_path / "m.pt")
    assert torch.equal(model(image), other(image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"architecture": "R"},
            r"\d+ entries \(encoder.layers.0.weight, .*\.\.\.\) missing, \d+ entries \(encoder.conv1.w",
        ),
        (
            {"head": "conv"},
            r"nothing missing, 2 entries \(classifier.conv.weight, classifier.conv.bias\) left over; build",
        ),
        ({"stages": 3}, r"nothing missing, \d+ entries|\d+ entries \(.*\) missing"),
        (
            {"latent_channels": 5},
            r"has shape \(.*\), expected \(.*\): the file is of another architecture, image size or",
        ),
        ({"in_channels": 1}, r"encoder.layers.0.weight has shape \(64, 1, 4, 4\), expected \(64, 3, 4, 4\)"),
    ],
    ids=str,
)
def test_checkpoint_of_another_architecture(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    torch.save({"model": small_model(**options).state_dict()}, tmp_path / "m.pt")
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(small_model(), tmp_path / "m.pt")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_checkpoint_that_lacks_an_entry(tmp_path: Path) -> None:
    state = small_model().state_dict()
    del state["latent.mean.bias"]
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(
        WeightsError, match=r"1 entries \(latent.mean.bias\) missing, nothing left over; build the network"
    ):
        load_model(small_model(), tmp_path / "m.pt")


def test_imagenet_for_another_encoder_is_refused_before_anything_is_fetched(monkeypatch):
    def fetch(*args, **kwargs):
        raise AssertionError("fetched")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    with pytest.raises(WeightsError, match="weights are 'imagenet', a ResNet-18, and the encoder is another"):
        load_encoder_weights(CAVGA(architecture="D", stages=2).encoder, "imagenet")
