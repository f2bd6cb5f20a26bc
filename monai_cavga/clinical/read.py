"""Reading untrusted images: each is decoded in a worker process with limits, and comes back as plain bytes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import select
import stat
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np

import monai_cavga
from monai_cavga.clinical.quiet import quiet
from monai_cavga.clinical.records import Laterality, Source
from monai_cavga.clinical.refusal import RefusedError
from monai_cavga.data.read import MAX_PIXELS

__all__ = ["Limits", "Reader", "ReaderError"]

_READY = b"ready\n"
_START_SECONDS = 120.0  # imports, on a busy machine
_MAX_TEXT, _MAX_HEADER = 2**16, 2**25
# The worker sees no other environment: credentials of a PACS stand there.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "HOME", "VIRTUAL_ENV", "PYTHONHOME")
_PIPE_BYTES = 2**20


class ReaderError(RuntimeError):
    """The worker process cannot be started; no fault of a file."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one file may cost.

    Attributes:
        seconds: from request to answer, and of processor time.
        memory: bytes of the worker's address space.
        pixels: height times width.
        file_bytes: size of the file.
    """

    seconds: float = 60.0
    memory: int = 4 * 2**30
    pixels: int = MAX_PIXELS
    file_bytes: int = 2**29


class Reader:
    """Reads images one after another in one worker process, which is started anew when it dies or takes too long.

    A context manager: leaving it ends the worker.

    Args:
        limits: of each file.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Reader:
        """Start nothing yet: the first file does."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the worker."""
        self.close()

    def close(self) -> None:
        """End the worker; the next `read` starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None

    @property
    def process(self) -> int | None:
        """Id of the worker process while there is one, for who measures what it holds."""
        return self._process.pid if self._process is not None else None

    def digest(self, path: Path) -> str:
        """SHA-256 of the file's bytes.

        Raises:
            RefusedError: if it is no regular file, empty, too large or unreadable.
        """
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode):
                raise RefusedError("not a regular file, expected an image")
            if not 0 < state.st_size <= self.limits.file_bytes:
                raise RefusedError(f"{state.st_size} bytes, expected 1 to {self.limits.file_bytes}")
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as err:
            raise RefusedError(f"cannot be opened: {err.strerror}") from err

    def read(self, path: Path, *, sha256: str | None = None) -> Source:
        """Decode one file.

        Args:
            path: the file.
            sha256: its `digest`, if it is known already.

        Raises:
            RefusedError: with the reason in one line.
            ReaderError: if no worker can be started.
        """
        sha256 = sha256 or self.digest(path)
        process = self._process or self._start()
        deadline = time.monotonic() + self.limits.seconds
        try:
            requests = cast(Any, process.stdin)
            requests.write(json.dumps({"path": str(path.absolute())}).encode() + b"\n")
            requests.flush()
            return self._source(path, sha256, deadline)
        except TimeoutError as err:
            self.close()
            raise RefusedError(f"took more than {self.limits.seconds:g} s to decode: made to harm, or damaged") from err
        except RefusedError:
            raise
        except (EOFError, OSError, ValueError, TypeError, KeyError) as err:  # no answer, or none that ours gives
            self.close()
            code = process.returncode
            raise RefusedError(f"the decoder died of it (code {code}): the file is made to harm, or damaged") from err

    def _source(self, path: Path, sha256: str, deadline: float) -> Source:
        (length,) = struct.unpack(">Q", self._receive(8, deadline))
        answer = json.loads(self._receive(_at_most(length, _MAX_TEXT), deadline))
        if "refused" in answer:
            raise RefusedError(answer["refused"])
        height, width, channels = answer["shape"]
        _at_most(height * width, self.limits.pixels)
        pixels = self._receive(height * width * channels * 4, deadline)
        header = bytes(self._receive(_at_most(answer["header_bytes"], _MAX_HEADER), deadline))
        return Source(
            path=path,
            pixels=np.frombuffer(pixels, np.float32).reshape(height, width, channels),
            sha256=sha256,
            header=_dataset(header) if header else None,
            laterality=cast(Laterality, answer["laterality"]),
            affine=None if answer["affine"] is None else np.asarray(answer["affine"], np.float64),
        )

    def _receive(self, count: int, deadline: float) -> bytearray:
        """Exactly ``count`` bytes."""
        stream = cast(Any, cast(Any, self._process).stdout)
        buffer = bytearray(count)
        view, filled = memoryview(buffer), 0
        while filled < count:
            if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            got = os.readv(stream.fileno(), [view[filled:]])
            if got == 0:
                raise EOFError
            filled += got
        return buffer

    def _start(self) -> subprocess.Popen[bytes]:
        root = str(Path(monai_cavga.__file__).resolve().parents[1])
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        paths = [root, os.environ.get("PYTHONPATH", "")]
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(each for each in paths if each)}
        limits = [str(each) for each in (self.limits.seconds, self.limits.memory, self.limits.pixels)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-B", "-m", "monai_cavga.clinical.worker", *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a decoder's warnings may quote the file
            env=environment,
        )
        with contextlib.suppress(OSError):  # a smaller pipe is slower, no more
            fcntl.fcntl(cast(Any, self._process.stdout), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        try:
            if bytes(self._receive(len(_READY), time.monotonic() + _START_SECONDS)) != _READY:
                raise EOFError
        except (TimeoutError, EOFError) as err:
            self.close()
            raise ReaderError(
                f"the decoding process of {limits[1]} bytes of memory does not start: "
                "check the installation (python -m monai_cavga.clinical.worker)"
            ) from err
        return self._process


def _at_most(value: int, limit: int) -> int:
    """A length that the worker states, if it can be true; else the worker is taken for broken."""
    if not 0 <= value <= limit:
        raise EOFError
    return value


def _dataset(header: bytes) -> Any:
    from pydicom import dcmread

    try:
        with quiet():  # pydicom quotes values
            return dcmread(BytesIO(header))
    except Exception as err:
        raise RefusedError(f"{type(err).__name__} in its header: the file is damaged; copy it again") from err
