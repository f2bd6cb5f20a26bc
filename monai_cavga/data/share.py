"""Which images of a data set a process evaluates."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import torch.distributed as dist
from torch.utils.data import Sampler

__all__ = ["ShareSampler"]


class ShareSampler(Sampler[int]):
    """A consecutive share for each process, none padded: gathered in the order of rank, all are in their own order.

    Args:
        dataset: of at least one item for each process.

    Raises:
        ValueError: if there are fewer items than processes.
    """

    def __init__(self, dataset: Sized) -> None:
        rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        count = len(dataset)
        if count < processes:
            raise ValueError(f"dataset has {count} items for {processes} processes, expected one each: start fewer")
        self.share = range(count * rank // processes, count * (rank + 1) // processes)

    def __iter__(self) -> Iterator[int]:
        return iter(self.share)

    def __len__(self) -> int:
        return len(self.share)
