"""Studies on a Ray cluster, each a task; Ray starts a task again whose machine is lost."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

from monai_cavga.clinical.pacs.archive import short_hash
from monai_cavga.clinical.pacs.options import Connection
from monai_cavga.clinical.pacs.study import StudyReport, Work, process_study
from monai_cavga.clinical.quiet import quiet
from monai_cavga.clinical.refusal import own_words

__all__ = ["process_on_ray"]

AHEAD = 256  # tasks that Ray knows of


def process_on_ray(
    address: str, connection: Connection, studies: list[str], *, work: Work, finished: frozenset[str]
) -> Iterator[StudyReport]:
    """Reports in the order in which the studies are done.

    The credentials do not travel: each machine of the cluster takes them from its own environment.

    Args:
        address: as `ray.init` takes it; "local" starts a cluster on this machine.
        connection: to the archive, opened on each machine.
        studies: Study Instance UIDs.
        work: what is done to each; it is pickled.
        finished: see `process_study`.

    Raises:
        ModuleNotFoundError: if Ray is not installed, with what to install.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("--ray needs ray: pip install ray") from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here
    ray.init(address=address, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    try:
        task = ray.remote(_on_a_machine)
        shared = ray.put((connection, work, finished))
        rest = iter(studies)
        waiting: dict[Any, str] = {}
        while True:
            waiting |= {task.remote(study, shared): study for study in islice(rest, AHEAD - len(waiting))}
            if not waiting:
                return
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            study = waiting.pop(done)
            try:
                yield ray.get(done)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", error)
                problem = f"the task was lost: {own_words(cause) or type(cause).__name__}"
                yield StudyReport(name=short_hash(study), problem=problem)
    finally:
        ray.shutdown()


def _on_a_machine(study: str, shared: tuple[Connection, Work, frozenset[str]]) -> StudyReport:
    connection, work, finished = shared
    with quiet():
        return process_study(connection.open(), study, work=work, finished=finished)
