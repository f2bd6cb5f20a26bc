"""What every picture handler needs of the file system: safe names, whole files, PNG, the notice."""

from __future__ import annotations

import hashlib
import io
import os
import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

NOTICE = "Anomaly relative to the training normals; research use, not for diagnosis."


def write_atomic(path: str | Path, content: bytes) -> Path:
    """Write a file so that a reader sees the old one or the new one, never half of it.

    Args:
        path: the file; its folder is made where missing.
        content: the whole file.

    Returns:
        ``path`` as a `Path`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # not tempfile.mkstemp: that makes 0600 files, which a viewer under another account cannot open
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def safe_name(name: object, *, fallback: str = "image") -> str:
    """A file name stem that no name of an image can turn into a path.

    Accents are dropped, every run of other characters than ``A-Z a-z 0-9 . _ -`` becomes ``_``, leading
    dots go, and 80 characters are kept.

    Args:
        name: what the data set or the file calls the image; may hold anything.
        fallback: used where nothing is left.

    Returns:
        One to 80 ASCII characters without a separator; not unique, see `unique_stem`.
    """
    ascii_only = unicodedata.normalize("NFKD", str(name)).encode("ascii", "ignore").decode("ascii")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_only)
    stem = re.sub(r"\.{2,}", ".", stem).strip("._-")[:80].rstrip("._-")
    return stem or fallback


def unique_stem(name: object, endings: Iterable[str], used: set[str]) -> str:
    """`safe_name` with ``_2``, ``_3``, ... where one of its files is taken already.

    Compared without regard to case, for the file systems that have none.

    Args:
        name: what the image is called.
        endings: the ends of all files that will be written, ``["_overlay.png", ...]``.
        used: the files taken so far, in lower case; this call adds its own.

    Returns:
        The stem to put before each ending.
    """
    base = safe_name(name)
    all_endings = list(endings)
    number = 1
    while True:
        stem = base if number == 1 else f"{base}_{number}"
        files = {f"{stem}{ending}".lower() for ending in all_endings}
        if not files & used:
            used |= files
            return stem
        number += 1


def encode_png(picture: npt.NDArray[Any], *, text: Mapping[str, str] | None = None) -> bytes:
    """A PNG file's bytes, without loss.

    Args:
        picture: ``(H, W)`` uint8 or uint16, ``(H, W, 3)`` or ``(H, W, 4)`` uint8.
        text: keys and values for the file's text chunks.

    Raises:
        ValueError: if type or shape is another (floats are never scaled silently).
    """
    grey = picture.ndim == 2 and picture.dtype in (np.uint8, np.uint16)
    colour = picture.ndim == 3 and picture.shape[-1] in (3, 4) and picture.dtype == np.uint8
    if not (grey or colour) or picture.size == 0:
        raise ValueError(
            f"picture is {picture.dtype} {picture.shape}, expected uint8 (H, W[, 3 or 4]) or uint16 (H, W): "
            "scale floats on a fixed scale first"
        )
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    # of photographs and maps as small as by Pillow's default (within 13 %), in a quarter of the time
    how = {"compress_level": 1, "compress_type": zlib.Z_RLE}
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG", pnginfo=info, **how)
    return buffer.getvalue()


def save_png(path: str | Path, picture: npt.NDArray[Any], *, text: Mapping[str, str] | None = None) -> Path:
    """`encode_png`, written whole or not at all (temporary name, then renamed)."""
    return write_atomic(path, encode_png(picture, text=text))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def calibration_sha256(path: Path) -> str:
    """SHA-256 of a calibration, in hexadecimal: of its tensors, then of the description beside them if there is one."""
    digest = hashlib.sha256(path.read_bytes())
    described = path.with_suffix(".json")
    if described.is_file():
        digest.update(described.read_bytes())
    return digest.hexdigest()


def scores_of_normals(description: Mapping[str, Any], *, score_rule: object) -> list[float] | None:
    """Image scores of held-out normals in a calibration's description; None if taken by another rule, or not there."""
    same = "score_rule" in description and description["score_rule"] == score_rule
    return description.get("image_scores_of_normals") if same else None
