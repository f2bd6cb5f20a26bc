"""Handlers for MONAI engines: state and models of a training, and what an evaluation leaves for people to read.

Importing this package loads neither torch nor MONAI: what writes files and pictures (`files`, `colour`) needs neither.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_cavga.handlers.best_model import BestModelHandler
    from monai_cavga.handlers.image_report import ImageReportHandler
    from monai_cavga.handlers.images import LocalisationHandler, PanelHandler, TensorBoardPanelHandler
    from monai_cavga.handlers.page import Card, PageHandler, make_card, write_page
    from monai_cavga.handlers.report import ReportHandler
    from monai_cavga.handlers.schedule import CosineScheduleHandler, cosine_factor
    from monai_cavga.handlers.training_state import StateFileError, TrainingStateHandler

__all__ = [
    "BestModelHandler",
    "Card",
    "CosineScheduleHandler",
    "ImageReportHandler",
    "LocalisationHandler",
    "PageHandler",
    "PanelHandler",
    "ReportHandler",
    "StateFileError",
    "TensorBoardPanelHandler",
    "TrainingStateHandler",
    "cosine_factor",
    "make_card",
    "write_page",
]

_HOMES = {
    "BestModelHandler": "best_model",
    "Card": "page",
    "CosineScheduleHandler": "schedule",
    "ImageReportHandler": "image_report",
    "LocalisationHandler": "images",
    "PageHandler": "page",
    "PanelHandler": "images",
    "ReportHandler": "report",
    "StateFileError": "training_state",
    "TensorBoardPanelHandler": "images",
    "TrainingStateHandler": "training_state",
    "cosine_factor": "schedule",
    "make_card": "page",
    "write_page": "page",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for on first use (PEP 562)."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
