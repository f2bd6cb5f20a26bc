"""A bundle's model as one file for other runtimes, and the run of an ONNX file without torch.

Importing this package loads neither torch nor MONAI nor ONNX Runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_cavga.export.backend import OnnxBackend, OnnxBackendError

__all__ = ["OnnxBackend", "OnnxBackendError"]


def __getattr__(name: str) -> Any:
    """Load the backend when it is used (PEP 562): the command line asks this package for its options only."""
    if name in __all__:
        from monai_cavga.export import backend

        return getattr(backend, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
