"""How the speed benchmarks measure: calls in turn, medians, ratios within a round, peak memory."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Options:
    """What every figure is measured with; the tests shrink it."""

    rounds: int = 7
    size: tuple[int, int] = (256, 256)  # of the images at batch 1; the many are half as high and wide
    many: int = 32
    training_batch: int = 4
    images: tuple[int, ...] = (1_000, 10_000)  # of the metrics' memory
    photograph: tuple[int, int] = (1424, 2144)  # of the clinical command
    # patches of the memory bank: the baselines', and a tenth of what 107 photographs of 416 x 640 have, as is usual
    banks: tuple[int, ...] = (8_000, 44_000)
    data: Path | None = None
    compile: bool = True

    def __post_init__(self) -> None:
        if self.rounds < LEAST_ROUNDS:
            raise ValueError(f"rounds is {self.rounds}, expected at least {LEAST_ROUNDS}: a median needs them")

    def batches(self) -> list[tuple[int, tuple[int, int]]]:
        """One image, and many smaller ones."""
        return [(1, self.size), (self.many, (self.size[0] // 2, self.size[1] // 2))]


@dataclass
class Row:
    """One line of a figure: numbers by name and unit, None where not measured, and the ratio that has a goal."""

    case: str
    numbers: dict[str, float | None]
    ratio: float | None = None
    goal: str = ""  # such as "<= 1.03"; "" where the figure is only recorded
    remark: str = ""
    met: bool | None = field(init=False)

    def __post_init__(self) -> None:
        self.met = None
        if self.ratio is not None and self.goal:
            sign, bound = self.goal.split()
            self.met = self.ratio <= float(bound) if sign == "<=" else self.ratio >= float(bound)


class Timing:
    """Seconds of several calls, measured in turn."""

    def __init__(self, seconds: Mapping[str, list[float]]) -> None:
        self.seconds = dict(seconds)

    def median(self, name: str) -> float:
        """Median seconds of one call."""
        return statistics.median(self.seconds[name])

    def medians(self, *, unit: str = "s") -> dict[str, float | None]:
        """All medians, their names followed by the unit."""
        return {f"{name}, {unit}": self.median(name) for name in self.seconds}

    def ratio(self, name: str, other: str) -> float:
        """Median over the rounds of ``name / other``: neighbours in time, so that a machine's mood cancels."""
        pairs = zip(self.seconds[name], self.seconds[other], strict=True)
        return statistics.median(one / two for one, two in pairs)


def interleaved(functions: Mapping[str, Callable[[], Any]], rounds: int) -> Timing:
    """Time calls in turn; every round begins with another one, and a first round does not count."""
    names = list(functions)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            functions[name]()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return Timing(seconds)


def peak_growth_mib(call: Callable[[], Any]) -> float | None:
    """MiB by which a call raises this process's resident memory at most; None where the system cannot tell.

    What earlier calls have left in the allocator is given back first (glibc), so that the call has to ask for it again.
    """
    status, references = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        references.write_text("5")  # the peak becomes the present value
    except OSError:
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return None
    gc.collect()
    trim(0)
    references.write_text("5")  # again, since the peak has sunk
    before = _kib(status, "VmRSS")
    call()
    return (_kib(status, "VmHWM") - before) / 1024


def peak_mib(process: int | None) -> float | None:
    """MiB of resident memory that a process has held at most; None where the system cannot tell, or it runs no more."""
    try:
        return _kib(Path(f"/proc/{process}/status"), "VmHWM") / 1024
    except (OSError, StopIteration):
        return None


def _kib(status: Path, name: str) -> int:
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
