"""Try again what may pass later."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from monai_cavga.clinical.pacs.archive import TransferError

__all__ = ["Retry"]

T = TypeVar("T")
LONGEST_WAIT = 30.0


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Exponential back-off.

    Attributes:
        times: tries after the first.
        wait: seconds before the second try; doubled before each further one, at most 30.
        sleep: what waits.

    Raises:
        ValueError: if ``times`` or ``wait`` is negative.
    """

    times: int = 4
    wait: float = 1.0
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        if self.times < 0 or self.wait < 0:
            raise ValueError(f"--retries is {self.times} and --wait {self.wait}, expected at least 0")

    def __call__(self, call: Callable[[], T]) -> T:
        """The result of a call, which is made again after a `TransferError` that is transient.

        Raises:
            TransferError: the last one, with the number of tries.
        """
        tried = 1
        while True:
            try:
                return call()
            except TransferError as error:
                if not error.transient:
                    raise
                if tried > self.times:
                    raise TransferError(f"{error} ({tried} tries)", transient=True) from error
            self.sleep(min(self.wait * 2 ** (tried - 1), LONGEST_WAIT))
            tried += 1
