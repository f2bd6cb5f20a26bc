"""The error of a file that is not read."""

from __future__ import annotations

__all__ = ["RefusedError"]


class RefusedError(ValueError):
    """A file that cannot or must not be used; one line without its path and without anything of a patient."""
