"""Training in several processes under torchrun: the few lines that `multi_gpu_train.json` names."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["distribute", "local_device", "start_process_group", "stop_process_group"]


def start_process_group() -> None:
    """Join the processes that torchrun started: NCCL with GPUs, gloo without.

    Raises:
        RuntimeError: if torchrun's environment is not there.
    """
    if "LOCAL_RANK" not in os.environ:
        raise RuntimeError("LOCAL_RANK is not set: start multi_gpu_train.json with torchrun --nproc_per_node=N -m ...")
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def stop_process_group() -> None:
    """Leave the process group, if there is one, all processes together."""
    if dist.is_initialized():
        dist.barrier()  # a process that leaves early would close connections that another still uses
        dist.destroy_process_group()


def local_device() -> torch.device:
    """This process's own GPU, by torchrun's LOCAL_RANK, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def distribute(module: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a module so that its gradients are the mean over processes.

    On GPUs, BatchNorm is made to see all processes' images; on CPUs, where torch has no such layer, each process
    normalises its own share. Buffers are not broadcast: D runs twice before its backward pass, and a broadcast in
    between would write over what the first pass needs.

    Args:
        module: moved to ``device`` in place.
        device: of this process.
    """
    if device.type == "cuda":
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(module.to(device), device_ids=[device.index], broadcast_buffers=False)
    return DistributedDataParallel(module.to(device), broadcast_buffers=False)
