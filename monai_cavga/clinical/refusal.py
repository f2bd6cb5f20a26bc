"""The error of a file that is not read, and what may be told of any error."""

from __future__ import annotations

__all__ = ["RefusedError", "own_words"]


class RefusedError(ValueError):
    """A file that cannot or must not be used; one line without its path and without anything of a patient."""


def own_words(error: BaseException) -> str:
    """The text of an error of this package, or of one that says what is not installed, in one line.

    "" for any other: a library's own text may quote a header.
    """
    ours = isinstance(error, ModuleNotFoundError) or type(error).__module__.split(".")[0] == "monai_cavga"
    return " ".join(str(error).split()) if ours else ""
