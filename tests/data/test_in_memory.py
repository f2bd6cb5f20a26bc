from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import DataLoader, MetaTensor

from monai_cavga.data import InMemoryDataset, ResumableSampler

ITEMS = [{"image": number, "label": number % 2, "name": f"n{number}"} for number in range(40)]


def ramp(item: Any) -> dict[str, Any]:
    """A (1, 2, 3) image whose columns count up from ten times its number."""
    return {**item, "image": MetaTensor(10.0 * item["image"] + torch.arange(3.0).expand(1, 2, 3))}


def test_samples_are_items_read_once() -> None:
    calls: list[int] = []
    data = InMemoryDataset(ITEMS, lambda item: calls.append(item["image"]) or ramp(item))
    assert len(data) == 40
    sample = data[80 + 7]  # epoch 2
    assert torch.equal(sample["image"], ramp(ITEMS[7])["image"].as_tensor())
    assert type(sample["image"]) is torch.Tensor
    assert (sample["label"], sample["name"]) == (1, "n7")
    assert calls == list(range(40))
    assert data.data is ITEMS


def test_flips_are_a_function_of_seed_epoch_and_index() -> None:
    data = InMemoryDataset(ITEMS, ramp, flip_probability=0.5, seed=3)

    def flipped(data: InMemoryDataset, epoch: int) -> list[bool]:
        return [
            bool(data[epoch * 40 + k]["image"][0, 0, 0] > data[epoch * 40 + k]["image"][0, 0, 2]) for k in range(40)
        ]

    assert 10 < sum(flipped(data, 0)) < 30
    assert flipped(data, 0) == flipped(data, 0)
    assert flipped(data, 0) != flipped(data, 1)
    assert flipped(data, 0) != flipped(InMemoryDataset(ITEMS, ramp, flip_probability=0.5, seed=4), 0)
    assert all(flipped(InMemoryDataset(ITEMS, ramp, flip_probability=1.0), 0))


def test_in_a_loader() -> None:
    sampler = ResumableSampler(40, seed=1)
    sampler.set_position(5)
    batches = list(DataLoader(InMemoryDataset(ITEMS, ramp), batch_size=16, sampler=sampler, num_workers=0))
    assert [tuple(batch["image"].shape) for batch in batches] == [(16, 1, 2, 3), (16, 1, 2, 3), (8, 1, 2, 3)]
    seen = [int(image[0, 0, 0]) // 10 for batch in batches for image in batch["image"]]
    assert sorted(seen) == list(range(40))
    assert [f"n{number}" for number in seen] == [name for batch in batches for name in batch["name"]]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"flip_probability is 1\.5"):
        InMemoryDataset(ITEMS, ramp, flip_probability=1.5)
    with pytest.raises(ValueError, match="data is empty"):
        InMemoryDataset([], ramp)
    with pytest.raises(ValueError, match=r"images have the shapes \[\(1, 2, 3\), \(1, 2, 4\)\]"):
        InMemoryDataset(ITEMS[:2], lambda item: {"image": torch.zeros(1, 2, 3 + item["image"])})
    with pytest.raises(IndexError, match="code is -1"):
        InMemoryDataset(ITEMS, ramp)[-1]
