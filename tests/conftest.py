"""Fixtures that several test files use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # on a busy machine two threads wait for each other most of the time


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real images and weights that stands beside some checkouts; users do not have it."""
    if not (SHARED / "data" / "README.md").is_file():
        pytest.skip(f"no real data at {SHARED}: this test needs the folder of real images beside the checkout")
    return SHARED
