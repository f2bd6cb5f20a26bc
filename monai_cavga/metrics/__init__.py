"""Metrics of anomaly maps and image scores; higher score = more anomalous in all of them.

Importing this package loads neither torch nor MONAI: the score of a map (`score`) needs neither.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_cavga.metrics.errors import UndefinedMetricError
    from monai_cavga.metrics.froc import FROC, FROC_RATES, FrocCurve, FrocHistogram
    from monai_cavga.metrics.histogram import ItemCounts, OracleIoU, PixelHistogram
    from monai_cavga.metrics.image import (
        ImageAUROC,
        PaperAccuracy,
        balanced_accuracy,
        false_positive_area,
        image_auroc,
        image_score,
        paper_accuracy,
        sensitivity_at_specificity,
    )
    from monai_cavga.metrics.interval import Interval, bootstrap_interval
    from monai_cavga.metrics.pixel import PixelAUROC, PixelAveragePrecision, PixelIoU
    from monai_cavga.metrics.region import AUPRO, RegionHistogram

__all__ = [
    "AUPRO",
    "FROC",
    "FROC_RATES",
    "FrocCurve",
    "FrocHistogram",
    "ImageAUROC",
    "Interval",
    "ItemCounts",
    "OracleIoU",
    "PaperAccuracy",
    "PixelAUROC",
    "PixelAveragePrecision",
    "PixelHistogram",
    "PixelIoU",
    "RegionHistogram",
    "UndefinedMetricError",
    "balanced_accuracy",
    "bootstrap_interval",
    "false_positive_area",
    "image_auroc",
    "image_score",
    "paper_accuracy",
    "sensitivity_at_specificity",
]

_HOMES = {
    "AUPRO": "region",
    "FROC": "froc",
    "FROC_RATES": "froc",
    "FrocCurve": "froc",
    "FrocHistogram": "froc",
    "ImageAUROC": "image",
    "Interval": "interval",
    "ItemCounts": "histogram",
    "OracleIoU": "histogram",
    "PaperAccuracy": "image",
    "PixelAUROC": "pixel",
    "PixelAveragePrecision": "pixel",
    "PixelHistogram": "histogram",
    "PixelIoU": "pixel",
    "RegionHistogram": "region",
    "UndefinedMetricError": "errors",
    "balanced_accuracy": "image",
    "bootstrap_interval": "interval",
    "false_positive_area": "image",
    "image_auroc": "image",
    "image_score": "image",
    "paper_accuracy": "image",
    "sensitivity_at_specificity": "image",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for on first use (PEP 562)."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
