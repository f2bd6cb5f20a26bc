"""RandIlluminationd: by its formula, in range, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_cavga.transforms import RandIlluminationd


def picture(channels: int = 3, *, seed: int = 0) -> torch.Tensor:
    return torch.rand(channels, 12, 20, generator=torch.Generator().manual_seed(seed))


def change(image: torch.Tensor, *, seed: int = 0, strength: float = 0.15, prob: float = 1.0) -> torch.Tensor:
    transform = RandIlluminationd(strength=strength, prob=prob)
    transform.set_random_state(seed)
    out: torch.Tensor = transform({"image": image, "label": 0})["image"]
    return out


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_by_its_formula(channels: int, seed: int) -> None:
    """Its draws repeated in their order: who changes, gamma and exposure, balance, noise."""
    random, image, strength = np.random.RandomState(seed), picture(channels), 0.3
    random.rand()
    gamma, exposure = np.exp(random.normal(0, strength, 2))
    balance = np.exp(random.normal(0, 0.8 * strength, (channels, 1, 1)))
    noise = random.uniform(0, 0.02) if random.rand() < 1 / 3 else 0.0
    expected = image.double().numpy() ** gamma * exposure * balance
    if noise:
        expected = expected + random.normal(0, noise, image.shape)
    expected = np.clip(expected, 0, 1)
    np.testing.assert_allclose(change(image, seed=seed, strength=strength).numpy(), expected, atol=2e-4)


def test_one_seed_is_one_picture_in_range() -> None:
    image = picture()
    before = image.clone()
    for seed in range(10):
        out = change(image, seed=seed, strength=0.5)
        assert out.shape == image.shape
        assert out.dtype == torch.float32
        assert out.min() >= 0
        assert out.max() <= 1
        assert torch.equal(out, change(image, seed=seed, strength=0.5))
        assert not torch.equal(out, change(image, seed=seed + 100, strength=0.5))
    assert torch.equal(image, before)


def test_strength_0_leaves_noise_only_and_prob_0_nothing() -> None:
    image = picture().clamp(0.1, 0.9)
    assert all((change(image, seed=s, strength=0.0) - image).abs().max() < 0.1 for s in range(10))
    assert change(image, prob=0.0) is image


def test_a_larger_strength_changes_more() -> None:
    image = picture()

    def distance(strength: float) -> float:
        return float(np.mean([(change(image, seed=s, strength=strength) - image).abs().mean() for s in range(20)]))

    assert distance(0.05) < distance(0.15) < distance(0.5)


def test_a_noisy_third() -> None:
    """A flat image stays flat but for noise, which a third of the images have."""
    flat = torch.full((1, 12, 20), 0.5)
    noisy = [len(change(flat, seed=s).unique()) > 1 for s in range(150)]
    assert 0.22 < np.mean(noisy) < 0.45


def test_keeps_the_kind_of_tensor_and_every_other_key() -> None:
    image = MetaTensor(picture(), meta={"name": "a"})
    out = RandIlluminationd()({"image": image, "label": 1})
    assert isinstance(out["image"], MetaTensor)
    assert out["image"].meta["name"] == "a"
    assert out["label"] == 1


def test_negative_strength() -> None:
    with pytest.raises(ValueError, match=r"strength is -0.1, expected >= 0: a standard deviation"):
        RandIlluminationd(strength=-0.1)
