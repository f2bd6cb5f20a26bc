"""Cells of a table one after the other, or as tasks of Ray: one device each, a finished one kept whatever others do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from reporting import HERE

Cell = Callable[[], None]  # measures one cell and writes its file; pickled for Ray, so no closure over open files


def add_ray_argument(parser: argparse.ArgumentParser) -> None:
    """`--ray`, the same for every table."""
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="cells as Ray tasks: 'local', or a cluster's address, whose nodes see the same folders (default: no Ray)",
    )


def run_cells(cells: Sequence[Cell], *, address: str | None = None) -> None:
    """Run every cell: in order, the first error ends the run; with Ray all run, and failed ones are named at the end.

    Args:
        cells: each writes its own result file.
        address: "local" for a Ray of this machine's cores, or a cluster's address; None for no Ray.
    """
    if address is None:
        for cell in cells:
            cell()
        return
    ray = _import_ray()
    here = {"PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))}
    ray.init(address=address, include_dashboard=False, **({} if address == "local" else {"ignore_reinit_error": True}))
    try:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0, runtime_env={"env_vars": here})(_call)
        failed = [line for line in ray.get([task.remote(cell) for cell in cells]) if line]
    finally:
        ray.shutdown()
    if failed:
        sys.exit(f"{len(failed)} of {len(cells)} cells failed, the others are kept:\n" + "\n".join(failed))


def _call(cell: Cell) -> str:
    """What went wrong in one line, nothing if nothing did: one cell's error leaves the others alone."""
    try:
        cell()
    except (Exception, SystemExit) as err:
        return f"{type(err).__name__}: {err}"
    return ""


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        sys.exit("--ray needs Ray, which is not installed: pip install ray, or leave --ray out")
    return ray
