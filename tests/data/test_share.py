"""The shares of several processes."""

from __future__ import annotations

import pytest
import torch.distributed as dist

from monai_cavga.data import ShareSampler


@pytest.mark.parametrize(("count", "processes"), [(7, 2), (8, 2), (3, 3), (10, 4)])
def test_shares_are_the_whole_in_order(monkeypatch: pytest.MonkeyPatch, count: int, processes: int) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: processes)
    seen: list[int] = []
    sizes = []
    for rank in range(processes):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        sampler = ShareSampler(range(count))
        assert len(list(sampler)) == len(sampler)
        sizes.append(len(sampler))
        seen += sampler
    assert seen == list(range(count))
    assert max(sizes) - min(sizes) <= 1


def test_a_process_without_an_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    with pytest.raises(ValueError, match="dataset has 2 items for 3 processes, expected one each: start fewer"):
        ShareSampler(range(2))


def test_one_process_has_everything() -> None:
    assert list(ShareSampler("abc")) == [0, 1, 2]
