"""Files that hold many small images, opened once and kept in memory: idx, CIFAR-10's binary batches, tar archives.

An image in one is named ``FILE#image=123``, counted from 0, or ``ARCHIVE#member=train/cat/0001.jpg``. Such a name
stands wherever an image's path may: `monai_cavga.data.read.read_image` understands it. Nothing is unpickled: of
CIFAR-10 the owners' *binary* version is read, not the python one.
"""

from __future__ import annotations

import gzip
import lzma
import math
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Literal, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from monai_cavga.data.errors import read_error

Pixels = npt.NDArray[np.uint8]
_Content = TypeVar("_Content")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_VALUES = 2**30  # of one file, decoded; MNIST's training images are 47 million
MAX_MEMBER = 2**22  # bytes of one image in an archive
CIFAR_SHAPE = (3, 32, 32)
_IDX_BYTES, _IDX_LABELS, _IDX_IMAGES = 0x08, 1, 3  # kind of value; dimensions
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError)  # gzip's own is an OSError
_NAME = re.compile(
    r"(?P<file>.+(?:-ubyte|\.idx)(?:\.gz)?|.+\.bin|.+\.(?:tar(?:\.\w+)?|tgz))#(?:image|member)=(?P<key>.+)",
    re.IGNORECASE | re.DOTALL,
)
_COPY = "copy the file again from its source"


class CifarBatch(NamedTuple):
    """A binary batch: images ``(n, 32, 32, 3)`` and labels ``(n,)``, both uint8."""

    images: Pixels
    labels: Pixels


def packed_name(path: str | os.PathLike[str], key: int | str) -> str:
    """The name of one image of a file: by its number, or in an archive by its path."""
    return f"{os.fspath(path)}#{'image' if isinstance(key, int) else 'member'}={key}"


def packed_image(name: str | os.PathLike[str], *, max_pixels: int) -> Image.Image | BytesIO | None:
    """One image of a file, grey or RGB, or a member's bytes as they are in an archive; None for a path of its own.

    The file is read completely at the first call and kept for the others.

    Args:
        name: of `packed_name`.
        max_pixels: height times width above which the image is refused; of a member the bytes' reader checks it.

    Raises:
        ImageReadError: if the file is damaged, holds no such image, or one that is too large.
    """
    found = _NAME.fullmatch(os.fspath(name))
    if found is None:
        return None
    file, key, kind = found["file"], found["key"], packed_kind(found["file"])
    if kind == "tar":
        content = _kept(_read_archive, file).get(key)
        if content is None:
            raise read_error(name, got="no member of that name", expected="an image in the archive", remedy=_COPY)
        return BytesIO(content)
    images: Pixels = kept_idx(file) if kind == "idx" else kept_cifar_batch(file).images
    if images.ndim < 3 or not key.isdecimal() or int(key) >= len(images):
        raise read_error(name, got=f"values of shape {images.shape}", expected=f"an image {key}", remedy=_COPY)
    pixels = images[int(key)]
    if math.prod(pixels.shape[:2]) > max_pixels:
        got, remedy = f"{pixels.shape[0]} x {pixels.shape[1]} pixels", "reduce the images before they are read"
        raise read_error(name, got=got, expected=f"at most {max_pixels} pixels", remedy=remedy)
    return Image.fromarray(np.ascontiguousarray(pixels))


def read_idx(path: str | os.PathLike[str]) -> Pixels:
    """Read an idx file of bytes, plain or gzipped: images ``(n, H, W)`` or labels ``(n,)``, uint8.

    Magic number, dimensions and length are checked before the values are allocated.

    Raises:
        ImageReadError: if the file is missing, is no idx file of bytes, or its length is not what its header says.
    """
    with _opened(path) as (file, size):
        header = _read(path, file, 4)
        zeros, kind, dimensions = header[:2], header[2], header[3]
        if zeros != b"\0\0" or kind != _IDX_BYTES or dimensions not in (_IDX_LABELS, _IDX_IMAGES):
            expected = "00000801 (labels) or 00000803 (images)"
            raise read_error(path, got=f"the magic number {header.hex()}", expected=expected, remedy=_COPY)
        shape = tuple(int(n) for n in np.frombuffer(_read(path, file, 4 * dimensions), dtype=">u4"))
        values = math.prod(shape)
        if min(shape) < 1 or values > MAX_VALUES:
            expected = f"at least 1 each and {MAX_VALUES} values at most"
            raise read_error(path, got=f"the dimensions {shape}", expected=expected, remedy=_COPY)
        if size is not None and size != 4 + 4 * dimensions + values:
            expected = f"{4 + 4 * dimensions + values} for the dimensions {shape}"
            raise read_error(path, got=f"{size} bytes", expected=expected, remedy=_COPY)
        content = _read(path, file, values)
        if file.read(1):
            raise read_error(path, got="bytes after the last value", expected=f"{values} values", remedy=_COPY)
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def read_cifar_batch(path: str | os.PathLike[str]) -> CifarBatch:
    """Read a batch of CIFAR-10's binary version: records of a label and 3 x 32 x 32 bytes, red, green, blue.

    Raises:
        ImageReadError: if the file is missing, its length is no number of records, or a label is above 9.
    """
    record = 1 + math.prod(CIFAR_SHAPE)
    with _opened(path) as (file, size):
        if not size or size % record or size > MAX_VALUES:
            raise read_error(path, got=f"{size} bytes", expected=f"records of {record} bytes each", remedy=_COPY)
        content = np.frombuffer(_read(path, file, size), dtype=np.uint8).reshape(-1, record)
    labels = content[:, 0]
    if labels.max() > 9:
        raise read_error(path, got=f"the label {labels.max()}", expected="0 to 9", remedy=_COPY)
    images = content[:, 1:].reshape(-1, *CIFAR_SHAPE).transpose(0, 2, 3, 1)
    return CifarBatch(images, labels)


def archive_names(path: str | os.PathLike[str]) -> list[str]:
    """Paths of the images in a tar archive, compressed or not, in its order; nothing is unpacked.

    Raises:
        ImageReadError: if the archive cannot be read, or one of its images is too large.
    """
    return list(_kept(_read_archive, path))


def _read_archive(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """The images of an archive, still encoded, by path."""
    found: dict[str, bytes] = {}
    total = 0
    if not Path(path).is_file():
        raise read_error(path, got="no such file", expected="a tar archive", remedy="check the path")
    try:
        with tarfile.open(path, mode="r|*") as archive:  # a stream: one pass, also through a compressed file
            for member in archive:
                if not member.isfile() or not member.name.lower().endswith(IMAGE_SUFFIXES):
                    continue
                total += member.size
                if member.size > MAX_MEMBER or total > MAX_VALUES:
                    got, expected = f"an image of {member.size} bytes", f"{MAX_MEMBER} at most, {MAX_VALUES} together"
                    raise read_error(packed_name(path, member.name), got=got, expected=expected, remedy="unpack it")
                file = archive.extractfile(member)
                found[member.name.removeprefix("./")] = b"" if file is None else file.read()
    except _DAMAGE as err:
        got = f"{type(err).__name__} ({err})"
        raise read_error(path, got=got, expected="a complete tar archive", remedy=_COPY) from err
    return found


def packed_kind(file: str | os.PathLike[str]) -> Literal["idx", "cifar", "tar", ""]:
    """What a file's name says it is; "" for any other."""
    name = Path(file).name.lower()
    if name.removesuffix(".gz").endswith(("-ubyte", ".idx")):
        return "idx"
    if name.endswith(TAR_SUFFIXES):
        return "tar"
    return "cifar" if name.endswith(".bin") else ""


def kept_idx(path: str | os.PathLike[str]) -> Pixels:
    """`read_idx`, kept in memory as `read_packed` keeps it."""
    return _kept(read_idx, path)


def kept_cifar_batch(path: str | os.PathLike[str]) -> CifarBatch:
    """`read_cifar_batch`, kept in memory as `read_packed` keeps it."""
    return _kept(read_cifar_batch, path)


def _kept(reader: Callable[[str], _Content], path: str | os.PathLike[str]) -> _Content:
    """What a file holds, read again only when it has changed."""
    try:
        status = os.stat(path)
    except OSError:
        return reader(os.fspath(path))  # says what is wrong
    kept: _Content = _read_once(reader, os.fspath(path), status.st_mtime_ns, status.st_size)
    return kept


@lru_cache(maxsize=8)  # CIFAR-10 has six files
def _read_once(reader: Callable[[str], _Content], path: str, changed: int, size: int) -> _Content:
    return reader(path)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[IO[bytes], int | None]]:
    """A file to read and its length, None where it is gzipped; damage becomes an `ImageReadError`."""
    if not Path(path).is_file():
        raise read_error(path, got="no such file", expected="an idx file or a binary batch", remedy="check the path")
    zipped = os.fspath(path).endswith(".gz")
    size = None if zipped else Path(path).stat().st_size
    try:
        with cast(IO[bytes], gzip.open(path) if zipped else Path(path).open("rb")) as file:
            yield file, size
    except _DAMAGE as err:
        raise read_error(path, got=f"{type(err).__name__} ({err})", expected="a complete file", remedy=_COPY) from err


def _read(path: str | os.PathLike[str], file: IO[bytes], count: int) -> bytes:
    parts, left = [], count
    while left and (part := file.read(min(left, 2**20))):  # in pieces: one read allocates what the header claims
        parts.append(part)
        left -= len(part)
    content = b"".join(parts)
    if left:
        raise read_error(path, got=f"an end {left} bytes early", expected="a complete file", remedy=_COPY)
    return content
