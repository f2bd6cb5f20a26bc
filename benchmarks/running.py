"""Running a bundle from a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reporting import HERE

from monai_cavga.bundle import BundleDirectoryWorkflow


def run_bundle(name: str, run_id: str, *, handlers: Sequence[Any] = (), **overrides: Any) -> None:
    """One run of a bundle of this repository, the same as ``python -m monai_cavga run``.

    Args:
        name: of its folder.
        run_id: such as "training".
        handlers: attached to the run's evaluator beside its own.
        overrides: config ids and their values.
    """
    workflow = BundleDirectoryWorkflow(HERE.parent / "bundles" / name, run_id=run_id, logging_file=False, **overrides)
    workflow.initialize()
    for handler in handlers:
        handler.attach(workflow.parser.get_parsed_content("evaluator"))
    workflow.run()
    workflow.finalize()
