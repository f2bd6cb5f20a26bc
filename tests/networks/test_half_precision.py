"""The model that ships: half precision, and the settings that travel with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cavga.networks import CAVGA, CAVGALocalizer, WeightsError, load_model, settings_of_model, warm_start
from monai_cavga.networks.weights import half_precision, half_precision_bytes

SETTINGS = {"head": "pyramid", "seed": 3, "size": (64, 96), "supervision": "synthetic"}


def small_model(**options: Any) -> CAVGA:
    return CAVGA(**{"architecture": "D", "stages": 2, "latent_channels": 4, **options})


def pyramid_model(*, seed: int) -> CAVGALocalizer:
    torch.manual_seed(seed)
    model = CAVGALocalizer(small_model(head="pyramid", decoder=False), maps=("class", "fused"))
    model.train()(torch.rand(2, 3, 16, 24))  # BatchNorm has statistics that half precision would round
    return model.eval()


def test_half_precision_rounds_matrices_and_nothing_else() -> None:
    model = pyramid_model(seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    half_precision(model)
    parameters = dict(model.named_parameters())
    rounded = 0
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        if name in parameters and value.ndim > 1:
            assert torch.equal(value, before[name].half().float()), name
            rounded += not torch.equal(value, before[name])
        else:
            assert torch.equal(value, before[name]), name
    assert rounded >= 5
    once = {name: value.clone() for name, value in model.state_dict().items()}
    half_precision(model)
    assert all(torch.equal(value, once[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("rounded", [True, False])
def test_half_precision_round_trip(tmp_path: Path, rounded: bool) -> None:
    """A model that is rounded comes back bit by bit; another one rounded."""
    model, other = pyramid_model(seed=0), pyramid_model(seed=1)
    if rounded:
        half_precision(model)
    path = tmp_path / "model.safetensors"
    path.write_bytes(half_precision_bytes(model, settings=SETTINGS))
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    expected = model(image)
    assert not torch.allclose(other(image), expected)
    load_model(other, path, settings=SETTINGS)
    half_precision(model)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert torch.equal(other(image), model(image))
    torch.testing.assert_close(other(image), expected, rtol=0, atol=0.01)


def test_half_precision_is_half_the_size() -> None:
    model = pyramid_model(seed=0)
    full = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    assert 0.5 < len(half_precision_bytes(model)) / full < 0.56


def test_settings_travel_with_a_half_precision_model(tmp_path: Path) -> None:
    model, path = pyramid_model(seed=0), tmp_path / "model.safetensors"
    path.write_bytes(half_precision_bytes(model, settings=SETTINGS))
    load_model(model, path)
    load_model(model, path, settings={"size": [64, 96], "another": 1})  # lists and tuples are one, new settings pass
    before = [value.clone() for value in model.state_dict().values()]
    with pytest.raises(WeightsError, match=r"model.safetensors was trained with seed 3, got 4: pass --seed 3"):
        load_model(model, path, settings={**SETTINGS, "seed": 4})
    with pytest.raises(WeightsError, match=r"was trained with size \[64, 96\], got \[96, 64\]: pass --size"):
        load_model(model, path, settings={"size": (96, 64)})
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


def test_without_settings_anything_passes(tmp_path: Path) -> None:
    model, path = pyramid_model(seed=0), tmp_path / "model.safetensors"
    path.write_bytes(half_precision_bytes(model))
    other = pyramid_model(seed=1)
    load_model(other, path, settings=SETTINGS)
    half_precision(model)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_half_precision_model_of_another_architecture(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(half_precision_bytes(pyramid_model(seed=0)))
    with pytest.raises(WeightsError, match=r"decoder.* missing, \d+ entries \(network.pyramid_classifier.* left over"):
        load_model(CAVGALocalizer(small_model()), path)


def test_warm_start(tmp_path: Path) -> None:
    model, other, path = pyramid_model(seed=0), pyramid_model(seed=1), tmp_path / "model.safetensors"
    path.write_bytes(half_precision_bytes(model, settings=SETTINGS))
    before = [value.clone() for value in other.state_dict().values()]
    warm_start(other, "none")
    assert all(torch.equal(a, b) for a, b in zip(before, other.state_dict().values(), strict=True))
    with pytest.raises(WeightsError, match="was trained with seed 3, got 5"):
        warm_start(other, path, settings={"seed": 5})
    warm_start(other, path, settings=SETTINGS)
    half_precision(model)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("trained_on_own", [True, False, None])
@pytest.mark.parametrize("own", [True, False, None])
def test_how_images_were_drawn_is_compared_on_the_same_data_only(
    tmp_path: Path, trained_on_own: bool | None, own: bool | None
) -> None:
    """None: not in the settings, as in files from before there was the word."""
    model, path = pyramid_model(seed=0), tmp_path / "model.safetensors"
    known = {} if trained_on_own is None else {"own_normals": trained_on_own}
    trained = {"head": "pyramid", "labelled": 4, "validation_fraction": 0.2, "seed": 3, **known}
    path.write_bytes(half_precision_bytes(model, settings=trained))
    now = {"head": "pyramid", "labelled": 0, "validation_fraction": 0.5, "seed": 0, "amp": True}
    now |= {} if own is None else {"own_normals": own}
    if bool(own) == bool(trained_on_own):
        assert settings_of_model(path, now) == now
        with pytest.raises(WeightsError, match="was trained with labelled 4, got 0"):
            load_model(model, path, settings=now)
    else:
        assert settings_of_model(path, now) == {**trained, "amp": True}
        load_model(model, path, settings=now)
    with pytest.raises(WeightsError, match=r"was trained with head pyramid, got conv"):
        load_model(model, path, settings={**now, "head": "conv"})


def test_settings_of_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"mine.pt does not exist"):
        settings_of_model(tmp_path / "mine.pt", {})
