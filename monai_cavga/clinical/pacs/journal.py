"""Which images are done: a file of JSON lines that survives a kill and holds no patient data."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Literal

__all__ = ["Entry", "Journal", "image_key"]

State = Literal["stored", "refused", "failed"]
Entry = dict[str, object]


def image_key(instance: str, *, archive: str, recipe: str) -> str:
    """Names an image, where it came from and what was done to it, without telling any of them.

    Args:
        instance: SOP Instance UID of the image.
        archive: address of the archive; a journal may serve several.
        recipe: what decides about the objects: model, calibration, kinds.
    """
    return hashlib.sha256(json.dumps([instance, archive, recipe]).encode()).hexdigest()[:32]


class Journal:
    """Appends an entry for each image that is finished, one line in one write, flushed to the disk.

    Args:
        path: of the file; made where missing. A last line that a kill cut short is dropped.

    Raises:
        ValueError: if a line other than the last is not an entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, Entry] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        whole, newline, _ = content.rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), start=1):
            self._remember(_parse(line, f"{path}: line {number}"))
        if len(whole) + len(newline) < len(content):
            os.truncate(path, len(whole) + len(newline))

    def __getitem__(self, key: str) -> Entry:
        """The last entry of an image."""
        return self._entries[key]

    def finished(self) -> frozenset[str]:
        """Keys of the images that need no second visit: stored and verified, or refused for what they are."""
        return frozenset(key for key, entry in self._entries.items() if entry["state"] != "failed")

    def add(self, *, image: str, study: str, state: State, problem: str = "") -> None:
        """Append an entry.

        Args:
            image: `image_key`.
            study: short hash of the study.
            state: "stored": all objects were read back; "refused": there is nothing to store and will be nothing;
                "failed": to be tried again by the next run.
            problem: one line, without patient data.
        """
        entry: Entry = {"image": image, "study": study, "state": state, "problem": problem}
        line = json.dumps(entry).encode() + b"\n"
        # one write to a file opened for appending: a kill leaves the line or a beginning of it, never a mixture
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._remember(entry)

    def _remember(self, entry: Entry) -> None:
        self._entries[str(entry["image"])] = entry


def _parse(line: bytes, where: str) -> Entry:
    try:
        entry = json.loads(line)
        if {"image", "study", "state", "problem"} <= set(entry):
            return dict(entry)
    except (ValueError, TypeError):
        pass
    raise ValueError(f"{where} is no entry of a journal: mend or remove the line (its image is then checked again)")
