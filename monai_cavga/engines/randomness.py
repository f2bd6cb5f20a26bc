"""Randomness of a training step as a pure function of seed, iteration and rank: nothing to save, nothing to restore."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["step_generator"]


def step_generator(seed: int, iteration: int, *, rank: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one step, the same whenever the step is run again.

    Args:
        seed: of the run.
        iteration: number of the step.
        rank: of the process; processes draw different noise.
        device: where numbers are drawn; CPU and CUDA draw different ones.
    """
    digest = hashlib.blake2b(f"{seed} {iteration} {rank}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)
