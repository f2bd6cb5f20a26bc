"""A whole run: which studies, one after the other or through Ray, the journal, what is said, the exit code."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from monai_cavga.clinical.outcome import ALL_FAILED, ALL_OK, PARTIAL
from monai_cavga.clinical.pacs.archive import Query, TransferError
from monai_cavga.clinical.pacs.cluster import process_on_ray
from monai_cavga.clinical.pacs.journal import Journal
from monai_cavga.clinical.pacs.options import Connection
from monai_cavga.clinical.pacs.study import StudyReport, Work, process_study
from monai_cavga.clinical.quiet import quiet

__all__ = ["run_pacs"]

Say = Callable[[str], None]


def run_pacs(
    connection: Connection, query: Query, *, work: Work, state: Path, say: Say, cluster: str | None = None
) -> int:
    """Localise the studies of an archive and store what is found back.

    Safe to kill at any time and to start again: what the journal calls finished is left alone, and what the archive
    holds is not sent twice.

    Args:
        connection: to the archive.
        query: which studies.
        work: what is done to each.
        state: folder of the journal, and of the images while they are worked on.
        say: takes the lines of the report; none holds anything of a patient.
        cluster: address of a Ray cluster that processes the studies; None: this process does.

    Returns:
        Exit code: 0: every image is stored or was before; 3: some are not; 1: none is, or the archive cannot be asked.

    Raises:
        ValueError: if another run uses ``state``, or ``journal.jsonl`` in it is damaged.
    """
    with _alone(state), quiet():
        journal = Journal(state / "journal.jsonl")
        scratch = state / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        scratch.mkdir(mode=0o700)
        work = replace(work, address=connection.address, must_have_images=bool(query.studies))
        archive = connection.open()
        try:
            studies = list(dict.fromkeys(query.studies)) or work.retry(lambda: archive.studies(query))
        except TransferError as error:
            say(f"query failed: {error}")
            return ALL_FAILED
        studies = studies[: query.limit]
        finished = journal.finished()
        if cluster is None:
            here = partial(process_study, archive, work=replace(work, scratch=scratch), finished=finished)
            reports: Iterator[StudyReport] = map(here, studies)
        else:
            reports = process_on_ray(cluster, connection, studies, work=work, finished=finished)
        good = bad = 0
        for number, report in enumerate(reports, start=1):
            for image in report.images:
                if image.state != "kept":
                    journal.add(image=image.key, study=report.name, state=image.state, problem=image.problem)
            failures = _failures(report, journal)
            bad += len(failures)
            good += sum(journal[image.key]["state"] == "stored" for image in report.images)
            for line in (_line(report), *failures):
                say(f"[{number}/{len(studies)}] study {report.name}: {line}")
        shutil.rmtree(scratch, ignore_errors=True)
        say(
            f"{len(studies)} studies: {good} images stored and verified, {bad} failures"
            + (", listed above" if bad else "")
        )
        if not bad:
            return ALL_OK
        return PARTIAL if good else ALL_FAILED


def _line(report: StudyReport) -> str:
    """What was done to a study."""
    sent, found = sum(image.sent for image in report.images), sum(image.found for image in report.images)
    before = sum(image.state == "kept" for image in report.images)
    return f"{len(report.images)} images ({before} done before), {sent} objects sent, {found} found there"


def _failures(report: StudyReport, journal: Journal) -> list[str]:
    """A line for each failure; what an earlier run refused is told again."""
    lines = [f"failed: {report.problem}"] if report.problem else []
    for image in report.images:
        entry = journal[image.key]
        if entry["state"] != "stored":
            lines.append(f"image {image.name} {entry['state']}: {entry['problem']}")
    return lines


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Only one run at a time uses a folder; the system frees the lock of a process that was killed."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{state} is used by another run: wait for it, or give another --state") from error
        yield
