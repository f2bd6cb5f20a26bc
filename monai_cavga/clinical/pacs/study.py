"""One study's way: list its images, retrieve, localise, store back, verify. Knows no protocol and no model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset

from monai_cavga.clinical.pacs.archive import (
    Archive,
    Localise,
    Localised,
    ObjectRef,
    TransferError,
    short_hash,
    valid_uid,
)
from monai_cavga.clinical.pacs.content import difference, missing_part
from monai_cavga.clinical.pacs.journal import image_key
from monai_cavga.clinical.pacs.retry import Retry
from monai_cavga.clinical.refusal import own_words

__all__ = ["ImageReport", "StudyReport", "Work", "process_study"]

DEBUG = "MONAI_CAVGA_DEBUG"


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """What became of one image.

    Attributes:
        key: see `image_key`.
        name: short hash of its SOP Instance UID.
        state: "stored": its objects are in the archive, read back and found equal; "kept": the journal says so;
            "refused": nothing to store, and a second try would say the same; "failed": to be tried again.
        problem: why, in one line.
        sent: number of objects that were sent now.
        found: number of objects that were in the archive already.
    """

    key: str
    name: str
    state: Literal["stored", "kept", "refused", "failed"]
    problem: str = ""
    sent: int = 0
    found: int = 0


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """What became of one study; ``name`` is the short hash of its UID, ``problem`` says why nothing was listed."""

    name: str
    images: tuple[ImageReport, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is done to every study.

    Attributes:
        localise: makes the objects.
        recipe: what decides about them, see `image_key`.
        address: of the archive, see `image_key`.
        modalities: of the source images.
        retry: what is done about what may pass.
        must_have_images: whether a study without such images is a failure.
        scratch: folder for the images while they are worked on; None: the system's temporary folder.
    """

    localise: Localise
    recipe: str
    address: str = ""
    modalities: tuple[str, ...] = ("OP",)
    retry: Retry = field(default_factory=Retry)
    must_have_images: bool = False
    scratch: Path | None = None


def process_study(archive: Archive, study: str, *, work: Work, finished: Container[str]) -> StudyReport:
    """Localise the images of a study and store the objects back. Raises nothing that one study is to blame for.

    Args:
        archive: where from and where to.
        study: Study Instance UID.
        work: what to do.
        finished: keys of images that are left alone.
    """
    name = short_hash(study)
    try:
        valid_uid(study, "StudyInstanceUID")
        refs = work.retry(lambda: archive.images(study, modalities=work.modalities))
    except TransferError as error:
        return StudyReport(name=name, problem=str(error))
    if not refs and work.must_have_images:
        return StudyReport(name=name, problem=f"no image of modality {' or '.join(work.modalities)}")
    keys = {ref.instance: image_key(ref.instance, archive=work.address, recipe=work.recipe) for ref in refs}
    reports = [
        ImageReport(key=keys[ref.instance], name=short_hash(ref.instance), state="kept")
        for ref in refs
        if keys[ref.instance] in finished
    ]
    todo = [ref for ref in refs if keys[ref.instance] not in finished]
    if todo:
        with tempfile.TemporaryDirectory(dir=work.scratch, prefix="study_") as folder:  # readable by us alone
            reports += _images(archive, todo, keys, work=work, folder=Path(folder))
    return StudyReport(name=name, images=tuple(reports))


def _images(
    archive: Archive, refs: list[ObjectRef], keys: dict[str, str], *, work: Work, folder: Path
) -> list[ImageReport]:
    reports: list[ImageReport] = []
    came: dict[Path, ObjectRef] = {}
    for ref in refs:
        path = folder / f"{short_hash(ref.instance)}.dcm"
        try:
            _save(work.retry(lambda ref=ref: _whole(archive, ref)), path)  # type: ignore[misc]
            came[path] = ref
        except TransferError as error:
            reports.append(_failed(ref, keys, str(error)))
    output = folder / "objects"
    output.mkdir()
    try:
        answers = {answer.path: answer for answer in work.localise(list(came), output)} if came else {}
    except Exception as error:  # a model or a library may fail in any way, and its text may quote a header
        if os.environ.get(DEBUG) == "1":
            raise
        problem = f"localiser failed: {own_words(error) or type(error).__name__}"
        return reports + [_failed(ref, keys, problem) for ref in came.values()]
    for path, ref in came.items():
        reports.append(_store(archive, ref, answers.get(path), keys=keys, work=work))
    return reports


def _store(
    archive: Archive, ref: ObjectRef, answer: Localised | None, *, keys: dict[str, str], work: Work
) -> ImageReport:
    if answer is None:
        return _failed(ref, keys, "localiser said nothing about the image")
    if answer.problem or not answer.objects:
        problem = answer.problem or "localiser wrote nothing for the image"
        if answer.again:
            return _failed(ref, keys, problem)
        return ImageReport(
            key=keys[ref.instance], name=short_hash(ref.instance), state="refused", problem=problem.splitlines()[0]
        )
    sent = 0
    for path in answer.objects:
        try:
            sent += _deliver(archive, path, study=ref.study, retry=work.retry)
        except TransferError as error:
            return _failed(ref, keys, str(error))
    return ImageReport(
        key=keys[ref.instance],
        name=short_hash(ref.instance),
        state="stored",
        sent=sent,
        found=len(answer.objects) - sent,
    )


def _deliver(archive: Archive, path: Path, *, study: str, retry: Retry) -> bool:
    """Store an object unless it is there, and read it back.

    Returns:
        Whether it was sent.

    Raises:
        TransferError: if it could not be stored, or the archive holds something else under its UID.
    """
    ours = dcmread(path)
    ref = ObjectRef.of(ours)
    if ref.study != study:
        raise TransferError("an object belongs to another study than its image: not stored", transient=False)
    sent = False

    def once() -> None:
        nonlocal sent
        if not archive.holds(ref):
            archive.store(ours)
            sent = True
        theirs = archive.retrieve(ref)
        if theirs.get("SOPInstanceUID") != ref.instance:
            raise TransferError("PACS sent another object than was asked for", transient=True)
        try:
            unlike = difference(ours, theirs, exactly=sent)
        except Exception as error:  # what came is foreign data
            unlike = f"it cannot be read ({type(error).__name__})"
        if unlike:
            # not overwritten: most archives drop a second object of the same UID, whatever they answer
            raise TransferError(f"PACS holds another object under the UID of ours: {unlike}", transient=sent)

    retry(once)
    return sent


def _whole(archive: Archive, ref: ObjectRef) -> Dataset:
    dataset = archive.retrieve(ref)
    if dataset.get("SOPInstanceUID") != ref.instance or dataset.get("StudyInstanceUID") != ref.study:
        raise TransferError("PACS sent another image than was asked for", transient=True)
    try:
        lacking = missing_part(dataset)
    except Exception as error:  # a header may hold anything
        raise TransferError(f"the image cannot be read ({type(error).__name__})", transient=True) from error
    if lacking:
        raise TransferError(f"the image is cut short: {lacking}", transient=True)
    return dataset


def _save(dataset: Dataset, path: Path) -> None:
    """Write an image with the same bytes whichever way it came."""
    meta = FileMetaDataset()
    try:
        meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
        dataset.file_meta = meta
        dataset.save_as(path, enforce_file_format=True)
    except Exception as error:  # a damaged element is found only when it is written
        raise TransferError(f"the image cannot be saved ({type(error).__name__})", transient=False) from error


def _failed(ref: ObjectRef, keys: dict[str, str], problem: str) -> ImageReport:
    return ImageReport(
        key=keys[ref.instance], name=short_hash(ref.instance), state="failed", problem=problem.splitlines()[0]
    )
