"""What the parts of the PACS command share: names of objects, what an archive and a localiser do, the error."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydicom import Dataset
from pydicom.uid import UID

__all__ = ["Archive", "Localise", "Localised", "ObjectRef", "Query", "TransferError", "short_hash", "valid_uid"]


class TransferError(RuntimeError):
    """Something that did not pass between us and the archive, in one line without anything of a patient.

    Attributes:
        transient: whether it may pass when it is tried again.
    """

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(frozen=True, kw_only=True)
class ObjectRef:
    """Where an object is in an archive; all four are valid UIDs."""

    study: str
    series: str
    instance: str
    sop_class: str

    @classmethod
    def of(cls, dataset: Dataset) -> ObjectRef:
        """Of an object.

        Raises:
            TransferError: if it lacks one of its UIDs, or one is malformed.
        """
        return cls(
            study=valid_uid(dataset.get("StudyInstanceUID"), "StudyInstanceUID"),
            series=valid_uid(dataset.get("SeriesInstanceUID"), "SeriesInstanceUID"),
            instance=valid_uid(dataset.get("SOPInstanceUID"), "SOPInstanceUID"),
            sop_class=valid_uid(dataset.get("SOPClassUID"), "SOPClassUID"),
        )


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which studies, and which of their images.

    Attributes:
        studies: Study Instance UIDs; empty: whatever matches ``dates``.
        dates: ``YYYYMMDD`` or ``YYYYMMDD-YYYYMMDD``; "" with ``studies`` only.
        modalities: of the source images.
        limit: of studies; None: all.

    Raises:
        ValueError: if nothing bounds the query, or a part of it is malformed.
    """

    studies: tuple[str, ...] = ()
    dates: str = ""
    modalities: tuple[str, ...] = ("OP",)
    limit: int | None = None

    def __post_init__(self) -> None:
        if bool(self.studies) == bool(self.dates):
            raise ValueError("which studies? give either --dates or --studies")
        for position, uid in enumerate(self.studies, start=1):
            if not UID(uid).is_valid:
                raise ValueError(f"--studies: number {position} is not a UID: digits and dots, at most 64")
        if self.dates and not _is_range(self.dates):
            raise ValueError(f"--dates is {self.dates!r}, expected YYYYMMDD or YYYYMMDD-YYYYMMDD, earlier day first")
        for modality in self.modalities:
            if not re.fullmatch("[A-Z0-9_]{1,16}", modality):
                raise ValueError(f"--modality is {modality!r}, expected a DICOM code such as OP or XC")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit is {self.limit}, expected at least 1")


class Archive(Protocol):
    """A PACS, over one of the protocols. Every method raises `TransferError` and nothing else."""

    def studies(self, query: Query) -> list[str]:
        """Study Instance UIDs that match dates and modalities, each once, as the archive writes them: unchecked."""

    def images(self, study: str, *, modalities: tuple[str, ...]) -> list[ObjectRef]:
        """The study's objects in series of these modalities, each once."""

    def holds(self, ref: ObjectRef) -> bool:
        """Whether the archive lists this object."""

    def retrieve(self, ref: ObjectRef) -> Dataset:
        """The object as it is stored, in its own transfer syntax; may be another one or cut short: check it."""

    def store(self, dataset: Dataset) -> None:
        """Send an object; that it returns proves nothing: read it back."""


@dataclass(frozen=True, kw_only=True)
class Localised:
    """What became of one image.

    Attributes:
        path: of the image, as it was given to the localiser.
        objects: DICOM files to store back.
        problem: why there are none, in one line without patient data.
        again: whether a second try may do better.
    """

    path: Path
    objects: tuple[Path, ...] = ()
    problem: str = ""
    again: bool = False


Localise = Callable[[list[Path], Path], list[Localised]]
"""Localises images and writes objects into a folder; one `Localised` for each image."""


def short_hash(text: str) -> str:
    """How a log names a study or an image: the first 12 characters of the SHA-256 of its UID."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def valid_uid(value: object, name: str) -> str:
    """A UID as text.

    Raises:
        TransferError: if it is missing or malformed; the value is not shown.
    """
    text = str(value or "")
    if not UID(text).is_valid:
        raise TransferError(f"{name} is missing or malformed: repair the object in the archive", transient=False)
    return text


def _is_range(dates: str) -> bool:
    days = dates.split("-")
    if len(days) > 2 or not all(re.fullmatch(r"[0-9]{8}", day) for day in days):
        return False
    try:
        parsed = [datetime.strptime(day, "%Y%m%d") for day in days]
    except ValueError:
        return False
    return parsed == sorted(parsed)
