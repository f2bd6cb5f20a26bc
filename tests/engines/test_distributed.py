"""Two processes with half the batch each give the gradients of one process with the whole batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from monai_cavga.engines import distributed

WORKER = Path(__file__).with_name("gradients_worker.py")


@pytest.mark.slow
def test_gradients_of_two_processes_equal_one(tmp_path):
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    subprocess.run([sys.executable, WORKER, one], check=True, timeout=300)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    subprocess.run([*torchrun, WORKER, two], check=True, timeout=300)
    expected, got = torch.load(one, weights_only=True), torch.load(two, weights_only=True)
    assert expected.keys() == got.keys()
    assert any(key.startswith("discriminator.") for key in expected)
    for key, gradient in expected.items():
        if gradient is None:
            assert got[key] is None, key
            continue
        assert torch.allclose(got[key], gradient, atol=1e-6, rtol=1e-5), (key, (got[key] - gradient).abs().max())
    moved = [key for key, gradient in expected.items() if gradient is not None and gradient.abs().max() > 1e-6]
    assert len(moved) > 50  # the comparison is not one of zeros


def test_without_torchrun_one_clear_error(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(RuntimeError, match=r"LOCAL_RANK is not set: start .* with torchrun"):
        distributed.start_process_group()


def test_stopping_without_a_group_does_nothing():
    distributed.stop_process_group()
    assert not torch.distributed.is_initialized()


def test_local_device_without_a_gpu_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert distributed.local_device() == torch.device("cpu")


def test_local_device_takes_the_local_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert distributed.local_device() == torch.device("cuda", 3)
