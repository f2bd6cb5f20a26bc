"""Handlers for MONAI engines: state and models of a training, and what an evaluation leaves for people to read."""

from __future__ import annotations

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
