"""Which images of a data set a process evaluates."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import torch.distributed as dist
from torch.utils.data import Sampler

__all__ = ["ShareSampler"]


class ShareSampler(Sampler[int]):
    """A consecutive share for each process, none padded: gathered in the order of rank, all are in their own order.

    Args:
        dataset: of any size; a process may get nothing.
    """

    def __init__(self, dataset: Sized) -> None:
        rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        count = len(dataset)
        self.share = range(count * rank // processes, count * (rank + 1) // processes)

    def __iter__(self) -> Iterator[int]:
        return iter(self.share)

    def __len__(self) -> int:
        return len(self.share)
