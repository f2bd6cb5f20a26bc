"""State that adds up: over batches, over shards, over processes."""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

__all__ = ["SummedState", "gather_rows", "gather_texts"]


class SummedState(ABC):
    """Something whose whole state is a few tensors of fixed size that are added to combine two of it."""

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """Tensors of the state, in a fixed order; written to in place by the other methods."""

    def reset(self) -> None:
        """Forget everything."""
        for tensor in self.tensors():
            tensor.zero_()

    def merge(self, other: Self) -> None:
        """Add what another one of the same settings has seen.

        Raises:
            ValueError: if the states do not have the same sizes.
        """
        sizes = [[tuple(t.shape) for t in state.tensors()] for state in (self, other)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"states of sizes {sizes[1]} and {sizes[0]} do not add: make both with the same bits")
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine += theirs

    def synced(self) -> Self:
        """A copy that holds what all processes have seen; counts are equal to those of one process to the bit.

        Every process of the default group must call it. Without a group it is just a copy.
        """
        total = copy.deepcopy(self)
        for tensor in total.tensors():
            _all_reduce_(tensor)
        return total


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes, in order of rank; the processes may have different numbers of rows, or none.

    Args:
        rows: ``(n, k)``, any number type; ``k`` and type equal in all processes.

    Returns:
        ``(sum of n, k)`` on the CPU; ``rows`` itself without a process group.
    """
    rows = rows.detach().cpu()
    if not _is_distributed():
        return rows
    sizes = torch.zeros(dist.get_world_size(), dtype=torch.int64)
    sizes[dist.get_rank()] = rows.shape[0]
    _all_reduce_(sizes)
    gathered = torch.zeros(int(sizes.sum()), rows.shape[1], dtype=rows.dtype)
    start = int(sizes[: dist.get_rank()].sum())
    gathered[start : start + rows.shape[0]] = rows
    _all_reduce_(gathered)
    return gathered


def gather_texts(texts: Sequence[str]) -> list[str]:
    """Texts of all processes, in order of rank; as bytes in a tensor, because object collectives pickle."""
    lines = "".join(f"{json.dumps(text)}\n" for text in texts).encode("ascii")  # json escapes what ASCII lacks
    rows = torch.frombuffer(bytearray(lines), dtype=torch.uint8) if lines else torch.zeros(0, dtype=torch.uint8)
    gathered = bytes(gather_rows(rows[:, None]).flatten().tolist())
    return [str(json.loads(line)) for line in gathered.splitlines()]


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _all_reduce_(tensor: Tensor) -> None:
    """Sum over processes, in place; the state lives on the CPU, NCCL wants it on the device."""
    if not _is_distributed():
        return
    if dist.get_backend() == "nccl":
        moved = tensor.to(torch.device("cuda", torch.cuda.current_device()))
        dist.all_reduce(moved)
        tensor.copy_(moved)
    else:
        dist.all_reduce(tensor)
