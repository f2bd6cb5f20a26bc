"""What became of each image, and what a whole run's exit code is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["ALL_FAILED", "ALL_OK", "PARTIAL", "Outcome", "State", "exit_code", "summary"]

State = Literal["ok", "cannot assess", "refused", "failed"]
STATES: tuple[State, ...] = ("ok", "cannot assess", "refused", "failed")
ALL_OK, ALL_FAILED, PARTIAL = 0, 1, 3  # 2 is bad input: the command itself was wrong


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One image's.

    Attributes:
        path: the file.
        state: "ok": localised and written; "cannot assess": read, but the quality gate stopped it; "refused": not
            read; "failed": read, but something could not be computed or written.
        reason: one line for any state but "ok".
        sha256: of the file's bytes, "" where it could not be read at all.
        record: what a reader of results.json is told of the image beside that; plain values.
        kept: whether it is an earlier run's.
    """

    path: Path
    state: State
    reason: str = ""
    sha256: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    kept: bool = False

    def as_json(self) -> dict[str, Any]:
        """The entry of results.json: no time and no rate, so that a second run writes the same bytes."""
        return {
            "path": self.path.as_posix(),
            "state": self.state,
            "reason": self.reason,
            "sha256": self.sha256,
            **self.record,
        }


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """0: every image was localised; 3: some were not; 1: none was."""
    good = [each.state == "ok" for each in outcomes]
    if good and all(good):
        return ALL_OK
    return PARTIAL if any(good) else ALL_FAILED


def summary(outcomes: Iterable[Outcome]) -> str:
    """One line: how many images of each state, and how many were there already."""
    found = list(outcomes)
    counts = [(sum(each.state == state for each in found), state) for state in STATES]
    parts = [f"{count} {state}" for count, state in counts if count]
    kept = sum(each.kept for each in found)
    return f"{len(found)} images: {', '.join(parts)}" + (f" ({kept} kept from an earlier run)" if kept else "")
