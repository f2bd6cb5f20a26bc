"""The process that decodes untrusted files: ``python -m monai_cavga.clinical.worker``, started by `Reader`.

It takes one line of JSON for each file and answers with a length, JSON, then the pixels' and the header's bytes. It
can write no file, holds a bounded amount of memory, and ends with its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import sys
import time
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from monai_cavga.clinical.decode import Decoded, decode
from monai_cavga.clinical.refusal import RefusedError

READY = b"ready\n"
_DAMAGED = "the file is damaged or made to harm: copy it again"


def serve(requests: BinaryIO, replies: BinaryIO, *, seconds: float, max_pixels: int) -> None:
    """Answer until there is no more request."""
    import nibabel
    import pydicom

    # Values that a file holds may break the standard; they are passed on as they are.
    pydicom.config.settings.writing_validation_mode = pydicom.config.WARN
    nibabel.imageglobals.logger.disabled = True
    warnings.simplefilter("ignore")
    replies.write(READY)
    replies.flush()
    for line in requests:
        _limit_time(seconds)
        answer, pixels, header = _answer(Path(json.loads(line)["path"]), max_pixels)
        text = json.dumps({**answer, "header_bytes": len(header)}).encode()
        replies.write(struct.pack(">Q", len(text)) + text)
        if pixels is not None:
            replies.write(pixels.data.cast("B"))
        replies.write(header)
        replies.flush()


def _answer(path: Path, max_pixels: int) -> tuple[dict[str, Any], np.ndarray[Any, Any] | None, bytes]:
    """The one place where anything may be raised: a decoder's panic is no `Exception` (pyo3)."""
    try:
        found: Decoded = decode(path, max_pixels=max_pixels)
    except RefusedError as err:
        return {"refused": str(err)}, None, b""
    except MemoryError:
        return {"refused": f"more memory than a photograph needs: {_DAMAGED}"}, None, b""
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as err:  # its text may quote the file
        return {"refused": f"{type(err).__name__} while it was decoded: {_DAMAGED}"}, None, b""
    affine = None if found.affine is None else found.affine.tolist()
    answer = {"shape": found.pixels.shape, "laterality": found.laterality, "affine": affine}
    return answer, np.ascontiguousarray(found.pixels, np.float32), found.header


def _limit_time(seconds: float) -> None:
    """Processor time, so that a decoder whose parent was killed ends too."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 1, hard))


def main() -> None:
    """Set the limits, keep standard output for the answers alone, and serve."""
    seconds, memory, max_pixels = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (limit, limit))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a codec that prints must not be taken for an answer
    serve(sys.stdin.buffer, replies, seconds=seconds, max_pixels=max_pixels)


if __name__ == "__main__":
    main()
