"""The error about an image, clip or mask file."""

from __future__ import annotations

import os


class ImageReadError(ValueError):
    """An image file that cannot be used; the text names the file, what was got, what is expected and the remedy."""


def read_error(path: str | os.PathLike[str], *, got: str, expected: str, remedy: str) -> ImageReadError:
    """The error in the one form that all readers use."""
    return ImageReadError(f"cannot read image {os.fspath(path)}: got {got}, expected {expected}: {remedy}")


def check_file(path: str | os.PathLike[str], *, name: str | os.PathLike[str] = "", expected: str) -> None:
    """Refuse a file that is absent or empty.

    Args:
        path: the file.
        name: how the error calls it, where that is more than the path, such as one frame of it.
        expected: what the file should be.

    Raises:
        ImageReadError: if there is no such file, or it has no bytes.
    """
    if not os.path.isfile(path):
        raise read_error(name or path, got="no such file", expected=expected, remedy="check the path")
    if os.path.getsize(path) == 0:
        remedy = "copy the file again from its source"
        raise read_error(name or path, got="an empty file (0 bytes)", expected=expected, remedy=remedy)
