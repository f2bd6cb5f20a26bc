"""MONAI Bundles: a bundle folder as a workflow, and the command line that takes one.

Every interpreter that starts `python -m monai.bundle ... --config` imports this package before MONAI, so nothing here
may import MONAI or torch until it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monai_cavga.bundle.workflow import BundleDirectoryWorkflow

__all__ = ["BundleDirectoryWorkflow"]


def __getattr__(name: str) -> type[BundleDirectoryWorkflow]:
    """Import the workflow, and with it MONAI, on first use (PEP 562)."""
    if name == "BundleDirectoryWorkflow":
        from monai_cavga.bundle.workflow import BundleDirectoryWorkflow

        return BundleDirectoryWorkflow
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
