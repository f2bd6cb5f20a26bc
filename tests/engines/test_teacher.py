"""Pseudo masks by hand, and the transform that asks a teacher once for each anomalous image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_cavga.engines import TeacherMaskd, pseudo_mask
from monai_cavga.networks import CAVGA, CAVGALocalizer, WeightsError
from monai_cavga.networks.weights import half_precision_bytes

EVERYWHERE = torch.ones(1, 2, 3, dtype=torch.bool)


# --- pseudo_mask ---


def test_by_hand() -> None:
    probability = torch.tensor([[[0.9, 0.5, 0.49], [0.1, 0.09, 0.7]]])
    inside = torch.tensor([[[True, True, True], [True, True, False]]])
    assert pseudo_mask(probability, inside).tolist() == [[[1, 1, -1], [-1, 0, -1]]]


def test_an_anomalous_image_has_an_anomaly_somewhere() -> None:
    """Nothing reaches ``high``: the highest ``least`` share is taken, one pixel at the least."""
    probability = torch.tensor([[[0.30, 0.20, 0.05], [0.25, 0.01, 0.15]]])
    assert pseudo_mask(probability, EVERYWHERE).tolist() == [[[1, -1, 0], [-1, 0, -1]]]
    assert pseudo_mask(probability, EVERYWHERE, least=0.5).tolist() == [[[1, 1, 0], [1, 0, -1]]]


def test_the_highest_pixel_is_one_inside() -> None:
    probability = torch.tensor([[[0.30, 0.20, 0.05], [0.25, 0.01, 0.15]]])
    inside = torch.tensor([[[False, True, True], [False, True, True]]])
    assert pseudo_mask(probability, inside).tolist() == [[[-1, 1, 0], [-1, 0, -1]]]


def test_a_map_below_low_everywhere() -> None:
    """The level falls below ``low``: what is below the level is normal, the highest anomalous, nothing is both."""
    probability = torch.tensor([[[0.03, 0.02, 0.01], [0.04, 0.02, 0.01]]])
    mask = pseudo_mask(probability, EVERYWHERE)
    assert mask.tolist() == [[[0, 0, 0], [1, 0, 0]]]


def test_nothing_inside_is_nothing_known() -> None:
    mask = pseudo_mask(torch.rand(1, 2, 3), torch.zeros(1, 2, 3, dtype=torch.bool))
    assert mask.tolist() == [[[-1] * 3, [-1] * 3]]


@pytest.mark.parametrize("seed", range(5))
def test_properties(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probability = torch.rand(1, 20, 30, generator=generator) ** (seed + 1)
    inside = torch.rand(1, 20, 30, generator=generator) > 0.3
    mask = pseudo_mask(probability, inside, high=0.8, low=0.2, least=0.05)
    assert mask.shape == probability.shape
    assert mask.dtype == torch.float32
    assert (mask[~inside] == -1).all()
    assert (mask == 1).sum() >= round(0.05 * int(inside.sum()))
    assert (mask[inside & (probability >= 0.8)] == 1).all()
    assert probability[mask == 1].min() > probability[mask == 0].max()
    assert probability[mask == 0].max() < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.6}, r"low is 0.6, high 0.5, least 0.001, expected low <= high"),
        ({"least": -0.1}, r"least -0.1, expected low <= high and least in \[0, 1\]"),
        ({"least": 1.1}, r"least 1.1, expected low <= high and least in \[0, 1\]"),
    ],
)
def test_levels_that_do_not_fit(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pseudo_mask(torch.rand(1, 2, 3), EVERYWHERE, **options)


# --- TeacherMaskd ---


def teacher(*, seed: int = 0) -> CAVGALocalizer:
    torch.manual_seed(seed)
    net = CAVGA(architecture="D", stages=2, latent_channels=4, head="pyramid", decoder=False)
    return CAVGALocalizer(net, maps=("class",))


def item(*, label: int = 1, **more: Any) -> dict[str, Any]:
    image = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(0))
    fov = torch.ones(1, 16, 24)
    fov[..., :4] = 0
    return {"image": image, "label": label, "fov": fov, **more}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.safetensors"
    path.write_bytes(half_precision_bytes(teacher(seed=3)))
    return path


def expected_mask(weights: Path, inside: Tensor, **levels: float) -> Tensor:
    from monai_cavga.networks import load_model

    module = teacher().eval()
    load_model(module, weights)
    with torch.no_grad():
        return pseudo_mask(module(item()["image"][None])[0], inside, **levels)


def test_an_anomalous_image_gets_the_teachers_mask(weights: Path) -> None:
    made = TeacherMaskd(teacher=teacher(), source=str(weights), high=0.4, low=0.05)(item())
    mask = made["mask"]
    assert mask.dtype == torch.float32
    assert torch.equal(mask, expected_mask(weights, item()["fov"] > 0.5, high=0.4, low=0.05))
    assert (mask[..., :4] == -1).all()
    assert (mask == 1).any()
    assert made["label"] == 1


def test_without_a_field_of_view_all_is_inside(weights: Path) -> None:
    whole = item()
    del whole["fov"]
    mask = TeacherMaskd(teacher=teacher(), source=str(weights))(whole)["mask"]
    assert torch.equal(mask, expected_mask(weights, torch.ones(1, 16, 24, dtype=torch.bool)))


def test_the_image_stays_a_meta_tensor_and_so_is_the_mask(weights: Path) -> None:
    image = MetaTensor(item()["image"], meta={"name": "a"})
    made = TeacherMaskd(teacher=teacher(), source=str(weights), mask_key="pseudo")(item(image=image))
    assert isinstance(made["pseudo"], MetaTensor)
    assert made["image"] is image
    assert "mask" not in made


def test_it_asks_at_evaluation_and_without_a_graph(weights: Path) -> None:
    module = teacher().train()
    transform = TeacherMaskd(teacher=module, source=str(weights))
    assert not module.training
    first, second = transform(item())["mask"], transform(item())["mask"]
    assert torch.equal(first, second)
    assert not first.requires_grad


def test_normal_images_and_no_teacher_pass_unchanged(weights: Path) -> None:
    for transform, label in (
        (TeacherMaskd(teacher=teacher(), source=str(weights)), 0),
        (TeacherMaskd(teacher=teacher(), source="none"), 1),
        (TeacherMaskd(teacher=teacher()), 1),
    ):
        before = item(label=label)
        after = transform(before)
        assert after is not before
        assert after.keys() == before.keys()
        assert all(after[key] is before[key] for key in before)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights file .*missing.safetensors does not exist"):
        TeacherMaskd(teacher=teacher(), source=str(tmp_path / "missing.safetensors"))
