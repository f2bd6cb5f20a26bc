"""Order and augmentation: equal for any number of workers, after a kill, on any rank."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.transforms import Compose, EnsureChannelFirstd, RandFlipd, RandGaussianNoised

from monai_cavga.data import ResumableSampler, SeededDataset

N = 7
LABELS = [0] * 12 + [1] * 3


def order(sampler: ResumableSampler, epoch: int, start: int = 0) -> list[int]:
    sampler.set_position(epoch, start)
    return list(sampler)


def test_every_image_once_and_the_epoch_in_the_code() -> None:
    sampler = ResumableSampler(N, seed=5)
    for epoch in (0, 1, 30):
        codes = order(sampler, epoch)
        assert {code // N for code in codes} == {epoch}
        assert sorted(code % N for code in codes) == list(range(N))
    assert len(sampler) == N
    assert [c % N for c in order(sampler, 0)] != [c % N for c in order(sampler, 1)]
    assert order(sampler, 2) == order(ResumableSampler(N, seed=5), 2)
    assert order(sampler, 2) != order(ResumableSampler(N, seed=6), 2)


def test_order_is_frozen() -> None:
    """Reference: a run resumed by a later version continues in the order it began with."""
    words = np.random.SeedSequence([5, 2]).generate_state(4)
    assert order(ResumableSampler(N, seed=5), 2) == [2 * N + k for k in np.random.RandomState(words).permutation(N)]


@pytest.mark.parametrize("options", [{}, {"labels": LABELS, "anomalous_fraction": 0.4}])
def test_start_skips_what_was_seen(options: dict[str, Any]) -> None:
    sampler = ResumableSampler(15, seed=1, num_replicas=2, rank=1, **options)
    whole = order(sampler, 3)
    assert order(sampler, 3, start=4) == whole[4:]
    assert list(sampler) == whole[4:]  # the position does not move by itself
    assert len(sampler) == len(whole)
    assert order(sampler, 3, start=len(whole)) == []
    sampler.set_epoch(3)
    assert list(sampler) == whole


def test_iterator_keeps_its_position() -> None:
    sampler = ResumableSampler(N)
    iterator = iter(sampler)
    sampler.set_position(1)
    assert next(iterator) // N == 0


def test_ranks_are_disjoint_and_equally_long() -> None:
    shares = [order(ResumableSampler(N, seed=2, num_replicas=3, rank=rank), 4) for rank in range(3)]
    assert [len(share) for share in shares] == [2, 2, 2]
    assert len({code for share in shares for code in share}) == 6


def test_anomalous_fraction() -> None:
    sampler = ResumableSampler(15, labels=LABELS, anomalous_fraction=0.4)
    codes = order(sampler, 6)
    counts = Counter(code % 15 for code in codes)
    # hand: 12 normals once; 12 * 0.4 / 0.6 = 8 draws of 3 anomalous images: 3 + 3 + 2
    assert [counts[k] for k in range(12)] == [1] * 12
    assert sorted(counts[k] for k in (12, 13, 14)) == [2, 3, 3]
    assert len(sampler) == len(codes) == 20
    assert len(set(codes)) == 20  # repeated draws have codes, and so augmentations, of their own
    anomalous = [code % 15 >= 12 for code in codes]
    assert all(sum(anomalous[k : k + 5]) == 2 for k in range(0, 20, 5))  # spread evenly
    assert {code // 15 % 2**20 for code in codes} == {6}


def test_each_rank_gets_the_fraction() -> None:
    for rank in range(2):
        sampler = ResumableSampler(15, labels=LABELS, anomalous_fraction=0.5, num_replicas=2, rank=rank)
        codes = order(sampler, 0)
        assert sum(code % 15 >= 12 for code in codes) == 6
        assert len(codes) == len(sampler) == 12


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_replicas": 2, "rank": 2}, "rank is 2 of 2"),
        ({"num_replicas": 0}, "rank is 0 of 0"),
        ({"num_replicas": 16}, "num_items is 15, expected at least 16"),
        ({"anomalous_fraction": 0.5}, "labels is None"),
        ({"anomalous_fraction": 0.5, "labels": [0, 1]}, "labels is 2 labels"),
        ({"anomalous_fraction": 1.0, "labels": LABELS}, "anomalous_fraction is 1.0"),
        ({"anomalous_fraction": 0.5, "labels": [2, *LABELS[1:]]}, r"labels hold \[0, 1, 2\]"),
        ({"anomalous_fraction": 0.5, "labels": [0] * 15}, "leaves none of a kind"),
        ({"anomalous_fraction": 0.01, "labels": LABELS}, "leaves none of a kind"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ResumableSampler(15, **options)


def test_bad_positions() -> None:
    sampler = ResumableSampler(N)
    with pytest.raises(ValueError, match="epoch is -1"):
        sampler.set_position(-1)
    with pytest.raises(ValueError, match=r"start is 8, expected 0 to 7"):
        sampler.set_position(0, start=8)


ITEMS = [{"image": np.arange(12, dtype=np.float32).reshape(3, 4) + 100 * k} for k in range(N)]


def pipeline() -> Compose:
    return Compose(
        [
            EnsureChannelFirstd("image", channel_dim="no_channel"),
            RandFlipd("image", prob=0.5, spatial_axis=1),
            RandGaussianNoised("image", prob=0.8, std=3.0),
        ]
    )


def samples(kind: type[Dataset], *, workers: int, epoch: int, start: int = 0) -> torch.Tensor:
    options = {"progress": False, "num_workers": None} if kind is CacheDataset else {}
    sampler = ResumableSampler(N, seed=3)
    loader = DataLoader(
        SeededDataset(kind(ITEMS, pipeline(), **options), seed=3), batch_size=2, sampler=sampler, num_workers=workers
    )
    sampler.set_position(epoch, start)
    return torch.cat([batch["image"].as_tensor() for batch in loader])


def test_samples_are_a_function_of_seed_epoch_and_index() -> None:
    expected = samples(Dataset, workers=0, epoch=2)
    assert not torch.equal(expected, samples(Dataset, workers=0, epoch=3))
    torch.manual_seed(99)  # global states play no part
    np.random.seed(99)
    for kind in (Dataset, CacheDataset):
        for workers in (0, 1):
            assert torch.equal(samples(kind, workers=workers, epoch=2), expected)
    assert torch.equal(samples(CacheDataset, workers=0, epoch=2, start=4), expected[4:])


def test_seeded_dataset_passes_on_and_decodes() -> None:
    data = SeededDataset(Dataset(ITEMS, pipeline()), seed=3)
    assert data.data is ITEMS
    assert len(data) == N
    one, again = data[2 * N + 5]["image"], data[2 * N + 5]["image"]
    assert torch.equal(one, again)
    assert 450 < float(one.mean()) < 560  # image 5
    assert not torch.equal(one, data[3 * N + 5]["image"])
    assert not torch.equal(one, SeededDataset(Dataset(ITEMS, pipeline()), seed=4)[2 * N + 5]["image"])
    assert torch.equal(pickle.loads(pickle.dumps(data))[2 * N + 5]["image"], one)
    with pytest.raises(IndexError, match="code is -1"):
        data[-1]


def test_transform_without_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="no transform with set_random_state"):
        SeededDataset([1, 2, 3])
